//! The receiving end of a `Transport`: what other servers send goes to openraft from here.
//!
//! Never decides but whether this server would vote. Who may send is the door's around it.

use std::time::Duration;

use openraft::ServerState;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use proto::id::ServerId;
use proto::v1;
use tokio_stream::{Stream, StreamExt};

use super::heard::Heard;
use super::log_store::Reach;
use super::network::TransportError;
use super::snapshot::SnapshotFile;
use super::type_config::{Raft, Snapshot, TypeConfig, Vote};
use super::wire::{Canvass, Described, WireError, pack, unpack};

/// Beyond the lease, before this server stands for election because it was asked to lead.
const LEASE_MARGIN: Duration = Duration::from_millis(5);
/// How often it stands.
const ATTEMPTS: u32 = 5;
/// Between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// Where messages of other servers go in.
#[derive(Clone)]
pub struct PeerDoor {
    pub(super) id: ServerId,
    pub(super) raft: Raft,
    pub(super) log: Reach,
    pub(super) heard: Heard,
    /// For how long a leader that was heard is taken to be there.
    pub(super) lease: Duration,
}

/// Why a message from another server was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It cannot be read, or is for another.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The log has stopped.
    #[error(transparent)]
    Stopped(#[from] TransportError),
    /// A snapshot that did not arrive whole.
    #[error("the snapshot did not arrive whole: {0}")]
    Broken(String),
}

impl std::fmt::Debug for PeerDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerDoor").field("id", &self.id).finish_non_exhaustive()
    }
}

// === impl PeerDoor ===

impl PeerDoor {
    fn stopped(&self, cause: impl ToString) -> TransportError {
        TransportError::Stopped { to: self.id, cause: cause.to_string() }
    }

    /// Entries or a heartbeat from a leader.
    pub async fn append_entries(
        &self,
        message: AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<u64>, TransportError> {
        let answer = self.raft.append_entries(message).await.map_err(|e| self.stopped(e))?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.heard.touch();
        }
        Ok(answer)
    }

    /// A candidate's question.
    pub async fn vote(&self, message: VoteRequest<u64>) -> Result<VoteResponse<u64>, TransportError> {
        let answer = self.raft.vote(message).await.map_err(|e| self.stopped(e))?;
        if answer.vote_granted {
            self.heard.touch();
        }
        Ok(answer)
    }

    /// Would this server vote for one that has this log? Not while a leader is there, this one included.
    pub async fn would_vote(&self, question: Canvass) -> Result<bool, TransportError> {
        let leads = {
            let metrics = self.raft.metrics();
            let m = metrics.borrow();
            let quorum_is_fresh = m.millis_since_quorum_ack.is_none_or(|ms| u128::from(ms) < self.lease.as_millis());
            m.state == ServerState::Leader && quorum_is_fresh
        };
        if leads || self.heard.silence() < self.lease {
            return Ok(false);
        }
        Ok(question.last >= self.log.last())
    }

    /// Leads from now on, if the voters agree: asked by a leader that has stopped to be heard.
    pub async fn take_lead(&self) -> Result<(), TransportError> {
        tokio::time::sleep((self.lease + LEASE_MARGIN).saturating_sub(self.heard.silence())).await;
        for _ in 0..ATTEMPTS {
            self.raft.trigger().elect().await.map_err(|e| self.stopped(e))?;
            tokio::time::sleep(ATTEMPT_PAUSE).await;
            if self.raft.metrics().borrow().state == ServerState::Leader {
                return Ok(());
            }
        }
        Err(TransportError::Unreachable { to: self.id, cause: "the voters did not agree".to_owned() })
    }

    /// An empty file for the pieces of a snapshot.
    pub async fn begin_snapshot(&self) -> Result<SnapshotFile, TransportError> {
        self.raft.begin_receiving_snapshot().await.map(|file| *file).map_err(|e| self.stopped(e))
    }

    /// A snapshot that has arrived whole.
    pub async fn install_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<u64>, TransportError> {
        let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(|e| self.stopped(e))?;
        self.heard.touch();
        Ok(answer)
    }
}

// === The same from bytes ===

impl PeerDoor {
    /// This server.
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// `append_entries` of a message.
    pub async fn take_append(&self, message: &v1::PeerMessage) -> Result<v1::PeerMessage, PeerError> {
        let answer = self.append_entries(unpack(self.id, message)?).await?;
        Ok(pack(self.id, &answer)?)
    }

    /// `vote` of a message.
    pub async fn take_vote(&self, message: &v1::PeerMessage) -> Result<v1::PeerMessage, PeerError> {
        let answer = self.vote(unpack(self.id, message)?).await?;
        Ok(pack(self.id, &answer)?)
    }

    /// `would_vote` of a message.
    pub async fn take_canvass(&self, message: &v1::PeerMessage) -> Result<bool, PeerError> {
        Ok(self.would_vote(unpack(self.id, message)?).await?)
    }

    /// A snapshot part by part. Each is a sign of life of the leader.
    pub async fn take_snapshot<E: std::fmt::Display>(
        &self,
        mut parts: impl Stream<Item = Result<v1::SnapshotPart, E>> + Unpin,
    ) -> Result<v1::PeerMessage, PeerError> {
        let broken = |cause: String| PeerError::Broken(cause);
        let first = parts.next().await.ok_or_else(|| broken("it has no part".to_owned()))?;
        let first = first.map_err(|e| broken(e.to_string()))?;
        let described = first.description.ok_or_else(|| broken("its first part does not describe it".to_owned()))?;
        let Described { vote, meta } = unpack(self.id, &described)?;
        let file = self.begin_snapshot().await?;
        while let Some(part) = parts.next().await {
            let part = part.map_err(|e| broken(e.to_string()))?;
            let to = file.clone();
            let written = tokio::task::spawn_blocking(move || to.append(&part.content)).await;
            written.map_err(|e| broken(e.to_string()))?.map_err(|e| broken(e.to_string()))?;
            self.heard.touch();
        }
        let answer = self.install_snapshot(vote, Snapshot { meta, snapshot: Box::new(file) }).await?;
        Ok(pack(self.id, &answer)?)
    }
}
