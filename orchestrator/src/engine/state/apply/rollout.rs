//! Rollouts begin, are judged, paused, taken back and end: what reconcile decided, and what operators steer.

use proto::id::{ServiceKey, ServiceName, Slot, TaskId};
use proto::task_state::TaskStatus;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::project::{self, Made};
use super::{State, done};
use crate::engine::command::Steer;
use crate::engine::model::service::volumes_used;
use crate::engine::model::{Back, Earlier, Origin, Project, Rollout, RolloutState, Service, SlotFailure, Task};
use crate::engine::outcome::{Outcome, Rejection};
use crate::engine::reason::Reason;
use crate::engine::reconcile::SlotSet;

type Refused = &'static str;

// --- Beginning ---

/// The rollout of a change that an apply makes; `None`: no task of an earlier spec is there, or this State knows no
/// rollouts. `replaces`: containers are replaced.
pub(super) fn begun(
    state: &State,
    present: &Service,
    spec_hash: &str,
    replaces: bool,
    release: u64,
) -> Option<Rollout> {
    if !state.has_rollouts() {
        return None;
    }
    let unfinished = present.rollout.as_ref().filter(|r| !r.is_done() && !present.removing);
    if let Some(rollout) = unfinished.filter(|_| !replaces) {
        return Some(Rollout { release, ..rollout.clone() });
    }
    let is_left = has_outdated(state, present, spec_hash);
    if present.removing && !is_left {
        return None;
    }
    let from = last_good(state, present).filter(|from| !replaces || from.spec_hash != spec_hash);
    let from = from.filter(|_| !present.removing);
    let generation = present.generation + u64::from(replaces || present.removing);
    Some(fresh(state, from, generation, release, replaces || is_left))
}

fn has_outdated(state: &State, service: &Service, spec_hash: &str) -> bool {
    state.tasks_of(&service.key).any(|t| t.is_wanted() && t.spec_hash != spec_hash)
}

fn fresh(state: &State, from: Option<Arc<Earlier>>, to: u64, release: u64, runs: bool) -> Rollout {
    Rollout {
        from,
        to,
        release,
        began: state.clock,
        began_at: state.wall,
        since: state.revision,
        state: if runs { RolloutState::Running } else { RolloutState::Done },
        back: None,
        failed: BTreeMap::new(),
        unplaced: BTreeMap::new(),
        ended_at: (!runs).then_some(state.wall),
    }
}

/// Updates that a version without rollouts had begun go on as rollouts; what they began from was not kept.
pub(super) fn take_over(state: &mut State) {
    let begun: Vec<Arc<Service>> =
        state.services.values().filter(|s| !s.removing && has_outdated(state, s, &s.spec_hash)).cloned().collect();
    for service in begun {
        let release = state.projects.get(&service.key.project).map_or(0, |p| p.release);
        let rollout = Some(fresh(state, None, service.generation, release, true));
        let service = Service { rollout, modified: state.revision, ..(*service).clone() };
        state.services.insert(service.key.clone(), Arc::new(service));
    }
}

/// The last spec that was rolled out whole, or first applied and ready once.
fn last_good(state: &State, present: &Service) -> Option<Arc<Earlier>> {
    let own = || {
        Some(Arc::new(Earlier {
            release: state.projects.get(&present.key.project).map_or(0, |p| p.release),
            generation: present.generation,
            spec_hash: present.spec_hash.clone(),
            spec: present.spec.clone(),
            volumes: present.volumes.clone(),
            gates: present.gates.clone(),
        }))
    };
    let is_proven = || {
        let mut own = state.tasks_of(&present.key).filter(|t| t.spec_hash == present.spec_hash);
        own.any(|t| t.was_ready || t.is_complete())
    };
    match &present.rollout {
        Some(rollout) if rollout.is_done() => own(),
        Some(Rollout { from: Some(from), .. }) => Some(from.clone()),
        _ if is_proven() => own(),
        _ => None,
    }
}

/// A rollout that another takes the place of, or that a removal ends, is noted in its release.
pub(super) fn note_superseded(state: &mut State, present: &Service) {
    if let Some(rollout) = present.rollout.as_ref().filter(|r| !r.is_done()) {
        let word = match &rollout.state {
            RolloutState::Failed { cause } => format!("failed: {cause}"),
            RolloutState::Paused { cause } => format!("superseded: {cause}"),
            RolloutState::Running | RolloutState::Done => "superseded".to_owned(),
        };
        note_outcome(state, &present.key, rollout.release, &word);
    }
}

fn note_outcome(state: &mut State, key: &ServiceKey, release: u64, word: &str) {
    let Some(project) = state.projects.get(&key.project) else { return };
    let mut project = (**project).clone();
    if let Some(noted) = project.releases.iter_mut().find(|r| r.number == release) {
        noted.outcomes.insert(key.service.clone(), word.to_owned());
        state.projects.insert(key.project.clone(), Arc::new(project));
    }
}

// --- What reconcile decided ---

/// Changes a service's rollout.
fn edit(state: &mut State, key: &ServiceKey, change: impl FnOnce(&mut Rollout)) -> Result<Arc<Service>, Refused> {
    let mut service = (**state.services.get(key).ok_or("its service is gone")?).clone();
    let rollout = service.rollout.as_mut().ok_or("nothing is being rolled out")?;
    change(rollout);
    service.modified = state.revision;
    let service = Arc::new(service);
    state.services.insert(key.clone(), service.clone());
    Ok(service)
}

pub(super) fn fail_slot(
    state: &mut State,
    key: &ServiceKey,
    slot: Slot,
    task: Option<TaskId>,
    cause: &str,
) -> Result<(), Refused> {
    let log = task.and_then(|id| state.tasks.get(&id)).map(|t| log_of(t)).unwrap_or_default();
    let failure = SlotFailure { task, at: state.wall, cause: cause.to_owned(), log };
    edit(state, key, |rollout| {
        rollout.failed.insert(slot, failure);
    })?;
    state.record(format!("{key}.{slot}"), "slot-failed", cause.to_owned());
    Ok(())
}

/// What is known of a failed task's output.
fn log_of(task: &Task) -> Vec<String> {
    match &task.setback {
        Some(setback) if !setback.log.is_empty() => setback.log.clone(),
        _ => task.status.last_log.clone(),
    }
}

/// The last lines of a task's log come after its end: they are added to what was noted of it.
pub(super) fn log_came(state: &mut State, task: &Task, status: &TaskStatus) {
    if status.last_log.is_empty() || !state.has_rollouts() {
        return;
    }
    let Some(project) = state.services.get(&task.service).map(|s| s.key.project.clone()) else { return };
    let waiting: Vec<ServiceKey> =
        state.services_of(&project).filter(|s| lacks_log(s, task.id)).map(|s| s.key.clone()).collect();
    for key in waiting {
        let _ = edit(state, &key, |rollout| {
            for failure in rollout.failed.values_mut().filter(|f| f.task == Some(task.id) && f.log.is_empty()) {
                failure.log.clone_from(&status.last_log);
            }
            if let Some(back) = rollout.back.as_ref().filter(|b| b.task == Some(task.id) && b.log.is_empty()) {
                rollout.back = Some(Arc::new(Back { log: status.last_log.clone(), ..(**back).clone() }));
            }
        });
    }
}

fn lacks_log(service: &Service, task: TaskId) -> bool {
    service.rollout.as_ref().is_some_and(|r| {
        r.failed.values().any(|f| f.task == Some(task) && f.log.is_empty())
            || r.back.as_ref().is_some_and(|b| b.task == Some(task) && b.log.is_empty())
    })
}

pub(super) fn hold_slot(state: &mut State, key: &ServiceKey, slot: Slot, reason: &Reason) -> Result<(), Refused> {
    let since = state.clock;
    edit(state, key, |rollout| {
        rollout.unplaced.insert(slot, since);
    })?;
    state.record(format!("{key}.{slot}"), "slot-held", reason.to_string());
    Ok(())
}

/// A slot that was held has a task.
pub(super) fn slot_placed(state: &mut State, key: &ServiceKey, slot: Slot) {
    let is_held = |s: &Arc<Service>| s.rollout.as_ref().is_some_and(|r| r.unplaced.contains_key(&slot));
    if state.services.get(key).is_some_and(is_held) {
        let _ = edit(state, key, |rollout| {
            rollout.unplaced.remove(&slot);
        });
    }
}

pub(super) fn pause(state: &mut State, key: &ServiceKey, reason: &Reason) -> Result<(), Refused> {
    let cause = failure_words(state, key).ok_or("nothing is being rolled out")?.0;
    state.record(key.to_string(), "rollout-paused", format!("{cause} ({reason})"));
    edit(state, key, |rollout| rollout.state = RolloutState::Paused { cause }).map(drop)
}

pub(super) fn fail(state: &mut State, key: &ServiceKey, reason: &Reason) -> Result<(), Refused> {
    let cause = failure_words(state, key).ok_or("nothing is being rolled out")?.0;
    let wall = state.wall;
    state.record(key.to_string(), "rollout-failed", format!("{cause} ({reason})"));
    let service = edit(state, key, |rollout| {
        rollout.state = RolloutState::Failed { cause };
        rollout.ended_at = Some(wall);
    })?;
    let release = service.rollout.as_ref().map_or(0, |r| r.release);
    note_outcome(state, key, release, "failed");
    Ok(())
}

/// `web.1: exit code 1`, the log of that task, and the task.
fn failure_words(state: &State, key: &ServiceKey) -> Option<(String, Vec<String>, Option<TaskId>)> {
    let rollout = state.services.get(key)?.rollout.as_ref()?;
    let Some((slot, failure)) = rollout.first_failure() else { return Some((String::new(), Vec::new(), None)) };
    let more = match rollout.failed.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let log = failure.task.and_then(|id| state.tasks.get(&id)).map(|t| log_of(t)).unwrap_or_default();
    let log = if log.is_empty() { failure.log.clone() } else { log };
    Some((format!("{}.{slot}: {}{more}", key.service, failure.cause), log, failure.task))
}

pub(super) fn finish(state: &mut State, key: &ServiceKey, reason: &Reason) -> Result<(), Refused> {
    let service = state.services.get(key).cloned().ok_or("its service is gone")?;
    // A slot without a task is one that no node can hold.
    let is_done = |slot: Slot| {
        let wanted = || state.tasks_of(key).filter(|t| t.slot == slot && t.is_wanted());
        wanted().next().is_none() || wanted().any(|t| t.spec_hash == service.spec_hash && t.is_satisfied())
    };
    if !SlotSet::of(state, &service).iter().all(is_done) {
        return Err("a slot is not done any more");
    }
    let wall = state.wall;
    let service = edit(state, key, |rollout| {
        rollout.state = RolloutState::Done;
        rollout.failed.clear();
        rollout.unplaced.clear();
        rollout.ended_at = Some(wall);
    })?;
    let Some(rollout) = &service.rollout else { return Ok(()) };
    let (kind, message) = match &rollout.back {
        Some(back) => ("rolled-back", back.cause.clone()),
        None => ("rollout-done", reason.to_string()),
    };
    state.record(key.to_string(), kind, message);
    let word = if rollout.back.is_some() { "rolled-back" } else { "done" };
    note_outcome(state, key, rollout.release, word);
    Ok(())
}

// --- Going back ---

/// Every service that the failed release changed becomes what it was before, as a release of its own.
pub(super) fn roll_back(state: &mut State, key: &ServiceKey, reason: &Reason) -> Result<(), Refused> {
    let failed = state.services.get(key).cloned().ok_or("its service is gone")?;
    let project = state.projects.get(&key.project).cloned().ok_or("its project is gone")?;
    let rollout = failed.rollout.as_ref().filter(|r| r.back.is_none()).ok_or("it goes back already")?;
    let to = rollout.from.as_ref().map(|f| f.release).ok_or("there is nothing to go back to")?;
    let (cause, log, task) = failure_words(state, key).ok_or("nothing is being rolled out")?;
    let back = Arc::new(Back { of: rollout.release, to, cause: cause.clone(), log, task });
    let (spec, changed) = restored(state, &project, rollout.release);
    if let Some(problem) = crate::engine::admission::admit(state, &spec).first() {
        let cause = format!("{cause}; it cannot go back to release {to}: {problem}");
        state.record(key.to_string(), "rollout-paused", cause.clone());
        return edit(state, key, |rollout| rollout.state = RolloutState::Paused { cause }).map(drop);
    }
    let message = format!("release {} goes back to {to} because {cause} ({reason})", back.of);
    state.record(key.to_string(), "rolling-back", message);
    let release = project.release + 1;
    for service in changed {
        note_outcome(state, &service.key, back.of, "rolled-back");
        restore(state, &service, &back, release);
    }
    let project = state.projects.get(&key.project).cloned().ok_or("its project is gone")?;
    project::put_release(state, Some(&project), spec, Origin::RolledBack { of: back.of, to, cause });
    Ok(())
}

/// The project's spec with those services as before that the release changed, and these.
fn restored(state: &State, project: &Project, release: u64) -> (proto::spec::ProjectSpec, Vec<Arc<Service>>) {
    let mut spec = (**project.spec()).clone();
    let mut changed = Vec::new();
    for service in state.services_of(&project.name).filter(|s| !s.removing) {
        let Some(rollout) = service.rollout.as_ref().filter(|r| r.release == release && r.back.is_none()) else {
            continue;
        };
        let Some(from) = &rollout.from else { continue };
        for (name, volume) in &from.volumes {
            spec.volumes.entry(name.clone()).or_insert_with(|| volume.clone());
        }
        spec.networks.extend(from.spec.networks.iter().cloned());
        spec.services.insert(service.key.service.clone(), (*from.spec).clone());
        changed.push(service.clone());
    }
    (spec, changed)
}

fn restore(state: &mut State, service: &Service, back: &Arc<Back>, release: u64) {
    let Some(from) = service.rollout.as_ref().and_then(|r| r.from.as_ref()) else { return };
    let replaces = from.spec_hash != service.spec_hash;
    let generation = service.generation + u64::from(replaces);
    let mut gates = from.gates.clone();
    gates.extend(service.gates.iter().map(|(name, at)| (name.clone(), *at)));
    gates.retain(|name, _| from.spec.depends_on.contains_key(name));
    let service = Service {
        spec: from.spec.clone(),
        volumes: volumes_used(&from.spec, &from.volumes),
        generation,
        spec_hash: from.spec_hash.clone(),
        gates,
        rollout: Some(Rollout {
            back: Some(back.clone()),
            ..fresh(state, Some(from.clone()), generation, release, replaces)
        }),
        modified: state.revision,
        ..service.clone()
    };
    state.services.insert(service.key.clone(), Arc::new(service));
}

// --- Operators ---

/// Pauses a rollout, lets it go on, or undoes it.
pub(super) fn steer(state: &mut State, key: &ServiceKey, how: Steer) -> Outcome {
    let Some((project, service)) = project::present(state, key).filter(|(_, s)| !s.removing) else {
        return Outcome::Rejected(Rejection::NoService(key.clone()));
    };
    match how {
        Steer::Undo { to } => undo(state, &project, &service, to),
        Steer::Pause => pause_by_hand(state, &service),
        Steer::Resume => resume(state, &service),
    }
}

fn refused(key: &ServiceKey, problem: impl Into<String>) -> Outcome {
    Outcome::Rejected(Rejection::NoRollout { service: key.clone(), problem: problem.into() })
}

fn pause_by_hand(state: &mut State, service: &Service) -> Outcome {
    let key = &service.key;
    match service.rollout.as_ref().map(|r| &r.state) {
        Some(RolloutState::Running) => {}
        Some(RolloutState::Paused { .. }) => return done(state, false),
        _ => return refused(key, "no rollout is under way that could be paused"),
    }
    let cause = "an operator paused it".to_owned();
    state.record(key.to_string(), "rollout-paused", cause.clone());
    let _ = edit(state, key, |rollout| rollout.state = RolloutState::Paused { cause });
    done(state, true)
}

/// It goes on; what failed so far is forgiven.
fn resume(state: &mut State, service: &Service) -> Outcome {
    let key = &service.key;
    match service.rollout.as_ref().map(|r| &r.state) {
        Some(RolloutState::Paused { .. } | RolloutState::Failed { .. }) => {}
        Some(RolloutState::Running) => return done(state, false),
        _ => return refused(key, "no rollout is paused"),
    }
    let (revision, clock) = (state.revision, state.clock);
    state.record(key.to_string(), "rollout-resumed", String::new());
    let _ = edit(state, key, |rollout| {
        rollout.state = RolloutState::Running;
        rollout.since = revision;
        rollout.failed.clear();
        rollout.unplaced.clear();
        rollout.ended_at = None;
    });
    let own: Vec<Arc<Task>> = state.tasks_of(key).filter(|t| !t.status.is_ready()).cloned().collect();
    for task in own {
        let task = Task { phase_since: clock, modified: revision, ..(*task).clone() };
        state.tasks.insert(task.id, Arc::new(task));
    }
    done(state, true)
}

/// The service's spec of an earlier release, as a release of its own.
fn undo(state: &mut State, project: &Project, service: &Service, to: Option<u64>) -> Outcome {
    let name = &service.key.service;
    let spec = match earlier(project, service, to) {
        Ok((number, spec)) => (number, spec),
        Err(problem) => return refused(&service.key, problem),
    };
    let (number, release) = spec;
    let mut spec = (**project.spec()).clone();
    let Some(before) = release.services.get(name) else { return refused(&service.key, "it was not there") };
    for (volume, defined) in volumes_used(before, &release.volumes) {
        spec.volumes.insert(volume, defined);
    }
    spec.networks.extend(before.networks.iter().cloned());
    spec.services.insert(name.clone(), before.clone());
    let origin = Origin::Undone { service: name.clone(), to: number };
    project::put_whole(state, Some(project), Made { spec, origin, notices: Vec::new() })
}

/// The release to go back to, with its spec.
fn earlier<'a>(
    project: &'a Project,
    service: &Service,
    to: Option<u64>,
) -> Result<(u64, &'a proto::spec::ProjectSpec), String> {
    let name: &ServiceName = &service.key.service;
    let kept = || {
        let numbers: Vec<String> = project.releases.iter().map(|r| r.number.to_string()).collect();
        numbers.join(", ")
    };
    let found = match to {
        Some(number) => project.releases.iter().find(|r| r.number == number),
        None => project.releases.iter().rev().find(|r| r.spec.services.get(name).is_some_and(|s| *s != *service.spec)),
    };
    match (found, to) {
        (Some(release), _) if release.spec.services.contains_key(name) => Ok((release.number, &release.spec)),
        (Some(_), Some(number)) => Err(format!("release {number} has no service `{name}`")),
        (_, Some(number)) => Err(format!("release {number} is not kept; there are {}", kept())),
        _ => Err("no release is kept in which it was another; `ctl rollout history` lists them".to_owned()),
    }
}
