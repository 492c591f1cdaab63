//! The slots that a service is to have: 1 to `replicas`, or those of the nodes where a global one may be.
//!
//! Which nodes those are is asked of the same filters that place; whether there is room on them is not asked here. Never
//! decides. Called by the passes, by `state/apply` and by `explain`.

use proto::id::{NodeId, Slot};
use std::collections::{BTreeMap, BTreeSet};

use crate::engine::model::{Node, Service, Task};
use crate::engine::placement::filter::may_hold;
use crate::engine::state::State;

/// The slots that a service is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotSet {
    /// 1 to so many.
    Replicas(u32),
    /// One for each node where it may be.
    Nodes(BTreeMap<Slot, Home>),
}

/// The node of a slot of a global service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// The node.
    pub node: NodeId,
    /// It is heard: on one that is lost nothing is asked for.
    pub is_up: bool,
}

/// A node's slot in every global service: its own for as long as it lives.
pub fn slot_of(node: &Node) -> Slot {
    Slot(node.subnet_index + 1)
}

// === impl SlotSet ===

impl SlotSet {
    /// Of a service as State is now.
    pub fn of(state: &State, service: &Service) -> SlotSet {
        if !state.is_global(service) {
            return SlotSet::Replicas(service.spec.replicas);
        }
        let nodes = state.nodes().filter(|n| may_hold(&service.spec, n).is_ok());
        SlotSet::Nodes(nodes.map(|n| (slot_of(n), Home { node: n.info.id, is_up: n.is_up() })).collect())
    }

    /// The same without those of some nodes: what becomes of them is not known yet.
    pub(super) fn without(mut self, nodes: &BTreeSet<NodeId>) -> SlotSet {
        if let SlotSet::Nodes(homes) = &mut self {
            for home in homes.values_mut().filter(|h| nodes.contains(&h.node)) {
                home.is_up = false;
            }
        }
        self
    }

    /// The slots that are to have a task, in the order they are treated.
    pub fn iter(&self) -> Box<dyn Iterator<Item = Slot> + '_> {
        match self {
            SlotSet::Replicas(replicas) => Box::new((1..=*replicas).map(Slot)),
            SlotSet::Nodes(homes) => Box::new(homes.iter().filter(|(_, h)| h.is_up).map(|(slot, _)| *slot)),
        }
    }

    /// How many those are.
    pub fn count(&self) -> u32 {
        match self {
            SlotSet::Replicas(replicas) => *replicas,
            SlotSet::Nodes(homes) => u32::try_from(homes.values().filter(|h| h.is_up).count()).unwrap_or(u32::MAX),
        }
    }

    /// Is the slot one of those?
    pub fn contains(&self, slot: Slot) -> bool {
        match self {
            SlotSet::Replicas(replicas) => (1..=*replicas).contains(&slot.0),
            SlotSet::Nodes(homes) => homes.get(&slot).is_some_and(|h| h.is_up),
        }
    }

    /// Is the slot one of the service's, whether or not it is to have a task now?
    pub(super) fn knows(&self, slot: Slot) -> bool {
        self.contains(slot) || self.home(slot).is_some()
    }

    /// The only node where the slot's task may be; `None`: any, or the slot is not there.
    pub fn home(&self, slot: Slot) -> Option<NodeId> {
        match self {
            SlotSet::Replicas(_) => None,
            SlotSet::Nodes(homes) => homes.get(&slot).map(|h| h.node),
        }
    }

    /// Is a task where one of its slot may be? A lost node is still its home.
    pub fn is_at_home(&self, task: &Task) -> bool {
        match self {
            SlotSet::Replicas(replicas) => task.slot.0 <= *replicas,
            SlotSet::Nodes(_) => self.home(task.slot) == Some(task.node),
        }
    }

    /// Each slot is a node.
    pub fn is_global(&self) -> bool {
        matches!(self, SlotSet::Nodes(_))
    }

    /// Is there a node at all where it may be, or is none needed?
    pub fn has_any(&self) -> bool {
        !self.is_global() || self.count() > 0
    }
}
