//! The agent's connection to a server: says hello, keeps its lease, accepts sets, tables and requests, sends reports.
//!
//! # Guarantees
//! A set is accepted only for this node, from this cluster, and not older than the accepted one; it is on disk before
//! anyone acts on it. While no server answers, nothing here touches what runs.
//!
//! # Caveats
//! A set that cannot be written is not accepted: the node goes on with the earlier one.

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use proto::assignment::AssignmentSet;
use proto::endpoint::EndpointTable;
use proto::hello::{HelloProblem, accept, hello};
use proto::id::{BlobDigest, NodeId};
use proto::limits::{HEARTBEAT_MS, SERVERS_KNOWN_MAX};
use proto::node::NodeConditions;
use proto::peer::{Remote, explain_status, is_address};
use proto::revision::{Epoch, Time};
use proto::v1;
use proto::v1::agents_client::AgentsClient;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::files::BlobSource;
use crate::fingerprint::fingerprint;
use crate::identity::{Join, client};
use crate::ledger::Ledger;
use crate::log_streams::LogStreams;
use crate::reporter::{Batch, Reporter};
use crate::runtime::EngineInfo;
use crate::worker::View;
use pace::{Beat, Pace};

pub mod pace;

const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// Time for a server to accept a connection and to say welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(5);
/// Time for a server to send a config or secret.
const FETCHED_WITHIN: Duration = Duration::from_secs(10);
/// Messages waiting to be written to the server.
const OUTGOING_MAX: usize = 64;

/// Where the server is, as the operator says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// A Unix socket of this host.
    Unix(PathBuf),
    /// Servers of other hosts.
    Join(Join),
}

/// The way to a server.
#[derive(Debug, Clone)]
pub enum Link {
    /// A Unix socket of this host.
    Unix(PathBuf),
    /// Servers of other hosts, over TLS.
    Remote(Arc<Remote>),
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody is there.
    #[error("no server answers at {door}: {cause}")]
    Connect {
        /// Where.
        door: String,
        /// Why.
        cause: String,
    },
    /// It did not say welcome.
    #[error("the server at {door} did not say welcome")]
    NoWelcome {
        /// Where.
        door: String,
    },
    /// They may not talk.
    #[error(transparent)]
    Hello(#[from] HelloProblem),
    /// The stream ended.
    #[error("the session ended: {cause}")]
    Ended {
        /// Why.
        cause: String,
    },
}

/// What a session needs.
#[derive(Debug)]
pub struct Session {
    /// Where the server is.
    pub link: Link,
    /// This node.
    pub node: NodeId,
    /// The operator's labels of it.
    pub labels: BTreeMap<String, String>,
    /// Where accepted sets are kept.
    pub ledger: Arc<Ledger>,
    /// The set accepted last.
    pub accepted: watch::Sender<Option<Arc<AssignmentSet>>>,
    /// The table names are answered from.
    pub endpoints: watch::Sender<Arc<EndpointTable>>,
    /// Statuses to send.
    pub reporter: Reporter,
    /// Conditions to send.
    pub conditions: watch::Receiver<NodeConditions>,
    /// What the worker says of itself.
    pub view: watch::Receiver<View>,
    /// Logs that operators read.
    pub logs: LogStreams,
}

impl Link {
    /// Connects when the first call is made, and again after a loss.
    pub fn channel(&self) -> Channel {
        // The URI is not used: the connector knows where.
        let endpoint = Endpoint::from_static("http://server.wherry")
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2))
            .keep_alive_while_idle(true);
        match self {
            Link::Unix(path) => {
                let path = path.clone();
                let connect = move |_: Uri| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                };
                endpoint.connect_timeout(WELCOME_WITHIN).connect_with_connector_lazy(tower::service_fn(connect))
            }
            Link::Remote(remote) => remote.channel(endpoint),
        }
    }

    /// A client on that channel.
    pub fn client(&self) -> AgentsClient<Channel> {
        client(self.channel())
    }

    fn shown(&self) -> String {
        match self {
            Link::Unix(path) => path.display().to_string(),
            Link::Remote(remote) => remote.shown(),
        }
    }

    /// Time for a server to accept a connection and to say welcome.
    fn welcome_within(&self) -> Duration {
        match self {
            Link::Unix(_) => WELCOME_WITHIN,
            Link::Remote(remote) => remote.connect_within() + WELCOME_WITHIN,
        }
    }

    /// Resolves when other credentials are to be shown than those of now. Never on a socket of this host.
    async fn renewed(&self) {
        match self {
            Link::Unix(_) => std::future::pending().await,
            Link::Remote(remote) => {
                let mut shown = remote.shown_now();
                shown.mark_unchanged();
                if shown.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Contents fetched from the server.
#[derive(Debug, Clone)]
pub struct ServerBlobs {
    /// The way to the server.
    pub link: Link,
    /// This node.
    pub node: NodeId,
}

#[async_trait]
impl BlobSource for ServerBlobs {
    async fn fetch(&self, digest: &BlobDigest) -> Result<Vec<u8>, String> {
        let mut client = self.link.client();
        let request = v1::FetchBlobRequest { node: self.node.to_string(), digest: digest.0.clone() };
        match tokio::time::timeout(FETCHED_WITHIN, client.fetch_blob(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner().content),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("the server did not answer in time".into()),
        }
    }
}

impl Session {
    /// Holds a session, and another after it, until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = RECONNECT_FIRST;
        loop {
            let begun = Instant::now();
            let ended = tokio::select! {
                ended = self.hold() => ended,
                () = stop.cancelled() => return,
            };
            self.reporter.lock().put_back();
            self.logs.close_all();
            if begun.elapsed() > RECONNECT_MAX {
                pause = RECONNECT_FIRST;
            }
            tracing::info!(error = %ended, "no session; what runs goes on");
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }

    async fn hold(&mut self) -> SessionError {
        let (out, outgoing) = mpsc::channel(OUTGOING_MAX);
        let opened = tokio::time::timeout(self.link.welcome_within(), self.open(&out, outgoing)).await;
        let incoming = match opened {
            Ok(Ok(incoming)) => incoming,
            Ok(Err(error)) => return error,
            Err(_) => return SessionError::NoWelcome { door: self.link.shown() },
        };
        Connection::new(self, out).carry(incoming).await
    }

    /// Says hello and waits for the welcome.
    async fn open(
        &mut self,
        out: &mpsc::Sender<v1::AgentMessage>,
        outgoing: mpsc::Receiver<v1::AgentMessage>,
    ) -> Result<Streaming<v1::ServerMessage>, SessionError> {
        let known = self.accepted.borrow().as_ref().map(|set| (set.cluster, set.epoch));
        let mine = hello(known.map(|k| k.0), known.map_or(Epoch(0), |k| k.1));
        let node = fingerprint(self.node, self.view.borrow().engine.as_ref(), &self.labels);
        let said = v1::AgentHello { hello: Some(mine.clone()), node: Some((&node).into()) };
        let connect = |cause: String| SessionError::Connect { door: self.link.shown(), cause };
        out.try_send(message(v1::agent_message::Message::Hello(said))).map_err(|e| connect(e.to_string()))?;
        let opened = self.link.client().session(ReceiverStream::new(outgoing)).await;
        let mut incoming = opened.map_err(|status| connect(explain_status(&status)))?.into_inner();
        match incoming.message().await {
            Ok(Some(v1::ServerMessage { message: Some(v1::server_message::Message::Welcome(welcome)) })) => {
                accept(&mine, &welcome.hello.unwrap_or_default())?;
                tracing::info!(session = welcome.session, "session begun");
                Ok(incoming)
            }
            Ok(_) => Err(SessionError::NoWelcome { door: self.link.shown() }),
            Err(status) => Err(SessionError::Ended { cause: explain_status(&status) }),
        }
    }

    /// Remembers where the cluster's servers are: those that were named may all be gone one day.
    async fn learn(&self, mut servers: Vec<String>) {
        servers.retain(|address| is_address(address));
        servers.truncate(SERVERS_KNOWN_MAX);
        let Link::Remote(remote) = &self.link else { return };
        if !remote.learn(servers.clone()) {
            return;
        }
        let ledger = Arc::clone(&self.ledger);
        let written = tokio::task::spawn_blocking(move || ledger.keep_servers(&servers)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "where the servers are cannot be kept: known until this agent ends");
        }
    }

    /// Takes a set in, once it is on disk. Returns whether it was taken.
    async fn accept_set(&self, set: AssignmentSet) -> bool {
        let current = self.accepted.borrow().clone();
        if let Err(reason) = acceptable(&set, self.node, current.as_deref()) {
            tracing::warn!(reason, revision = set.revision.0, "a set is refused");
            return false;
        }
        let set = Arc::new(set);
        if !current.is_some_and(|current| same_but_session(&current, &set)) {
            let (ledger, kept) = (Arc::clone(&self.ledger), Arc::clone(&set));
            let written = tokio::task::spawn_blocking(move || ledger.keep_assignments(&kept)).await;
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "a set is not accepted because it cannot be kept");
                    return false;
                }
                Err(_) => return false,
            }
        }
        self.accepted.send_replace(Some(set));
        true
    }
}

/// May this set replace the current one?
pub fn acceptable(set: &AssignmentSet, node: NodeId, current: Option<&AssignmentSet>) -> Result<(), &'static str> {
    if set.node != node {
        return Err("it is for another node");
    }
    let Some(current) = current else { return Ok(()) };
    if set.cluster != current.cluster {
        return Err("it comes from another cluster");
    }
    if (set.epoch, set.revision) < (current.epoch, current.revision) {
        return Err("it is older than the accepted one");
    }
    Ok(())
}

/// May this table replace the current one? An older one may not.
pub fn may_replace(table: &EndpointTable, current: &EndpointTable) -> bool {
    (table.epoch, table.revision) >= (current.epoch, current.revision)
}

fn same_but_session(one: &AssignmentSet, other: &AssignmentSet) -> bool {
    one.session == other.session && one == other || *one == AssignmentSet { session: one.session, ..other.clone() }
}

fn message(message: v1::agent_message::Message) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0);
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}

/// One session that is held.
struct Connection<'a> {
    session: &'a mut Session,
    out: mpsc::Sender<v1::AgentMessage>,
    heartbeats: u64,
    begun: Instant,
    pace: Pace,
    engine_told: Option<EngineInfo>,
}

impl<'a> Connection<'a> {
    fn new(session: &'a mut Session, out: mpsc::Sender<v1::AgentMessage>) -> Connection<'a> {
        let engine_told = session.view.borrow().engine.clone();
        let pace = Pace::new(Time(0));
        Connection { session, out, heartbeats: 0, begun: Instant::now(), pace, engine_told }
    }

    /// Since the connection began.
    fn now(&self) -> Time {
        Time(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    async fn carry(mut self, mut incoming: Streaming<v1::ServerMessage>) -> SessionError {
        let ended = |cause: String| SessionError::Ended { cause };
        let mut heartbeat = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.session.conditions.mark_changed();
        let reporter = self.session.reporter.clone();
        let link = self.session.link.clone();
        let renewed = link.renewed();
        tokio::pin!(renewed);
        loop {
            let may_go = self.pace.batch_at();
            let due = self.begun + Duration::from_millis(may_go.unwrap_or_default().0);
            let waiting = reporter.lock().has_waiting() && may_go.is_some();
            let done = tokio::select! {
                got = incoming.message() => match got {
                    Ok(Some(got)) => self.received(got).await,
                    Ok(None) => return ended("the server closed it".into()),
                    Err(status) => return ended(explain_status(&status)),
                },
                _ = heartbeat.tick() => self.beat().await,
                changed = self.session.conditions.changed() => match changed {
                    Ok(()) => self.conditions().await,
                    Err(_) => return ended("the agent stops".into()),
                },
                () = reporter.filled() => true,
                () = &mut renewed => return ended("it goes on with a new certificate".into()),
                () = tokio::time::sleep_until(due), if waiting => self.batch().await,
            };
            if !done {
                return ended("the server takes no more messages".into());
            }
        }
    }

    async fn send(&self, one: v1::agent_message::Message) -> bool {
        self.out.send(message(one)).await.is_ok()
    }

    async fn beat(&mut self) -> bool {
        match self.pace.beat(self.now()) {
            Beat::Leave => return false,
            Beat::PutBack => self.session.reporter.lock().put_back(),
            Beat::Go => {}
        }
        if !self.fingerprint().await {
            return false;
        }
        self.heartbeats += 1;
        let endpoint_revision = self.session.endpoints.borrow().revision.0;
        let assignment_revision = self.session.accepted.borrow().as_ref().map_or(0, |set| set.revision.0);
        let beat = v1::Heartbeat { number: self.heartbeats, endpoint_revision, assignment_revision };
        self.send(v1::agent_message::Message::Heartbeat(beat)).await
    }

    /// The engine may answer for the first time, or with another version, long after the hello.
    async fn fingerprint(&mut self) -> bool {
        let engine = self.session.view.borrow().engine.clone();
        if engine == self.engine_told {
            return true;
        }
        let node = fingerprint(self.session.node, engine.as_ref(), &self.session.labels);
        self.engine_told = engine;
        self.send(v1::agent_message::Message::Fingerprint((&node).into())).await
    }

    async fn conditions(&mut self) -> bool {
        let conditions = v1::NodeConditions::from(&*self.session.conditions.borrow_and_update());
        self.send(v1::agent_message::Message::Conditions(conditions)).await
    }

    async fn batch(&mut self) -> bool {
        let Some(Batch { number, reports }) = self.session.reporter.lock().take() else { return true };
        self.pace.sent(self.now());
        let reports = reports.iter().map(|(task, s)| v1::TaskReport { task: task.0, status: Some(s.into()) }).collect();
        self.send(v1::agent_message::Message::Statuses(v1::StatusBatch { number, reports })).await
    }

    async fn received(&mut self, got: v1::ServerMessage) -> bool {
        use v1::server_message::Message;
        self.pace.heard(self.now());
        match got.message {
            Some(Message::Assignments(set)) => match AssignmentSet::try_from(set) {
                Ok(set) => drop(self.session.accept_set(set).await),
                Err(error) => tracing::error!(%error, "a set cannot be understood and is refused"),
            },
            Some(Message::Endpoints(table)) => match EndpointTable::try_from(table) {
                Ok(table) => self.take_table(table),
                Err(error) => tracing::error!(%error, "an endpoint table cannot be understood and is refused"),
            },
            Some(Message::Acknowledged(ack)) => {
                if self.session.reporter.lock().acknowledged(ack.number) {
                    self.pace.acknowledged();
                }
            }
            Some(Message::OpenLog(open)) => self.session.logs.open(open, &self.session.view.borrow().containers),
            Some(Message::CloseLog(close)) => self.session.logs.close(close.stream),
            Some(Message::Servers(known)) => self.session.learn(known.addresses).await,
            Some(Message::Heartbeat(_) | Message::Welcome(_)) | None => {}
        }
        true
    }

    /// An older table than the current one is not taken.
    fn take_table(&self, table: EndpointTable) {
        self.session.endpoints.send_if_modified(|now| {
            let newer = may_replace(&table, now) && **now != table;
            if newer {
                *now = Arc::new(table);
            }
            newer
        });
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
