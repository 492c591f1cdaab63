//! Slots missing, surplus or lost, and tasks that fail where they are. One service at a time.
//!
//! Slots with a task of an earlier spec are `rollout`'s.

use proto::id::{NodeId, Slot};
use proto::limits::ESCALATE_AFTER_FAILURES;

use super::Draft;
use super::misplaced;
use super::order::may_start;
use super::slot_set::SlotSet;
use super::slots::{SlotTasks, Slots, serves, slots};
use crate::engine::model::{Service, Task};
use crate::engine::plan::{Change, Requires};
use crate::engine::reason::Reason;

pub(super) fn pass(draft: &mut Draft<'_>) {
    let state = draft.state;
    for service in state.services().filter(|s| !s.removing) {
        if draft.turning.contains(&service.key.project) {
            continue;
        }
        let set = draft.slot_set(service);
        let slots = slots(state, service, &set);
        match &set {
            SlotSet::Replicas(replicas) => stop_surplus(draft, service, *replicas, &slots),
            SlotSet::Nodes(_) => misplaced::stop(draft, service, &set, &slots),
        }
        let open = may_start(draft, service);
        let none = SlotTasks::default();
        for slot in set.iter() {
            settle_slot(draft, service, &set, slot, slots.get(&slot).unwrap_or(&none), open);
        }
    }
}

fn stop_surplus(draft: &mut Draft<'_>, service: &Service, replicas: u32, slots: &Slots<'_>) {
    let mut stay =
        slots.iter().filter(|(slot, _)| slot.0 <= replicas).flat_map(|(_, t)| t.current.iter().chain(&t.outdated));
    let takes_over = stay.any(|t| serves(draft.state, t));
    for (_, tasks) in slots.iter().filter(|(slot, _)| slot.0 > replicas) {
        for task in tasks.current.iter().chain(&tasks.lost).chain(&tasks.outdated) {
            let requires = vec![Requires::Service(service.key.clone(), service.modified)];
            let drain_ms = if takes_over && task.status.is_ready() { service.spec.drain_ms } else { 0 };
            draft.change(Change::StopTask { task: task.id, drain_ms }, requires, Reason::ScaledDown { replicas });
        }
    }
}

fn settle_slot(draft: &mut Draft<'_>, service: &Service, set: &SlotSet, slot: Slot, tasks: &SlotTasks<'_>, open: bool) {
    settle_current(draft, service, tasks);
    if !tasks.outdated.is_empty() {
        return;
    }
    if let Some(current) = tasks.current.last() {
        escalate(draft, service, set, slot, current, tasks);
    } else if !tasks.lost.is_empty() {
        replace_lost(draft, service, set, slot, tasks);
    } else {
        let waits_for_stop = service.stop_first().is_some() && !tasks.stopping.is_empty();
        if open && !waits_for_stop {
            create(draft, service, set, slot, None, Reason::SlotEmpty);
        }
    }
}

/// Tasks of one spec in a slot: the node of one came back, or one was to replace a failing other. The newest of those that
/// are as wanted stays.
fn settle_current(draft: &mut Draft<'_>, service: &Service, tasks: &SlotTasks<'_>) {
    let Some(stays) = tasks.current.iter().rposition(|t| t.is_satisfied()) else { return };
    let keeper = tasks.current[stays];
    let requires = |a: &Task, b: &Task| {
        vec![
            Requires::Service(service.key.clone(), service.modified),
            Requires::Task(a.id, a.modified),
            Requires::Task(b.id, b.modified),
        ]
    };
    for older in &tasks.current[..stays] {
        let drain_ms = if older.status.is_ready() { service.spec.drain_ms } else { 0 };
        let change = Change::StopTask { task: older.id, drain_ms };
        draft.change(change, requires(older, keeper), Reason::Superseded { by: keeper.id });
    }
    for newer in &tasks.current[stays + 1..] {
        let reason = Reason::NodeCameBack { node: keeper.node };
        draft.change(Change::StopTask { task: newer.id, drain_ms: 0 }, requires(keeper, newer), reason);
    }
}

/// A task whose node is lost is replaced elsewhere, unless its data are there: never an empty twin.
fn replace_lost(draft: &mut Draft<'_>, service: &Service, set: &SlotSet, slot: Slot, tasks: &SlotTasks<'_>) {
    let Some(lost) = tasks.lost.last() else { return };
    if lost.has_local_volume() || lost.is_complete() || draft.marked.contains(&lost.node) {
        return;
    }
    create(draft, service, set, slot, Some(lost.node), Reason::NodeLost { node: lost.node });
}

/// A task that keeps failing where it is gets a successor on another node, if another can hold it.
fn escalate(
    draft: &mut Draft<'_>,
    service: &Service,
    set: &SlotSet,
    slot: Slot,
    current: &Task,
    tasks: &SlotTasks<'_>,
) {
    // The slot of a global service is its node.
    if set.is_global() {
        return;
    }
    let failures = current.status.failures_in_a_row;
    if failures < ESCALATE_AFTER_FAILURES || current.is_satisfied() || current.has_local_volume() {
        return;
    }
    let alone = tasks.current.len() == 1 && tasks.stopping.is_empty();
    if alone && draft.placer.choose(service, Some(current.node)).is_ok() {
        create(draft, service, set, slot, Some(current.node), Reason::KeptFailing { failures });
    }
}

fn create(draft: &mut Draft<'_>, service: &Service, set: &SlotSet, slot: Slot, avoid: Option<NodeId>, reason: Reason) {
    if draft.is_full() {
        return;
    }
    match draft.choose(service, set, slot, avoid) {
        Ok(node) => {
            draft.placer.take(node, service);
            let requires = draft.requires_node(service, node);
            draft.change(Change::CreateTask { service: service.key.clone(), slot, node }, requires, reason);
        }
        Err(why) => draft.cannot_place(service, slot, why),
    }
}
