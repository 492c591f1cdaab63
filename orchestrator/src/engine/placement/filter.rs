//! Which nodes can hold a task: each filter says why it says no.

use proto::spec::MountSource;
use std::fmt;

use super::Ledger;
use crate::engine::model::{Node, Service};
use crate::engine::state::State;

/// Why a node cannot hold a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is lost.
    Down,
    /// Its Docker Engine cannot be used.
    Engine(String),
    /// Not enough processor is free.
    Cpu {
        /// Asked for, in thousandths.
        wanted: u64,
        /// Free, in thousandths.
        free: u64,
        /// The node's, in thousandths.
        total: u64,
    },
    /// Not enough memory is free.
    Memory {
        /// Asked for, in bytes.
        wanted: u64,
        /// Free, in bytes.
        free: u64,
        /// The node's, in bytes.
        total: u64,
    },
    /// A host port is taken.
    HostPort(u16),
    /// Its data are elsewhere.
    VolumeElsewhere(String),
    /// A volume it needs is being removed.
    VolumeGoing(String),
    /// No address is free.
    Addresses,
    /// It is to be elsewhere than before.
    Avoided,
}

/// Can the node hold a task of this service?
pub fn judge(state: &State, ledger: &Ledger, service: &Service, node: &Node) -> Result<(), Refusal> {
    let id = node.info.id;
    if !node.is_up() {
        return Err(Refusal::Down);
    }
    if !node.conditions.engine_problem.is_empty() {
        return Err(Refusal::Engine(node.conditions.engine_problem.clone()));
    }
    let reserved = ledger.reserved(id);
    let wanted = service.spec.reservations;
    let free_cpu = node.info.cpu_millis.saturating_sub(reserved.cpu_millis);
    if wanted.cpu_millis > free_cpu {
        return Err(Refusal::Cpu { wanted: wanted.cpu_millis, free: free_cpu, total: node.info.cpu_millis });
    }
    let free_memory = node.info.memory_bytes.saturating_sub(reserved.memory_bytes);
    if wanted.memory_bytes > free_memory {
        return Err(Refusal::Memory { wanted: wanted.memory_bytes, free: free_memory, total: node.info.memory_bytes });
    }
    if let Some(port) = service.host_ports().iter().find(|p| p.published != 0 && ledger.is_port_taken(id, p)) {
        return Err(Refusal::HostPort(port.published));
    }
    volumes(state, ledger, service, node)?;
    let (given, now) = ledger.placed(id);
    if !crate::engine::state::apply::has_free_address(state, node, given, now) {
        return Err(Refusal::Addresses);
    }
    Ok(())
}

/// A named local volume exists on one node only: its tasks go where it is, never to an empty twin.
fn volumes(state: &State, ledger: &Ledger, service: &Service, node: &Node) -> Result<(), Refusal> {
    for mount in &service.spec.container.mounts {
        let MountSource::Volume { name, .. } = &mount.source else { continue };
        if service.volumes.get(name).is_some_and(|v| v.external) {
            continue;
        }
        let planned = ledger.homes(&service.key.project, name);
        let mut here = planned.is_some_and(|nodes| nodes.contains(&node.info.id));
        let mut elsewhere = planned.is_some() && !here;
        for home in state.volumes_named(&service.key.project, name) {
            if home.key.node != node.info.id {
                elsewhere = true;
            } else if home.removing {
                return Err(Refusal::VolumeGoing(name.clone()));
            } else {
                here = true;
            }
        }
        if elsewhere && !here {
            return Err(Refusal::VolumeElsewhere(name.clone()));
        }
    }
    Ok(())
}

// === impl Refusal ===

impl Refusal {
    /// A stable word for counts.
    pub fn kind(&self) -> &'static str {
        match self {
            Refusal::Down => "down",
            Refusal::Engine(_) => "engine",
            Refusal::Cpu { .. } => "cpu",
            Refusal::Memory { .. } => "memory",
            Refusal::HostPort(_) => "host-port",
            Refusal::VolumeElsewhere(_) => "volume-elsewhere",
            Refusal::VolumeGoing(_) => "volume-going",
            Refusal::Addresses => "addresses",
            Refusal::Avoided => "avoided",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Down => write!(f, "it is lost"),
            Refusal::Engine(problem) => write!(f, "its Docker Engine cannot be used: {problem}"),
            Refusal::Cpu { wanted, free, total } => write!(
                f,
                "{} CPUs are reserved by the service, {} of {} are free",
                Cpus(*wanted),
                Cpus(*free),
                Cpus(*total)
            ),
            Refusal::Memory { wanted, free, total } => write!(
                f,
                "{} of memory are reserved by the service, {} of {} are free",
                Bytes(*wanted),
                Bytes(*free),
                Bytes(*total)
            ),
            Refusal::HostPort(port) => write!(f, "host port {port} is taken by another task"),
            Refusal::VolumeElsewhere(name) => write!(f, "volume `{name}` is on another node"),
            Refusal::VolumeGoing(name) => write!(f, "volume `{name}` is being removed"),
            Refusal::Addresses => write!(f, "its subnet has no free address"),
            Refusal::Avoided => write!(f, "it is to be elsewhere than before"),
        }
    }
}

struct Cpus(u64);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        match rest {
            0 => write!(f, "{whole}"),
            _ => write!(f, "{whole}.{}", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        for (unit, size) in UNITS {
            if self.0 >= size {
                let tenths = self.0.saturating_mul(10) / size;
                return write!(f, "{}.{} {unit}", tenths / 10, tenths % 10);
            }
        }
        write!(f, "{} B", self.0)
    }
}
