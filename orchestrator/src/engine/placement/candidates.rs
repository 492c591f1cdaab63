//! The nodes for one service, best first, kept in order while a plan adds its tasks.
//!
//! What makes it fast: nodes without a task of the service come in the order of their load, which all services share;
//! those with one are few, or were put there by this plan. A node that refused is not asked again: a plan only adds.
//! Says the same as looking at every node, which a property test holds it to. Used by `placer` alone.

use proto::id::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use super::Ledger;
use super::filter::{Wanted, judge, usable};
use super::score::{Spread, values};
use crate::engine::model::{Node, Service};
use crate::engine::state::State;

/// A node by how full it is: reserved share in thousandths, tasks, id.
pub type Load = (u64, u32, NodeId);

/// All usable nodes, the least loaded first.
#[derive(Debug, Clone, Default)]
pub struct Order(BTreeSet<Load>);

// === impl Order ===

impl Order {
    /// As State and the plan have it.
    pub fn of(state: &State, ledger: &Ledger) -> Order {
        let nodes = state.nodes().filter(|n| usable(n).is_ok());
        Order(nodes.map(|n| load(ledger, n)).collect())
    }

    /// A task was placed: the node has another load now.
    pub fn moved(&mut self, before: Load, after: Load) {
        if self.0.remove(&before) {
            self.0.insert(after);
        }
    }

    fn after(&self, last: Option<Load>) -> Option<Load> {
        match last {
            None => self.0.first().copied(),
            Some(last) => self.0.range((Excluded(last), Unbounded)).next().copied(),
        }
    }
}

/// How full a node is, with its id.
pub fn load(ledger: &Ledger, node: &Node) -> Load {
    let (share, tasks) = ledger.load(node);
    (share, tasks, node.info.id)
}

/// The nodes for one service.
#[derive(Debug)]
pub struct Candidates {
    wanted: Wanted,
    spread: Spread,
    /// By the values that the service asks to spread over: one group when it asks for nothing.
    groups: BTreeMap<Vec<String>, Group>,
}

/// Nodes that share the values to spread over.
#[derive(Debug, Default)]
struct Group {
    /// Nodes with tasks of the service: how many, and their load.
    held: BTreeSet<(u32, Load)>,
    /// Nodes without one that were found fit.
    fit: BTreeSet<Load>,
    /// Nodes not looked at yet.
    rest: Rest,
}

/// Where nodes without a task of the service come from, in order of load.
#[derive(Debug)]
enum Rest {
    /// The order of all nodes, after this one.
    After(Option<Load>),
    /// These, from the last to the first.
    Listed(Vec<Load>),
}

impl Default for Rest {
    fn default() -> Self {
        Rest::Listed(Vec::new())
    }
}

// === impl Candidates ===

impl Candidates {
    /// Of a service, as State and the plan have it.
    pub fn of(state: &State, ledger: &Ledger, order: &Order, service: &Service) -> Candidates {
        let spread = Spread::of(state, ledger, service);
        let mut groups: BTreeMap<Vec<String>, Group> = BTreeMap::new();
        if service.spec.placement.spread.is_empty() {
            groups.insert(Vec::new(), Group { rest: Rest::After(None), ..Group::default() });
        } else {
            for load in order.0.iter().rev() {
                let Some(node) = state.node(load.2) else { continue };
                if let Rest::Listed(list) = &mut groups.entry(values(&service.spec, node)).or_default().rest {
                    list.push(*load);
                }
            }
        }
        for (id, count) in &spread.tasks {
            if let Some(node) = state.node(*id).filter(|n| usable(n).is_ok()) {
                groups.entry(values(&service.spec, node)).or_default().held.insert((*count, load(ledger, node)));
            }
        }
        Candidates { wanted: Wanted::of(state, service), spread, groups }
    }

    /// Is it about this service, as it is now?
    pub fn is_of(&self, service: &Service) -> bool {
        self.wanted.is_of(service)
    }

    /// The best node that can hold one more task; `avoid` is passed over.
    pub fn best(&mut self, state: &State, ledger: &Ledger, order: &Order, avoid: Option<NodeId>) -> Option<NodeId> {
        let mut by_spread: Vec<(Vec<u32>, Vec<String>)> =
            self.groups.keys().map(|values| (self.spread.shared(values), values.clone())).collect();
        by_spread.sort();
        let mut best: Option<(Vec<u32>, u32, Load)> = None;
        for (shared, values) in by_spread {
            if best.as_ref().is_some_and(|(least, ..)| *least < shared) {
                break;
            }
            let search = Search { state, ledger, order, wanted: &self.wanted, tasks: &self.spread.tasks, avoid };
            let Some((count, load)) = self.groups.get_mut(&values).and_then(|group| group.best(&search)) else {
                continue;
            };
            let found = (shared, count, load);
            if best.as_ref().is_none_or(|b| found < *b) {
                best = Some(found);
            }
        }
        best.map(|(_, _, load)| load.2)
    }

    /// A task of the service was placed on a node, which had this load before.
    pub fn placed(&mut self, node: &Node, before: Load, after: Load) {
        let values = values(self.wanted.spec(), node);
        self.spread.count(&values, 1);
        let tasks = self.spread.tasks.entry(node.info.id).or_default();
        *tasks += 1;
        let group = self.groups.entry(values).or_default();
        group.fit.remove(&before);
        group.held.remove(&(*tasks - 1, before));
        group.held.insert((*tasks, after));
    }
}

/// What a search among one group's nodes looks at.
struct Search<'a> {
    state: &'a State,
    ledger: &'a Ledger,
    order: &'a Order,
    wanted: &'a Wanted,
    /// Tasks of the service by node.
    tasks: &'a BTreeMap<NodeId, u32>,
    avoid: Option<NodeId>,
}

// === impl Search ===

impl Search<'_> {
    fn can_hold(&self, load: &Load) -> bool {
        self.state.node(load.2).is_some_and(|node| judge(self.state, self.ledger, self.wanted, node).is_ok())
    }

    fn is_avoided(&self, load: &Load) -> bool {
        self.avoid == Some(load.2)
    }
}

// === impl Group ===

impl Group {
    fn best(&mut self, search: &Search<'_>) -> Option<(u32, Load)> {
        let free = self.best_free(search);
        free.map(|load| (0, load)).or_else(|| self.best_held(search))
    }

    /// Among nodes without a task of the service.
    fn best_free(&mut self, search: &Search<'_>) -> Option<Load> {
        let mut refused = Vec::new();
        let known = self.fit.iter().filter(|load| !search.is_avoided(load)).find(|load| {
            let fits = search.can_hold(load);
            if !fits {
                refused.push(**load);
            }
            fits
        });
        let known = known.copied();
        for load in refused {
            self.fit.remove(&load);
        }
        if known.is_some() {
            return known;
        }
        while let Some(load) = self.rest.next(search.order) {
            if search.tasks.contains_key(&load.2) || !search.can_hold(&load) {
                continue;
            }
            self.fit.insert(load);
            if !search.is_avoided(&load) {
                return Some(load);
            }
        }
        None
    }

    /// Among nodes with tasks of the service.
    fn best_held(&mut self, search: &Search<'_>) -> Option<(u32, Load)> {
        let mut refused = Vec::new();
        let found = self.held.iter().filter(|(_, load)| !search.is_avoided(load)).find(|held| {
            let fits = search.can_hold(&held.1);
            if !fits {
                refused.push(**held);
            }
            fits
        });
        let found = found.copied();
        for held in refused {
            self.held.remove(&held);
        }
        found
    }
}

// === impl Rest ===

impl Rest {
    fn next(&mut self, order: &Order) -> Option<Load> {
        match self {
            Rest::Listed(list) => list.pop(),
            Rest::After(last) => {
                let next = order.after(*last)?;
                *last = Some(next);
                Some(next)
            }
        }
    }
}
