//! What the other rooms hold: propose, watch State and leadership, read, change members, shut down.
//!
//! Never decides what to propose. Opened by `server`; clones share one log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use openraft::BasicNode;
use openraft::error::{CheckIsLeaderError, InitializeError, RaftError as CoreError};
use proto::id::{RequestId, ServerId};
use proto::limits::LOG_ENTRY_MAX_BYTES;
use proto::revision::{Revision, Time};
use proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::canvass;
use super::clock::Clock;
use super::codec;
use super::error::{ProposeError, RaftError, ReadError};
use super::fault::{Fault, held};
use super::heard::{Answers, Heard};
use super::identity::DataDir;
use super::inbox::{Inbox, Proposal};
use super::leadership::{self, Leadership, Peer};
use super::log_store::LogStore;
use super::meter::{Meter, SyncLatency};
use super::network::{Network, Transport};
use super::options::{RaftOptions, Timing};
use super::passing::{Asked, Became, NotTaken, Passed, PassedOn, Passing, Waiting};
use super::peer_door::{PeerDoor, PeerError};
use super::proposer::Proposer;
use super::record::SnapshotRecord;
use super::snapshot::Snapshots;
use super::state_machine::StateMachine;
use super::type_config::{Applied, Encoded, Proposed, Raft};
use super::upkeep;
use super::wire::{pack, unpack};
use crate::engine::model::Asker;
use crate::engine::{AUDITS, Command, NODE_LABELS, Outcome, Rejection, STATE_VERSION, State};

/// Commands that may wait for a place in an entry; who comes later waits for a place here.
const PROPOSALS_WAITING: usize = 1024;
/// Bytes that an entry needs beside its commands.
const ENTRY_OVERHEAD_BYTES: usize = 1024;
/// How long files may take to be closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a snapshot may take to be sent and installed.
const SNAPSHOT_SEND_MS: u64 = 60_000;

/// This server's part in the log. Cheap to clone.
#[derive(Clone)]
pub struct RaftHandle(Arc<Inner>);

impl std::fmt::Debug for RaftHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftHandle").field("id", &self.0.id).finish_non_exhaustive()
    }
}

struct Inner {
    id: ServerId,
    raft: Raft,
    state: watch::Receiver<Arc<State>>,
    saved: watch::Receiver<Revision>,
    leadership: watch::Receiver<Leadership>,
    proposals: mpsc::Sender<Proposal>,
    passing: mpsc::Sender<Waiting>,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    meter: Arc<Meter>,
    fault: Fault,
    transport: Arc<dyn Transport>,
    timing: Timing,
    holding: AtomicBool,
    answers: Answers,
    door: PeerDoor,
    open: Mutex<Option<Open>>,
}

/// What is closed by `shutdown`.
#[derive(Debug)]
struct Open {
    proposer: JoinHandle<()>,
    passing: JoinHandle<()>,
    leadership: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    canvass: JoinHandle<()>,
    store: LogStore,
    closed: oneshot::Receiver<()>,
}

/// How the log is doing. Indexes count entries, not commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftMetrics {
    /// This server.
    pub id: ServerId,
    /// The newest term it knows of.
    pub term: u64,
    /// Who leads; this server itself too.
    pub leader: Option<Peer>,
    /// All members, voters and learners.
    pub members: Vec<Peer>,
    /// Those that vote.
    pub voters: BTreeSet<ServerId>,
    /// The last entry on disk.
    pub last_log: Option<u64>,
    /// The last entry applied.
    pub applied: Option<u64>,
    /// The last entry in a snapshot.
    pub snapshot: Option<u64>,
    /// The last entry cut off.
    pub purged: Option<u64>,
    /// For a leader: milliseconds since a majority last answered.
    pub quorum_ack_age_ms: Option<u64>,
    /// Commands that were passed on to a leader, and answered by it.
    pub passed_on: u64,
    /// How long the disk takes.
    pub sync: SyncLatency,
}

// === Opening and closing ===

struct Disk {
    id: ServerId,
    store: LogStore,
    snapshots: Snapshots,
    begin: Option<SnapshotRecord>,
    closed: oneshot::Receiver<()>,
}

/// Everything that blocks, in the order in which one check relies on the one before.
fn open_disk(options: &RaftOptions, fault: Fault, meter: Arc<Meter>) -> Result<Disk, RaftError> {
    let dir = DataDir::claim(&options.data_dir)?;
    dir.refuse_lost_log()?;
    let mut store = LogStore::open(&dir.log_dir(), fault, meter)?;
    let is_new = store.server_id().is_none();
    let (mut snapshots, begin) = Snapshots::open(&dir.snapshot_dir(), store.purged_index())?;
    if is_new && begin.is_some() {
        return Err(RaftError::StraySnapshots { path: dir.snapshot_dir() });
    }
    let id = dir.settle(&store, options.new_server_id)?;
    store.cut_only_below(snapshots.reach());
    let (guard, closed) = dir.share();
    store.hold(guard.clone());
    snapshots.hold(guard);
    Ok(Disk { id, store, snapshots, begin, closed })
}

fn core_config(options: &RaftOptions) -> Result<Arc<openraft::Config>, RaftError> {
    let config = openraft::Config {
        cluster_name: "wherry".to_owned(),
        heartbeat_interval: options.timing.heartbeat_ms,
        // openraft's lease is its longest election timeout; as it begins no election, the shortest says nothing.
        election_timeout_min: options.timing.heartbeat_ms + 1,
        election_timeout_max: options.timing.lease_ms,
        // `canvass` decides when this server stands for one.
        enable_elect: false,
        install_snapshot_timeout: SNAPSHOT_SEND_MS,
        snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(options.snapshots.after_entries),
        // The log is cut by `upkeep`, which knows how far back the older snapshot lies.
        max_in_snapshot_log_to_keep: u64::MAX,
        ..openraft::Config::default()
    };
    config.validate().map(Arc::new).map_err(|e| RaftError::Settings { cause: e.to_string() })
}

impl RaftHandle {
    /// Opens this server's log, creating it in an empty directory. Returns when everything that is known to be committed
    /// is applied. A server that is its cluster's only voter starts to lead at once.
    pub async fn open(options: RaftOptions) -> Result<RaftHandle, RaftError> {
        let config = core_config(&options)?;
        let fault = Fault::none();
        let meter = Arc::new(Meter::new(Duration::from_millis(options.timing.heartbeat_ms / 2)));
        let on_disk = {
            let (options, fault, meter) = (options.clone(), fault.clone(), meter.clone());
            tokio::task::spawn_blocking(move || open_disk(&options, fault, meter))
        };
        let Disk { id, store, snapshots, begin, closed } =
            on_disk.await.map_err(|e| RaftError::Fatal { cause: e.to_string() })??;
        let saved = snapshots.saved();
        let machine = StateMachine::new(snapshots.clone(), begin, fault.clone());
        let state = machine.subscribe();
        let answers = Answers::none();
        let network = Network { transport: options.transport.clone(), answers: answers.clone() };
        let raft = Raft::new(id.0, config, network, store.clone(), machine)
            .await
            .map_err(|e| RaftError::Fatal { cause: fault.cause().unwrap_or_else(|| e.to_string()) })?;
        elect_if_alone(&raft, id).await?;

        let (leading, leadership) = watch::channel(Leadership::Following { leader: None });
        let (proposals, inbox) = mpsc::channel(PROPOSALS_WAITING);
        let (passing, to_pass) = mpsc::channel(PROPOSALS_WAITING);
        let proposer = Proposer {
            inbox: Inbox::new(inbox),
            raft: raft.clone(),
            leadership: leadership.clone(),
            clock: options.clock.clone(),
            timeout: options.propose_timeout,
        };
        let pass = Passing {
            inbox: Inbox::new(to_pass),
            transport: options.transport.clone(),
            leadership: leadership.clone(),
            meter: meter.clone(),
            timeout: options.propose_timeout,
        };
        let follow = leadership::follow(raft.clone(), state.clone(), options.clock.clone(), leading);
        let heard = Heard::now();
        let door = PeerDoor {
            id,
            raft: raft.clone(),
            log: store.reach(),
            heard: heard.clone(),
            lease: options.timing.lease(),
        };
        let elections = canvass::follow(raft.clone(), options.transport.clone(), store.reach(), heard, options.timing);
        let open = Open {
            canvass: tokio::spawn(elections),
            proposer: tokio::spawn(proposer.run()),
            passing: tokio::spawn(pass.run()),
            leadership: tokio::spawn(follow),
            upkeep: tokio::spawn(upkeep::follow(raft.clone(), snapshots, meter.clone(), options.snapshots)),
            store,
            closed,
        };
        Ok(RaftHandle(Arc::new(Inner {
            id,
            raft,
            state,
            saved,
            leadership,
            proposals,
            passing,
            clock: options.clock,
            timeout: options.propose_timeout,
            meter,
            fault,
            transport: options.transport,
            timing: options.timing,
            holding: AtomicBool::new(false),
            answers,
            door,
            open: Mutex::new(Some(open)),
        })))
    }

    /// Makes this server a cluster of its own, reachable at `address`; once in the life of a cluster.
    pub async fn bootstrap(&self, address: &str) -> Result<(), RaftError> {
        let alone = BTreeMap::from([(self.0.id.0, BasicNode::new(address))]);
        match self.0.raft.initialize(alone).await {
            Ok(()) => Ok(()),
            Err(CoreError::APIError(InitializeError::NotAllowed(_))) => Err(RaftError::AlreadyInitialised),
            Err(e) => Err(RaftError::Fatal { cause: e.to_string() }),
        }
    }

    /// Whether this server belongs to a cluster already.
    pub async fn is_bootstrapped(&self) -> Result<bool, RaftError> {
        self.0.raft.is_initialized().await.map_err(|e| RaftError::Fatal { cause: e.to_string() })
    }

    /// Whether this server is the only voter: it leads without asking anybody.
    pub async fn is_alone(&self) -> Result<bool, RaftError> {
        is_alone(&self.0.raft, self.0.id).await
    }

    /// Closes everything, in order, and returns when the files are closed. Later calls do nothing.
    pub async fn shutdown(&self) -> Result<(), RaftError> {
        let Some(open) = held(&self.0.open).take() else { return Ok(()) };
        open.proposer.abort();
        open.passing.abort();
        self.0.raft.shutdown().await.map_err(|e| RaftError::Fatal { cause: e.to_string() })?;
        // These two were cancelled, the others end with openraft: so nobody is left in the belief that this one leads.
        for task in [open.proposer, open.passing, open.leadership, open.upkeep, open.canvass] {
            let _ = task.await;
        }
        let finished = open.store.finish().await;
        let _ = tokio::time::timeout(CLOSE_PATIENCE, open.closed).await;
        finished.map_err(|e| RaftError::Fatal { cause: e.to_string() })
    }

    /// Returns once the core has taken a question, which it does not while it waits for the disk; false when it ended.
    pub async fn answers(&self) -> bool {
        self.0.raft.with_raft_state(|_| ()).await.is_ok()
    }

    /// Resolves when the log cannot go on, with the reason. The process is then expected to end: nothing is retried.
    pub async fn lost(&self) -> RaftError {
        let mut metrics = self.0.raft.metrics();
        let core_stopped = async {
            match metrics.wait_for(|m| m.running_state.is_err()).await {
                Ok(m) => m.running_state.as_ref().err().cloned(),
                Err(_) => None,
            }
        };
        tokio::select! {
            cause = self.0.fault.wait() => RaftError::Fatal { cause },
            stopped = core_stopped => match (self.0.fault.cause(), stopped) {
                (Some(cause), _) => RaftError::Fatal { cause },
                (None, Some(openraft::error::Fatal::Stopped)) => RaftError::Stopped,
                (None, Some(fatal)) => RaftError::Fatal { cause: fatal.to_string() },
                (None, None) => RaftError::Fatal { cause: "its task ended".to_owned() },
            },
        }
    }
}

/// A lone voter need not wait for a timeout to learn that nobody else leads.
async fn elect_if_alone(raft: &Raft, id: ServerId) -> Result<(), RaftError> {
    if is_alone(raft, id).await? {
        // Does nothing if it leads already.
        raft.trigger().elect().await.map_err(|e| RaftError::Fatal { cause: e.to_string() })?;
    }
    Ok(())
}

/// Asked of the core: metrics follow it a moment later.
async fn is_alone(raft: &Raft, id: ServerId) -> Result<bool, RaftError> {
    let alone = raft.with_raft_state(move |s| s.membership_state.effective().voter_ids().eq([id.0])).await;
    alone.map_err(|e| RaftError::Fatal { cause: e.to_string() })
}

// === Commands, State, reads ===

impl RaftHandle {
    /// This server.
    pub fn id(&self) -> ServerId {
        self.0.id
    }

    /// Puts a command into the log and waits until it is applied here. The outcome is the engine's.
    pub async fn propose(&self, request: Option<RequestId>, command: Command) -> Result<Applied, ProposeError> {
        self.put(Proposed { request, by: None, command }).await
    }

    /// The same for somebody: what it asks for and what becomes of it is in the audit with the change, as one entry.
    /// While an earlier version of State is in force, which has no audit, only the change is.
    pub async fn propose_by(
        &self,
        by: Asker,
        request: Option<RequestId>,
        command: Command,
    ) -> Result<Applied, ProposeError> {
        let by = Some(by).filter(|_| self.0.state.borrow().version() >= AUDITS);
        self.put(Proposed { request, by, command }).await
    }

    async fn put(&self, proposed: Proposed) -> Result<Applied, ProposeError> {
        if self.0.proposals.is_closed() {
            return Err(ProposeError::Stopped);
        }
        self.leads()?;
        match self.encoded(&proposed) {
            Ok((version, encoded)) => self.put_encoded(version, encoded).await,
            Err(answer) => answer,
        }
    }

    /// A command as it goes into the log, and the State version that it needs; or what it is answered with instead.
    ///
    /// What not every server understands yet has the engine's refusal before it gets there: a server of before would stop
    /// at it.
    fn encoded(&self, proposed: &Proposed) -> Result<(u32, Encoded), Result<Applied, ProposeError>> {
        let (present, revision) = {
            let state = self.0.state.borrow();
            (state.version(), state.revision())
        };
        // What a command needs is looked for in all of it: not where everything is allowed.
        let needed = if present >= STATE_VERSION { present } else { proposed.version() };
        if needed > present && !matches!(proposed.command, Command::RaiseVersion { .. }) {
            return Err(Ok(Applied { revision, outcome: Outcome::Rejected(Rejection::TooNew { needed, present }) }));
        }
        let bytes = codec::encode_body(proposed).map_err(|e| Err(ProposeError::Unknown { cause: e.to_string() }))?;
        let max = LOG_ENTRY_MAX_BYTES - ENTRY_OVERHEAD_BYTES;
        if bytes.len() > max {
            return Err(Err(ProposeError::TooLarge { bytes: bytes.len(), max }));
        }
        Ok((needed, Encoded(Bytes::from(bytes))))
    }

    /// Whether commands go into the log here.
    fn leads(&self) -> Result<(), ProposeError> {
        if self.0.holding.load(Ordering::SeqCst) {
            return Err(ProposeError::NotLeader { leader: None });
        }
        match &*self.0.leadership.borrow() {
            Leadership::Following { leader } => Err(ProposeError::NotLeader { leader: leader.clone() }),
            Leadership::Leading(_) => Ok(()),
        }
    }

    async fn put_encoded(&self, version: u32, encoded: Encoded) -> Result<Applied, ProposeError> {
        let (answer, outcome) = oneshot::channel();
        let proposal = Proposal { version, encoded, answer };
        self.outcome(&self.0.proposals, proposal, outcome).await
    }

    async fn outcome<T>(
        &self,
        to: &mpsc::Sender<T>,
        what: T,
        outcome: oneshot::Receiver<Result<Applied, ProposeError>>,
    ) -> Result<Applied, ProposeError> {
        let answered = tokio::time::timeout(self.0.timeout, async {
            to.send(what).await.map_err(|_| ProposeError::Stopped)?;
            let gone = |_| ProposeError::Unknown { cause: "the log was shut down meanwhile".to_owned() };
            outcome.await.map_err(gone)?
        });
        match answered.await {
            Ok(result) => result,
            Err(_) => Err(ProposeError::Unknown { cause: format!("no outcome within {:?}", self.0.timeout) }),
        }
    }

    /// The same as `propose_by`, by whichever server leads: one that does not passes the command on, with others. For calls
    /// whose answer is the outcome alone.
    pub async fn propose_for(
        &self,
        asked: Asked,
        by: Asker,
        request: Option<RequestId>,
        command: Command,
    ) -> Result<Applied, ProposeError> {
        let state_version = self.0.state.borrow().version();
        match self.leads() {
            // Not every server takes them before that.
            Err(ProposeError::NotLeader { leader: Some(_) }) if state_version >= NODE_LABELS => {}
            _ => return self.propose_by(by, request, command).await,
        }
        let (version, encoded) = match self.encoded(&Proposed { request, by: Some(by), command }) {
            Ok(encoded) => encoded,
            Err(answer) => return answer,
        };
        let (answer, outcome) = oneshot::channel();
        let proposal = Proposal { version, encoded, answer };
        self.outcome(&self.0.passing, Waiting { asked, proposal, is_recognised: request.is_some() }, outcome).await
    }

    /// Puts commands into the log that another server passes on, if those who ask still `may`.
    pub async fn take_passed(
        &self,
        message: &v1::PeerMessage,
        may: impl Fn(&Asked, &State) -> Result<(), NotTaken>,
    ) -> Result<v1::PeerMessage, PeerError> {
        let PassedOn { commands } = unpack(self.0.id, message)?;
        let state = self.0.state.borrow().clone();
        let each = commands.into_iter().map(|Passed { asked, version, command }| {
            let allowed = match self.leads() {
                // Asked for as a whole call, it is read by this server, which knows no newer words than it understands.
                Ok(()) if version > state.version() => Err(NotTaken::NotLeading),
                leads => leads.map_err(NotTaken::from).and_then(|()| may(&asked, &state)),
            };
            async move {
                allowed?;
                self.put_encoded(version, command).await.map_err(NotTaken::from)
            }
        });
        let each = join_all(each).await;
        Ok(pack(self.0.id, &Became { each })?)
    }

    /// The newest applied State, and every later one: published once per applied batch, before outcomes are returned.
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.0.state.clone()
    }

    /// The newest State that is in a snapshot on disk: after a crash none is shown that is older.
    pub fn saved(&self) -> watch::Receiver<Revision> {
        self.0.saved.clone()
    }

    /// Whether this server leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    /// Cluster time, while this server leads.
    pub fn now(&self) -> Option<Time> {
        self.0.leadership.borrow().leading().map(|term| term.now(&*self.0.clock))
    }

    /// Returns when State holds everything that was acknowledged anywhere before the call.
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        let checked = tokio::time::timeout(self.0.timeout, self.0.raft.ensure_linearizable());
        match checked.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(CoreError::APIError(CheckIsLeaderError::ForwardToLeader(_)))) => {
                Err(ReadError::NotLeader { leader: self.0.leadership.borrow().leader().cloned() })
            }
            Ok(Err(CoreError::APIError(e))) => Err(ReadError::NoQuorum { cause: e.to_string() }),
            Ok(Err(CoreError::Fatal(_))) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::NoQuorum { cause: format!("no answer within {:?}", self.0.timeout) }),
        }
    }

    /// How the log is doing right now.
    pub fn metrics(&self) -> RaftMetrics {
        let metrics = self.0.raft.metrics();
        let m = metrics.borrow();
        let peer = |id: u64, node: &BasicNode| Peer { id: ServerId(id), address: node.addr.clone() };
        let membership = m.membership_config.membership();
        RaftMetrics {
            id: self.0.id,
            term: m.current_term,
            leader: m.current_leader.and_then(|id| membership.get_node(&id).map(|node| peer(id, node))),
            members: membership.nodes().map(|(id, node)| peer(*id, node)).collect(),
            voters: membership.voter_ids().map(ServerId).collect(),
            last_log: m.last_log_index,
            applied: m.last_applied.map(|id| id.index),
            snapshot: m.snapshot.map(|id| id.index),
            purged: m.purged.map(|id| id.index),
            quorum_ack_age_ms: m.millis_since_quorum_ack,
            passed_on: self.0.meter.passed_on(),
            sync: self.0.meter.sync_latency(),
        }
    }

    /// Asks for a snapshot now; it is taken in the background.
    pub async fn take_snapshot(&self) -> Result<(), RaftError> {
        self.0.raft.trigger().snapshot().await.map_err(|e| RaftError::Fatal { cause: e.to_string() })
    }
}

// === What the other files of this room need of it ===

impl RaftHandle {
    pub(super) fn core(&self) -> &Raft {
        &self.0.raft
    }
    pub(super) fn transport(&self) -> &Arc<dyn Transport> {
        &self.0.transport
    }
    pub(super) fn timing(&self) -> Timing {
        self.0.timing
    }
    /// While it is set, nothing is proposed.
    pub(super) fn holding(&self) -> &AtomicBool {
        &self.0.holding
    }
    pub(super) fn answered(&self) -> &Answers {
        &self.0.answers
    }
    pub(super) fn peer_door(&self) -> PeerDoor {
        self.0.door.clone()
    }
}

#[cfg(test)]
impl RaftHandle {
    /// Writes a batch as it is, as another version's proposer might.
    pub(super) async fn write_raw(&self, batch: super::type_config::Batch) -> Result<(), ProposeError> {
        let written = self.0.raft.client_write(batch).await;
        written.map(|_| ()).map_err(|e| ProposeError::Unknown { cause: e.to_string() })
    }
}
