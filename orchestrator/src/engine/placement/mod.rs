//! Choosing a node: filter, score, pick; ties by node id. Every refusal has a reason.
//!
//! `place` looks at every node and says why each refused; `Placer` makes the same choices for the many tasks of a plan.

mod candidates;
pub mod constraint;
pub mod filter;
pub mod ledger;
mod placer;
#[cfg(test)]
mod properties;
pub mod score;

use proto::id::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

use super::model::{Node, Service, Task};
use super::state::State;
pub use filter::Refusal;
pub use ledger::Ledger;
pub use placer::Placer;

/// Why no node took a task: how many nodes each filter refused, with one example each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Unplaceable {
    /// Nodes asked.
    pub nodes: u32,
    /// Filter's word: how many nodes it refused, and the first refusal in words.
    pub refusals: BTreeMap<String, (u32, String)>,
    /// Host name of the only node that was asked, because the slot is its own.
    pub only: Option<String>,
}

/// Chooses a node for one task, or says why there is none. `avoid`: a node not to be chosen.
pub fn place(state: &State, ledger: &Ledger, service: &Service, avoid: Option<NodeId>) -> Result<NodeId, Unplaceable> {
    let mut why = Unplaceable::default();
    let wanted = filter::Wanted::of(state, service);
    let spread = score::Spread::of(state, ledger, service);
    let mut best: Option<(score::Score, NodeId)> = None;
    for node in state.nodes() {
        why.nodes += 1;
        let verdict = match avoid {
            Some(avoided) if avoided == node.info.id => Err(Refusal::Avoided),
            _ => filter::judge(state, ledger, &wanted, node),
        };
        match verdict {
            Ok(()) => {
                let candidate = (score::score(ledger, &spread, service, node), node.info.id);
                if best.as_ref().is_none_or(|b| candidate < *b) {
                    best = Some(candidate);
                }
            }
            Err(refusal) => {
                let entry = why.refusals.entry(refusal.kind().into_owned()).or_insert((0, refusal.to_string()));
                entry.0 += 1;
            }
        }
    }
    best.map(|(_, node)| node).ok_or(why)
}

/// The only node that a slot of a global service can have, or why it cannot hold the task.
pub fn place_on(state: &State, ledger: &Ledger, service: &Service, id: NodeId) -> Result<NodeId, Unplaceable> {
    let Some(node) = state.node(id) else { return Err(Unplaceable::default()) };
    match filter::judge(state, ledger, &filter::Wanted::on(state, service, id), node) {
        Ok(()) => Ok(id),
        Err(refusal) => {
            let refusals = BTreeMap::from([(refusal.kind().into_owned(), (1, refusal.to_string()))]);
            Err(Unplaceable { nodes: 1, refusals, only: Some(node.info.hostname.clone()) })
        }
    }
}

/// Chooses a node for one task of a slot: its own, where it has one.
pub fn place_slot(
    state: &State,
    ledger: &Ledger,
    service: &Service,
    home: Option<NodeId>,
) -> Result<NodeId, Unplaceable> {
    match home {
        Some(node) => place_on(state, ledger, service, node),
        None => place(state, ledger, service, None),
    }
}

/// Chooses a node for the one that takes a task's place, once that has stopped: the same one if it can hold it.
/// `home`: the only one that is asked.
pub fn succeed(
    state: &State,
    ledger: &Ledger,
    service: &Service,
    old: &Task,
    home: Option<NodeId>,
) -> Result<NodeId, Unplaceable> {
    let mut ledger = ledger.clone();
    ledger.release(old);
    if let Some(node) = home {
        return place_on(state, &ledger, service, node);
    }
    let wanted = filter::Wanted::on(state, service, old.node);
    match state.node(old.node) {
        Some(node) if filter::judge(state, &ledger, &wanted, node).is_ok() => Ok(old.node),
        _ => place(state, &ledger, service, None),
    }
}

/// Would this node take the task as State is now? The same filters that placed it. `succeeds`: a task whose place it
/// takes, so that what that holds is free for it.
pub fn fits_now(state: &State, service: &Service, node: &Node, succeeds: Option<&Task>) -> Result<(), Refusal> {
    let mut ledger = Ledger::of(state);
    if let Some(task) = succeeds {
        ledger.release(task);
    }
    filter::judge(state, &ledger, &filter::Wanted::on(state, service, node.info.id), node)
}

impl fmt::Display for Unplaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return write!(f, "there is no node");
        }
        if let Some(only) = &self.only {
            let why = self.refusals.values().map(|(_, words)| words.as_str()).next().unwrap_or_default();
            return write!(f, "{only}, whose slot it is, cannot hold it: {why}");
        }
        write!(f, "0 of {} node{} can hold it: ", self.nodes, if self.nodes == 1 { "" } else { "s" })?;
        for (i, (count, example)) in self.refusals.values().enumerate() {
            if i > 0 {
                write!(f, "; ")?;
            }
            match self.nodes {
                1 => write!(f, "{example}")?,
                _ => write!(f, "{count}: {example}")?,
            }
        }
        Ok(())
    }
}
