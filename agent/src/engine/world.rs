//! A small model of a node for the engine's tests: a Docker Engine in memory, steps that end when the test says so.

use proto::assignment::{Assignment, AssignmentSet, Desired, NodeNetwork};
use proto::id::{ClusterId, NodeId, ServiceKey, SessionId, Slot, TaskId};
use proto::revision::{Epoch, Revision, Time, Wall};
use proto::spec::{ContainerSpec, HealthCheck, HealthSpec, Probe, RestartPolicy};
use proto::task_state::TaskStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::health::{ImageCheck, Sample};
use super::observed::Exit;
use super::*;

/// Wall time is process time plus this.
const WALL_AHEAD: u64 = 1_000_000;

#[derive(Debug, Clone)]
pub struct World {
    pub set: AssignmentSet,
    pub observed: Observed,
    pub memory: Memory,
    pub now: Time,
    /// What is really there.
    pub engine: BTreeMap<String, Container>,
    pub busy: BTreeMap<TaskId, Step>,
    pub dismissing: BTreeMap<String, Step>,
    made: u32,
}

pub fn key(text: &str) -> ServiceKey {
    ServiceKey { project: "shop".parse().unwrap(), service: text.parse().unwrap() }
}

pub fn check() -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp { port: 80 },
        interval_ms: 10_000,
        timeout_ms: 1_000,
        retries: 2,
        start_period_ms: 0,
        start_interval_ms: 1_000,
    }
}

pub fn assignment(task: u64, service: &str, slot: u32, image: &str) -> Assignment {
    let container = ContainerSpec { image: image.into(), stop_grace_ms: 2_000, ..ContainerSpec::default() };
    Assignment {
        task: TaskId(task),
        service: key(service),
        slot: Slot(slot),
        generation: 1,
        desired: Desired::Run,
        addresses: vec!["10.210.0.9".parse().unwrap()],
        spec_hash: container.hash(),
        container: Arc::new(container),
        restart: RestartPolicy::Always,
        health: HealthSpec::Disabled,
        host_ports: Vec::new(),
        expose: Vec::new(),
        volumes: BTreeMap::new(),
        drain_ms: 0,
    }
}

pub fn empty_set() -> AssignmentSet {
    AssignmentSet {
        cluster: ClusterId(1),
        epoch: Epoch(1),
        node: NodeId(7),
        session: SessionId(1),
        revision: Revision(1),
        network: NodeNetwork {
            subnet: "10.210.0.0".parse().unwrap(),
            prefix: 24,
            gateway: "10.210.0.1".parse().unwrap(),
        },
        tasks: BTreeMap::new(),
        forwards: Vec::new(),
        verdicts: BTreeMap::new(),
        remove_volumes: Vec::new(),
    }
}

impl World {
    pub fn new() -> World {
        World {
            set: empty_set(),
            observed: Observed::default(),
            memory: Memory::default(),
            now: Time(500_000),
            engine: BTreeMap::new(),
            busy: BTreeMap::new(),
            dismissing: BTreeMap::new(),
            made: 0,
        }
    }

    pub fn wall(&self) -> Wall {
        Wall(self.now.0 + WALL_AHEAD)
    }

    pub fn assign(&mut self, assignment: Assignment) {
        self.set.revision.0 += 1;
        self.set.tasks.insert(assignment.task, assignment);
    }

    /// One turn of the worker: learn, decide, begin.
    pub fn turn(&mut self) -> Vec<Action> {
        self.memory.fold(&self.set, &self.observed, self.now, self.wall());
        let mut all = Vec::new();
        loop {
            let actions = diff(&self.set, &self.observed, &self.memory, self.now);
            if actions.is_empty() {
                return all;
            }
            self.begin_all(&actions);
            all.extend(actions);
        }
    }

    fn begin_all(&mut self, actions: &[Action]) {
        for action in actions {
            self.memory.begin(&self.set, action, self.now);
            match action {
                Action::Task { task, step } => {
                    let earlier = self.busy.insert(*task, step.clone());
                    assert_eq!(earlier, None, "{task} does two things at once");
                }
                Action::Dismiss { container, step } => {
                    assert_eq!(self.dismissing.insert(container.clone(), step.clone()), None);
                }
                Action::RemoveVolume { .. } | Action::Report { .. } | Action::Cancel { .. } => {}
            }
        }
    }

    /// The whole list comes.
    pub fn list(&mut self) {
        let busy: BTreeSet<TaskId> = self.busy.keys().copied().collect();
        self.observed.replace_all(self.engine.values().cloned().collect(), &busy);
        let seen: Vec<TaskId> = self.memory.tasks.keys().filter(|t| !busy.contains(t)).copied().collect();
        seen.into_iter().for_each(|task| self.memory.looked_at(task));
    }

    /// A container is there that the test puts there.
    pub fn plant(&mut self, id: &str, made_for: &Assignment, state: ContainerState) {
        let container = Container {
            id: id.into(),
            name: id.into(),
            task: made_for.task,
            service: made_for.service.clone(),
            slot: made_for.slot,
            generation: made_for.generation,
            spec_hash: made_for.spec_hash.clone(),
            state,
        };
        self.engine.insert(id.into(), container);
    }

    /// What a task is doing ends well: the engine did it.
    pub fn succeed(&mut self, task: TaskId) {
        let Some(step) = self.busy.remove(&task) else { return };
        let outcome = match &step {
            Step::Fetch => Outcome::Fetched(ImageCheck::Absent),
            Step::Prepare { .. } => {
                self.made += 1;
                let id = format!("c{}", self.made);
                let assignment = self.set.tasks[&task].clone();
                self.plant(&id, &assignment, ContainerState::Created);
                Outcome::Prepared { container: id, image_check: ImageCheck::Absent, warnings: Vec::new() }
            }
            Step::ReadImage => Outcome::ImageRead(ImageCheck::Absent),
            other => {
                self.apply(other);
                Outcome::Done
            }
        };
        self.look(task);
        self.memory.settle(task, outcome, self.now, self.wall());
    }

    pub fn succeed_dismissal(&mut self, container: &str) {
        let Some(step) = self.dismissing.remove(container) else { return };
        self.apply(&step);
        if let Some(task) = self.observed.get(container).map(|c| c.task) {
            self.look(task);
        }
        self.memory.settle_stranger(container, true, self.now);
    }

    /// What a task was doing was given up.
    pub fn give_up(&mut self, task: TaskId) {
        if self.busy.remove(&task).is_some() {
            self.memory.settle(task, Outcome::Cancelled, self.now, self.wall());
        }
    }

    pub fn fail(&mut self, task: TaskId, trouble: Trouble) {
        if self.busy.remove(&task).is_some() {
            self.memory.settle(task, Outcome::Failed(trouble), self.now, self.wall());
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Start { container } => self.set_state(container, ContainerState::Running { started_at: self.wall() }),
            Step::Stop { container, .. } => self.end(container, 143),
            Step::Remove { container } => {
                self.engine.remove(container);
            }
            Step::Fetch | Step::Prepare { .. } | Step::ReadImage => {}
        }
    }

    fn set_state(&mut self, id: &str, state: ContainerState) {
        if let Some(container) = self.engine.get_mut(id) {
            container.state = state;
        }
    }

    /// A running container's process ends; nobody has looked yet.
    pub fn end(&mut self, id: &str, code: i32) {
        if let Some(ContainerState::Running { started_at }) = self.engine.get(id).map(|c| c.state.clone()) {
            let finished_at = Some(self.wall());
            let exit = Exit { started_at: Some(started_at), finished_at, code: Some(code), ..Exit::default() };
            self.set_state(id, ContainerState::Exited(exit));
        }
    }

    /// Somebody looks at a task's containers.
    pub fn look(&mut self, task: TaskId) {
        let old: Vec<String> = self.observed.of_task(task).map(|c| c.id.clone()).collect();
        old.iter().for_each(|id| self.observed.gone(id));
        self.engine.values().filter(|c| c.task == task).cloned().for_each(|c| self.observed.put(c));
        self.memory.looked_at(task);
    }

    pub fn sample(&mut self, task: TaskId, passed: bool) {
        let incarnation = self.memory.tasks[&task].status.incarnation;
        let sample = Sample { passed, output: "connection refused".into() };
        self.memory.sample(&self.set, task, incarnation, &sample, self.now);
    }

    /// The agent is started again with what the ledger kept.
    pub fn restart_agent(&mut self) {
        let kept = serde_json::to_vec(&self.memory).unwrap();
        let memory: Memory = serde_json::from_slice(&kept).unwrap();
        self.memory = memory.restored(Some(&self.set), self.now, self.wall());
        self.observed = Observed::default();
        self.busy.clear();
        self.dismissing.clear();
    }
}

/// A status in a few words.
pub fn brief(status: &TaskStatus) -> String {
    let mut out = format!("#{} {}", status.incarnation, status.phase);
    if status.health != proto::task_state::Health::None {
        out += &format!(" {}", status.health.as_str());
    }
    if let Some(code) = status.exit_code {
        out += &format!(" code={code}");
    }
    if status.failures_in_a_row > 0 {
        out += &format!(" failures={}", status.failures_in_a_row);
    }
    if let Some(at) = status.retry_at {
        out += &format!(" retry_at={}", at.0 - WALL_AHEAD - 500_000);
    }
    if !status.message.is_empty() {
        out += &format!(" ({})", status.message);
    }
    out
}
