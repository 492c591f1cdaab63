//! Tasks of a global service that are where none of their slot may be: the node lost a label, the constraint is another
//! one, or the service was replicated before.
//!
//! One on a node where the service may not be goes at once. One that only sits in another node's slot serves until that
//! slot's own task does, of whichever spec, unless it stands in the way of others. Called by `replicas`, service by service.

use proto::id::Slot;

use super::Draft;
use super::slot_set::SlotSet;
use super::slots::{SlotTasks, Slots, serves};
use crate::engine::model::{Service, Task};
use crate::engine::placement::filter::may_hold;
use crate::engine::plan::{Change, Requires};
use crate::engine::reason::Reason;

pub(super) fn stop(draft: &mut Draft<'_>, service: &Service, set: &SlotSet, slots: &Slots<'_>) {
    let takes_over = slots.values().flat_map(SlotTasks::at_home).any(|t| serves(draft.state, t));
    for (slot, tasks) in slots {
        for task in &tasks.misplaced {
            if draft.marked.contains(&task.node) || is_kept(draft, service, set, *slot, tasks, task) {
                continue;
            }
            let Some(node) = draft.state.node(task.node) else { continue };
            let because = match may_hold(&service.spec, node) {
                Err(refusal) => refusal.to_string(),
                Ok(()) => match set.home(*slot).and_then(|home| draft.state.node(home)) {
                    Some(home) => format!("slot {slot} is on {}", home.info.hostname),
                    None => format!("no node has slot {slot}"),
                },
            };
            let requires = vec![
                Requires::Service(service.key.clone(), service.modified),
                Requires::Task(task.id, task.modified),
                Requires::Node(task.node, node.modified),
            ];
            let drain_ms = if takes_over && serves(draft.state, task) { service.spec.drain_ms } else { 0 };
            draft.change(Change::StopTask { task: task.id, drain_ms }, requires, Reason::Misplaced { because });
        }
    }
}

/// It serves until the slot's own task does: where the service may be, and as long as nobody waits for what it holds.
fn is_kept(
    draft: &Draft<'_>,
    service: &Service,
    set: &SlotSet,
    slot: Slot,
    tasks: &SlotTasks<'_>,
    task: &Task,
) -> bool {
    let may_stay = draft.state.node(task.node).is_some_and(|n| may_hold(&service.spec, n).is_ok());
    let is_useful = serves(draft.state, task) && service.stop_first().is_none();
    let is_awaited = set.contains(slot) && !tasks.at_home().any(|t| serves(draft.state, t));
    if !(may_stay && is_useful && is_awaited) {
        return false;
    }
    // Two full nodes whose tasks sit in each other's slot would wait for ever.
    !tasks.current.is_empty() || draft.can_place(service, set, slot)
}
