//! Liveness: once troubles have ended everything becomes as asked, or has a reason that this world's programs explain.

use orchestrator::engine::explain;
use orchestrator::engine::model::{RolloutState, Service, Task};
use orchestrator::engine::placement::{Ledger, place, place_on};
use proto::id::{NodeId, ServiceKey, Slot};
use proto::spec::{DependencyCondition, HealthSpec};
use proto::task_state::Phase;
use std::collections::BTreeSet;

use super::image::Program;
use super::{CONVERGES_WITHIN_MS, World};
use crate::invariants::global::{is_global, may_be, wanted};

/// Looks in a row at which all must be well.
const LOOKS_IN_A_ROW: u32 = 3;

/// How near the end is.
#[derive(Debug, Default)]
pub struct Convergence {
    well: u32,
}

// === impl Convergence ===

impl Convergence {
    /// Has everything converged? An error says what has not in time.
    pub fn look(&mut self, world: &World) -> Result<bool, String> {
        let problem = problems(world);
        self.well = if problem.is_none() { self.well + 1 } else { 0 };
        match problem {
            Some(problem) if world.now > world.params.rough_ms + CONVERGES_WITHIN_MS => {
                Err(format!("convergence: after {} s of calm {problem}", CONVERGES_WITHIN_MS / 1_000))
            }
            _ => Ok(self.well >= LOOKS_IN_A_ROW),
        }
    }
}

/// The first thing that is not as it should be.
fn problems(world: &World) -> Option<String> {
    let state = &world.state;
    if !world.leader.leads {
        return Some("nobody leads".to_owned());
    }
    if let Some(request) = world.requests.iter().find(|r| r.outcome.is_none()) {
        return Some(format!("a request is not answered: {:?}", request.command));
    }
    if let Some(node) = state.nodes().find(|n| !n.is_up() || !n.conditions.engine_problem.is_empty()) {
        return Some(format!("node {} is not usable: {:?}", node.info.id, node.conditions.engine_problem));
    }
    if let Some(project) = state.projects().find(|p| p.deletion.is_some()) {
        return Some(format!("project {} is not deleted", project.name));
    }
    state.services().find_map(|s| service(world, s)).or_else(|| containers(world))
}

fn service(world: &World, service: &Service) -> Option<String> {
    let key = &service.key;
    if service.removing {
        return Some(format!("{key} is not removed"));
    }
    let slots = wanted(&world.state, service);
    for task in world.state.tasks_of(key) {
        if !task.is_wanted() {
            return Some(format!("{} of {key} has not stopped", task.id));
        }
        match slots.get(&task.slot) {
            None => return Some(format!("{} of {key} is surplus", task.id)),
            Some(Some(home)) if *home != task.node && !may_wait(world, service, task, *home) => {
                return Some(format!("{} of {key} is not on {home}", task.id));
            }
            Some(_) => {}
        }
    }
    let is_under_way = service.rollout.as_ref().is_some_and(|r| r.is_running());
    let has_tasks = world.state.tasks_of(key).next().is_some();
    if is_under_way && has_tasks && !blocked(world, service) {
        let why = explain::why(&world.state, key, None, world.state.wall()).unwrap_or_default();
        return Some(format!("the rollout of {key} has not ended: {}; {}; {}", why.now, why.cause, why.next));
    }
    slots.iter().find_map(|(slot, home)| slot_problem(world, service, *slot, *home))
}

/// What sits in another node's slot serves until that slot's own task does.
fn may_wait(world: &World, service: &Service, task: &Task, home: NodeId) -> bool {
    let is_possible = world.state.node(task.node).is_some_and(|n| may_be(service, n));
    let own = world.state.tasks_in(&service.key, task.slot).filter(|t| t.node == home);
    let own: Vec<&Task> = own.map(|t| &**t).collect();
    is_possible && !own.iter().any(|t| t.is_satisfied()) && excuse(world, service, &own, Some(home)).is_some()
}

fn slot_problem(world: &World, service: &Service, slot: Slot, home: Option<NodeId>) -> Option<String> {
    let tasks = world.state.tasks_in(&service.key, slot).filter(|t| home.is_none_or(|node| node == t.node));
    let tasks: Vec<&Task> = tasks.map(|t| &**t).collect();
    let well = tasks.iter().filter(|t| t.spec_hash == service.spec_hash && t.is_satisfied()).count();
    if well > 0 {
        return (tasks.len() > 1).then(|| format!("{}.{slot} has {} tasks", service.key, tasks.len()));
    }
    match excuse(world, service, &tasks, home) {
        Some(_) => no_reason(world, service, slot),
        None => {
            let state: Vec<String> =
                tasks.iter().map(|t| format!("{} {} on {}", t.id, t.status.phase, t.node)).collect();
            Some(format!(
                "{}.{slot} ({}) is not ready without excuse: {state:?}",
                service.key, service.spec.container.image
            ))
        }
    }
}

/// What excuses a slot that is not as asked; `None`: nothing does.
fn excuse(world: &World, service: &Service, tasks: &[&Task], home: Option<NodeId>) -> Option<&'static str> {
    let checked = matches!(service.spec.health, HealthSpec::Check(_));
    if !Program::of(&service.spec.container.image).works(checked) {
        return Some("its program never gets ready");
    }
    if blocked(world, service) {
        return Some("its dependencies are not met");
    }
    let is_left = |s: &RolloutState| matches!(s, RolloutState::Paused { .. } | RolloutState::Failed { .. });
    if service.rollout.as_ref().is_some_and(|r| is_left(&r.state)) {
        return Some("its rollout was paused, or failed and could not be taken back");
    }
    let current = tasks.iter().find(|t| t.spec_hash == service.spec_hash);
    if let Some(task) = current {
        return service.gave_up(task).then_some("its restart policy leaves it at that");
    }
    let ledger = Ledger::of(&world.state);
    let placed = match home {
        Some(node) => place_on(&world.state, &ledger, service, node),
        None => place(&world.state, &ledger, service, None),
    };
    if placed.is_err() {
        return Some("no node that may have it can hold it");
    }
    None
}

fn blocked(world: &World, service: &Service) -> bool {
    service.spec.depends_on.iter().filter(|(name, _)| !service.gates.contains_key(*name)).any(|(name, how)| {
        let key = ServiceKey { project: service.key.project.clone(), service: name.clone() };
        let Some(target) = world.state.service(&key) else { return how.required };
        let met = |t: &Task| match how.condition {
            DependencyCondition::Started => t.status.phase == Phase::Running || t.is_complete(),
            DependencyCondition::Healthy => t.is_satisfied() && t.status.phase == Phase::Running,
            DependencyCondition::Completed => t.is_complete(),
        };
        let count = world.state.tasks_of(&key).filter(|t| t.spec_hash == target.spec_hash && met(t)).count();
        let slots = wanted(&world.state, target);
        count < slots.len() || slots.is_empty() && is_global(target)
    })
}

fn no_reason(world: &World, service: &Service, slot: Slot) -> Option<String> {
    let why = explain::why(&world.state, &service.key, Some(slot), world.state.wall());
    let said = why.is_some_and(|w| !w.cause.is_empty() && !w.next.is_empty());
    (!said).then(|| format!("{}.{slot} is not ready and nobody says why", service.key))
}

/// What really runs is what State says.
fn containers(world: &World) -> Option<String> {
    for (host, docker) in world.hosts.iter().enumerate() {
        let node = world.agents[host].info.id;
        let mut seen = BTreeSet::new();
        for real in docker.containers.values().filter(|c| !c.foreign) {
            let task = real.shown.task;
            if world.state.task(task).is_none_or(|t| t.node != node) {
                return Some(format!("host {host} has {} of {task}, which is not there", real.shown.id));
            }
            if !seen.insert(task) {
                return Some(format!("host {host} has two containers of {task}"));
            }
        }
        for task in world.state.tasks_on(node).filter(|t| t.status.phase == Phase::Running) {
            let runs = docker.running_of(task.id).any(|c| c.shown.id == task.status.container_id);
            // A process that ends again and again may just have ended.
            let flickers = Program::of(&task.container.image).life(1).is_some();
            if !runs && !flickers {
                return Some(format!("{} is said to run on host {host} and does not", task.id));
            }
        }
    }
    None
}
