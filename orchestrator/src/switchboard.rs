//! Connects a stream that an operator opens with the agent that feeds it. Knows neither door.
//!
//! `dispatcher` plugs each session in and delivers chunks; `api` opens streams. Bounded: a slow reader slows its agent.

use proto::id::{NodeId, SessionId};
use proto::v1;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

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

    /// A session went; a later one of its node is left alone.
    pub fn unplug(&self, node: NodeId, session: SessionId) {
        let mut tables = self.tables();
        if tables.sessions.get(&node).is_some_and(|(s, _)| *s == session) {
            tables.sessions.remove(&node);
        }
    }

    /// Asks a node to push a task's log. The stream closes when the receiver is dropped.
    pub async fn open_log(
        &self,
        node: NodeId,
        task: u64,
        query: v1::LogQuery,
    ) -> Result<mpsc::Receiver<Pushed>, OpenError> {
        let stream = self.inner.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
        let session = self.tables().sessions.get(&node).map(|(_, s)| s.clone()).ok_or(OpenError::NoSession(node))?;
        self.tables().streams.insert(stream, (node, sender.clone()));
        let open = v1::OpenLog { stream, task, query: Some(query) };
        let message = v1::ServerMessage { message: Some(v1::server_message::Message::OpenLog(open)) };
        if session.send(message).await.is_err() {
            self.tables().streams.remove(&stream);
            return Err(OpenError::NoSession(node));
        }
        let board = self.clone();
        tokio::spawn(async move {
            sender.closed().await;
            board.tables().streams.remove(&stream);
            let close =
                v1::ServerMessage { message: Some(v1::server_message::Message::CloseLog(v1::CloseLog { stream })) };
            // The session may have gone: then there is nobody to tell.
            let _ = session.send(close).await;
        });
        Ok(receiver)
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
