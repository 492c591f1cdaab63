//! What is inside the fake engine: containers and the rules they follow.
//!
//! The rules are those of the real one that matter here: names and addresses are unique, an address counts only while
//! its container runs, images and networks must be there. Never waits.

use super::super::translate::{self, wanted_volumes};
use super::super::{
    CreateRequest, Hint, Identity, ImageInfo, LogChunk, LogQuery, RuntimeError, SeenContainer, SeenState,
};
use super::{Call, CallKind, ExecOutcome, ExecScript, Fault};
use proto::assignment::NodeNetwork;
use proto::id::TaskId;
use proto::revision::Wall;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tokio::sync::mpsc;

const FIRST_PID: i64 = 1000;

#[derive(Debug, Default)]
pub(super) struct World {
    pub now: Wall,
    pub down: bool,
    pub hints_lost: bool,
    pub images: BTreeMap<String, ImageInfo>,
    pub registry: BTreeMap<String, ImageInfo>,
    pub networks: BTreeMap<String, (Identity, NodeNetwork)>,
    pub volumes: BTreeSet<String>,
    pub faults: BTreeMap<CallKind, VecDeque<Fault>>,
    pub execs: BTreeMap<TaskId, VecDeque<ExecScript>>,
    pub exits_on_start: BTreeMap<String, i32>,
    pub deaf: BTreeSet<TaskId>,
    pub calls: Vec<Call>,
    pub listeners: Vec<(Identity, mpsc::UnboundedSender<Hint>)>,
    containers: BTreeMap<String, Container>,
    made: u64,
    started: i64,
}

#[derive(Debug)]
struct Container {
    request: CreateRequest,
    state: SeenState,
    log: Vec<LogChunk>,
    followers: Vec<mpsc::UnboundedSender<LogChunk>>,
}

impl Container {
    fn task(&self) -> TaskId {
        self.request.assignment.task
    }

    fn runs(&self) -> bool {
        matches!(self.state, SeenState::Running { .. })
    }
}

impl World {
    /// Notes the call and takes its fault.
    pub fn begin(&mut self, kind: CallKind, subject: &str) -> Result<Option<Fault>, RuntimeError> {
        let subject = self.containers.get(subject).map_or(subject, |c| c.request.name.as_str()).to_owned();
        self.calls.push(Call { kind, subject });
        if self.down {
            let cause = "the engine is down".to_owned();
            return Err(RuntimeError::Unreachable { endpoint: "fake".to_owned(), cause });
        }
        Ok(self.faults.get_mut(&kind).and_then(VecDeque::pop_front))
    }

    pub fn image(&self, reference: &str) -> Option<ImageInfo> {
        let by_id = || self.images.values().find(|info| info.id == reference);
        self.images.get(reference).or_else(by_id).cloned()
    }

    pub fn pull(&mut self, reference: &str) -> Result<(), RuntimeError> {
        let Some(info) = self.registry.get(reference) else {
            let cause = "manifest unknown; check the tag".to_owned();
            return Err(RuntimeError::Pull { image: reference.to_owned(), cause });
        };
        self.images.insert(reference.to_owned(), info.clone());
        Ok(())
    }

    pub fn ensure_network(&mut self, identity: &Identity, network: &NodeNetwork) -> Result<String, RuntimeError> {
        let name = identity.network_name();
        let wanted = (identity.clone(), *network);
        let there = self.networks.entry(name.clone()).or_insert_with(|| wanted.clone());
        if (there.0.cluster, there.0.node, there.1) == (wanted.0.cluster, wanted.0.node, wanted.1) {
            return Ok(identity.bridge_name());
        }
        Err(RuntimeError::Conflict { what: format!("network `{name}`"), cause: "it is another's".to_owned() })
    }

    pub fn create(&mut self, request: &CreateRequest) -> Result<String, RuntimeError> {
        let reference = translate::image_reference(&request.assignment.container);
        if self.image(reference).is_none() {
            return Err(RuntimeError::NotFound { what: format!("image `{reference}`") });
        }
        if self.containers.values().any(|c| c.request.name == request.name) {
            let cause = format!("`{}` is already in use by a container", request.name);
            return Err(RuntimeError::Conflict { what: "the container name".to_owned(), cause });
        }
        // The same contradictions are refused as by the real one.
        let features = translate::abilities::features(&BTreeSet::new(), "1.41");
        translate::create_body(request, &translate::Facts { features, ..translate::Facts::default() })?;
        for wanted in wanted_volumes(&request.assignment)? {
            if wanted.external && !self.volumes.contains(&wanted.name) {
                return Err(RuntimeError::NotFound { what: format!("external volume `{}`", wanted.name) });
            }
            self.volumes.insert(wanted.name);
        }
        self.made += 1;
        let id = format!("{:064x}", self.made);
        let container =
            Container { request: request.clone(), state: SeenState::Created, log: Vec::new(), followers: Vec::new() };
        self.containers.insert(id.clone(), container);
        self.hint(&id, "create");
        Ok(id)
    }

    pub fn start(&mut self, id: &str) -> Result<(), RuntimeError> {
        let container = self.containers.get(id).ok_or_else(|| absent(id))?;
        if container.runs() {
            return Ok(());
        }
        let network = container.request.identity.network_name();
        if !self.networks.contains_key(&network) {
            let cause = format!("network {network} not found");
            return Err(RuntimeError::Refused { call: "start a container", cause });
        }
        let addresses = &container.request.assignment.addresses;
        let shares = |other: &Container| other.request.assignment.addresses.iter().any(|a| addresses.contains(a));
        if self.containers.values().any(|other| other.runs() && shares(other)) {
            let cause = "Address already in use".to_owned();
            return Err(RuntimeError::Conflict { what: "the address".to_owned(), cause });
        }
        let image = container.request.assignment.container.image.clone();
        self.started += 1;
        let state = SeenState::Running { started_at: self.now, pid: FIRST_PID + self.started };
        self.set(id, state, "start");
        if let Some(code) = self.exits_on_start.get(&image).copied() {
            self.end(id, code, false);
        }
        Ok(())
    }

    /// `false` when it runs and does not heed.
    pub fn ask_to_stop(&mut self, id: &str) -> bool {
        match self.containers.get(id) {
            Some(container) if container.runs() && self.deaf.contains(&container.task()) => false,
            _ => {
                self.end(id, 143, false);
                true
            }
        }
    }

    pub fn kill(&mut self, id: &str) {
        self.end(id, 137, false);
    }

    pub fn remove(&mut self, id: &str) -> Result<(), RuntimeError> {
        if self.containers.get(id).is_some_and(Container::runs) {
            let cause = "You cannot remove a running container".to_owned();
            return Err(RuntimeError::Conflict { what: format!("container `{id}`"), cause });
        }
        self.hint(id, "destroy");
        self.containers.remove(id);
        Ok(())
    }

    pub fn remove_by_hand(&mut self, task: TaskId) {
        for id in self.ids_of(task) {
            self.kill(&id);
            self.hint(&id, "destroy");
            self.containers.remove(&id);
        }
    }

    pub fn inspect(&self, id: &str) -> Result<SeenContainer, RuntimeError> {
        let container = self.containers.get(id).ok_or_else(|| absent(id))?;
        Ok(seen(id, container))
    }

    /// All, or those of a cluster and node, in the order of their tasks.
    pub fn seen(&self, identity: Option<&Identity>) -> Vec<SeenContainer> {
        let ours = |c: &Container| identity.is_none_or(|i| same_node(i, &c.request.identity));
        let mut all: Vec<SeenContainer> =
            self.containers.iter().filter(|(_, c)| ours(c)).map(|(id, c)| seen(id, c)).collect();
        all.sort_by(|a, b| (a.task, &a.id).cmp(&(b.task, &b.id)));
        all
    }

    pub fn request(&self, task: TaskId) -> Option<CreateRequest> {
        self.containers.values().find(|c| c.task() == task).map(|c| c.request.clone())
    }

    pub fn exit(&mut self, task: TaskId, exit_code: i32, oom_killed: bool) -> bool {
        let ids = self.ids_of(task);
        let running = ids.into_iter().find(|id| self.containers.get(id).is_some_and(Container::runs));
        match running {
            Some(id) => {
                self.end(&id, exit_code, oom_killed);
                true
            }
            None => false,
        }
    }

    /// Ends everything without a hint.
    pub fn end_all(&mut self, exit_code: i32) {
        let lost = std::mem::replace(&mut self.hints_lost, true);
        for id in self.containers.keys().cloned().collect::<Vec<_>>() {
            self.end(&id, exit_code, false);
        }
        self.hints_lost = lost;
    }

    pub fn exec(&mut self, id: &str) -> Result<ExecScript, RuntimeError> {
        let container = self.containers.get(id).ok_or_else(|| absent(id))?;
        if !container.runs() {
            let cause = "it is not running".to_owned();
            return Err(RuntimeError::Conflict { what: format!("container `{id}`"), cause });
        }
        let scripted = self.execs.get_mut(&container.task()).and_then(VecDeque::pop_front);
        Ok(scripted.unwrap_or_else(|| ExecScript::Ends(ExecOutcome { exit_code: 0, output: String::new() })))
    }

    pub fn write_log(&mut self, task: TaskId, chunk: LogChunk) {
        let chunk = LogChunk { at: Some(self.now), ..chunk };
        for container in self.containers.values_mut().filter(|c| c.task() == task && c.runs()) {
            container.log.push(chunk.clone());
            container.followers.retain(|follower| follower.send(chunk.clone()).is_ok());
        }
    }

    /// What is there, and what comes if it is followed.
    pub fn logs(&mut self, id: &str, query: &LogQuery) -> Result<Logs, RuntimeError> {
        let container = self.containers.get_mut(id).ok_or_else(|| absent(id))?;
        let since = query.since.unwrap_or_default();
        let mut there: Vec<LogChunk> = container.log.iter().filter(|c| c.at >= Some(since)).cloned().collect();
        if let Some(tail) = query.tail.and_then(|lines| usize::try_from(lines).ok()) {
            there.drain(..there.len().saturating_sub(tail));
        }
        let coming = (query.follow && container.runs()).then(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            container.followers.push(sender);
            receiver
        });
        Ok((there, coming))
    }

    pub fn remove_volume(&mut self, name: &str) -> Result<(), RuntimeError> {
        let mounts =
            |c: &Container| wanted_volumes(&c.request.assignment).is_ok_and(|w| w.iter().any(|w| w.name == name));
        if self.containers.values().any(mounts) {
            let cause = "volume is in use".to_owned();
            return Err(RuntimeError::Conflict { what: format!("volume `{name}`"), cause });
        }
        self.volumes.remove(name);
        Ok(())
    }

    fn ids_of(&self, task: TaskId) -> Vec<String> {
        self.containers.iter().filter(|(_, c)| c.task() == task).map(|(id, _)| id.clone()).collect()
    }

    fn end(&mut self, id: &str, exit_code: i32, oom_killed: bool) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let SeenState::Running { started_at, .. } = container.state else { return };
        container.followers.clear();
        let state = SeenState::Exited {
            started_at: Some(started_at),
            finished_at: Some(self.now),
            exit_code,
            oom_killed,
            error: String::new(),
        };
        if oom_killed {
            self.hint(id, "oom");
        }
        self.set(id, state, "die");
    }

    fn set(&mut self, id: &str, state: SeenState, action: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            container.state = state;
        }
        self.hint(id, action);
    }

    fn hint(&mut self, id: &str, action: &str) {
        let Some(container) = self.containers.get(id) else { return };
        if self.hints_lost {
            return;
        }
        let hint = Hint { container_id: id.to_owned(), task: container.task(), action: action.to_owned() };
        let of = &container.request.identity;
        self.listeners.retain(|(listener, sender)| !same_node(listener, of) || sender.send(hint.clone()).is_ok());
    }
}

/// What a log holds, and what will come.
pub(super) type Logs = (Vec<LogChunk>, Option<mpsc::UnboundedReceiver<LogChunk>>);

fn same_node(a: &Identity, b: &Identity) -> bool {
    (a.cluster, a.node) == (b.cluster, b.node)
}

fn absent(id: &str) -> RuntimeError {
    RuntimeError::NotFound { what: format!("container `{id}`") }
}

fn seen(id: &str, container: &Container) -> SeenContainer {
    let assignment = &container.request.assignment;
    SeenContainer {
        id: id.to_owned(),
        name: container.request.name.clone(),
        task: assignment.task,
        service: assignment.service.clone(),
        slot: assignment.slot,
        generation: assignment.generation,
        spec_hash: assignment.spec_hash.clone(),
        state: container.state.clone(),
    }
}
