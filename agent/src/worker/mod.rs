//! The agent's one loop: something happened, so learn, decide, act.
//!
//! # Flow
//! An event (a new set, a hint, a list, a step's end, a health sample, a deadline) changes what is known; then the pure
//! engine is asked what to do until it has nothing more; each action runs in a task of its own and ends as an event.
//!
//! # Guarantees
//! One step at a time per task. Nothing is done before a whole list, nor after an unknown outcome before another look.
//! A death that the engine hints at is taken out of discovery before anybody looks. Containers are left alone when the
//! loop ends.
//!
//! # Caveats
//! Hints are only hints: everything is listed every 10 s and after each reconnect.

mod act;
mod probes;
mod seen;
mod steps;
mod watch;

#[cfg(test)]
mod tests;

use proto::assignment::{AssignmentSet, NodeNetwork};
use proto::id::TaskId;
use proto::node::{NodeConditions, Stranger};
use proto::revision::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch as channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::engine::health::Sample;
use crate::engine::{Container, Memory, Observed, Outcome, OwnEndpoint, next_deadline, own_endpoints, strangers};
use crate::files::Files;
use crate::ledger::Ledger;
use crate::pulse::Pulse;
use crate::reporter::Reporter;
use crate::runtime::{ContainerRuntime, EngineInfo, Hint, Identity, RuntimeError};
use steps::{Hands, Seen};

/// Time between whole lists: hints may be lost.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// Time to another list after one that failed or came too late for some task.
const LIST_AGAIN: Duration = Duration::from_secs(1);
/// Time between a change of the memory and its writing.
const WRITE_AFTER: Duration = Duration::from_millis(100);

/// Time for creates and starts under way to end when the agent stops.
const END_WITHIN: Duration = Duration::from_secs(15);

/// What the worker tells the rest of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// This node's own endpoints.
    pub endpoints: BTreeMap<TaskId, OwnEndpoint>,
    /// Its tasks that are stopped for good.
    pub stopped: BTreeSet<TaskId>,
    /// Container and `PROJECT/SERVICE.SLOT` of each task, for logs.
    pub containers: BTreeMap<TaskId, (String, String)>,
    /// Conditions, without those of forwards.
    pub conditions: NodeConditions,
    /// The engine, once it answered.
    pub engine: Option<EngineInfo>,
    /// Interface name of the node's bridge, once it is made.
    pub bridge: Option<String>,
}

/// What the worker needs.
#[derive(Debug)]
pub struct Parts {
    /// The engine.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Files of tasks.
    pub files: Arc<Files>,
    /// Where the memory is kept.
    pub ledger: Arc<Ledger>,
    /// Where statuses go.
    pub reporter: Reporter,
    /// Both clocks.
    pub clock: Clock,
    /// The set accepted last; durable before it is here.
    pub accepted: channel::Receiver<Option<Arc<AssignmentSet>>>,
    /// What is told to the rest.
    pub view: channel::Sender<View>,
    /// Beats with each turn.
    pub pulse: Pulse,
}

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Event {
    EngineFound { info: EngineInfo, bridge: String },
    EngineLost(RuntimeError),
    Hint(Hint),
    Listed { begun: u64, list: Result<Vec<Container>, RuntimeError> },
    Looked { task: TaskId, container: String, begun: u64, seen: Seen },
    StepEnded { task: TaskId, outcome: Outcome, seen: Seen },
    Dismissed { container: String, task: TaskId, done: bool, seen: Seen },
    VolumeEnded { name: String, result: Result<(), RuntimeError> },
    Sample { task: TaskId, incarnation: u32, sample: Sample },
    LastLog { task: TaskId, incarnation: u32, lines: Vec<String> },
    Written,
}

/// The loop's state.
#[derive(Debug)]
pub struct Worker {
    parts: Parts,
    hands: Hands,
    set: Option<Arc<AssignmentSet>>,
    observed: Observed,
    memory: Memory,
    engine_problem: String,
    engine: Option<EngineInfo>,
    bridge: Option<String>,
    wanted: channel::Sender<Option<(Identity, NodeNetwork)>>,
    events: mpsc::UnboundedSender<Event>,
    /// Counts looks and ends of steps, so that a look that began before a step's end is known to be stale.
    tick: u64,
    settled: BTreeMap<TaskId, u64>,
    looking: BTreeSet<String>,
    look_again: BTreeSet<TaskId>,
    listing: bool,
    list_at: Instant,
    cancels: BTreeMap<TaskId, CancellationToken>,
    making: TaskTracker,
    probes: probes::Probes,
    logs_asked: BTreeMap<TaskId, u32>,
    logs_read: BTreeMap<TaskId, oneshot::Receiver<()>>,
    write_at: Option<Instant>,
    writing: bool,
    kept_tasks: BTreeSet<TaskId>,
}

/// Works until `stop`, then keeps what it remembers and leaves the containers running.
pub async fn run(parts: Parts, memory: Memory, stop: CancellationToken) {
    let (events, mut inbox) = mpsc::unbounded_channel();
    let (wanted, wanted_seen) = channel::channel(None);
    let watching = tokio::spawn(watch::run(Arc::clone(&parts.runtime), wanted_seen, events.clone(), stop.clone()));
    let mut accepted = parts.accepted.clone();
    let mut worker = Worker::new(parts, memory, wanted, events);
    worker.accept();
    loop {
        let wake = worker.wake_at();
        tokio::select! {
            changed = accepted.changed() => match changed {
                Ok(()) => worker.accept(),
                Err(_) => break,
            },
            Some(event) = inbox.recv() => worker.apply(event),
            () = tokio::time::sleep_until(wake) => {}
            () = stop.cancelled() => break,
        }
        // What happened at once is judged at once.
        while let Ok(event) = inbox.try_recv() {
            worker.apply(event);
        }
        worker.turn();
        worker.parts.pulse.beat();
    }
    watching.abort();
    worker.cancels.values().for_each(CancellationToken::cancel);
    worker.making.close();
    if tokio::time::timeout(END_WITHIN, worker.making.wait()).await.is_err() {
        tracing::warn!("the engine did not finish in time; the next agent looks what came of it");
    }
    if let Err(error) = worker.parts.ledger.keep_memory(&worker.memory) {
        tracing::error!(%error, "the memory could not be kept");
    }
}

impl Worker {
    fn new(
        parts: Parts,
        memory: Memory,
        wanted: channel::Sender<Option<(Identity, NodeNetwork)>>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Worker {
        let hands = Hands::new(Arc::clone(&parts.runtime), Arc::clone(&parts.files));
        let probes = probes::Probes::new(Arc::clone(&parts.runtime), events.clone());
        Worker {
            parts,
            hands,
            set: None,
            observed: Observed::default(),
            memory,
            engine_problem: String::new(),
            engine: None,
            bridge: None,
            wanted,
            events,
            tick: 0,
            settled: BTreeMap::new(),
            looking: BTreeSet::new(),
            look_again: BTreeSet::new(),
            listing: false,
            list_at: Instant::now() + LIST_EVERY,
            cancels: BTreeMap::new(),
            making: TaskTracker::new(),
            probes,
            logs_asked: BTreeMap::new(),
            logs_read: BTreeMap::new(),
            write_at: None,
            writing: false,
            kept_tasks: BTreeSet::new(),
        }
    }

    fn now(&self) -> Time {
        self.parts.clock.now()
    }

    /// Takes the set accepted last.
    fn accept(&mut self) {
        let Some(set) = self.parts.accepted.borrow().clone() else { return };
        let identity = Identity { cluster: set.cluster, epoch: set.epoch, node: set.node };
        let wanted = Some((identity, set.network));
        self.wanted.send_if_modified(|now| {
            let changed = *now != wanted;
            now.clone_from(&wanted);
            changed
        });
        self.set = Some(set);
        self.turn();
    }

    /// Takes in one event.
    fn apply(&mut self, event: Event) {
        let (now, wall) = (self.now(), self.parts.clock.wall());
        match event {
            Event::EngineFound { info, bridge } => {
                self.engine = Some(info);
                self.bridge = Some(bridge);
                self.list_now();
            }
            Event::EngineLost(error) => self.engine_lost(&error),
            Event::Hint(hint) => self.hinted(&hint),
            Event::Listed { begun, list } => self.listed(begun, list),
            Event::Looked { task, container, begun, seen } => self.looked(task, &container, begun, seen),
            Event::StepEnded { task, outcome, seen } => {
                self.cancels.remove(&task);
                let unknown =
                    matches!(outcome, Outcome::Cancelled | Outcome::Failed(crate::engine::Trouble::Unknown(_)));
                self.mark_settled(task);
                self.put(seen);
                self.memory.settle(task, outcome, now, wall);
                if unknown {
                    self.list_now();
                }
                self.look_if_missed(task);
            }
            Event::Dismissed { container, task, done, seen } => {
                self.mark_settled(task);
                self.put(seen);
                self.memory.settle_stranger(&container, done, now);
            }
            Event::VolumeEnded { name, result } => {
                if let Err(error) = &result {
                    tracing::warn!(%error, volume = name, "a volume is not removed yet");
                }
                self.memory.settle_volume(&name, result.is_ok(), now);
            }
            Event::Sample { task, incarnation, sample } => {
                if let Some(set) = &self.set {
                    self.memory.sample(set, task, incarnation, &sample, now);
                }
            }
            Event::LastLog { task, incarnation, lines } => self.memory.last_log(task, incarnation, lines),
            Event::Written => self.writing = false,
        }
    }

    fn engine_lost(&mut self, error: &RuntimeError) {
        if self.engine_problem.is_empty() {
            tracing::warn!(%error, "the engine is lost; what runs is left as it is");
        }
        self.engine_problem = error.to_string();
        self.observed.doubt();
    }

    /// A death leaves discovery before anybody looks.
    fn hinted(&mut self, hint: &Hint) {
        let ended = matches!(hint.action.as_str(), "die" | "destroy" | "kill" | "oom");
        if hint.action == "die" && self.memory.suspect(hint.task, &hint.container_id) {
            // A look that began before the hint does not answer it.
            self.mark_settled(hint.task);
            self.publish();
        }
        if self.is_busy(hint.task) {
            if ended {
                self.look_again.insert(hint.task);
            }
        } else if hint.action != "kill" && hint.action != "oom" {
            self.look(hint.task, &hint.container_id);
        }
    }

    fn is_busy(&self, task: TaskId) -> bool {
        self.memory.task(task).is_some_and(|t| t.busy.is_some())
    }

    fn look_if_missed(&mut self, task: TaskId) {
        if self.look_again.remove(&task) {
            let ids: Vec<String> = self.observed.of_task(task).map(|c| c.id.clone()).collect();
            ids.iter().for_each(|id| self.look(task, id));
        }
    }

    fn looked(&mut self, task: TaskId, container: &str, begun: u64, seen: Seen) {
        self.looking.remove(container);
        if self.is_busy(task) {
            self.look_again.insert(task);
        } else if self.settled.get(&task).is_some_and(|at| *at > begun) || self.look_again.remove(&task) {
            self.look(task, container);
        } else if seen == Seen::Unknown {
            self.list_now();
        } else {
            self.put(seen);
            // One container that was looked at does not tell whether an unknown outcome left another one.
            if !self.memory.task(task).is_some_and(|t| t.unsure) {
                self.memory.looked_at(task);
            }
        }
    }

    fn listed(&mut self, begun: u64, list: Result<Vec<Container>, RuntimeError>) {
        self.listing = false;
        let list = match list {
            Ok(list) => list,
            Err(error) => {
                // An error never means that something is gone.
                if matches!(error, RuntimeError::Unreachable { .. }) {
                    self.engine_lost(&error);
                }
                self.engine_problem = error.to_string();
                self.list_at = Instant::now() + LIST_AGAIN;
                return;
            }
        };
        let newer: BTreeSet<TaskId> = self
            .memory
            .tasks
            .iter()
            .filter(|(id, task)| task.busy.is_some() || self.settled.get(*id).is_some_and(|at| *at > begun))
            .map(|(id, _)| *id)
            .chain(self.settled.iter().filter(|(_, at)| **at > begun).map(|(id, _)| *id))
            .collect();
        self.observed.replace_all(list, &newer);
        self.engine_problem.clear();
        let fresh: Vec<TaskId> = self.memory.tasks.keys().filter(|id| !newer.contains(id)).copied().collect();
        fresh.into_iter().for_each(|id| self.memory.looked_at(id));
        let left = self.memory.tasks.values().any(|task| task.unsure);
        self.list_at = Instant::now() + if left { Duration::ZERO } else { LIST_EVERY };
    }

    fn put(&mut self, seen: Seen) {
        match seen {
            Seen::Container(container) => self.observed.put(*container),
            Seen::Gone(id) => self.observed.gone(&id),
            Seen::Unknown => {}
        }
    }

    fn mark_settled(&mut self, task: TaskId) {
        self.tick += 1;
        self.settled.insert(task, self.tick);
    }

    /// Learns, decides and acts until there is nothing more to do now.
    fn turn(&mut self) {
        let Some(set) = self.set.clone() else { return };
        if Instant::now() >= self.list_at {
            self.list_now();
        }
        self.memory.fold(&set, &self.observed, self.now(), self.parts.clock.wall());
        loop {
            // Names change before anything is stopped.
            self.publish();
            let actions = crate::engine::diff(&set, &self.observed, &self.memory, self.now());
            if actions.is_empty() {
                break;
            }
            self.write_soon();
            for action in actions {
                let now = self.now();
                self.memory.begin(&set, &action, now);
                self.act(&set, action);
            }
        }
        self.probes.follow(&set, &self.memory);
        self.drop_files(&set);
        self.write_if_due();
    }

    /// Tells the rest of the agent what changed.
    fn publish(&mut self) {
        let Some(set) = self.set.clone() else { return };
        let view = self.view(&set);
        self.parts.view.send_if_modified(|now| {
            let changed = *now != view;
            *now = view;
            changed
        });
    }

    fn view(&self, set: &AssignmentSet) -> View {
        let stopped =
            |id: &TaskId| self.memory.task(*id).is_some_and(|t| t.status.phase == proto::task_state::Phase::Stopped);
        let container = |id: &TaskId| self.memory.task(*id).map(|t| t.status.container_id.clone());
        let containers = set.tasks.iter().filter_map(|(id, a)| {
            let source = format!("{}.{}", a.service, a.slot);
            container(id).filter(|c| !c.is_empty()).map(|c| (*id, (c, source)))
        });
        let strangers: Vec<Stranger> =
            if self.observed.is_complete() { strangers(set, &self.observed) } else { Vec::new() };
        View {
            endpoints: own_endpoints(&self.memory, set),
            stopped: set.tasks.keys().filter(|id| stopped(id)).copied().collect(),
            containers: containers.collect(),
            conditions: NodeConditions {
                engine_problem: self.engine_problem.clone(),
                forwards: Vec::new(),
                strangers,
                removed_volumes: self.memory.removed_volumes(),
            },
            engine: self.engine.clone(),
            bridge: self.bridge.clone(),
        }
    }

    /// When the loop must wake although nothing happens.
    fn wake_at(&self) -> Instant {
        let deadline = self.set.as_ref().and_then(|set| next_deadline(set, &self.observed, &self.memory, self.now()));
        let deadline = deadline.map(|at| self.parts.clock.instant(at));
        let write = self.write_at.filter(|_| !self.writing);
        let list = Some(self.list_at).filter(|_| !self.listing);
        let far = Instant::now() + LIST_EVERY;
        [deadline, write, list].into_iter().flatten().min().unwrap_or(far).max(Instant::now())
    }
}
