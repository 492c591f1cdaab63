//! The answer of `ctl why`: three lines, and more to read below them.
//!
//! Pure. A status tells of its own start only: what happened to the one before comes from the ring of events. Called by `api`.

use proto::id::{ServiceKey, Slot};
use proto::revision::Wall;
use proto::spec::{DependencyCondition, RestartPolicy};
use proto::task_state::{Phase, TaskStatus};

use super::global;
use super::unplaced::{self, NoNode};
use super::{
    AS_ASKED, Explanation, Judgement, blocking_gates, counts, gate_words, port_problem, service as judge_service, span,
};
use crate::engine::model::{Event, Service, Task};
use crate::engine::reconcile::SlotSet;
use crate::engine::state::State;

/// The answer of `ctl why` for a service, or one slot of it. `wall`: for spans in words.
pub fn why(state: &State, key: &ServiceKey, slot: Option<Slot>, wall: Wall) -> Option<Explanation> {
    let service = state.service(key)?;
    let explained =
        if service.removing { of_removed(state, service) } else { of_what_is_known(state, service, slot, wall) };
    Some(match silent_engine(state, service, slot) {
        Some((host, problem)) => Explanation {
            cause: format!("the Docker Engine of {host} cannot be used: {problem}; what is told here was seen before"),
            next: format!("its agent goes on asking; nothing is started or stopped on {host} until it answers"),
            ..explained
        },
        None => explained,
    })
}

/// A node of these tasks whose engine cannot be used, by name, and why not: nobody knows what has become of them.
fn silent_engine<'a>(state: &'a State, service: &Service, slot: Option<Slot>) -> Option<(&'a str, &'a str)> {
    let tasks = state.tasks_of(&service.key).filter(|t| slot.is_none_or(|slot| t.slot == slot));
    let mut nodes = tasks.filter_map(|t| state.node(t.node)).filter(|n| n.is_up());
    let node = nodes.find(|n| !n.conditions.engine_problem.is_empty())?;
    Some((&node.info.hostname, &node.conditions.engine_problem))
}

fn of_what_is_known(state: &State, service: &Service, slot: Option<Slot>, wall: Wall) -> Explanation {
    if let Some(told) = super::rollout::why(state, service, wall).filter(|_| slot.is_none()) {
        return told;
    }
    let Some(first) = slot.or_else(|| first_troubled(state, service)) else {
        return of_service(state, service, wall);
    };
    let alike = if slot.is_some() { vec![first] } else { empty_slots(state, service) };
    let slot = first;
    let tasks = state.tasks_of(&service.key).filter(|t| t.slot == slot);
    let task = tasks.max_by_key(|t| (t.is_wanted(), t.spec_hash == service.spec_hash, t.id));
    match task {
        Some(task) => of_task(state, service, task, wall),
        None => of_empty_slot(state, service, slot, &alike),
    }
}

/// It goes, whatever else is to be said of it.
fn of_removed(state: &State, service: &Service) -> Explanation {
    let left: Vec<_> = state.tasks_of(&service.key).collect();
    let grace_max = left.iter().map(|t| t.container.stop_grace_ms).max();
    Explanation {
        now: format!("{} is being removed, {} of its tasks left", service.key, left.len()),
        cause: format!("it was deleted or pruned; {}", super::removing_reason(state, service)),
        next: match grace_max {
            Some(grace) => {
                format!("what has not ended {} after the signal is killed; then it is forgotten", span(grace))
            }
            None => "it is forgotten".to_owned(),
        },
        detail: Vec::new(),
    }
}

/// Slots without a task that is wanted.
fn empty_slots(state: &State, service: &Service) -> Vec<Slot> {
    let is_filled = |slot: Slot| state.tasks_of(&service.key).any(|t| t.slot == slot && t.is_wanted());
    SlotSet::of(state, service).iter().filter(|slot| !is_filled(*slot)).collect()
}

/// The slot to tell about: one that fails, else one without a task, else one that is on its way.
fn first_troubled(state: &State, service: &Service) -> Option<Slot> {
    let rank = |slot: &Slot| {
        let current = state
            .tasks_of(&service.key)
            .filter(|t| t.slot == *slot && t.is_wanted() && t.spec_hash == service.spec_hash)
            .last();
        let word = current.map_or("", |t| super::task(state, t).state);
        match word {
            "ready" | "complete" => None,
            "failed" | "backing-off" | "unhealthy" | "lost" => Some(0),
            "" => Some(1),
            _ => Some(2),
        }
    };
    SlotSet::of(state, service).iter().filter_map(|slot| Some((rank(&slot)?, slot))).min().map(|(_, slot)| slot)
}

/// All its slots are well: what they came through, or what else is wrong.
fn of_service(state: &State, service: &Service, wall: Wall) -> Explanation {
    let judged = judge_service(state, service);
    let set = SlotSet::of(state, service);
    let now = format!("{} is {}: {} of {} ready", service.key, judged.state, counts(state, service).ready, set.count());
    if !set.has_any() {
        let next =
            "it is placed as soon as a node is one where it may be: label one (`ctl node label`), or ask for less"
                .to_owned();
        return Explanation { now, cause: judged.reason, next, detail: global::node_by_node(state, service) };
    }
    if let Some(problem) = port_problem(state, &service.key) {
        let port = problem.port.published;
        let next = format!("its agent tries port {port} again and publishes it as soon as it is free");
        return Explanation { now, cause: problem.problem.clone(), next, detail: Vec::new() };
    }
    let restarted = state.tasks_of(&service.key).filter(|t| t.status.incarnation > 1);
    let Some(last) = restarted.max_by_key(|t| t.status.started_at) else {
        let started = "all its tasks started and none has ended".to_owned();
        let cause = if judged.reason.is_empty() { started } else { judged.reason };
        let warned = state.tasks_of(&service.key).flat_map(|t| warned(t)).take(1);
        let elsewhere = if set.is_global() { global::node_by_node(state, service) } else { Vec::new() };
        let detail = warned.chain(elsewhere).collect();
        return Explanation { now, cause, next: AS_ASKED.to_owned(), detail };
    };
    let name = format!("{}.{}", last.service.service, last.slot);
    Explanation {
        now,
        cause: format!("{name}: {}", past(state, last, wall)),
        next: AS_ASKED.to_owned(),
        detail: warned(last).chain(last.status.last_log.iter().map(|line| format!("{name} | {line}"))).collect(),
    }
}

fn of_task(state: &State, service: &Service, of: &Task, wall: Wall) -> Explanation {
    let judged = super::task(state, of);
    let status = &of.status;
    let node = state.node(of.node).map_or_else(|| of.node.to_string(), |n| n.info.hostname.clone());
    let since = match (status.phase, status.started_at) {
        (Phase::Running, Some(at)) => format!(", running for {}", span(wall.0.saturating_sub(at.0))),
        _ => String::new(),
    };
    // A lost one is replaced on another node: if none takes it, each says why.
    let is_replaced = judged.state == "lost" && !of.has_local_volume() && !state.is_global(service);
    let elsewhere = is_replaced.then(|| NoNode::judge(state, service, Some(of.node)));
    let why_not_elsewhere = elsewhere.filter(|n| n.fit == 0).map(|n| n.by_filter()).unwrap_or_default();
    let start = if status.incarnation > 1 && status.started_at.is_some() {
        format!(" (start {})", status.incarnation)
    } else {
        String::new()
    };
    Explanation {
        now: format!("{}.{} is {} on {node}{since}{start}", service.key, of.slot, judged.state),
        cause: cause(state, of, &judged, wall),
        next: next(state, service, of, &judged, wall),
        detail: warned(of)
            .chain(status.last_log.iter().map(|line| format!("log | {line}")))
            .chain(why_not_elsewhere)
            .collect(),
    }
}

/// What its engine left out of what was asked for.
fn warned(of: &Task) -> impl Iterator<Item = String> {
    of.status.warnings.iter().map(|warning| format!("the engine says: {warning}"))
}

/// Its present trouble and since when; for one that is well or on its way, what it came through.
fn cause(state: &State, of: &Task, judged: &Judgement, wall: Wall) -> String {
    let status = &of.status;
    let ended = matches!(status.phase, Phase::Exited | Phase::Failed | Phase::Stopped);
    match (judged.reason.as_str(), status.finished_at) {
        ("", _) => past(state, of, wall),
        (reason, Some(at)) if status.phase == Phase::Exited => format!("{reason} ({})", ago(at, wall)),
        (reason, _) if status.incarnation > 1 && !ended => format!("{reason}; before: {}", past(state, of, wall)),
        (reason, _) => reason.to_owned(),
    }
}

/// How the start before this one ended, and how soon it was started again.
fn past(state: &State, of: &Task, wall: Wall) -> String {
    let status = &of.status;
    if status.incarnation <= 1 {
        return "it started and has not ended since".to_owned();
    }
    let Some(end) = last_end(state, of) else {
        return format!("it was started {} times; how it ended before is forgotten", status.incarnation);
    };
    let how = if end.message.is_empty() { "it ended" } else { &end.message };
    let again = match status.started_at.map(|at| at.0.saturating_sub(end.at.0)) {
        None => String::new(),
        Some(0) => "; started again at once".to_owned(),
        Some(ms) => format!("; started again {} later", span(ms)),
    };
    format!("{how}, {}{again}", ago(end.at, wall))
}

/// The newest event that says how a start of this task ended.
fn last_end<'a>(state: &'a State, of: &Task) -> Option<&'a Event> {
    let subject = format!("{}.{}", of.service, of.slot);
    let since_it_was_made = state.events().rev().take_while(|e| e.revision >= of.uid.created);
    let mut ends = since_it_was_made.filter(|e| matches!(e.kind.as_str(), "task-exited" | "task-failed"));
    ends.find(|e| e.subject == subject).map(|e| &**e)
}

fn next(state: &State, service: &Service, of: &Task, judged: &Judgement, wall: Wall) -> String {
    let TaskStatus { phase, retry_at, failures_in_a_row, .. } = &of.status;
    match (judged.state, retry_at) {
        ("ready", _) => AS_ASKED.to_owned(),
        ("complete", _) => "nothing; it has done what it was for".to_owned(),
        ("backing-off", Some(at)) => {
            let when = match at.0.saturating_sub(wall.0) {
                0 => "now".to_owned(),
                ms => format!("in {}", span(ms)),
            };
            format!("its agent tries again {when} (failure {failures_in_a_row} in a row, the pause doubles up to 60s)")
        }
        ("failed", _) if *phase == Phase::Exited && starts_again(service.spec.restart, &of.status) => {
            "its agent starts it again at once".to_owned()
        }
        ("failed", _) if *phase == Phase::Exited => {
            format!("nothing, as `restart: {}` says; fix the cause and apply again", policy(service.spec.restart))
        }
        ("failed", _) => "nothing by itself: fix the cause and apply again".to_owned(),
        ("unhealthy", _) => "its agent restarts it".to_owned(),
        ("lost", _) if state.is_global(service) => {
            "it waits for its node: a global service is on no other instead".to_owned()
        }
        ("lost", _) if of.has_local_volume() => "it waits for its node, because its volume is there".to_owned(),
        ("lost", _) => "it is replaced on another node as soon as one can hold it".to_owned(),
        ("stopping", _) => {
            format!("it is killed if it has not ended {} after the signal", span(of.container.stop_grace_ms))
        }
        _ => "its agent goes on with it".to_owned(),
    }
}

fn starts_again(restart: RestartPolicy, status: &TaskStatus) -> bool {
    let is_complete = status.exit_code == Some(0) && restart != RestartPolicy::Always;
    !is_complete && restart.starts_again(status.failures_in_a_row)
}

/// As it is written in the manifest.
fn policy(restart: RestartPolicy) -> String {
    match restart {
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::OnFailure { max: 0 } => "on-failure".to_owned(),
        RestartPolicy::OnFailure { max } => format!("on-failure:{max}"),
        RestartPolicy::No => "\"no\"".to_owned(),
    }
}

/// `alike`: the slots of which the same is to be said.
fn of_empty_slot(state: &State, service: &Service, slot: Slot, alike: &[Slot]) -> Explanation {
    let name = format!("{}.{slot}", service.key);
    let set = SlotSet::of(state, service);
    if let Some(told) = global::not_asked_for(state, service, &set, slot).filter(|_| set.is_global()) {
        return told;
    }
    if !set.contains(slot) {
        return Explanation {
            now: format!("{name} is not wanted"),
            cause: format!("{} replicas are asked for", service.spec.replicas),
            next: format!("nothing; `ctl scale {}={}` would fill it", service.key, slot.0),
            detail: Vec::new(),
        };
    }
    if blocking_gates(service).next().is_some() {
        return Explanation {
            now: format!("{name} is waiting"),
            cause: gate_words(state, service),
            next: "it starts as soon as that is so".to_owned(),
            detail: held_by(state, service),
        };
    }
    let no_room = match set.is_global() {
        true => global::without_room(state, service, alike),
        false => unplaced::explain(state, service, alike),
    };
    no_room.unwrap_or_else(|| Explanation {
        now: format!("{name} has no task yet"),
        cause: "it was asked for a moment ago".to_owned(),
        next: "it is placed now".to_owned(),
        detail: Vec::new(),
    })
}

/// Why those it waits for are not there yet, and whether they ever will be.
fn held_by(state: &State, service: &Service) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, dependency) in blocking_gates(service) {
        let key = ServiceKey { project: service.key.project.clone(), service: name.clone() };
        let Some(target) = state.service(&key) else { continue };
        let judged = judge_service(state, target);
        if !judged.reason.is_empty() {
            lines.push(format!("{name} is {}: {}", judged.state, judged.reason));
        } else if dependency.condition == DependencyCondition::Completed && judged.state == "running" {
            lines.push(format!("{name} runs; it has to end with exit code 0"));
        }
    }
    lines
}

pub(super) fn ago(at: Wall, now: Wall) -> String {
    match now.0.saturating_sub(at.0) {
        0..1000 => "just now".to_owned(),
        ms => format!("{} ago", span(ms)),
    }
}
