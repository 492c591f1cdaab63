//! What a node's tasks hold of it: an index that State keeps beside its table of tasks.
//!
//! Derived, never stored. Written by `state` when a task comes or goes, read by `placement`.

use proto::spec::{PortSpec, Protocol, Reservations};
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Task;

/// A port of a host: protocol, number, address (`None`: all addresses).
pub type HostPort = (Protocol, u16, Option<IpAddr>);

/// What the tasks on one node hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// What is set aside.
    pub reserved: Reservations,
    /// How many tasks there are.
    pub tasks: u32,
    /// Host ports, and how many tasks hold each.
    pub host_ports: BTreeMap<HostPort, u32>,
}

// === impl Usage ===

impl Usage {
    /// One more task that sets this aside and binds these.
    pub fn hold(&mut self, wanted: &Reservations, host_ports: &[PortSpec]) {
        self.tasks += 1;
        self.reserved.cpu_millis += wanted.cpu_millis;
        self.reserved.memory_bytes += wanted.memory_bytes;
        for port in fixed(host_ports) {
            *self.host_ports.entry(port).or_default() += 1;
        }
    }

    /// A task that was held is there no more.
    pub fn release(&mut self, task: &Task) {
        self.tasks = self.tasks.saturating_sub(1);
        self.reserved.cpu_millis = self.reserved.cpu_millis.saturating_sub(task.reservations.cpu_millis);
        self.reserved.memory_bytes = self.reserved.memory_bytes.saturating_sub(task.reservations.memory_bytes);
        for port in fixed(&task.host_ports) {
            if let Some(count) = self.host_ports.get_mut(&port) {
                *count -= 1;
                if *count == 0 {
                    self.host_ports.remove(&port);
                }
            }
        }
    }

    /// Is this host port held? No address means all addresses.
    pub fn has_port(&self, port: &PortSpec) -> bool {
        self.host_ports.keys().any(|(protocol, number, ip)| {
            *protocol == port.protocol
                && *number == port.published
                && (ip.is_none() || port.host_ip.is_none() || *ip == port.host_ip)
        })
    }
}

/// Ports whose number is written; the others are chosen by the agent among the free ones.
fn fixed(ports: &[PortSpec]) -> impl Iterator<Item = HostPort> + '_ {
    ports.iter().filter(|p| p.published != 0).map(|p| (p.protocol, p.published, p.host_ip))
}
