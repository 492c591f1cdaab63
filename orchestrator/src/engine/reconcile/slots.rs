//! The tasks of a service, slot by slot: what `replicas`, `rollout` and `misplaced` look at.
//!
//! Never decides.

use proto::id::Slot;
use proto::revision::Time;
use proto::task_state::Phase;
use std::collections::BTreeMap;

use crate::engine::model::{Service, Task};
use crate::engine::state::State;

use super::slot_set::SlotSet;

/// The tasks of one slot.
#[derive(Debug, Default)]
pub(super) struct SlotTasks<'a> {
    /// Of the present spec, on nodes that are heard.
    pub(super) current: Vec<&'a Task>,
    /// Of the present spec, on lost nodes.
    pub(super) lost: Vec<&'a Task>,
    /// Of an earlier spec.
    pub(super) outdated: Vec<&'a Task>,
    /// Of a global service, of any spec: not on the slot's node, or that is none where the service may be.
    pub(super) misplaced: Vec<&'a Task>,
    /// Asked to stop, not yet confirmed.
    pub(super) stopping: Vec<&'a Task>,
}

/// Slot by slot.
pub(super) type Slots<'a> = BTreeMap<Slot, SlotTasks<'a>>;

pub(super) fn slots<'a>(state: &'a State, service: &'a Service, set: &SlotSet) -> Slots<'a> {
    let mut slots: Slots<'a> = BTreeMap::new();
    for task in state.tasks_of(&service.key) {
        let slot = slots.entry(task.slot).or_default();
        if !task.is_wanted() {
            slot.stopping.push(task);
        } else if set.is_global() && !set.is_at_home(task) {
            slot.misplaced.push(task);
        } else if task.spec_hash != service.spec_hash {
            slot.outdated.push(task);
        } else if is_heard(state, task) {
            slot.current.push(task);
        } else {
            slot.lost.push(task);
        }
    }
    slots
}

/// Its node is heard.
pub(super) fn is_heard(state: &State, task: &Task) -> bool {
    state.node(task.node).is_some_and(|n| n.is_up())
}

/// Ready or complete, and heard of.
pub(super) fn serves(state: &State, task: &Task) -> bool {
    task.is_wanted() && task.is_complete() || task.is_satisfied() && is_heard(state, task)
}

/// When a task of a rollout is done, if nothing happens until then: it stayed ready for long enough, or is complete.
pub(super) fn done_at(service: &Service, task: &Task) -> Option<Time> {
    if task.is_satisfied() && task.is_complete() {
        return Some(task.phase_since);
    }
    let since = task.ready_since.filter(|_| task.is_satisfied())?;
    Some(since.after_ms(service.policy().monitor_ms))
}

/// When a task that was started and is not ready is overdue.
pub(super) fn overdue_at(service: &Service, task: &Task) -> Option<Time> {
    let started = matches!(task.status.phase, Phase::Starting | Phase::Running);
    let since = service.rollout.as_ref().map_or(task.phase_since, |r| r.began.max(task.phase_since));
    (started && !task.status.is_ready()).then(|| since.after_ms(service.ready_within_ms()))
}

// === impl SlotTasks ===

impl<'a> SlotTasks<'a> {
    /// A task of the present spec has been ready for long enough, or is complete.
    pub(super) fn done(&self, service: &Service, now: Time) -> Option<&'a Task> {
        self.current.iter().rev().find(|t| done_at(service, t).is_some_and(|at| at <= now)).copied()
    }

    /// Its change began where none of its slot may be any more.
    pub(super) fn began_elsewhere(&self, service: &Service) -> bool {
        self.misplaced.iter().any(|t| t.spec_hash == service.spec_hash)
    }

    /// Those on nodes that are heard, or of an earlier spec, and for a global service on the slot's own node.
    pub(super) fn at_home(&self) -> impl Iterator<Item = &'a Task> {
        self.current.iter().chain(&self.outdated).copied()
    }

    /// A task of an earlier spec serves.
    pub(super) fn served_by(&self, state: &State) -> Option<&'a Task> {
        self.outdated.iter().rev().find(|t| serves(state, t)).copied()
    }
}

/// How far a slot of a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotProgress {
    /// It serves as before, or nothing serves yet.
    Waits,
    /// Its new task is being prepared or started.
    Begun,
    /// Its new task is ready and has to stay so for a while.
    Ready,
    /// It is done.
    Done,
}

/// How far each slot that has tasks is.
pub fn progress(state: &State, service: &Service, now: Time) -> BTreeMap<Slot, SlotProgress> {
    let far = |tasks: &SlotTasks<'_>| match (tasks.done(service, now), tasks.current.last()) {
        (Some(_), _) => SlotProgress::Done,
        (None, Some(task)) if task.is_satisfied() => SlotProgress::Ready,
        (None, Some(_)) => SlotProgress::Begun,
        (None, None) => SlotProgress::Waits,
    };
    slots(state, service, &SlotSet::of(state, service)).iter().map(|(slot, tasks)| (*slot, far(tasks))).collect()
}
