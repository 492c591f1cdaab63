//! Global services in words: node by node, what is asked for there, and why not where it is not.
//!
//! Pure. Asks the filters that place. Called by `explain` and `why`.

use proto::id::Slot;

use super::unplaced::NoNode;
use super::{Explanation, blocking_gates, task as judge_task};
use crate::engine::model::{Node, Service};
use crate::engine::placement::{Ledger, filter};
use crate::engine::reconcile::{SlotSet, slot_of};
use crate::engine::state::State;

/// Nodes told one by one at most; of the others only how many there are.
const NODES_TOLD: usize = 20;

/// Nothing is asked for, because no node is one where the service may be.
pub(super) fn nowhere(state: &State, service: &Service) -> String {
    NoNode::judge(state, service, None).in_a_line()
}

/// The nodes without a ready task of the service: counts for each filter, then one line for each node.
pub(super) fn node_by_node(state: &State, service: &Service) -> Vec<String> {
    let told: Vec<(&Node, String)> =
        state.nodes().filter_map(|node| Some((&**node, on(state, service, node)?))).collect();
    let is_empty = |node: &Node| !has_task(state, service, node);
    let mut lines = NoNode::judge_those(state, service, is_empty).by_filter();
    let width = told.iter().map(|(node, _)| node.info.hostname.len()).max().unwrap_or(0);
    lines.extend(told.iter().take(NODES_TOLD).map(|(node, words)| format!("{:width$}  {words}", node.info.hostname)));
    if told.len() > NODES_TOLD {
        lines.push(format!("and {} nodes more", told.len() - NODES_TOLD));
    }
    lines
}

/// The service is to have a task on the node and has none.
pub(super) fn lacks_its_task(state: &State, service: &Service, node: &Node) -> bool {
    SlotSet::of(state, service).contains(slot_of(node)) && !has_task(state, service, node)
}

fn has_task(state: &State, service: &Service, node: &Node) -> bool {
    state.tasks_in(&service.key, slot_of(node)).any(|t| t.is_wanted() && t.node == node.info.id)
}

/// What there is to say of one node; `None`: its task is ready.
fn on(state: &State, service: &Service, node: &Node) -> Option<String> {
    let slot = slot_of(node);
    let here = state.tasks_in(&service.key, slot).filter(|t| t.node == node.info.id);
    if let Some(task) = here.max_by_key(|t| (t.is_wanted(), t.spec_hash == service.spec_hash, t.id)) {
        let judged = judge_task(state, task);
        return match (judged.state, judged.reason.as_str()) {
            ("ready" | "complete", _) => None,
            (word, "") => Some(format!("slot {slot} is {word}")),
            (word, reason) => Some(format!("slot {slot} is {word}: {reason}")),
        };
    }
    if let Err(refusal) = filter::may_hold(&service.spec, node) {
        return Some(format!("not asked for: {refusal}"));
    }
    if !node.is_up() {
        return Some("not asked for: it is lost".to_owned());
    }
    Some(match filter::judge(state, &Ledger::of(state), &filter::Wanted::on(state, service, node.info.id), node) {
        Err(refusal) => format!("slot {slot} has no room: {refusal}"),
        Ok(()) if blocking_gates(service).next().is_some() => format!("slot {slot} waits for what it depends on"),
        Ok(()) => format!("slot {slot} is placed now"),
    })
}

/// The answer of `ctl why` for a slot that is not asked for; `None`: it is.
pub(super) fn not_asked_for(state: &State, service: &Service, set: &SlotSet, slot: Slot) -> Option<Explanation> {
    if set.contains(slot) {
        return None;
    }
    let name = format!("{}.{slot}", service.key);
    let Some(node) = state.nodes().find(|n| slot_of(n) == slot) else {
        return Some(Explanation {
            now: format!("{name} is not wanted"),
            cause: format!("`{}` is global, and no node has slot {slot}", service.key.service),
            next: "nothing; a node that joins gets a slot of its own".to_owned(),
            detail: Vec::new(),
        });
    };
    let host = &node.info.hostname;
    let (cause, next) = match filter::may_hold(&service.spec, node) {
        Err(refusal) => {
            (format!("{host} is not one of its nodes: {refusal}"), "it is asked for as soon as that changes")
        }
        Ok(()) => (format!("{host} is lost"), "it is asked for as soon as its node is heard again"),
    };
    Some(Explanation { now: format!("{name} is not asked for"), cause, next: next.to_owned(), detail: Vec::new() })
}

/// The answer of `ctl why` for slots whose node cannot hold them; `None` when it could now.
pub(super) fn without_room(state: &State, service: &Service, slots: &[Slot]) -> Option<Explanation> {
    let ledger = Ledger::of(state);
    let refused: Vec<(&Node, filter::Refusal)> = state
        .nodes()
        .filter(|n| slots.contains(&slot_of(n)))
        .filter_map(|node| {
            let wanted = filter::Wanted::on(state, service, node.info.id);
            Some((&**node, filter::judge(state, &ledger, &wanted, node).err()?))
        })
        .collect();
    let (first, why) = refused.first()?;
    let host = &first.info.hostname;
    let now = match refused.len() {
        1 => format!("{}.{} has no place on {host}", service.key, slot_of(first)),
        n => format!("{n} of {} nodes of {} have no place for it", SlotSet::of(state, service).count(), service.key),
    };
    let cause = match refused.len() {
        1 => why.to_string(),
        _ => format!("{host}: {why}"),
    };
    let next = "it is placed as soon as its node can hold it: free some room there, or ask for less".to_owned();
    Some(Explanation { now, cause, next, detail: node_by_node(state, service) })
}
