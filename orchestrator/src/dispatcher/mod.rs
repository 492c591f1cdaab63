//! The agents' door: sessions, assignment sets, endpoint tables, status batches.
//!
//! Never decides and never writes State but by proposing. Does not know the operators' door.

mod session;
pub mod sessions;
pub mod told;

use proto::id::{BlobDigest, NodeId, SessionId};
use proto::spec::{BlobKind, FileMount};
use proto::v1;
use proto::v1::agents_server::Agents;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use zeroize::Zeroizing;

use crate::access::{Caller, Witness};
use crate::engine::model::Task;
use crate::engine::{AUDITS, Command, Outcome, State, endpoints};
use crate::leader::LeaseEvent;
use crate::pki::seal::SealError;
use crate::pki::sealer::Sealer;
use crate::raft::{Applied, Clock, RaftHandle};
use crate::switchboard::Switchboard;
use proto::endpoint::EndpointTable;
use sessions::Sessions;

/// Messages that may wait for a slow agent.
const MESSAGES_WAITING: usize = 64;

/// The agents' door.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    raft: RaftHandle,
    state: watch::Receiver<Arc<State>>,
    tables: watch::Receiver<Arc<EndpointTable>>,
    /// Where servers are.
    servers: watch::Receiver<Vec<String>>,
    leases: mpsc::UnboundedSender<LeaseEvent>,
    switchboard: Switchboard,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    sessions: Mutex<Sessions<CancellationToken>>,
}

// === impl Dispatcher ===

impl Dispatcher {
    /// Opens the door. A task projects the endpoint table once per published State, for all sessions.
    pub fn new(
        raft: RaftHandle,
        leases: mpsc::UnboundedSender<LeaseEvent>,
        switchboard: Switchboard,
        sealer: Arc<Sealer>,
        clock: Arc<dyn Clock>,
    ) -> Dispatcher {
        let state = raft.state();
        let (table_sender, tables) = watch::channel(Arc::new(endpoints(&state.borrow())));
        let (server_sender, servers) = watch::channel(addresses(&state.borrow()));
        tokio::spawn(project(state.clone(), table_sender, server_sender));
        let sessions = Mutex::default();
        Dispatcher {
            inner: Arc::new(Inner { raft, state, tables, servers, leases, switchboard, sealer, clock, sessions }),
        }
    }
}

/// Where servers listen for agents; one that only answers on this host has no such place.
fn addresses(state: &State) -> Vec<String> {
    state.servers().map(|server| server.info.peers.clone()).filter(|address| !address.is_empty()).collect()
}

/// What all sessions send alike, worked out once.
async fn project(
    mut state: watch::Receiver<Arc<State>>,
    tables: watch::Sender<Arc<EndpointTable>>,
    servers: watch::Sender<Vec<String>>,
) {
    while state.changed().await.is_ok() {
        let state = state.borrow_and_update().clone();
        servers.send_if_modified(|known| {
            let now = addresses(&state);
            std::mem::replace(known, now.clone()) != now
        });
        tables.send_if_modified(|known| match told::moved_table(known, &state) {
            Some(table) => {
                *known = Arc::new(table);
                true
            }
            None => false,
        });
        if tables.is_closed() {
            return;
        }
    }
}

// === impl Inner ===

impl Inner {
    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions<CancellationToken>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session for the node, later than all before; an earlier one of the node is fenced off.
    fn begin_session(&self, node: NodeId) -> (SessionId, CancellationToken) {
        let fence = CancellationToken::new();
        let (session, earlier) = self.sessions().begin(node, self.clock.wall(), fence.clone());
        if let Some(earlier) = earlier {
            earlier.cancel();
        }
        (session, fence)
    }

    /// Puts it into the audit that a secret goes to a node. It is not given before that is on disk.
    async fn note_secret(&self, witness: &Witness, state: &State, task: &Task, file: &FileMount) -> Result<(), Status> {
        if state.version() < AUDITS {
            return Ok(());
        }
        let service = &task.service;
        let detail = format!("to node {} for {}.{}", task.node, service.service, task.slot.0);
        let note = witness.note(service.project.as_str(), format!("secret/{}", file.name), detail);
        let noted = self.raft.propose_by(witness.asker(), None, Command::NoteAccess { note }).await;
        let why = |e: &dyn std::fmt::Display| {
            Status::unavailable(format!(
                "a secret is not given before it is on record that it is, and that failed: {e}"
            ))
        };
        match noted {
            Ok(Applied { outcome: Outcome::Rejected(rejection), .. }) => Err(why(&rejection)),
            Ok(_) => Ok(()),
            Err(error) => Err(why(&error)),
        }
    }

    /// A content as it is now: a secret may have been sealed with another key since it was looked for, and what is read here
    /// may be once more before it is opened.
    fn unsealed(&self, digest: &BlobDigest) -> Result<Zeroizing<Vec<u8>>, Status> {
        let read = || {
            let blob = self.state.borrow().blob(digest).cloned();
            let blob = blob.ok_or_else(|| Status::not_found(format!("no content {digest}")))?;
            Ok::<_, Status>(self.sealer.unseal(&blob))
        };
        let opened = match read()? {
            Err(SealError::OtherKey { .. }) => read()?,
            opened => opened,
        };
        opened.map_err(|e| Status::data_loss(e.to_string()))
    }

    fn is_current(&self, node: NodeId, session: SessionId) -> bool {
        self.sessions().is_current(node, session)
    }

    /// Ends a session; false when a later one has taken its place.
    fn end_session(&self, node: NodeId, session: SessionId) -> bool {
        self.sessions().end(node, session)
    }
}

#[tonic::async_trait]
impl Agents for Dispatcher {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::ServerMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = caller(&request)?;
        let (sender, receiver) = mpsc::channel(MESSAGES_WAITING);
        let outgoing = session::open(self.inner.clone(), &caller, request.into_inner(), sender, receiver).await?;
        Ok(Response::new(outgoing))
    }

    async fn fetch_blob(
        &self,
        request: Request<v1::FetchBlobRequest>,
    ) -> Result<Response<v1::FetchBlobResponse>, Status> {
        let (caller, witness) = (caller(&request)?, Witness::of(&request)?);
        let request = request.into_inner();
        let node: NodeId = request.node.parse().map_err(|e| Status::invalid_argument(format!("node: {e}")))?;
        caller.speaks_for(node).map_err(|why| witness.refused("", String::new(), why))?;
        let digest = proto::convert::blob_digest("digest", request.digest)
            .map_err(|e| Status::invalid_argument(e.to_string()))?;
        let state = self.inner.state.borrow().clone();
        let Some((task, file)) = mounted(&state, node, &digest) else {
            let why = Status::permission_denied(format!("no task of node {node} mounts content {digest}"));
            return Err(witness.refused("", format!("content/{digest}"), why));
        };
        let blob = state.blob(&digest).ok_or_else(|| Status::not_found(format!("no content {digest}")))?;
        if blob.kind == BlobKind::Secret {
            self.inner.note_secret(&witness, &state, &task, &file).await?;
        }
        let content = self.inner.unsealed(&digest)?;
        Ok(Response::new(v1::FetchBlobResponse { kind: blob.kind.into(), content: content.to_vec() }))
    }

    async fn push_log(
        &self,
        request: Request<Streaming<v1::PushLogRequest>>,
    ) -> Result<Response<v1::PushLogResponse>, Status> {
        let from = caller(&request)?.node()?;
        let mut chunks = request.into_inner();
        let mut reader = None;
        while let Some(push) = chunks.next().await {
            let push = push?;
            if reader.is_none() {
                reader = self.inner.switchboard.answer(push.stream, from);
            }
            let Some(reader) = &reader else { break };
            let sent = match push.chunk {
                Some(chunk) => reader.send(Ok(chunk)).await,
                None if push.problem.is_empty() => Ok(()),
                None => reader.send(Err(push.problem)).await,
            };
            if sent.is_err() {
                break;
            }
        }
        Ok(Response::new(v1::PushLogResponse {}))
    }
}

/// The first task of a node that mounts a content, and as what.
fn mounted(state: &State, node: NodeId, digest: &BlobDigest) -> Option<(Arc<Task>, FileMount)> {
    state.tasks_on(node).find_map(|task| {
        let file = task.container.files.iter().find(|f| f.digest == *digest)?;
        Some((task.clone(), file.clone()))
    })
}

/// Who calls, as the gate found out.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::internal("the call came past the gate"))
}

/// A stream that ends with an error once the session is fenced off.
fn outgoing(
    receiver: mpsc::Receiver<v1::ServerMessage>,
    fence: CancellationToken,
) -> Pin<Box<dyn Stream<Item = Result<v1::ServerMessage, Status>> + Send>> {
    let (sender, merged) = mpsc::channel(MESSAGES_WAITING);
    let mut receiver = receiver;
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                biased;
                () = fence.cancelled() => {
                    let _ = sender.send(Err(Status::aborted("a later session of this node took over"))).await;
                    return;
                }
                message = receiver.recv() => message,
            };
            let Some(message) = next else { return };
            if sender.send(Ok(message)).await.is_err() {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(merged))
}
