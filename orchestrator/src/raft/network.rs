//! From openraft's idea of a network to ours: messages to a server that is named by id and address.
//!
//! Never opens a connection: that is the `Transport`'s. With one voter nothing here is ever called.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use openraft::error::{Fatal, RPCError, RaftError as CoreError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{BasicNode, OptionalSend, RaftNetwork, RaftNetworkFactory};
use proto::id::ServerId;

use super::heard::Answers;
use super::leadership::Peer;
use super::passing::{Became, PassedOn};
use super::type_config::{Snapshot, TypeConfig, Vote};
use super::wire::Canvass;

/// Why a message was not answered. Whatever it is, openraft waits half a second and tries again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No answer: no route, no listener, broken off, or too late.
    #[error("server {to} cannot be reached: {cause}")]
    Unreachable {
        /// The addressee.
        to: ServerId,
        /// What was observed.
        cause: String,
    },
    /// It answered that its own log has stopped.
    #[error("server {to} cannot answer: {cause}")]
    Stopped {
        /// The addressee.
        to: ServerId,
        /// Its words.
        cause: String,
    },
}

/// The way to the other servers. Every call ends within its `timeout`.
#[async_trait]
pub trait Transport: Debug + Send + Sync + 'static {
    /// Entries, or a heartbeat.
    async fn append_entries(
        &self,
        to: &Peer,
        message: AppendEntriesRequest<TypeConfig>,
        timeout: Duration,
    ) -> Result<AppendEntriesResponse<u64>, TransportError>;

    /// A candidate's question.
    async fn vote(
        &self,
        to: &Peer,
        message: VoteRequest<u64>,
        timeout: Duration,
    ) -> Result<VoteResponse<u64>, TransportError>;

    /// A whole snapshot, installed when this returns.
    async fn snapshot(
        &self,
        to: &Peer,
        vote: Vote,
        snapshot: Snapshot,
        timeout: Duration,
    ) -> Result<SnapshotResponse<u64>, TransportError>;

    /// Would it vote for this server?
    async fn canvass(&self, to: &Peer, question: Canvass, timeout: Duration) -> Result<bool, TransportError>;

    /// Asks it to lead from now on.
    async fn take_lead(&self, to: &Peer, timeout: Duration) -> Result<(), TransportError>;

    /// Commands for its log, while it leads.
    async fn propose(&self, to: &Peer, _: PassedOn, _: Duration) -> Result<Became, TransportError> {
        Err(TransportError::Unreachable { to: to.id, cause: "this network passes no commands on".to_owned() })
    }
}

/// The transport of a one-server cluster: there is nobody to talk to.
#[derive(Debug)]
pub struct NoPeers;

impl NoPeers {
    pub(super) fn refuse<T>(to: &Peer) -> Result<T, TransportError> {
        Err(TransportError::Unreachable { to: to.id, cause: "this server was started without a network".to_owned() })
    }
}

#[async_trait]
impl Transport for NoPeers {
    async fn append_entries(
        &self,
        to: &Peer,
        _: AppendEntriesRequest<TypeConfig>,
        _: Duration,
    ) -> Result<AppendEntriesResponse<u64>, TransportError> {
        NoPeers::refuse(to)
    }
    async fn vote(&self, to: &Peer, _: VoteRequest<u64>, _: Duration) -> Result<VoteResponse<u64>, TransportError> {
        NoPeers::refuse(to)
    }
    async fn snapshot(
        &self,
        to: &Peer,
        _: Vote,
        _: Snapshot,
        _: Duration,
    ) -> Result<SnapshotResponse<u64>, TransportError> {
        NoPeers::refuse(to)
    }
    async fn canvass(&self, to: &Peer, _: Canvass, _: Duration) -> Result<bool, TransportError> {
        NoPeers::refuse(to)
    }
    async fn take_lead(&self, to: &Peer, _: Duration) -> Result<(), TransportError> {
        NoPeers::refuse(to)
    }
}

/// Gives openraft one `Connection` per server.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) answers: Answers,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Connection {
        Connection {
            to: Peer { id: ServerId(target), address: node.addr.clone() },
            transport: self.transport.clone(),
            answers: self.answers.clone(),
        }
    }
}

/// The way to one server.
#[derive(Debug)]
pub(super) struct Connection {
    to: Peer,
    transport: Arc<dyn Transport>,
    answers: Answers,
}

// === impl Connection ===

impl Connection {
    fn noted<T>(&self, answer: Result<T, TransportError>) -> Result<T, Unreachable> {
        if answer.is_ok() {
            self.answers.touch(self.to.id.0);
        }
        answer.map_err(|e| Unreachable::new(&e))
    }
}

type Refusal = RPCError<u64, BasicNode, CoreError<u64>>;

impl RaftNetwork<TypeConfig> for Connection {
    async fn append_entries(
        &mut self,
        message: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Refusal> {
        let answer = self.transport.append_entries(&self.to, message, option.hard_ttl()).await;
        self.noted(answer).map_err(Into::into)
    }

    async fn vote(&mut self, message: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, Refusal> {
        let answer = self.transport.vote(&self.to, message, option.hard_ttl()).await;
        self.noted(answer).map_err(Into::into)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        tokio::select! {
            answer = self.transport.snapshot(&self.to, vote, snapshot, option.hard_ttl()) => {
                self.noted(answer).map_err(Into::into)
            }
            closed = cancel => Err(closed.into()),
        }
    }
}
