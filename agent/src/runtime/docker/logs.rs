//! A container's output as the engine kept it.

use super::super::translate::when;
use super::super::{LogChunk, LogQuery, RuntimeError};
use super::failure::Thing;
use super::{DockerRuntime, deadline};
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::time::Duration;

const LOGS: &str = "read a container's output";

impl DockerRuntime {
    pub(super) async fn log_stream(
        &self,
        id: &str,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError> {
        let limit = self.deadlines().look;
        // Looked at first so that an absent container is an error here, not an empty stream.
        self.look_at(id, limit).await?;
        let thing = Thing::Container(id);
        let docker = self.call(LOGS, thing, limit, |docker| async move { Ok(docker) }).await?;
        let since = query.since;
        // Following has no end by nature; what is there already must come without a pause.
        let silence = if query.follow { None } else { Some(limit) };
        let chunks = docker.logs(id, Some(options(query))).boxed();
        let state = (chunks, self.clone(), id.to_owned());
        let read = stream::unfold(Some(state), move |state| async move {
            let (mut chunks, me, id) = state?;
            match next(&mut chunks, silence).await {
                Err(limit) => Some((Err(deadline(LOGS, limit)), None)),
                Ok(None) => None,
                Ok(Some(Err(error))) => Some((Err(me.failed(LOGS, Thing::Container(&id), error)), None)),
                Ok(Some(Ok(output))) => Some((Ok(chunk(&output)), Some((chunks, me, id)))),
            }
        });
        // The engine cuts to whole seconds.
        let early = move |read: &Result<LogChunk, _>| match (read, since) {
            (Ok(LogChunk { at: Some(at), .. }), Some(since)) => *at < since,
            _ => false,
        };
        Ok(read.filter(move |read| std::future::ready(!early(read))).boxed())
    }
}

async fn next<S: futures_util::Stream + Unpin>(
    chunks: &mut S,
    silence: Option<Duration>,
) -> Result<Option<S::Item>, Duration> {
    match silence {
        Some(limit) => tokio::time::timeout(limit, chunks.next()).await.map_err(|_| limit),
        None => Ok(chunks.next().await),
    }
}

fn options(query: &LogQuery) -> LogsOptions {
    LogsOptions {
        follow: query.follow,
        stdout: true,
        stderr: true,
        timestamps: true,
        since: query.since.map_or(0, |at| i32::try_from(at.0 / 1000).unwrap_or(i32::MAX)),
        tail: query.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
        ..LogsOptions::default()
    }
}

/// Each part begins with its time and a space.
fn chunk(output: &LogOutput) -> LogChunk {
    let stderr = matches!(output, LogOutput::StdErr { .. });
    let bytes: &[u8] = output.as_ref();
    let cut = bytes.iter().take(64).position(|b| *b == b' ');
    let at = cut.and_then(|cut| std::str::from_utf8(&bytes[..cut]).ok()).and_then(when::parse);
    let bytes = match (at, cut) {
        (Some(_), Some(cut)) => bytes[cut + 1..].to_vec(),
        _ => bytes.to_vec(),
    };
    LogChunk { stderr, at, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::revision::Wall;

    #[test]
    fn times_are_taken_off_the_lines() {
        for (text, at, rest) in [
            ("2024-05-01T10:11:12.123456789Z hello world\n", Some(1_714_558_272_123), "hello world\n"),
            ("2024-05-01T10:11:12Z \n", Some(1_714_558_272_000), "\n"),
            ("no time here\n", None, "no time here\n"),
            ("", None, ""),
        ] {
            let output = LogOutput::StdErr { message: text.as_bytes().to_vec().into() };
            let expect = LogChunk { stderr: true, at: at.map(Wall), bytes: rest.as_bytes().to_vec() };
            assert_eq!(chunk(&output), expect, "{text}");
        }
    }

    #[test]
    fn questions() {
        let all = options(&LogQuery::default());
        assert_eq!((all.tail.as_str(), all.since, all.follow), ("all", 0, false));
        let some = options(&LogQuery { follow: true, tail: Some(5), since: Some(Wall(1_500)) });
        assert_eq!((some.tail.as_str(), some.since, some.follow), ("5", 1, true));
    }
}
