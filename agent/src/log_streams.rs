//! Containers' output for operators: read from the engine, pushed to the server.
//!
//! Never keeps a line. A stream ends when the log does, when the server asks for it, or with the session.

use futures_util::{Stream, StreamExt, stream};
use proto::id::TaskId;
use proto::revision::Wall;
use proto::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::runtime::{ContainerRuntime, LogChunk, LogQuery};
use crate::session::Link;

/// The streams that are open.
#[derive(Debug)]
pub struct LogStreams {
    runtime: Arc<dyn ContainerRuntime>,
    link: Link,
    open: BTreeMap<u64, CancellationToken>,
}

impl LogStreams {
    /// None are open yet.
    pub fn new(runtime: Arc<dyn ContainerRuntime>, link: Link) -> LogStreams {
        LogStreams { runtime, link, open: BTreeMap::new() }
    }

    /// The server wants a task's log. `containers`: container and source of each task.
    pub fn open(&mut self, request: v1::OpenLog, containers: &BTreeMap<TaskId, (String, String)>) {
        self.open.retain(|_, stop| !stop.is_cancelled());
        let stop = CancellationToken::new();
        self.open.insert(request.stream, stop.clone());
        let found = containers.get(&TaskId(request.task)).cloned();
        let (runtime, mut client) = (Arc::clone(&self.runtime), self.link.client());
        tokio::spawn(async move {
            let parts = parts(runtime, request, found).await.take_until(stop.clone().cancelled_owned());
            if let Err(status) = client.push_log(parts).await {
                tracing::debug!(%status, "a log stream ended early");
            }
            stop.cancel();
        });
    }

    /// The operator has gone away.
    pub fn close(&mut self, stream: u64) {
        if let Some(stop) = self.open.remove(&stream) {
            stop.cancel();
        }
    }

    /// The session ended.
    pub fn close_all(&mut self) {
        std::mem::take(&mut self.open).into_values().for_each(|stop| stop.cancel());
    }
}

async fn parts(
    runtime: Arc<dyn ContainerRuntime>,
    request: v1::OpenLog,
    found: Option<(String, String)>,
) -> impl Stream<Item = v1::PushLogRequest> + Send + 'static {
    let number = request.stream;
    let problem = move |problem: String| v1::PushLogRequest { stream: number, chunk: None, problem };
    // Sent at once, so that the server can tell an open stream without output from one that never began.
    let first = stream::iter([problem(String::new())]);
    let Some((container, source)) = found else {
        let why = format!("task {} has no container on this node", TaskId(request.task));
        return first.chain(stream::iter([problem(why)])).boxed();
    };
    let query = query(request.query.unwrap_or_default());
    match runtime.logs(&container, &query).await {
        Err(error) => first.chain(stream::iter([problem(error.to_string())])).boxed(),
        Ok(chunks) => {
            let pushed = chunks.map(move |chunk| match chunk {
                Ok(chunk) => {
                    v1::PushLogRequest { stream: number, chunk: Some(on_wire(chunk, &source)), problem: String::new() }
                }
                Err(error) => problem(error.to_string()),
            });
            first.chain(pushed).boxed()
        }
    }
}

fn query(wire: v1::LogQuery) -> LogQuery {
    LogQuery { follow: wire.follow, tail: wire.tail, since: wire.since_unix_ms.map(Wall) }
}

fn on_wire(chunk: LogChunk, source: &str) -> v1::LogChunk {
    v1::LogChunk {
        source: source.to_owned(),
        stderr: chunk.stderr,
        at_unix_ms: chunk.at.map(|at| at.0),
        data: chunk.bytes,
    }
}
