//! Desired against observed: what this node must do now, and when that could change by itself.
//!
//! Never remembers: everything it relies on is an argument, and asking twice gives the same answer. Stops come before
//! starts; a container whose task no set mentions is touched only on a verdict. Called by the worker.

use proto::assignment::{Assignment, AssignmentSet, Desired, Verdict};
use proto::digest::short_hash;
use proto::id::TaskId;
use proto::label::container_name;
use proto::limits::STOP_GRACE_DEFAULT_MS;
use proto::node::Stranger;
use proto::revision::Time;
use proto::task_state::{Phase, TaskStatus};

use super::memory::{Memory, TaskMemory};
use super::observed::{Container, Observed};
use super::task_state::{self, Next, Step};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell the server.
    Report {
        /// The task.
        task: TaskId,
        /// All there is to say of it.
        status: TaskStatus,
    },
    /// Give up what is being prepared: the task is to stop.
    Cancel {
        /// The task.
        task: TaskId,
    },
    /// Bring a container that no set mentions nearer to its end, on a verdict.
    Dismiss {
        /// Docker's id.
        container: String,
        /// Stop it, or remove it.
        step: Step,
    },
    /// Do this for that task.
    Task {
        /// The task.
        task: TaskId,
        /// What.
        step: Step,
    },
    /// Remove a named volume on the operator's request.
    RemoveVolume {
        /// Its name in Docker.
        name: String,
    },
}

impl Action {
    /// Order of carrying out: what frees something before what takes something.
    fn rank(&self) -> u8 {
        match self {
            Action::Report { .. } => 0,
            Action::Cancel { .. } => 1,
            Action::Task { step: Step::Stop { .. }, .. } | Action::Dismiss { step: Step::Stop { .. }, .. } => 2,
            Action::Dismiss { .. } | Action::Task { step: Step::Remove { .. }, .. } => 3,
            Action::RemoveVolume { .. } => 4,
            Action::Task { .. } => 5,
        }
    }
}

/// What to do now, in order. Empty before the first whole list.
pub fn diff(set: &AssignmentSet, observed: &Observed, memory: &Memory, now: Time) -> Vec<Action> {
    if !observed.is_complete() {
        return Vec::new();
    }
    let mut actions: Vec<Action> = Vec::new();
    for (id, assignment) in &set.tasks {
        let Some(task) = memory.tasks.get(id) else { continue };
        actions.extend(report(set, assignment, task));
        actions.extend(cancel(assignment, task));
        if let Next::Do(step) = next(set, assignment, observed, task, now) {
            actions.push(Action::Task { task: *id, step });
        }
    }
    actions.extend(dismissals(set, observed, memory, now));
    actions.extend(volumes(set, memory, now));
    actions.sort_by_key(Action::rank);
    actions
}

/// When `diff` could answer otherwise although nothing happens.
pub fn next_deadline(set: &AssignmentSet, observed: &Observed, memory: &Memory, now: Time) -> Option<Time> {
    if !observed.is_complete() {
        return None;
    }
    let tasks = set.tasks.iter().filter_map(|(id, assignment)| {
        let task = memory.tasks.get(id)?;
        let wait = match next(set, assignment, observed, task, now) {
            Next::Wait(at) => Some(at),
            Next::Do(_) | Next::Rest => None,
        };
        wait.into_iter().chain(task.lasts_at()).min()
    });
    let volumes = memory.volumes.values().filter(|v| !v.removed).map(|v| &v.attempts);
    let others = memory.strangers.values().chain(volumes).filter(|a| !a.busy).filter_map(|a| a.not_before);
    tasks.chain(others.filter(|at| *at > now)).min()
}

/// Containers of ours that no set mentions, for the server to judge.
pub fn strangers(set: &AssignmentSet, observed: &Observed) -> Vec<Stranger> {
    observed
        .containers()
        .filter(|c| !set.tasks.contains_key(&c.task))
        .map(|c| Stranger {
            container_id: c.id.clone(),
            name: c.name.clone(),
            task: c.task,
            service: c.service.clone(),
            running: c.state.needs_stop(),
        })
        .collect()
}

fn next(set: &AssignmentSet, assignment: &Assignment, observed: &Observed, task: &TaskMemory, now: Time) -> Next {
    let blocked = is_blocked(set, assignment, observed);
    task_state::next(assignment, observed, task, blocked, || names(set, assignment), now)
}

fn report(set: &AssignmentSet, assignment: &Assignment, task: &TaskMemory) -> Option<Action> {
    let unsaid = task.status.sequence > task.reported;
    let stopped = assignment.desired == Desired::Stop && task.status.phase == Phase::Stopped;
    // A stop is confirmed anew for each set that still asks for it.
    let unconfirmed = stopped && task.confirmed != Some((set.epoch, set.revision));
    (unsaid || unconfirmed).then(|| Action::Report { task: assignment.task, status: task.status.clone() })
}

fn cancel(assignment: &Assignment, task: &TaskMemory) -> Option<Action> {
    let making = matches!(task.busy, Some(Step::Fetch | Step::Prepare { .. } | Step::Start { .. })) && !task.cancelled;
    (assignment.desired == Desired::Stop && making).then_some(Action::Cancel { task: assignment.task })
}

/// An earlier container of the same slot must go and is still there. One that drains does not count: another takes over
/// from it, and both run side by side.
fn is_blocked(set: &AssignmentSet, assignment: &Assignment, observed: &Observed) -> bool {
    observed.containers().any(|c| {
        c.task != assignment.task && c.slot == assignment.slot && c.service == assignment.service && must_go(set, c)
    })
}

fn must_go(set: &AssignmentSet, container: &Container) -> bool {
    match set.tasks.get(&container.task) {
        Some(assignment) => assignment.desired == Desired::Stop && assignment.drain_ms == 0,
        None => set.verdicts.get(&container.id) == Some(&Verdict::Stop),
    }
}

/// The name people expect, and one that nobody else has.
fn names(set: &AssignmentSet, assignment: &Assignment) -> Vec<String> {
    let asked = assignment.container.container_name.clone().filter(|_| assignment.slot.0 == 1);
    let name = asked.unwrap_or_else(|| container_name(&assignment.service, assignment.slot));
    let unique = format!("{name}-{}", &short_hash(&(set.cluster, assignment.task))[..6]);
    vec![name, unique]
}

fn dismissals<'a>(
    set: &'a AssignmentSet,
    observed: &'a Observed,
    memory: &'a Memory,
    now: Time,
) -> impl Iterator<Item = Action> + 'a {
    observed
        .containers()
        .filter(|c| !set.tasks.contains_key(&c.task) && set.verdicts.get(&c.id) == Some(&Verdict::Stop))
        .filter(move |c| memory.strangers.get(&c.id).is_none_or(|a| !a.busy && a.not_before.is_none_or(|at| at <= now)))
        .filter(|c| memory.tasks.get(&c.task).is_none_or(|t| t.busy.is_none()))
        .map(|c| Action::Dismiss { container: c.id.clone(), step: task_state::dismiss(c, STOP_GRACE_DEFAULT_MS) })
}

fn volumes<'a>(set: &'a AssignmentSet, memory: &'a Memory, now: Time) -> impl Iterator<Item = Action> + 'a {
    set.remove_volumes
        .iter()
        .filter(move |name| {
            memory
                .volumes
                .get(*name)
                .is_none_or(|v| !v.removed && !v.attempts.busy && v.attempts.not_before.is_none_or(|at| at <= now))
        })
        .map(|name| Action::RemoveVolume { name: name.clone() })
}
