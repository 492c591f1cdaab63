//! Connects a stream that an operator opens with the agent that feeds it. Knows neither door.
//!
//! `dispatcher` plugs each session in and delivers chunks; `api` opens streams. Bounded: a slow reader slows its agent.

use proto::id::{NodeId, SessionId};
use proto::v1;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// Chunks that may wait for a slow operator.
const CHUNKS_WAITING: usize = 64;

/// What an agent pushes: a part, or why there is no more.
pub type Pushed = Result<v1::LogChunk, String>;

/// Why a stream could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The node has no session here.
    #[error("node {0} has no connection to this server now; try again when `ctl get nodes` shows it ready")]
    NoSession(NodeId),
}

/// Sessions by node and open streams by number.
#[derive(Debug, Default, Clone)]
pub struct Switchboard {
    inner: Arc<Inner>,
}

/// What an agent pushes for one reader.
#[derive(Debug)]
pub struct Feed {
    chunks: mpsc::Receiver<Pushed>,
    _reading: oneshot::Sender<()>,
}

impl Feed {
    /// The next piece; `None`: the agent has pushed all.
    pub async fn next(&mut self) -> Option<Pushed> {
        self.chunks.recv().await
    }
}

#[derive(Debug, Default)]
struct Inner {
    next: AtomicU64,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    sessions: BTreeMap<NodeId, (SessionId, mpsc::Sender<v1::ServerMessage>)>,
    streams: BTreeMap<u64, (NodeId, mpsc::Sender<Pushed>)>,
}

// === impl Switchboard ===

impl Switchboard {
    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.inner.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session came; it takes the place of an earlier one of its node.
    pub fn plug(&self, node: NodeId, session: SessionId, sender: mpsc::Sender<v1::ServerMessage>) {
        self.tables().sessions.insert(node, (session, sender));
    }

    /// A session went, and with it what it was asked and did not begin; a later one of its node is left alone.
    pub fn unplug(&self, node: NodeId, session: SessionId) {
        let mut tables = self.tables();
        if tables.sessions.get(&node).is_some_and(|(s, _)| *s == session) {
            tables.sessions.remove(&node);
            let lost = tables.streams.extract_if(.., |_, (asked, _)| *asked == node);
            for (_, (_, sender)) in lost {
                // Its channel is empty, or its reader has gone.
                let _ = sender.try_send(Err(format!("the agent of node {node} lost its connection")));
            }
        }
    }

    /// Asks a node to push a task's log. It is told to stop when the feed is dropped.
    pub async fn open_log(&self, node: NodeId, task: u64, query: v1::LogQuery) -> Result<Feed, OpenError> {
        let stream = self.inner.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        let session = self.tables().sessions.get(&node).map(|(_, s)| s.clone()).ok_or(OpenError::NoSession(node))?;
        self.tables().streams.insert(stream, (node, sender));
        let open = v1::OpenLog { stream, task, query: Some(query) };
        let message = v1::ServerMessage { message: Some(v1::server_message::Message::OpenLog(open)) };
        if session.send(message).await.is_err() {
            self.tables().streams.remove(&stream);
            return Err(OpenError::NoSession(node));
        }
        let board = self.clone();
        let (reading, reader_gone) = oneshot::channel();
        tokio::spawn(async move {
            // Not by a sender of our own: while there is one, the feed has no end.
            let _: Result<(), _> = reader_gone.await;
            board.tables().streams.remove(&stream);
            let close =
                v1::ServerMessage { message: Some(v1::server_message::Message::CloseLog(v1::CloseLog { stream })) };
            // The session may have gone: then there is nobody to tell.
            let _ = session.send(close).await;
        });
        Ok(Feed { chunks: receiver, _reading: reading })
    }

    /// Takes the sending half of an open stream, once; `None` when its reader has gone, or when another node was asked.
    /// `from`: the node that answers; `None`: any, because it is on this host.
    pub fn answer(&self, stream: u64, from: Option<NodeId>) -> Option<mpsc::Sender<Pushed>> {
        let mut tables = self.tables();
        let asked = tables.streams.get(&stream).map(|(node, _)| *node)?;
        if from.is_some_and(|from| from != asked) {
            return None;
        }
        tables.streams.remove(&stream).map(|(_, sender)| sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::server_message::Message;

    const NODE: NodeId = NodeId(1);

    async fn opened() -> (Switchboard, mpsc::Receiver<v1::ServerMessage>, u64, Feed) {
        let board = Switchboard::default();
        let (sender, mut agent) = mpsc::channel(4);
        board.plug(NODE, SessionId(1), sender);
        let feed = board.open_log(NODE, 7, v1::LogQuery::default()).await.expect("there is a session");
        let asked = agent.recv().await.and_then(|m| m.message);
        let Some(Message::OpenLog(open)) = asked else { panic!("{asked:?}") };
        (board, agent, open.stream, feed)
    }

    #[tokio::test]
    async fn a_feed_ends_when_the_agent_has_pushed_all() {
        let (board, _agent, stream, mut feed) = opened().await;
        let pusher = board.answer(stream, Some(NODE)).expect("it was asked");
        pusher.send(Ok(v1::LogChunk::default())).await.expect("somebody reads");
        drop(pusher);
        assert!(matches!(feed.next().await, Some(Ok(_))));
        assert!(feed.next().await.is_none());
    }

    #[tokio::test]
    async fn an_agent_is_told_that_nobody_reads_any_more() {
        let (board, mut agent, stream, feed) = opened().await;
        drop(feed);
        let told = agent.recv().await.and_then(|m| m.message);
        assert!(matches!(&told, Some(Message::CloseLog(close)) if close.stream == stream), "{told:?}");
        assert!(board.answer(stream, Some(NODE)).is_none());
    }

    #[tokio::test]
    async fn an_agent_that_goes_before_it_begins_ends_the_feed_with_a_word() {
        let (board, _agent, _, mut feed) = opened().await;
        board.unplug(NODE, SessionId(1));
        let said = feed.next().await;
        assert!(matches!(&said, Some(Err(problem)) if problem.contains("lost its connection")), "{said:?}");
        assert!(feed.next().await.is_none());
    }
}
