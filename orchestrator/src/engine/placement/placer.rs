//! Placing many tasks in one plan: the choices of `place`, without looking at every node for each.
//!
//! Knows what the plan has added so far. Used by `reconcile`.

use proto::id::NodeId;
use proto::revision::Time;

use super::candidates::{Candidates, Order, load};
use super::{Ledger, Unplaceable, place};
use crate::engine::model::Service;
use crate::engine::state::State;

/// Places the tasks of one plan.
#[derive(Debug)]
pub struct Placer<'a> {
    state: &'a State,
    ledger: Ledger,
    /// Made when the first task is placed: most plans place none.
    order: Option<Order>,
    /// Of the service asked about last.
    candidates: Option<Candidates>,
    /// Why no node takes a task of it, once that was so.
    refused: Option<Unplaceable>,
}

// === impl Placer ===

impl<'a> Placer<'a> {
    /// For a plan made at a moment of cluster time.
    pub fn new(state: &'a State, now: Time) -> Placer<'a> {
        Placer { state, ledger: Ledger::at(state, now), order: None, candidates: None, refused: None }
    }

    /// What is free, this plan's tasks taken off.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Chooses a node for one more task, or says why there is none. `avoid`: a node not to be chosen. Takes nothing.
    pub fn choose(&mut self, service: &Service, avoid: Option<NodeId>) -> Result<NodeId, Unplaceable> {
        let order = self.order.get_or_insert_with(|| Order::of(self.state, &self.ledger));
        if self.candidates.as_ref().is_none_or(|c| !c.is_of(service)) {
            self.candidates = Some(Candidates::of(self.state, &self.ledger, order, service));
            self.refused = None;
        }
        // Nodes are taken by this plan and never given back: what had no place has none now.
        if let Some(why) = self.refused.as_ref().filter(|_| avoid.is_none()) {
            return Err(why.clone());
        }
        let best = self.candidates.as_mut().and_then(|c| c.best(self.state, &self.ledger, order, avoid));
        if let Some(node) = best {
            return Ok(node);
        }
        let why = place(self.state, &self.ledger, service, avoid);
        debug_assert!(why.is_err(), "{}: the search of all nodes finds {why:?}", service.key);
        if avoid.is_none() {
            self.refused = why.clone().err();
        }
        why
    }

    /// The plan marks this node as lost: nothing is placed there.
    pub fn lose(&mut self, node: NodeId) {
        self.ledger.lose(node);
    }

    /// One more task of the service is on the node from now on.
    pub fn take(&mut self, node: NodeId, service: &Service) {
        let Some(host) = self.state.node(node) else { return };
        let before = load(&self.ledger, host);
        self.ledger.place(node, service);
        let after = load(&self.ledger, host);
        if let Some(order) = &mut self.order {
            order.moved(before, after);
        }
        match &mut self.candidates {
            Some(candidates) if candidates.is_of(service) => candidates.placed(host, before, after),
            other => *other = None,
        }
    }
}
