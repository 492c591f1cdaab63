//! Desired against observed: the ordered list of passes. Reads like a table of contents.
//!
//! Sees the whole State, never an event: start, failover and steady running are one code path.

mod liveness;
mod misplaced;
mod order;
mod reap;
mod removal;
mod replicas;
mod rollout;
mod slot_set;
mod slots;
mod strangers;

use proto::id::{NodeId, ProjectName, ServiceKey, ServiceName, Slot};
use proto::revision::Time;
use std::collections::BTreeSet;

use super::lease::Leases;
use super::model::Service;
use super::placement::{self, Placer, Unplaceable};
use super::plan::{Change, Plan, Planned, Requires, Unplaced};
use super::reason::Reason;
use super::state::State;
use super::state::apply::address_free_at;

pub use order::{blocking_gates, is_condition_met};
pub use reap::BLOB_KEPT_MS;
pub use slot_set::{Home, SlotSet, slot_of};
pub use slots::{SlotProgress, progress};

/// Changes in one plan at most: keeps its log entry well below the limit. The rest follows in the next.
const PLAN_MAX_CHANGES: usize = 2_000;

/// What is to be done now. The same arguments give the same plan.
pub fn reconcile(state: &State, leases: &Leases, now: Time) -> Plan {
    let mut draft = Draft::new(state, now);
    liveness::pass(&mut draft, leases, now);
    strangers::pass(&mut draft);
    order::pass(&mut draft);
    rollout::pass(&mut draft, now);
    replicas::pass(&mut draft);
    removal::pass(&mut draft);
    reap::pass(&mut draft, now);
    draft.finish()
}

/// When reconcile could change its mind although nothing is applied; `None`: never.
pub fn next_deadline(state: &State, leases: &Leases, now: Time) -> Option<Time> {
    let lease = liveness::next_deadline(state, leases, now);
    let rollout = rollout::next_deadline(state, now);
    let reap = reap::next_deadline(state, now);
    let address = state.nodes().filter_map(|n| address_free_at(state, n, now)).min();
    [lease, rollout, reap, address].into_iter().flatten().min()
}

/// A plan in the making: what the passes share.
struct Draft<'a> {
    state: &'a State,
    placer: Placer<'a>,
    /// Gates opened by this plan.
    opened: BTreeSet<(ServiceKey, ServiceName)>,
    /// Nodes that this plan marks: their tasks are judged by the next.
    marked: BTreeSet<NodeId>,
    /// Projects that this plan takes back to an earlier release: the next plan sees what they then are.
    turning: BTreeSet<ProjectName>,
    plan: Plan,
}

// === impl Draft ===

impl<'a> Draft<'a> {
    fn new(state: &'a State, now: Time) -> Draft<'a> {
        Draft {
            state,
            placer: Placer::new(state, now),
            opened: BTreeSet::new(),
            marked: BTreeSet::new(),
            turning: BTreeSet::new(),
            plan: Plan { base: state.revision(), ..Plan::default() },
        }
    }

    fn change(&mut self, change: Change, requires: Vec<Requires>, reason: Reason) {
        if !self.is_full() {
            self.plan.changes.push(Planned { change, requires, reason });
        }
    }

    fn requires_node(&self, service: &Service, node: NodeId) -> Vec<Requires> {
        let mut requires = vec![Requires::Service(service.key.clone(), service.modified)];
        requires.extend(self.state.node(node).map(|host| Requires::Node(node, host.modified)));
        requires
    }

    /// What else there is to do comes in the next plan.
    fn is_full(&self) -> bool {
        self.plan.changes.len() >= PLAN_MAX_CHANGES
    }

    /// The slots that a service is to have; those of nodes that this plan marks are the next one's.
    fn slot_set(&self, service: &Service) -> SlotSet {
        SlotSet::of(self.state, service).without(&self.marked)
    }

    /// Chooses a node for one more task of a slot, or says why there is none. `avoid`: a node not to be chosen.
    fn choose(
        &mut self,
        service: &Service,
        set: &SlotSet,
        slot: Slot,
        avoid: Option<NodeId>,
    ) -> Result<NodeId, Unplaceable> {
        match set.home(slot) {
            Some(node) => placement::place_on(self.state, self.placer.ledger(), service, node),
            None => self.placer.choose(service, avoid),
        }
    }

    /// Could a node take one more task of the slot?
    fn can_place(&self, service: &Service, set: &SlotSet, slot: Slot) -> bool {
        placement::place_slot(self.state, self.placer.ledger(), service, set.home(slot)).is_ok()
    }

    fn cannot_place(&mut self, service: &Service, slot: Slot, why: Unplaceable) {
        self.plan.unplaced.push(Unplaced { service: service.key.clone(), slot, why });
    }

    fn finish(self) -> Plan {
        self.plan
    }
}
