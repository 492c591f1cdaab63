//! What is free as a plan spends it, so that two placements of one plan see each other.
//!
//! What State's tasks hold is State's own index; only what the plan adds is counted here.

use imbl::OrdMap;
use proto::id::{NodeId, ProjectName, ServiceKey};
use proto::revision::Time;
use proto::spec::{PortSpec, Reservations};
use std::collections::{BTreeMap, BTreeSet};

use crate::engine::model::{Node, Service, Task, Usage};
use crate::engine::state::State;

/// Free capacity by node.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    now: Time,
    /// What State's tasks hold.
    held: OrdMap<NodeId, Usage>,
    /// What a plan adds.
    planned: BTreeMap<NodeId, Usage>,
    /// The same by service, as numbers of tasks.
    planned_of: BTreeMap<ServiceKey, BTreeMap<NodeId, u32>>,
    /// Nodes on which a plan makes a named volume, by project and name.
    homes: BTreeMap<(ProjectName, String), BTreeSet<NodeId>>,
    /// Nodes that a plan marks as lost.
    lost: BTreeSet<NodeId>,
}

// === impl Ledger ===

impl Ledger {
    /// Of all nodes, as of the last command.
    pub fn of(state: &State) -> Ledger {
        Ledger::at(state, state.clock())
    }

    /// Of all nodes at a moment of cluster time.
    pub fn at(state: &State, now: Time) -> Ledger {
        Ledger { now: now.max(state.clock()), held: state.usage().clone(), ..Ledger::default() }
    }

    /// What a task holds is free for the one that takes its place.
    pub fn release(&mut self, task: &Task) {
        if let Some(held) = self.held.get_mut(&task.node) {
            held.release(task);
        }
    }

    /// The plan marks this node as lost: nothing is placed there.
    pub fn lose(&mut self, node: NodeId) {
        self.lost.insert(node);
    }

    /// Does the plan mark this node as lost?
    pub fn is_lost(&self, node: NodeId) -> bool {
        self.lost.contains(&node)
    }

    /// A task of this service was placed on this node.
    pub fn place(&mut self, node: NodeId, service: &Service) {
        let planned = self.planned.entry(node).or_default();
        planned.hold(&service.spec.reservations, &service.host_ports());
        if !self.planned_of.contains_key(&service.key) {
            self.planned_of.insert(service.key.clone(), BTreeMap::new());
        }
        if let Some(of) = self.planned_of.get_mut(&service.key) {
            *of.entry(node).or_default() += 1;
        }
        for (name, _) in service.volumes.iter().filter(|(_, v)| !v.external) {
            self.homes.entry((service.key.project.clone(), name.clone())).or_default().insert(node);
        }
    }

    /// What is reserved on a node.
    pub fn reserved(&self, node: NodeId) -> Reservations {
        let (held, planned) = (self.held.get(&node), self.planned.get(&node));
        let both = || held.into_iter().chain(planned).map(|u| u.reserved);
        Reservations {
            cpu_millis: both().map(|r| r.cpu_millis).sum(),
            memory_bytes: both().map(|r| r.memory_bytes).sum(),
        }
    }

    /// How many tasks a node has.
    pub fn tasks(&self, node: NodeId) -> u32 {
        self.held.get(&node).map_or(0, |u| u.tasks) + self.planned.get(&node).map_or(0, |u| u.tasks)
    }

    /// How full a node is: the larger reserved share of processor and memory in thousandths, then its tasks.
    pub fn load(&self, node: &Node) -> (u64, u32) {
        let reserved = self.reserved(node.info.id);
        let cpu = share(reserved.cpu_millis, node.info.cpu_millis);
        let memory = share(reserved.memory_bytes, node.info.memory_bytes);
        (cpu.max(memory), self.tasks(node.info.id))
    }

    /// How many tasks of a service each node has, the planned ones included; nodes without any are absent.
    pub fn tasks_of(&self, state: &State, service: &ServiceKey) -> BTreeMap<NodeId, u32> {
        let mut counts: BTreeMap<NodeId, u32> = self.planned_of.get(service).cloned().unwrap_or_default();
        for task in state.tasks_of(service) {
            *counts.entry(task.node).or_default() += 1;
        }
        counts
    }

    /// How many tasks a plan places on a node, and at what moment of cluster time.
    pub fn placed(&self, node: NodeId) -> (usize, Time) {
        (self.planned.get(&node).map_or(0, |u| u.tasks as usize), self.now)
    }

    /// How many tasks of a service a plan places on a node.
    pub fn placed_of(&self, node: NodeId, service: &ServiceKey) -> u32 {
        self.planned_of.get(service).and_then(|of| of.get(&node)).copied().unwrap_or(0)
    }

    /// The nodes on which a plan makes this volume, if it does.
    pub fn homes(&self, project: &ProjectName, volume: &str) -> Option<&BTreeSet<NodeId>> {
        if self.homes.is_empty() {
            return None;
        }
        self.homes.get(&(project.clone(), volume.to_owned()))
    }

    /// Is this host port taken on a node? No address means all addresses.
    pub fn is_port_taken(&self, node: NodeId, port: &PortSpec) -> bool {
        let held = self.held.get(&node).is_some_and(|u| u.has_port(port));
        held || self.planned.get(&node).is_some_and(|u| u.has_port(port))
    }
}

fn share(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 1000 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}
