//! A container's output as the engine kept it.

use super::super::translate::when;
use super::super::{LogChunk, LogQuery, RuntimeError};
use super::failure::Thing;
use super::{DockerRuntime, deadline};
use bollard::container::LogOutput;
use bollard::errors::Error;
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
        let docker = self.call(LOGS, Thing::Container(id), limit, |docker| async move { Ok(docker) }).await?;
        let reader = Reader {
            chunks: docker.logs(id, Some(options(query))).boxed(),
            runtime: self.clone(),
            docker,
            id: id.to_owned(),
            query: query.clone(),
            last: String::new(),
            catching_up: false,
        };
        let since = query.since;
        let read = stream::unfold(Some(reader), |reader| async move { reader?.read().await });
        // The engine cuts to whole seconds.
        let early = move |read: &Result<LogChunk, _>| match (read, since) {
            (Ok(LogChunk { at: Some(at), .. }), Some(since)) => *at < since,
            _ => false,
        };
        Ok(read.filter(move |read| std::future::ready(!early(read))).boxed())
    }
}

struct Reader {
    runtime: DockerRuntime,
    docker: bollard::Docker,
    chunks: BoxStream<'static, Result<LogOutput, Error>>,
    id: String,
    query: LogQuery,
    /// The latest time read, as the engine writes it: with nanoseconds and of one length, so that text compares.
    last: String,
    /// A follower that the engine let go reads once more what is there: the engine may drop the last words of a
    /// process that ends, and those are the ones that matter.
    catching_up: bool,
}

type Read = Option<(Result<LogChunk, RuntimeError>, Option<Reader>)>;

impl Reader {
    async fn read(mut self) -> Read {
        loop {
            let following = self.query.follow && !self.catching_up;
            // Following has no end by nature; what is there already must come without a pause.
            let silence = if following { None } else { Some(self.runtime.deadlines().look) };
            match next(&mut self.chunks, silence).await {
                Err(limit) => return Some((Err(deadline(LOGS, limit)), None)),
                Ok(None) if following => self.catch_up(),
                Ok(None) => return None,
                // It was removed: nothing is left to read.
                Ok(Some(Err(_))) if self.catching_up => return None,
                Ok(Some(Err(error))) => {
                    return Some((Err(self.runtime.failed(LOGS, Thing::Container(&self.id), error)), None));
                }
                Ok(Some(Ok(output))) => {
                    let (stamp, chunk) = chunk(&output);
                    if self.catching_up && stamp <= self.last {
                        continue;
                    }
                    self.last = stamp.max(self.last);
                    return Some((Ok(chunk), Some(self)));
                }
            }
        }
    }

    fn catch_up(&mut self) {
        self.catching_up = true;
        let mut query = LogQuery { follow: false, ..self.query.clone() };
        if let Some(last) = when::parse(&self.last) {
            query = LogQuery { since: Some(last), ..LogQuery::default() };
        }
        self.chunks = self.docker.logs(&self.id, Some(options(&query))).boxed();
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

/// Each part begins with its time and a space. Returns the time as text, empty when there is none.
fn chunk(output: &LogOutput) -> (String, LogChunk) {
    let stderr = matches!(output, LogOutput::StdErr { .. });
    let bytes: &[u8] = output.as_ref();
    let cut = bytes.iter().take(64).position(|b| *b == b' ');
    let stamp = cut.and_then(|cut| std::str::from_utf8(&bytes[..cut]).ok()).unwrap_or_default();
    match when::parse(stamp) {
        Some(at) => {
            let rest = bytes[stamp.len() + 1..].to_vec();
            (stamp.to_owned(), LogChunk { stderr, at: Some(at), bytes: rest })
        }
        None => (String::new(), LogChunk { stderr, at: None, bytes: bytes.to_vec() }),
    }
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
            assert_eq!(chunk(&output).1, expect, "{text}");
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
