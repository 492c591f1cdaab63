//! Slots missing, surplus, outdated or lost. One service at a time; one slot of it changes at a time.
//!
//! An outdated task serves until its successor is ready, unless both would want the same volume or host port.

use proto::id::{NodeId, Slot};
use proto::limits::ESCALATE_AFTER_FAILURES;
use std::collections::BTreeMap;

use super::Draft;
use super::order::may_start;
use crate::engine::model::{Service, Task};
use crate::engine::plan::{Change, Requires};
use crate::engine::reason::Reason;

pub(super) fn pass(draft: &mut Draft<'_>) {
    let state = draft.state;
    for service in state.services().filter(|s| !s.removing) {
        let slots = slots(draft, service);
        stop_surplus(draft, service, &slots);
        let open = may_start(draft, service);
        // One slot at a time: a slot in change is one whose new task is not ready or whose old one still runs.
        let mut changing = slots.iter().filter(|(_, s)| s.is_changing()).count();
        for slot in slot_order(service.spec.replicas) {
            let none = SlotTasks::default();
            let tasks = slots.get(&slot).unwrap_or(&none);
            settle_slot(draft, service, slot, tasks, open, &mut changing);
        }
    }
}

/// The slots of a service in the order they are treated.
pub fn slot_order(replicas: u32) -> impl Iterator<Item = Slot> {
    (1..=replicas).map(Slot)
}

/// The wanted tasks of one slot.
#[derive(Debug, Default)]
struct SlotTasks<'a> {
    /// Of the present spec, on nodes that are heard.
    current: Vec<&'a Task>,
    /// Of the present spec, on lost nodes.
    lost: Vec<&'a Task>,
    /// Of an earlier spec.
    outdated: Vec<&'a Task>,
    /// Asked to stop, not yet confirmed.
    stopping: Vec<&'a Task>,
}

impl SlotTasks<'_> {
    fn is_changing(&self) -> bool {
        let new_not_ready = self.current.iter().any(|t| !t.is_satisfied());
        !self.outdated.is_empty() && (new_not_ready || !self.current.is_empty() || !self.stopping.is_empty())
    }
}

fn slots<'a>(draft: &Draft<'a>, service: &'a Service) -> BTreeMap<Slot, SlotTasks<'a>> {
    let state = draft.state;
    let mut slots: BTreeMap<Slot, SlotTasks<'a>> = BTreeMap::new();
    for task in state.tasks_of(&service.key) {
        let slot = slots.entry(task.slot).or_default();
        let is_heard = state.node(task.node).is_some_and(|n| n.is_up());
        if !task.is_wanted() {
            slot.stopping.push(task);
        } else if task.spec_hash != service.spec_hash {
            slot.outdated.push(task);
        } else if is_heard {
            slot.current.push(task);
        } else {
            slot.lost.push(task);
        }
    }
    slots
}

fn stop_surplus(draft: &mut Draft<'_>, service: &Service, slots: &BTreeMap<Slot, SlotTasks<'_>>) {
    let replicas = service.spec.replicas;
    for (_, tasks) in slots.iter().filter(|(slot, _)| slot.0 > replicas) {
        for task in tasks.current.iter().chain(&tasks.lost).chain(&tasks.outdated) {
            let requires = vec![Requires::Service(service.key.clone(), service.modified)];
            draft.change(Change::StopTask { task: task.id }, requires, Reason::ScaledDown { replicas });
        }
    }
}

fn settle_slot(
    draft: &mut Draft<'_>,
    service: &Service,
    slot: Slot,
    tasks: &SlotTasks<'_>,
    open: bool,
    changing: &mut usize,
) {
    settle_current(draft, service, tasks);
    if let Some(current) = tasks.current.last() {
        stop_outdated(draft, service, Some(current), tasks);
        escalate(draft, service, slot, current, tasks);
        return;
    }
    if !tasks.lost.is_empty() {
        replace_lost(draft, service, slot, tasks);
        return;
    }
    if tasks.outdated.is_empty() {
        let waits_for_stop = service.stops_first() && !tasks.stopping.is_empty();
        if open && !waits_for_stop {
            create(draft, service, slot, None, Reason::SlotEmpty);
        }
        return;
    }
    if !stop_outdated(draft, service, None, tasks) {
        update_slot(draft, service, slot, tasks, open, changing);
    }
}

/// Two tasks of one spec in a slot: the node of one came back, or one was to replace a failing other.
fn settle_current(draft: &mut Draft<'_>, service: &Service, tasks: &SlotTasks<'_>) {
    let [older, .., newest] = tasks.current.as_slice() else { return };
    let requires = |a: &Task, b: &Task| {
        vec![
            Requires::Service(service.key.clone(), service.modified),
            Requires::Task(a.id, a.modified),
            Requires::Task(b.id, b.modified),
        ]
    };
    if newest.is_satisfied() {
        draft.change(
            Change::StopTask { task: older.id },
            requires(older, newest),
            Reason::Superseded { by: newest.id },
        );
    } else if older.is_satisfied() {
        let reason = Reason::NodeCameBack { node: older.node };
        draft.change(Change::StopTask { task: newest.id }, requires(older, newest), reason);
    }
}

/// Stops every task of an earlier spec but the one that serves until its successor is ready; before there is a
/// successor only those that serve beside it. Says whether it did.
fn stop_outdated(draft: &mut Draft<'_>, service: &Service, current: Option<&Task>, tasks: &SlotTasks<'_>) -> bool {
    let ready = current.filter(|t| t.is_satisfied());
    let keeps = tasks.outdated.iter().rev().find(|t| serves(draft, t)).copied();
    let Some(successor) = ready.or(keeps) else { return false };
    let mut stopped = false;
    for old in tasks.outdated.iter().filter(|t| t.id != successor.id) {
        if current.is_none() && !serves(draft, old) {
            continue;
        }
        let requires = vec![
            Requires::Service(service.key.clone(), service.modified),
            Requires::Task(old.id, old.modified),
            Requires::Task(successor.id, successor.modified),
        ];
        let was_ready = ready.is_some() || old.is_satisfied();
        let reason = if was_ready { Reason::Superseded { by: successor.id } } else { Reason::NeverReady };
        draft.change(Change::StopTask { task: old.id }, requires, reason);
        stopped = true;
    }
    stopped
}

/// Ready or complete, and heard of.
fn serves(draft: &Draft<'_>, task: &Task) -> bool {
    task.is_complete() && task.is_wanted()
        || task.is_satisfied() && draft.state.node(task.node).is_some_and(|n| n.is_up())
}

/// Every task of the slot has an earlier spec.
fn update_slot(
    draft: &mut Draft<'_>,
    service: &Service,
    slot: Slot,
    tasks: &SlotTasks<'_>,
    open: bool,
    changing: &mut usize,
) {
    let is_served = tasks.outdated.iter().any(|t| serves(draft, t));
    let may_change = open && (*changing == 0 || !is_served);
    if !may_change {
        return;
    }
    if is_served {
        *changing += 1;
    }
    if !service.stops_first() {
        create(draft, service, slot, None, Reason::SpecChanged);
        return;
    }
    for old in &tasks.outdated {
        let requires = vec![Requires::Service(service.key.clone(), service.modified)];
        draft.change(Change::StopTask { task: old.id }, requires, Reason::SpecChangedStopFirst);
    }
}

/// A task whose node is lost is replaced elsewhere, unless its data are there: never an empty twin.
fn replace_lost(draft: &mut Draft<'_>, service: &Service, slot: Slot, tasks: &SlotTasks<'_>) {
    let Some(lost) = tasks.lost.last() else { return };
    if lost.has_local_volume() || lost.is_complete() || draft.marked.contains(&lost.node) {
        return;
    }
    create(draft, service, slot, Some(lost.node), Reason::NodeLost { node: lost.node });
}

/// A task that keeps failing where it is gets a successor on another node, if another can hold it.
fn escalate(draft: &mut Draft<'_>, service: &Service, slot: Slot, current: &Task, tasks: &SlotTasks<'_>) {
    let failures = current.status.failures_in_a_row;
    if failures < ESCALATE_AFTER_FAILURES || current.is_satisfied() || current.has_local_volume() {
        return;
    }
    let alone = tasks.current.len() == 1 && tasks.outdated.is_empty() && tasks.stopping.is_empty();
    if alone && draft.placer.choose(service, Some(current.node)).is_ok() {
        create(draft, service, slot, Some(current.node), Reason::KeptFailing { failures });
    }
}

fn create(draft: &mut Draft<'_>, service: &Service, slot: Slot, avoid: Option<NodeId>, reason: Reason) {
    if draft.is_full() {
        return;
    }
    match draft.placer.choose(service, avoid) {
        Ok(node) => {
            draft.placer.take(node, service);
            let requires = create_requires(draft, service, node);
            draft.change(Change::CreateTask { service: service.key.clone(), slot, node }, requires, reason);
        }
        Err(why) => draft.cannot_place(service, slot, why),
    }
}

fn create_requires(draft: &Draft<'_>, service: &Service, node: NodeId) -> Vec<Requires> {
    let mut requires = vec![Requires::Service(service.key.clone(), service.modified)];
    if let Some(host) = draft.state.node(node) {
        requires.push(Requires::Node(node, host.modified));
    }
    requires
}
