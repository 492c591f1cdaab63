//! What is free as a plan spends it, so that two placements of one plan see each other.

use proto::id::{NodeId, ProjectName, ServiceKey};
use proto::revision::Time;
use proto::spec::{PortSpec, Protocol, Reservations};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::engine::model::{Node, Service, Task};
use crate::engine::state::State;

/// Free capacity by node.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    nodes: BTreeMap<NodeId, Used>,
    now: Time,
    /// Nodes on which a plan makes a named volume, by project and name.
    homes: BTreeMap<(ProjectName, String), BTreeSet<NodeId>>,
}

#[derive(Debug, Clone, Default)]
struct Used {
    reserved: Reservations,
    tasks: u32,
    placed: usize,
    by_service: BTreeMap<ServiceKey, u32>,
    host_ports: BTreeSet<(Protocol, u16, Option<IpAddr>)>,
}

// === impl Ledger ===

impl Ledger {
    /// Of all nodes, as of the last command.
    pub fn of(state: &State) -> Ledger {
        Ledger::at(state, state.clock())
    }

    /// Of all nodes at a moment of cluster time.
    pub fn at(state: &State, now: Time) -> Ledger {
        let mut ledger = Ledger { now: now.max(state.clock()), ..Ledger::default() };
        for task in state.tasks() {
            ledger.hold(state, task);
        }
        ledger
    }

    /// Of one node.
    pub fn of_node(state: &State, node: &Node) -> Ledger {
        let mut ledger = Ledger { now: state.clock(), ..Ledger::default() };
        for task in state.tasks_on(node.info.id) {
            ledger.hold(state, task);
        }
        ledger
    }

    /// One that is only prepared holds what it needs beyond its predecessor, which is on the same node.
    fn hold(&mut self, state: &State, task: &Task) {
        let before = task.succeeds.and_then(|id| state.task(id)).filter(|b| b.node == task.node);
        let mut wanted = task.reservations;
        if let Some(before) = before {
            wanted.cpu_millis = wanted.cpu_millis.saturating_sub(before.reservations.cpu_millis);
            wanted.memory_bytes = wanted.memory_bytes.saturating_sub(before.reservations.memory_bytes);
        }
        self.spend(task.node, &task.service, &wanted, &task.host_ports);
    }

    /// What a task holds is free for the one that takes its place.
    pub fn release(&mut self, task: &Task) {
        let Some(used) = self.nodes.get_mut(&task.node) else { return };
        used.tasks = used.tasks.saturating_sub(1);
        used.reserved.cpu_millis = used.reserved.cpu_millis.saturating_sub(task.reservations.cpu_millis);
        used.reserved.memory_bytes = used.reserved.memory_bytes.saturating_sub(task.reservations.memory_bytes);
        if let Some(count) = used.by_service.get_mut(&task.service) {
            *count = count.saturating_sub(1);
        }
        for port in task.host_ports.iter().filter(|p| p.published != 0) {
            used.host_ports.remove(&(port.protocol, port.published, port.host_ip));
        }
    }

    /// A task of this service was placed on this node.
    pub fn place(&mut self, node: NodeId, service: &Service) {
        self.spend(node, &service.key, &service.spec.reservations, &service.host_ports());
        self.nodes.entry(node).or_default().placed += 1;
        for (name, _) in service.volumes.iter().filter(|(_, v)| !v.external) {
            self.homes.entry((service.key.project.clone(), name.clone())).or_default().insert(node);
        }
    }

    fn spend(&mut self, node: NodeId, service: &ServiceKey, wanted: &Reservations, host_ports: &[PortSpec]) {
        let used = self.nodes.entry(node).or_default();
        used.tasks += 1;
        used.reserved.cpu_millis += wanted.cpu_millis;
        used.reserved.memory_bytes += wanted.memory_bytes;
        *used.by_service.entry(service.clone()).or_default() += 1;
        for port in host_ports.iter().filter(|p| p.published != 0) {
            used.host_ports.insert((port.protocol, port.published, port.host_ip));
        }
    }

    /// What is reserved on a node.
    pub fn reserved(&self, node: NodeId) -> Reservations {
        self.nodes.get(&node).map(|u| u.reserved).unwrap_or_default()
    }

    /// How many tasks a node has.
    pub fn tasks(&self, node: NodeId) -> u32 {
        self.nodes.get(&node).map_or(0, |u| u.tasks)
    }

    /// How many tasks of a service a node has.
    pub fn tasks_of(&self, node: NodeId, service: &ServiceKey) -> u32 {
        self.nodes.get(&node).and_then(|u| u.by_service.get(service)).copied().unwrap_or(0)
    }

    /// How many tasks a plan places on a node, and at what moment of cluster time.
    pub fn placed(&self, node: NodeId) -> (usize, Time) {
        (self.nodes.get(&node).map_or(0, |u| u.placed), self.now)
    }

    /// The nodes on which a plan makes this volume, if it does.
    pub fn homes(&self, project: &ProjectName, volume: &str) -> Option<&BTreeSet<NodeId>> {
        self.homes.get(&(project.clone(), volume.to_owned()))
    }

    /// Is this host port taken on a node? No address means all addresses.
    pub fn is_port_taken(&self, node: NodeId, port: &PortSpec) -> bool {
        let Some(used) = self.nodes.get(&node) else { return false };
        used.host_ports.iter().any(|(protocol, number, ip)| {
            *protocol == port.protocol
                && *number == port.published
                && (ip.is_none() || port.host_ip.is_none() || *ip == port.host_ip)
        })
    }
}
