//! Which nodes can hold a task: each filter says why it says no.

use proto::id::{NodeId, ProjectName, ServiceKey};
use proto::needs::{self, Lack};
use proto::spec::{Constraint, MountSource, PortSpec, ServiceSpec};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Ledger, constraint};
use crate::engine::model::{Node, Service, Task};
use crate::engine::state::State;

/// Why a node cannot hold a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is lost.
    Down,
    /// Its Docker Engine cannot be used.
    Engine(String),
    /// A constraint does not hold.
    Constraint {
        /// Which.
        constraint: Constraint,
        /// The node's value; empty when it has none.
        value: String,
    },
    /// The image is for another platform.
    Platform {
        /// As written.
        wanted: String,
        /// The node's, in the same form.
        node: String,
    },
    /// It has as many tasks of the service as one node may have.
    MaxPerNode(u32),
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
    /// It does not allow what the container asks for, or cannot do it.
    Lacks(Lack),
    /// It is to be elsewhere than before.
    Avoided,
}

/// What a task of a service asks of a node, worked out once for all nodes.
#[derive(Debug, Clone)]
pub struct Wanted {
    key: ServiceKey,
    spec: Arc<ServiceSpec>,
    host_ports: Vec<PortSpec>,
    /// Named volumes that a node makes, by the manifest's names.
    volumes: Vec<String>,
    /// It has one task on each node, and each of its volumes is one on each node.
    is_global: bool,
    /// Tasks of the present spec by node; empty unless their number is limited.
    present: BTreeMap<NodeId, u32>,
}

// === impl Wanted ===

impl Wanted {
    /// Of a service, to be asked of any node as State is now.
    pub fn of(state: &State, service: &Service) -> Wanted {
        Wanted::with(state, service, || count(service, state.tasks_of(&service.key)))
    }

    /// Of a service, to be asked of this node only.
    pub fn on(state: &State, service: &Service, node: NodeId) -> Wanted {
        Wanted::with(state, service, || count(service, state.tasks_on(node).filter(|t| t.service == service.key)))
    }

    fn with(state: &State, service: &Service, present: impl FnOnce() -> BTreeMap<NodeId, u32>) -> Wanted {
        let present = if service.spec.placement.max_per_node > 0 { present() } else { BTreeMap::new() };
        let mounts = service.spec.container.mounts.iter();
        let volumes = mounts.filter_map(|mount| match &mount.source {
            MountSource::Volume { name, .. } if !service.volumes.get(name).is_some_and(|v| v.external) => {
                Some(name.clone())
            }
            _ => None,
        });
        let volumes = volumes.collect();
        let mut host_ports = service.host_ports();
        host_ports.retain(|p| p.published != 0);
        let is_global = state.is_global(service);
        Wanted { key: service.key.clone(), spec: Arc::clone(&service.spec), host_ports, volumes, is_global, present }
    }

    /// Is it of this service, as it is now?
    pub fn is_of(&self, service: &Service) -> bool {
        Arc::ptr_eq(&self.spec, &service.spec) && self.key == service.key
    }

    /// What is wanted.
    pub fn spec(&self) -> &ServiceSpec {
        &self.spec
    }
}

/// Tasks of the present spec by node. Those of an earlier one go, and their successors may start beside them.
fn count<'a>(service: &Service, tasks: impl Iterator<Item = &'a Arc<Task>>) -> BTreeMap<NodeId, u32> {
    let mut present = BTreeMap::new();
    for task in tasks.filter(|t| t.spec_hash == service.spec_hash) {
        *present.entry(task.node).or_default() += 1;
    }
    present
}

/// Can the node hold a task of the service? What is said once a node said no, it says again while a plan only adds tasks.
pub fn judge(state: &State, ledger: &Ledger, wanted: &Wanted, node: &Node) -> Result<(), Refusal> {
    let id = node.info.id;
    usable(node)?;
    if ledger.is_lost(id) {
        return Err(Refusal::Down);
    }
    may_hold(&wanted.spec, node)?;
    if let Some(lack) = needs::lack(&wanted.spec.container, &node.info.features, &[]) {
        return Err(Refusal::Lacks(lack));
    }
    capacity(ledger, &wanted.spec, node)?;
    if let Some(port) = wanted.host_ports.iter().find(|p| ledger.is_port_taken(id, p)) {
        return Err(Refusal::HostPort(port.published));
    }
    for name in &wanted.volumes {
        volume(state, ledger, wanted, name, node)?;
    }
    let most = wanted.spec.placement.max_per_node;
    if most > 0 {
        let here = wanted.present.get(&id).copied().unwrap_or(0) + ledger.placed_of(id, &wanted.key);
        if here >= most {
            return Err(Refusal::MaxPerNode(most));
        }
    }
    let (given, now) = ledger.placed(id);
    if !crate::engine::state::apply::has_free_address(state, node, given, now) {
        return Err(Refusal::Addresses);
    }
    Ok(())
}

/// Is it heard, and its engine with it?
pub fn usable(node: &Node) -> Result<(), Refusal> {
    if !node.is_up() {
        return Err(Refusal::Down);
    }
    if !node.conditions.engine_problem.is_empty() {
        return Err(Refusal::Engine(node.conditions.engine_problem.clone()));
    }
    Ok(())
}

/// Is it one of the nodes where the service's tasks may be, whatever is free on it?
pub fn may_hold(spec: &ServiceSpec, node: &Node) -> Result<(), Refusal> {
    if let Some(wanted) = spec.container.platform.as_deref().filter(|p| !constraint::is_for(p, node)) {
        let node = format!("{}/{}", node.info.os, node.info.arch);
        return Err(Refusal::Platform { wanted: wanted.to_owned(), node });
    }
    let mut constraints = spec.placement.constraints.iter();
    match constraints.find(|c| !constraint::holds(c, node)) {
        None => Ok(()),
        Some(broken) => Err(Refusal::Constraint {
            constraint: broken.clone(),
            value: constraint::value_of(node, &broken.attribute).into_owned(),
        }),
    }
}

fn capacity(ledger: &Ledger, spec: &ServiceSpec, node: &Node) -> Result<(), Refusal> {
    let wanted = spec.reservations;
    if wanted.cpu_millis == 0 && wanted.memory_bytes == 0 {
        return Ok(());
    }
    let reserved = ledger.reserved(node.info.id);
    let free_cpu = node.info.cpu_millis.saturating_sub(reserved.cpu_millis);
    if wanted.cpu_millis > free_cpu {
        return Err(Refusal::Cpu { wanted: wanted.cpu_millis, free: free_cpu, total: node.info.cpu_millis });
    }
    let free_memory = node.info.memory_bytes.saturating_sub(reserved.memory_bytes);
    if wanted.memory_bytes > free_memory {
        return Err(Refusal::Memory { wanted: wanted.memory_bytes, free: free_memory, total: node.info.memory_bytes });
    }
    Ok(())
}

/// A named local volume exists on one node only: its tasks go where it is, never to an empty twin. A global service has
/// one on each node.
fn volume(state: &State, ledger: &Ledger, wanted: &Wanted, name: &str, node: &Node) -> Result<(), Refusal> {
    let project: &ProjectName = &wanted.key.project;
    let planned = ledger.homes(project, name);
    let mut here = planned.is_some_and(|nodes| nodes.contains(&node.info.id));
    let mut elsewhere = planned.is_some() && !here;
    for home in state.volumes_named(project, name) {
        if home.key.node != node.info.id {
            elsewhere = true;
        } else if home.removing {
            return Err(Refusal::VolumeGoing(name.to_owned()));
        } else {
            here = true;
        }
    }
    if elsewhere && !here && !wanted.is_global {
        return Err(Refusal::VolumeElsewhere(name.to_owned()));
    }
    Ok(())
}

// === impl Refusal ===

impl Refusal {
    /// A stable word for counts; each constraint is counted by itself.
    pub fn kind(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Refusal::Down => "down",
            Refusal::Engine(_) => "engine",
            Refusal::Constraint { constraint, .. } => return Cow::Owned(Written(constraint).to_string()),
            Refusal::Platform { .. } => "platform",
            Refusal::MaxPerNode(_) => "max-per-node",
            Refusal::Cpu { .. } => "cpu",
            Refusal::Memory { .. } => "memory",
            Refusal::HostPort(_) => "host-port",
            Refusal::VolumeElsewhere(_) => "volume-elsewhere",
            Refusal::VolumeGoing(_) => "volume-going",
            Refusal::Addresses => "addresses",
            Refusal::Lacks(Lack::Permission(_)) => "policy",
            Refusal::Lacks(Lack::Ability(_)) => "feature",
            Refusal::Avoided => "avoided",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Down => write!(f, "it is lost"),
            Refusal::Engine(problem) => write!(f, "its Docker Engine cannot be used: {problem}"),
            Refusal::Constraint { constraint, value } if value.is_empty() => {
                write!(f, "`{}` is asked for, it has no such label", Written(constraint))
            }
            Refusal::Constraint { constraint, value } => {
                write!(f, "`{}` is asked for, it has `{value}`", Written(constraint))
            }
            Refusal::Platform { wanted, node } => write!(f, "`platform: {wanted}` is asked for, it is {node}"),
            Refusal::MaxPerNode(most) => write!(f, "it has as many tasks of the service as one node may have ({most})"),
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
            Refusal::Lacks(lack) => lack.fmt(f),
            Refusal::Avoided => write!(f, "it is to be elsewhere than before"),
        }
    }
}

/// As it stands in a manifest.
struct Written<'a>(&'a Constraint);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = if self.0.equal { "==" } else { "!=" };
        write!(f, "{}{operator}{}", self.0.attribute, self.0.value)
    }
}

/// Thousandths of a processor, as people read them.
#[derive(Debug)]
pub struct Cpus(pub u64);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        match rest {
            0 => write!(f, "{whole}"),
            _ => write!(f, "{whole}.{}", format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

/// Bytes, as people read them.
#[derive(Debug)]
pub struct Bytes(pub u64);

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
