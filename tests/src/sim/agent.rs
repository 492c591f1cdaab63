//! An agent's process: its loop and what survives it, as `agent::worker` and `agent::ledger` have them.
//!
//! Judgements are the production engine's; this file only does what needs a runtime there.

use agent::dns::zone::{OwnEndpoint, OwnView, Zone};
use agent::engine::health::{Effective, Sample, effective, pause_ms};
use agent::engine::{Action, Memory, Observed, diff, next_deadline, own_endpoints, strangers};
use agent::reporter::Outbox;
use proto::assignment::{AssignmentSet, Desired};
use proto::endpoint::{EndpointState, EndpointTable};
use proto::id::{ServiceKey, TaskId};
use proto::node::{NodeConditions, NodeInfo};
use proto::revision::{Time, Wall};
use proto::spec::HealthCheck;
use proto::task_state::Phase;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::World;
use super::event::{Event, Fact, What};
use super::image::Program;
use super::params::Trouble;
use super::session::Connection;

const LIST_EVERY_MS: u64 = 10_000;
const LIST_AGAIN_MS: u64 = 1_000;
const WRITE_AFTER_MS: u64 = 100;
/// A year: moments before the process began can be expressed.
const BEGIN_MS: u64 = 365 * 24 * 3_600_000;

/// What a ledger gives back of what it was given: what is not kept is not there.
fn read_again<T: Serialize + DeserializeOwned>(kept: &T) -> T {
    let bytes = serde_json::to_vec(kept).expect("what a ledger keeps is writable");
    serde_json::from_slice(&bytes).expect("what was written is readable")
}

/// What is on an agent's disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// The set accepted last.
    pub assignments: Option<Arc<AssignmentSet>>,
    /// The memory.
    pub memory: Option<Memory>,
    /// The endpoint table.
    pub endpoints: Option<Arc<EndpointTable>>,
    /// The memory was damaged.
    pub damaged: bool,
}

/// An agent on its host.
#[derive(Debug)]
pub struct Agent {
    /// What it says of itself.
    pub info: NodeInfo,
    /// Counts its processes.
    pub process: u64,
    /// One runs.
    pub alive: bool,
    /// The set accepted last.
    pub accepted: Option<Arc<AssignmentSet>>,
    /// What it sees.
    pub observed: Observed,
    /// What it remembers.
    pub memory: Memory,
    /// What names mean.
    pub table: Arc<EndpointTable>,
    /// What it has to say.
    pub outbox: Outbox,
    /// Its connection.
    pub connection: Option<Connection>,
    /// Its line is cut until then.
    pub cut_until: u64,
    /// Its host is suspended until then.
    pub suspended_until: u64,
    /// That was seen to hold something up.
    pub suspend_seen: bool,
    /// How long this process was suspended in all, in milliseconds.
    pub slept: u64,
    /// It is to crash soon after its next set that brings new tasks.
    pub doomed: bool,
    /// Its disk takes no sets until then.
    pub disk_full_until: u64,
    /// What its disk holds.
    pub disk: Disk,
    /// Conditions told last.
    pub told: Option<NodeConditions>,
    /// Its host's wall clock against the world's, in milliseconds.
    pub wall_offset: i64,
    /// Calls to the engine under way, by task.
    pub calls: BTreeMap<TaskId, u64>,
    started: u64,
    stepped: u64,
    finding: bool,
    found: bool,
    engine_problem: String,
    tick: u64,
    settled: BTreeMap<TaskId, u64>,
    looking: BTreeSet<String>,
    look_again: BTreeSet<TaskId>,
    listing: bool,
    list_at: u64,
    wake: u64,
    writing: bool,
    probes: BTreeMap<TaskId, u32>,
    own: OwnView,
}

// === impl Agent ===

impl Agent {
    /// One that has never run.
    pub fn new(info: NodeInfo) -> Agent {
        Agent {
            info,
            process: 0,
            alive: false,
            accepted: None,
            observed: Observed::default(),
            memory: Memory::default(),
            table: Arc::default(),
            outbox: Outbox::default(),
            connection: None,
            cut_until: 0,
            suspended_until: 0,
            suspend_seen: false,
            slept: 0,
            doomed: false,
            disk_full_until: 0,
            disk: Disk::default(),
            told: None,
            wall_offset: 0,
            calls: BTreeMap::new(),
            started: 0,
            stepped: 0,
            finding: false,
            found: false,
            engine_problem: String::new(),
            tick: 0,
            settled: BTreeMap::new(),
            looking: BTreeSet::new(),
            look_again: BTreeSet::new(),
            listing: false,
            list_at: 0,
            wake: 0,
            writing: false,
            probes: BTreeMap::new(),
            own: OwnView::default(),
        }
    }

    /// Is this the process that runs?
    pub fn is_process(&self, process: u64) -> bool {
        self.alive && self.process == process
    }

    /// Its process ends at once; its disk stays.
    pub fn crash(&mut self) {
        let old = std::mem::replace(self, Agent::new(self.info.clone()));
        self.process = old.process;
        self.disk = old.disk;
        self.cut_until = old.cut_until;
        self.disk_full_until = old.disk_full_until;
        self.wall_offset = old.wall_offset;
    }

    /// Do its own names answer a task of its own?
    pub fn answers(&self, task: TaskId) -> bool {
        self.own.endpoints.get(&task).is_some_and(|e| e.state == EndpointState::Ready)
    }

    /// Its monotonic clock: stands still while its host is suspended.
    pub fn now(&self, now_ms: u64) -> Time {
        Time(BEGIN_MS + self.stepped + now_ms - self.started - self.slept)
    }

    /// Its monotonic clock steps forward.
    pub fn step(&mut self, by_ms: u64) {
        self.stepped += by_ms;
    }

    /// Names of some services as this node answers them.
    pub fn zone<'a>(&self, of: impl Iterator<Item = &'a ServiceKey>) -> Zone {
        let services = of.filter_map(|key| Some((key.clone(), self.table.services.get(key)?.clone()))).collect();
        let table = EndpointTable { epoch: self.table.epoch, revision: self.table.revision, services };
        Zone::new(&table, self.info.id, &self.own)
    }
}

impl World {
    fn clocks(&self, agent: usize) -> (Time, Wall) {
        (self.agents[agent].now(self.now), self.wall(Some(agent)))
    }

    /// A process begins with what the disk holds.
    pub(super) fn agent_starts(&mut self, agent: usize) {
        if self.agents[agent].alive {
            return;
        }
        let now_ms = self.now;
        let body = &mut self.agents[agent];
        body.process += 1;
        body.alive = true;
        body.started = now_ms;
        (body.slept, body.stepped) = (0, 0);
        body.list_at = now_ms + LIST_EVERY_MS;
        let (now, wall) = self.clocks(agent);
        let body = &mut self.agents[agent];
        let set: Option<AssignmentSet> = body.disk.assignments.as_deref().map(read_again);
        if let Some(table) = &body.disk.endpoints {
            body.table = Arc::new(read_again(&**table));
        }
        let told = body.table.highest_incarnation(body.info.id);
        body.memory = match body.disk.memory.as_ref().filter(|_| !body.disk.damaged) {
            Some(memory) => read_again(memory).restored(set.as_ref(), now, wall),
            None if set.is_none() && !body.disk.damaged => Memory::default(),
            None => Memory::after_loss(wall, told),
        };
        body.disk.damaged = false;
        body.disk.memory = Some(body.memory.clone());
        body.accepted = set.map(Arc::new);
        let process = body.process;
        self.say(format_args!("agent {agent} starts"));
        self.facts.push(Fact::Accepted { agent });
        self.after(1, Event::Connect { agent, process });
        self.find_engine_once(agent);
        self.turn(agent);
    }

    /// The engine is looked for once a set says who we are.
    pub(super) fn find_engine_once(&mut self, agent: usize) {
        let body = &mut self.agents[agent];
        if body.accepted.is_some() && !body.finding {
            body.finding = true;
            let process = body.process;
            let delay = self.rng.range(5, 200);
            self.after(delay, Event::EngineFound { agent, process });
        }
    }

    pub(super) fn engine_found(&mut self, agent: usize, process: u64) {
        if !self.agents[agent].is_process(process) {
            return;
        }
        if self.hosts[agent].away_until > self.now {
            self.engine_problem(agent, true);
            let wait = self.hosts[agent].away_until - self.now;
            let delay = wait + self.rng.range(0, 1_000);
            self.after(delay, Event::EngineFound { agent, process });
            return;
        }
        self.agents[agent].found = true;
        self.list_now(agent);
        self.turn(agent);
    }

    pub(super) fn engine_lost(&mut self, agent: usize, process: u64) {
        if self.agents[agent].is_process(process) && self.agents[agent].found {
            self.agents[agent].found = false;
            self.engine_problem(agent, true);
            self.after(100, Event::EngineFound { agent, process });
            self.turn(agent);
        }
    }

    fn engine_problem(&mut self, agent: usize, lost: bool) {
        let body = &mut self.agents[agent];
        body.engine_problem = "the engine does not answer".to_owned();
        if lost {
            body.observed.doubt();
        }
    }

    // --- Looks and lists ---

    fn list_now(&mut self, agent: usize) {
        let now = self.now;
        let body = &mut self.agents[agent];
        if body.accepted.is_none() || body.listing {
            body.list_at = now + 100;
            return;
        }
        body.listing = true;
        body.list_at = now + LIST_EVERY_MS;
        self.read(agent, What::List);
    }

    pub(super) fn look(&mut self, agent: usize, task: TaskId, id: &str) {
        let body = &mut self.agents[agent];
        if !body.looking.insert(id.to_owned()) {
            body.look_again.insert(task);
            return;
        }
        self.read(agent, What::Container { task, id: id.to_owned() });
    }

    fn read(&mut self, agent: usize, what: What) {
        let body = &mut self.agents[agent];
        body.tick += 1;
        let (process, begun) = (body.process, body.tick);
        let delay = self.rng.skewed(0, 200);
        self.after(delay, Event::Read { agent, process, begun, what });
    }

    /// The engine reads; its answer may take a while, and what is true then may be another thing.
    pub(super) fn read_at_engine(&mut self, agent: usize, process: u64, begun: u64, what: What) {
        if self.hosts[agent].away_until > self.now {
            self.saw(Trouble::EngineAway);
        }
        let docker = &self.hosts[agent];
        let answer = (docker.away_until <= self.now).then(|| match &what {
            What::List => docker.list(),
            What::Container { id, .. } => docker.containers.get(id).map(|c| c.shown.clone()).into_iter().collect(),
        });
        let delay = self.rng.skewed(1, 400);
        self.after(delay, Event::Seen { agent, process, begun, what, answer });
    }

    pub(super) fn seen(
        &mut self,
        agent: usize,
        process: u64,
        begun: u64,
        what: What,
        answer: Option<Vec<agent::engine::Container>>,
    ) {
        if !self.agents[agent].is_process(process) {
            return;
        }
        match what {
            What::List => self.listed(agent, begun, answer),
            What::Container { task, id } => self.looked(agent, task, &id, begun, answer),
        }
        self.turn(agent);
    }

    fn looked(
        &mut self,
        agent: usize,
        task: TaskId,
        id: &str,
        begun: u64,
        answer: Option<Vec<agent::engine::Container>>,
    ) {
        let body = &mut self.agents[agent];
        body.looking.remove(id);
        if body.is_busy(task) {
            body.look_again.insert(task);
        } else if body.settled.get(&task).is_some_and(|at| *at > begun) || body.look_again.remove(&task) {
            self.look(agent, task, id);
        } else if let Some(answer) = answer {
            match answer.into_iter().next() {
                Some(container) => body.observed.put(container),
                None => body.observed.gone(id),
            }
            if !body.memory.task(task).is_some_and(|t| t.unsure) {
                body.memory.looked_at(task);
            }
        } else {
            self.list_now(agent);
        }
    }

    fn listed(&mut self, agent: usize, begun: u64, answer: Option<Vec<agent::engine::Container>>) {
        let now = self.now;
        self.agents[agent].listing = false;
        let Some(list) = answer else {
            self.engine_problem(agent, true);
            self.agents[agent].list_at = now + LIST_AGAIN_MS;
            return;
        };
        let body = &mut self.agents[agent];
        let newer: BTreeSet<TaskId> = body
            .memory
            .tasks
            .iter()
            .filter(|(_, task)| task.busy.is_some())
            .map(|(id, _)| *id)
            .chain(body.settled.iter().filter(|(_, at)| **at > begun).map(|(id, _)| *id))
            .collect();
        body.observed.replace_all(list, &newer);
        body.engine_problem.clear();
        let fresh: Vec<TaskId> = body.memory.tasks.keys().filter(|id| !newer.contains(id)).copied().collect();
        fresh.into_iter().for_each(|id| body.memory.looked_at(id));
        let left = body.memory.tasks.values().any(|task| task.unsure);
        body.list_at = if left { now + 1 } else { now + LIST_EVERY_MS };
    }

    pub(super) fn hinted(&mut self, agent: usize, process: u64, task: TaskId, container: &str) {
        if !self.agents[agent].is_process(process) || !self.agents[agent].found {
            return;
        }
        if self.agents[agent].memory.suspect(task, container) {
            self.agents[agent].mark_settled(task);
            self.name(agent);
        }
        if self.agents[agent].is_busy(task) {
            self.agents[agent].look_again.insert(task);
        } else {
            self.look(agent, task, container);
        }
        self.turn(agent);
    }

    /// A step of a task was answered.
    pub(super) fn step_ended(
        &mut self,
        agent: usize,
        task: TaskId,
        outcome: agent::engine::Outcome,
        seen: super::calls::Seen,
    ) {
        use agent::engine::{Outcome, Trouble};
        let (now, wall) = self.clocks(agent);
        let unknown = matches!(outcome, Outcome::Cancelled | Outcome::Failed(Trouble::Unknown(_)));
        let body = &mut self.agents[agent];
        body.calls.remove(&task);
        body.mark_settled(task);
        body.put(seen);
        body.memory.settle(task, outcome, now, wall);
        if unknown {
            self.list_now(agent);
        }
        if self.agents[agent].look_again.remove(&task) {
            let ids: Vec<String> = self.agents[agent].observed.of_task(task).map(|c| c.id.clone()).collect();
            ids.iter().for_each(|id| self.look(agent, task, id));
        }
        self.turn(agent);
    }

    /// A step towards a stranger's end was answered.
    pub(super) fn dismissed(
        &mut self,
        agent: usize,
        task: TaskId,
        container: &str,
        done: bool,
        seen: super::calls::Seen,
    ) {
        let (now, _) = self.clocks(agent);
        let body = &mut self.agents[agent];
        body.mark_settled(task);
        body.put(seen);
        body.memory.settle_stranger(container, done, now);
        self.turn(agent);
    }

    /// A volume's removal was answered.
    pub(super) fn volume_ended(&mut self, agent: usize, name: &str, done: bool) {
        let (now, _) = self.clocks(agent);
        self.agents[agent].memory.settle_volume(name, done, now);
        self.turn(agent);
    }

    // --- The loop ---

    pub(super) fn wake(&mut self, agent: usize, process: u64, wake: u64) {
        if self.agents[agent].is_process(process) && self.agents[agent].wake == wake {
            self.turn(agent);
        }
    }

    /// Learns, decides and acts until there is nothing more to do now.
    pub(super) fn turn(&mut self, agent: usize) {
        if !self.agents[agent].alive {
            return;
        }
        let Some(set) = self.agents[agent].accepted.clone() else { return };
        if self.now >= self.agents[agent].list_at && self.agents[agent].found {
            self.list_now(agent);
        }
        let (now, wall) = self.clocks(agent);
        let body = &mut self.agents[agent];
        body.memory.fold(&set, &body.observed, now, wall);
        loop {
            self.name(agent);
            let body = &mut self.agents[agent];
            let actions = diff(&set, &body.observed, &body.memory, now);
            if actions.is_empty() {
                break;
            }
            self.write_soon(agent);
            for action in actions {
                self.agents[agent].memory.begin(&set, &action, now);
                self.act(agent, &set, action);
            }
        }
        self.probe_who_must_be(agent, &set);
        self.say_statuses(agent);
        self.say_conditions(agent);
        self.sleep(agent, &set);
    }

    fn sleep(&mut self, agent: usize, set: &AssignmentSet) {
        let body = &mut self.agents[agent];
        let now = body.now(self.now);
        let until = next_deadline(set, &body.observed, &body.memory, now);
        let deadline = until.map_or(LIST_EVERY_MS, |at| at.since_ms(now));
        let list = if body.listing || !body.found { LIST_EVERY_MS } else { body.list_at.saturating_sub(self.now) };
        body.wake += 1;
        let (process, wake) = (body.process, body.wake);
        self.facts.push(Fact::Rested { agent, now, until });
        self.after(deadline.min(list).max(1), Event::Wake { agent, process, wake });
    }

    fn act(&mut self, agent: usize, set: &AssignmentSet, action: Action) {
        match action {
            Action::Report { task, status } => {
                self.trace.say(
                    self.now,
                    format_args!(
                        "agent {agent} says {task} #{} {} {} ({})",
                        status.incarnation,
                        status.phase,
                        status.health.as_str(),
                        status.message
                    ),
                );
                self.agents[agent].outbox.put(task, status);
            }
            Action::Cancel { task } => self.cancel(agent, task),
            Action::Dismiss { container, step } => self.call_dismiss(agent, container, step),
            Action::Task { task, step } => {
                if let Some(assignment) = set.tasks.get(&task) {
                    self.call_step(agent, assignment.clone(), step);
                }
            }
            Action::RemoveVolume { name } => self.call_remove_volume(agent, name),
        }
    }

    /// Names follow what the node knows.
    fn name(&mut self, agent: usize) {
        let body = &mut self.agents[agent];
        let Some(set) = &body.accepted else { return };
        let stopped = |id: &TaskId| body.memory.task(*id).is_some_and(|t| t.status.phase == Phase::Stopped);
        let stopped: BTreeSet<TaskId> = set.tasks.keys().filter(|id| stopped(id)).copied().collect();
        let endpoints = own_endpoints(&body.memory, set)
            .into_iter()
            .filter(|(id, _)| !stopped.contains(id))
            .map(|(id, (state, incarnation, sequence))| (id, OwnEndpoint { state, incarnation, sequence }));
        let own = OwnView { endpoints: endpoints.collect(), stopped };
        if own != body.own {
            body.own = own;
            self.facts.push(Fact::Named { agent });
        }
    }

    /// What an agent says of itself now.
    pub(super) fn conditions(&self, agent: usize) -> NodeConditions {
        let body = &self.agents[agent];
        let strangers = match &body.accepted {
            Some(set) if body.observed.is_complete() => strangers(set, &body.observed),
            _ => Vec::new(),
        };
        NodeConditions {
            engine_problem: body.engine_problem.clone(),
            forwards: Vec::new(),
            strangers,
            removed_volumes: body.memory.removed_volumes(),
        }
    }

    fn write_soon(&mut self, agent: usize) {
        let body = &mut self.agents[agent];
        if !body.writing {
            body.writing = true;
            let process = body.process;
            self.after(WRITE_AFTER_MS, Event::WriteMemory { agent, process });
        }
    }

    pub(super) fn write_memory(&mut self, agent: usize, process: u64) {
        let body = &mut self.agents[agent];
        if body.is_process(process) {
            body.writing = false;
            body.disk.memory = Some(body.memory.clone());
        }
    }

    // --- Health checks ---

    fn probe_who_must_be(&mut self, agent: usize, set: &AssignmentSet) {
        let body = &mut self.agents[agent];
        let mut wanted = BTreeMap::new();
        for (id, assignment) in set.tasks.iter().filter(|(_, a)| a.desired == Desired::Run) {
            let Some(task) = body.memory.task(*id) else { continue };
            let asked = task.status.phase == Phase::Running && task.condemned.is_none() && !task.suspect;
            if asked && matches!(effective(&assignment.health, task.image_check.as_ref()), Effective::Check(_)) {
                wanted.insert(*id, task.status.incarnation);
            }
        }
        let process = body.process;
        let fresh: Vec<(TaskId, u32)> =
            wanted.iter().filter(|(id, n)| body.probes.get(id) != Some(n)).map(|(id, n)| (*id, *n)).collect();
        body.probes = wanted;
        for (task, incarnation) in fresh {
            self.after(1, Event::Probe { agent, process, task, incarnation });
        }
    }

    fn check_of(&self, agent: usize, process: u64, task: TaskId, incarnation: u32) -> Option<HealthCheck> {
        let body = &self.agents[agent];
        if !body.is_process(process) || body.probes.get(&task) != Some(&incarnation) {
            return None;
        }
        let (assignment, memory) = (body.accepted.as_ref()?.tasks.get(&task)?, body.memory.task(task)?);
        match effective(&assignment.health, memory.image_check.as_ref()) {
            Effective::Check(check) => Some(check.clone()),
            _ => None,
        }
    }

    /// A check begins; a healthy program's may fail or hang by bad luck.
    pub(super) fn probe(&mut self, agent: usize, process: u64, task: TaskId, incarnation: u32) {
        let Some(check) = self.check_of(agent, process, task, incarnation) else { return };
        let id = self.agents[agent].memory.task(task).map(|t| t.status.container_id.clone()).unwrap_or_default();
        let running = self.hosts[agent].containers.get(&id).filter(|c| c.is_running());
        let passes = running.map_or(Some(false), |c| Program::of(&c.image).passes(self.now - c.began));
        let (takes, passed) = match passes {
            Some(true) if self.strikes(Trouble::ProbeFails) => {
                self.saw(Trouble::ProbeFails);
                (self.rng.range(1, 30), false)
            }
            Some(true) if self.strikes(Trouble::ProbeHangs) => {
                self.saw(Trouble::ProbeHangs);
                (check.timeout_ms, false)
            }
            Some(passes) => (self.rng.range(1, 30), passes),
            None => (check.timeout_ms, false),
        };
        self.after(takes, Event::Probed { agent, process, task, incarnation, passed });
    }

    /// A check has ended.
    pub(super) fn probed(&mut self, agent: usize, process: u64, task: TaskId, incarnation: u32, passed: bool) {
        let Some(check) = self.check_of(agent, process, task, incarnation) else { return };
        let sample = Sample { passed, output: if passed { String::new() } else { "connection refused".into() } };
        let (now, _) = self.clocks(agent);
        let body = &mut self.agents[agent];
        let Some(set) = body.accepted.clone() else { return };
        body.memory.sample(&set, task, incarnation, &sample, now);
        let ever = body.memory.task(task).is_some_and(|t| t.history.ever_passed);
        self.facts.push(Fact::Sampled { agent, task, incarnation, passed });
        self.after(pause_ms(&check, ever), Event::Probe { agent, process, task, incarnation });
        self.turn(agent);
    }
}

impl Agent {
    fn is_busy(&self, task: TaskId) -> bool {
        self.memory.task(task).is_some_and(|t| t.busy.is_some())
    }

    fn mark_settled(&mut self, task: TaskId) {
        self.tick += 1;
        self.settled.insert(task, self.tick);
    }

    fn put(&mut self, seen: super::calls::Seen) {
        use super::calls::Seen;
        match seen {
            Seen::Container(container) => self.observed.put(*container),
            Seen::Gone(id) => self.observed.gone(&id),
            Seen::Unknown => {}
        }
    }
}
