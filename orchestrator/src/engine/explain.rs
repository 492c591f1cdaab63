//! State in words: what is, why, and what happens next. Judgements shown to people; nothing is decided from them.
//!
//! Pure, like the rest of the engine; `api` turns it into answers.

use proto::assignment::Desired;
use proto::id::{ServiceKey, Slot};
use proto::node::ForwardStatus;
use proto::spec::DependencyCondition;
use proto::task_state::{Health, Phase, TaskStatus};
use std::collections::BTreeSet;

use super::model::{Node, Service, Task};
use super::placement::{self, Ledger};
use super::reconcile::{SlotSet, blocking_gates};
use super::state::State;
use super::state::apply::exit_words;

mod global;
pub mod node;
pub mod project;
pub mod rollout;
mod unplaced;
mod why;
pub use unplaced::{FilterCount, NoNode};
pub use why::why;

/// A word and why it is not the best one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// A stable word such as `ready`.
    pub state: &'static str,
    /// One line; empty when all is well.
    pub reason: String,
}

/// The three lines of `ctl why`, and more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Explanation {
    /// What is now.
    pub now: String,
    /// What caused it.
    pub cause: String,
    /// What happens next, and when.
    pub next: String,
    /// Last log lines, counts of nodes per filter.
    pub detail: Vec<String>,
}

/// What follows where nothing has to.
const AS_ASKED: &str = "nothing; it is as asked";

fn word(state: &'static str, reason: impl Into<String>) -> Judgement {
    Judgement { state, reason: reason.into() }
}

/// One task in a word.
pub fn task(state: &State, task: &Task) -> Judgement {
    let status = &task.status;
    if let Some(node) = state.node(task.node).filter(|n| !n.is_up()) {
        return word("lost", format!("node {} was silent for longer than its lease", node.info.hostname));
    }
    if task.desired == Desired::Stop {
        return word("stopping", "asked to stop, not yet confirmed");
    }
    match status.phase {
        Phase::Pending => word("pending", pending_reason(state, task)),
        Phase::Preparing => word("preparing", preparing_reason(status)),
        Phase::Prepared => word("prepared", "its image is there; it starts once the task before it has stopped"),
        Phase::Starting => word("starting", "its process is being started"),
        Phase::Running => running(status),
        Phase::Exited if task.is_complete() => word("complete", ""),
        Phase::Exited | Phase::Failed if status.retry_at.is_some() => word("backing-off", failure_words(status)),
        Phase::Exited | Phase::Failed => word("failed", failure_words(status)),
        Phase::Stopped => word("stopping", "stopped; waiting to be forgotten"),
    }
}

fn pending_reason(state: &State, task: &Task) -> String {
    match state.node(task.node).map(|n| n.conditions.engine_problem.as_str()) {
        Some("") | None => "its node has not begun".to_owned(),
        Some(problem) => format!("its node's Docker Engine cannot be used: {problem}"),
    }
}

fn preparing_reason(status: &TaskStatus) -> String {
    if status.message.is_empty() { "image and container are being prepared".to_owned() } else { status.message.clone() }
}

fn running(status: &TaskStatus) -> Judgement {
    match status.health {
        Health::None | Health::Healthy => word("ready", ""),
        Health::Starting if status.message.is_empty() => word("starting", "no health check has succeeded yet"),
        Health::Starting => word("starting", format!("no health check has succeeded yet: {}", status.message)),
        Health::Unhealthy => word("unhealthy", format!("its health check fails: {}", status.message)),
    }
}

/// What went wrong, in words: an exit or a failure before the start.
pub fn failure_words(status: &TaskStatus) -> String {
    match status.phase {
        Phase::Exited => exit_words(status),
        _ => status.message.clone(),
    }
}

/// Counts of a service's tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Answered by discovery, of any spec.
    pub ready: u32,
    /// Of the present spec, whatever their state.
    pub current: u32,
    /// Of the present spec and ready or complete.
    pub current_satisfied: u32,
    /// Complete.
    pub complete: u32,
}

/// Counts of a service's wanted tasks on nodes that are heard.
pub fn counts(state: &State, service: &Service) -> Counts {
    let mut counts = Counts::default();
    let set = SlotSet::of(state, service);
    for task in state.tasks_of(&service.key) {
        let is_heard = state.node(task.node).is_some_and(|n| n.is_up());
        if !is_heard || !task.is_wanted() {
            continue;
        }
        let is_current = task.spec_hash == service.spec_hash && (!set.is_global() || set.is_at_home(task));
        counts.ready += u32::from(task.status.is_ready());
        counts.complete += u32::from(task.is_complete());
        counts.current += u32::from(is_current);
        counts.current_satisfied += u32::from(is_current && task.is_satisfied());
    }
    counts
}

/// One service in a word.
pub fn service(state: &State, service: &Service) -> Judgement {
    if service.removing {
        return word("deleting", removing_reason(state, service));
    }
    let counts = counts(state, service);
    let set = SlotSet::of(state, service);
    let wanted = set.count();
    if let Some(problem) = port_problem(state, &service.key) {
        return word("degraded", problem.problem.clone());
    }
    if !set.has_any() {
        return word("failed", global::nowhere(state, service));
    }
    let surplus = state.tasks_of(&service.key).any(|t| !t.is_wanted());
    let is_under_way = service.rollout.as_ref().is_some_and(|r| !r.is_done());
    if counts.current_satisfied >= wanted && !has_outdated(state, service) && !surplus && !is_under_way {
        let all_complete = wanted > 0 && counts.complete >= wanted;
        return word(if all_complete { "complete" } else { "running" }, "");
    }
    let reason = worst(state, service, &set);
    let is_failed = reason.as_ref().is_some_and(|r| r.0);
    let text = reason.map(|r| r.1).unwrap_or_default();
    if let Some(judged) = rollout::judge(state, service, &text) {
        return judged;
    }
    if has_outdated(state, service) {
        let text = if text.is_empty() { "its old tasks are handing over".to_owned() } else { text };
        return word("updating", text);
    }
    if counts.current == 0 && blocking_gates(service).next().is_some() {
        return word("waiting", gate_words(state, service));
    }
    if counts.current_satisfied >= wanted {
        return word("running", "");
    }
    match (is_failed, counts.ready) {
        (true, 0) => word("failed", text),
        (true, _) => word("degraded", text),
        (false, _) => word("starting", text),
    }
}

fn has_outdated(state: &State, service: &Service) -> bool {
    state.tasks_of(&service.key).any(|t| t.is_wanted() && t.spec_hash != service.spec_hash)
}

fn removing_reason(state: &State, service: &Service) -> String {
    let dependant = state
        .services_of(&service.key.project)
        .find(|s| s.removing && s.spec.depends_on.contains_key(&service.key.service));
    match dependant {
        Some(d) if state.tasks_of(&d.key).next().is_some() => format!("waits until `{}` has stopped", d.key.service),
        _ => "its tasks are stopping".to_owned(),
    }
}

/// The worst of its slots: does it fail, and why.
fn worst(state: &State, service: &Service, set: &SlotSet) -> Option<(bool, String)> {
    let mut unplaceable = Unplaceable::of(state, service, set);
    let mut worst: Option<(bool, String)> = None;
    for slot in set.iter() {
        let current = state
            .tasks_of(&service.key)
            .filter(|t| t.slot == slot && t.is_wanted() && t.spec_hash == service.spec_hash && set.is_at_home(t))
            .last();
        let (is_failed, reason) = match current {
            Some(t) if t.is_satisfied() && state.node(t.node).is_some_and(|n| n.is_up()) => continue,
            Some(t) => {
                let judged = task(state, t);
                (matches!(judged.state, "failed" | "backing-off" | "unhealthy" | "lost"), judged.reason)
            }
            None => match unplaceable.why(slot) {
                Some(why) => (true, why),
                None => (false, no_task_reason(state, service, slot)),
            },
        };
        let line = format!("{}.{slot}: {reason}", service.key.service);
        if worst.as_ref().is_none_or(|w| is_failed && !w.0) {
            worst = Some((is_failed, line));
        }
    }
    worst
}

/// Why a slot has no task of the present spec, although a node would take one.
fn no_task_reason(state: &State, service: &Service, slot: Slot) -> String {
    if blocking_gates(service).next().is_some() {
        return gate_words(state, service);
    }
    let others: Vec<_> = state.tasks_of(&service.key).filter(|t| t.slot == slot).collect();
    if others.iter().any(|t| t.is_wanted()) {
        "it serves as before until its turn comes".to_owned()
    } else if others.is_empty() {
        "it was asked for a moment ago".to_owned()
    } else {
        "its predecessor is stopping".to_owned()
    }
}

/// How many slots of a service have no task because no node can hold one now.
pub fn unplaced(state: &State, service: &Service) -> u32 {
    if service.removing {
        return 0;
    }
    let set = SlotSet::of(state, service);
    if !set.has_any() {
        return 1;
    }
    let filled: BTreeSet<Slot> = state.tasks_of(&service.key).filter(|t| t.is_wanted()).map(|t| t.slot).collect();
    let mut unplaceable = Unplaceable::of(state, service, &set);
    let cannot = set.iter().filter(|slot| !filled.contains(slot) && unplaceable.why(*slot).is_some()).count();
    u32::try_from(cannot).unwrap_or(u32::MAX)
}

/// Why empty slots of a service find no node: of a replicated one all for the same reason, asked for once.
struct Unplaceable<'a> {
    state: &'a State,
    service: &'a Service,
    set: &'a SlotSet,
    ledger: Ledger,
    anywhere: Option<Option<String>>,
}

// === impl Unplaceable ===

impl<'a> Unplaceable<'a> {
    fn of(state: &'a State, service: &'a Service, set: &'a SlotSet) -> Unplaceable<'a> {
        Unplaceable { state, service, set, ledger: Ledger::of(state), anywhere: None }
    }

    /// Why this empty slot finds no node now; `None` when one would take it, or it waits for something else.
    fn why(&mut self, slot: Slot) -> Option<String> {
        let Unplaceable { state, service, set, ledger, anywhere } = self;
        if blocking_gates(service).next().is_some() {
            return None;
        }
        let ask = |home| placement::place_slot(state, ledger, service, home).err().map(|why| why.to_string());
        match set.home(slot) {
            Some(home) => ask(Some(home)),
            None => anywhere.get_or_insert_with(|| ask(None)).clone(),
        }
    }
}

/// What holds a service back: `waits for db to be healthy`.
pub fn gate_words(state: &State, service: &Service) -> String {
    let mut waits: Vec<String> = Vec::new();
    for (name, dependency) in blocking_gates(service) {
        let condition = match dependency.condition {
            DependencyCondition::Started => "started",
            DependencyCondition::Healthy => "healthy",
            DependencyCondition::Completed => "completed",
        };
        let key = ServiceKey { project: service.key.project.clone(), service: name.clone() };
        let is = state.service(&key).map_or("absent", |target| self::service(state, target).state);
        waits.push(format!("waits for `{name}` to be {condition} (it is {is})"));
    }
    waits.join("; ")
}

/// A published port that the node could not bind, if there is one.
fn port_problem_of(node: &Node) -> Option<&ForwardStatus> {
    node.conditions.forwards.iter().find(|f| !f.problem.is_empty())
}

/// A published port of the service that no node could bind, if there is one.
pub fn port_problem<'a>(state: &'a State, key: &ServiceKey) -> Option<&'a ForwardStatus> {
    let up = state.nodes().filter(|n| n.is_up());
    up.flat_map(|n| n.conditions.forwards.iter()).find(|f| f.service == *key && !f.problem.is_empty())
}

/// `850ms`, `12s`, `5m12s`, `3h5m`, `2d4h`.
pub fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}s"),
        60..3600 => format!("{}m{}s", s / 60, s % 60),
        3600..86_400 => format!("{}h{}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3600),
    }
}
