//! The way to the other servers over TLS: a connection of its own for snapshots, so that they do not hold up heartbeats.
//!
//! Never retries: openraft does. Knows no address but those it is given with each message.

use async_trait::async_trait;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use proto::id::{ClusterId, ServerId};
use proto::limits::PEER_MESSAGE_MAX_BYTES;
use proto::peer::{Credentials, KeyError, PrivateKey, Remote, Trust, explain_status};
use proto::v1;
use proto::v1::servers_client::ServersClient;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};
use zeroize::Zeroizing;

use super::fault::held;
use super::leadership::Peer;
use super::network::{Transport, TransportError};
use super::passing::{Became, PassedOn};
use super::snapshot::SnapshotFile;
use super::type_config::{Snapshot, TypeConfig, Vote};
use super::wire::{Canvass, Described, Message, WireError, pack, unpack};

/// Between pings of a connection, and the longest wait for one to come back: one that a cut has broken is given up.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Bytes of a snapshot in one message.
const PART_BYTES: usize = 256 * 1024;
/// Parts that may wait to be sent.
const PARTS_WAITING: usize = 4;

/// Who this server is to the others.
#[derive(Clone)]
pub struct PeerIdentity {
    /// The cluster.
    pub cluster: ClusterId,
    /// What issues its certificates, DER.
    pub authority: Vec<u8>,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key, PKCS#8.
    pub key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerIdentity(of {})", self.cluster)
    }
}

impl PeerIdentity {
    fn credentials(&self) -> Result<Credentials, KeyError> {
        Ok(Credentials { key: PrivateKey::from_pkcs8(&self.key)?, certificate: self.certificate.clone() })
    }
}

/// What one connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Log,
    Snapshot,
    Calls,
}

/// The other servers. Nobody is reached before this server has an identity.
#[derive(Debug, Default)]
pub struct Peers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    me: Option<PeerIdentity>,
    links: BTreeMap<(String, Use), Arc<Remote>>,
}

// === impl Peers ===

impl Peers {
    /// Connections made from now on show this identity.
    pub fn show(&self, me: PeerIdentity) -> Result<(), KeyError> {
        let mut inner = held(&self.0);
        for link in inner.links.values() {
            link.show(me.credentials()?);
        }
        inner.me = Some(me);
        Ok(())
    }

    /// The connection by which calls of operators and agents, and commands, are passed on to a server.
    pub fn calls(&self, address: &str) -> Result<Channel, String> {
        self.channel(address, Use::Calls)
    }

    fn channel(&self, address: &str, what: Use) -> Result<Channel, String> {
        if address.is_empty() {
            return Err("it has no address that others reach".to_owned());
        }
        let mut inner = held(&self.0);
        let Some(me) = inner.me.clone() else { return Err("this server has no certificate yet".to_owned()) };
        let link = match inner.links.get(&(address.to_owned(), what)) {
            Some(link) => link.clone(),
            None => {
                let mine = me.credentials().map_err(|e| e.to_string())?;
                let trust = Trust::Authority(me.authority);
                let link = Arc::new(Remote::new(vec![address.to_owned()], me.cluster, trust, Some(mine)));
                inner.links.insert((address.to_owned(), what), link.clone());
                link
            }
        };
        let endpoint = Endpoint::from_static("http://server.wherry")
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .tcp_nodelay(true);
        Ok(link.channel(endpoint))
    }

    fn client(&self, to: &Peer, what: Use) -> Result<ServersClient<Channel>, TransportError> {
        let channel = self.channel(&to.address, what).map_err(|cause| unreachable(to.id, cause))?;
        let max = PEER_MESSAGE_MAX_BYTES;
        Ok(ServersClient::new(channel).max_decoding_message_size(max).max_encoding_message_size(max))
    }

    async fn ask<Q: Message, A: Message, F>(
        &self,
        to: &Peer,
        what: Use,
        question: &Q,
        timeout: Duration,
        call: impl FnOnce(ServersClient<Channel>, v1::PeerMessage) -> F,
    ) -> Result<A, TransportError>
    where
        F: Future<Output = Result<Response<v1::PeerMessage>, Status>>,
    {
        let client = self.client(to, what)?;
        let packed = pack(to.id, question).map_err(|e| unreadable(to.id, &e))?;
        let answer = in_time(to.id, timeout, call(client, packed)).await?;
        unpack(to.id, &answer).map_err(|e| unreadable(to.id, &e))
    }
}

fn unreachable(to: ServerId, cause: impl Into<String>) -> TransportError {
    TransportError::Unreachable { to, cause: cause.into() }
}

fn unreadable(to: ServerId, error: &WireError) -> TransportError {
    unreachable(to, error.to_string())
}

async fn in_time<T>(
    to: ServerId,
    timeout: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, TransportError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) if status.code() == Code::Aborted => {
            Err(TransportError::Stopped { to, cause: status.message().to_owned() })
        }
        Ok(Err(status)) => Err(unreachable(to, explain_status(&status))),
        Err(_) => Err(unreachable(to, format!("no answer within {timeout:?}"))),
    }
}

/// Reads a snapshot's file part by part, as fast as they are sent.
fn parts(described: v1::PeerMessage, file: SnapshotFile) -> ReceiverStream<v1::SnapshotPart> {
    let (sender, receiver) = mpsc::channel(PARTS_WAITING);
    tokio::task::spawn_blocking(move || {
        let mut offset = 0;
        let first = v1::SnapshotPart { description: Some(described), content: Vec::new() };
        let mut part = Some(first);
        while let Some(next) = part {
            if sender.blocking_send(next).is_err() {
                return;
            }
            part = match file.read_piece(offset, PART_BYTES) {
                Ok(content) if content.is_empty() => None,
                Ok(content) => {
                    offset += content.len() as u64;
                    Some(v1::SnapshotPart { description: None, content })
                }
                // What arrives is short, and refused there by its checksum.
                Err(error) => {
                    tracing::error!(%error, "a snapshot that is being sent cannot be read");
                    None
                }
            };
        }
    });
    ReceiverStream::new(receiver)
}

#[async_trait]
impl Transport for Peers {
    async fn append_entries(
        &self,
        to: &Peer,
        message: AppendEntriesRequest<TypeConfig>,
        timeout: Duration,
    ) -> Result<AppendEntriesResponse<u64>, TransportError> {
        self.ask(to, Use::Log, &message, timeout, |mut c, m| async move { c.append(m).await }).await
    }

    async fn vote(
        &self,
        to: &Peer,
        message: VoteRequest<u64>,
        timeout: Duration,
    ) -> Result<VoteResponse<u64>, TransportError> {
        self.ask(to, Use::Log, &message, timeout, |mut c, m| async move { c.vote(m).await }).await
    }

    async fn snapshot(
        &self,
        to: &Peer,
        vote: Vote,
        snapshot: Snapshot,
        timeout: Duration,
    ) -> Result<SnapshotResponse<u64>, TransportError> {
        let mut client = self.client(to, Use::Snapshot)?;
        let described = pack(to.id, &Described { vote, meta: snapshot.meta }).map_err(|e| unreadable(to.id, &e))?;
        let parts = parts(described, *snapshot.snapshot);
        let answer = in_time(to.id, timeout, client.install_snapshot(parts)).await?;
        unpack(to.id, &answer).map_err(|e| unreadable(to.id, &e))
    }

    async fn canvass(&self, to: &Peer, question: Canvass, timeout: Duration) -> Result<bool, TransportError> {
        let mut client = self.client(to, Use::Log)?;
        let packed = pack(to.id, &question).map_err(|e| unreadable(to.id, &e))?;
        Ok(in_time(to.id, timeout, client.canvass(packed)).await?.would_vote)
    }

    async fn take_lead(&self, to: &Peer, timeout: Duration) -> Result<(), TransportError> {
        let mut client = self.client(to, Use::Log)?;
        in_time(to.id, timeout, client.take_lead(v1::TakeLeadRequest { server: to.id.0 })).await?;
        Ok(())
    }

    async fn propose(&self, to: &Peer, commands: PassedOn, timeout: Duration) -> Result<Became, TransportError> {
        self.ask(to, Use::Calls, &commands, timeout, |mut c, m| async move { c.propose(m).await }).await
    }
}
