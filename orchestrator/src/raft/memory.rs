//! A network inside this process, whose links can be cut: for clusters in tests and simulation.
//!
//! Never used by a server that listens. A cut link swallows messages in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use proto::id::ServerId;

use super::fault::held;
use super::leadership::Peer;
use super::network::{Transport, TransportError};
use super::peer_door::PeerDoor;
use super::snapshot::SnapshotFile;
use super::type_config::{Snapshot, TypeConfig, Vote};
use super::wire::Canvass;

/// Bytes of a snapshot in one message: small, so that tests send several.
const PIECE_BYTES: usize = 512;

/// The servers that can reach each other.
#[derive(Debug, Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<Links>>);

#[derive(Debug, Default)]
struct Links {
    doors: BTreeMap<ServerId, PeerDoor>,
    isolated: BTreeSet<ServerId>,
}

impl MemoryNetwork {
    /// What a server is opened with.
    pub fn transport(&self, from: ServerId) -> Arc<dyn Transport> {
        Arc::new(From { from, network: self.clone() })
    }
    /// From now on this server receives messages.
    pub fn connect(&self, id: ServerId, door: PeerDoor) {
        held(&self.0).doors.insert(id, door);
    }
    /// Cuts a server off from all others.
    pub fn isolate(&self, id: ServerId) {
        held(&self.0).isolated.insert(id);
    }
    /// Ends its isolation.
    pub fn heal(&self, id: ServerId) {
        held(&self.0).isolated.remove(&id);
    }

    fn door(&self, from: ServerId, to: ServerId) -> Option<PeerDoor> {
        let links = held(&self.0);
        let cut = links.isolated.contains(&from) || links.isolated.contains(&to);
        links.doors.get(&to).filter(|_| !cut).cloned()
    }
}

#[derive(Debug)]
struct From {
    from: ServerId,
    network: MemoryNetwork,
}

impl From {
    /// Delivers a message and brings back the answer, unless the link was cut meanwhile.
    async fn deliver<T, F: Future<Output = Result<T, TransportError>>>(
        &self,
        to: &Peer,
        timeout: Duration,
        send: impl FnOnce(PeerDoor) -> F,
    ) -> Result<T, TransportError> {
        let lost = |cause: &str| TransportError::Unreachable { to: to.id, cause: cause.to_owned() };
        let door = self.network.door(self.from, to.id).ok_or_else(|| lost("no link"))?;
        let answer = tokio::time::timeout(timeout, send(door)).await.map_err(|_| lost("no answer in time"))?;
        self.network.door(self.from, to.id).ok_or_else(|| lost("the link was cut"))?;
        answer
    }
}

/// As a real network would send it.
async fn copy_in_pieces(sent: SnapshotFile, received: SnapshotFile) -> std::io::Result<()> {
    let copied = tokio::task::spawn_blocking(move || {
        loop {
            let piece = sent.read_piece(received.len()?, PIECE_BYTES)?;
            if piece.is_empty() {
                return Ok(());
            }
            received.append(&piece)?;
        }
    });
    copied.await.map_err(std::io::Error::other)?
}

#[async_trait]
impl Transport for From {
    async fn append_entries(
        &self,
        to: &Peer,
        message: AppendEntriesRequest<TypeConfig>,
        timeout: Duration,
    ) -> Result<AppendEntriesResponse<u64>, TransportError> {
        self.deliver(to, timeout, |door| async move { door.append_entries(message).await }).await
    }
    async fn vote(
        &self,
        to: &Peer,
        message: VoteRequest<u64>,
        timeout: Duration,
    ) -> Result<VoteResponse<u64>, TransportError> {
        self.deliver(to, timeout, |door| async move { door.vote(message).await }).await
    }
    async fn snapshot(
        &self,
        to: &Peer,
        vote: Vote,
        snapshot: Snapshot,
        timeout: Duration,
    ) -> Result<SnapshotResponse<u64>, TransportError> {
        self.deliver(to, timeout, |door| async move {
            let received = door.begin_snapshot().await?;
            let copy = copy_in_pieces(*snapshot.snapshot, received.clone());
            copy.await.map_err(|e| TransportError::Unreachable { to: to.id, cause: e.to_string() })?;
            let snapshot = Snapshot { meta: snapshot.meta, snapshot: Box::new(received) };
            door.install_snapshot(vote, snapshot).await
        })
        .await
    }
    async fn canvass(&self, to: &Peer, question: Canvass, timeout: Duration) -> Result<bool, TransportError> {
        self.deliver(to, timeout, |door| async move { door.would_vote(question).await }).await
    }
    async fn take_lead(&self, to: &Peer, timeout: Duration) -> Result<(), TransportError> {
        self.deliver(to, timeout, |door| async move { door.take_lead().await }).await
    }
}
