//! What a user asked for, resolved and typed: the form in which a manifest leaves ctl and lives in State.
//!
//! Never knows YAML, the wire or Docker. `cli/manifest` lowers into it, admission judges it, the agent translates it.
//! Rules of the keys: Compose Specification, sections 05 (services) to 09 (secrets).

mod container;
mod isolation;
mod kernel;
mod versions;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::id::{ProjectName, ServiceName};
use crate::limits::{DRAIN_DEFAULT_MS, UPDATE_DEADLINE_DEFAULT_MS, UPDATE_MONITOR_DEFAULT_MS};
pub use container::{
    BlobKind, ContainerSpec, FileMount, HostEntry, Limits, Logging, Mount, MountSource, Naming, PullPolicy,
};
pub use isolation::{Device, Isolation, Namespace};
pub use kernel::{BlockIo, CpuTuning, DeviceRate, Kernel, MemoryTuning, Ulimit};
pub use versions::NEWEST;

/// A whole project as applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// Its name.
    pub name: ProjectName,
    /// Its services by name.
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    /// Its named volumes.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Its networks' names, `default` among them when a service uses it.
    pub networks: BTreeSet<String>,
}

impl ProjectSpec {
    /// The State version that knows all its fields: those that came later are not written while they have their default.
    pub fn version(&self) -> u32 {
        versions::needed(self)
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// What changes only by replacing the container.
    pub container: Arc<ContainerSpec>,
    /// How many.
    pub replicas: u32,
    /// When its process ends, what then.
    pub restart: RestartPolicy,
    /// How its health is judged.
    pub health: HealthSpec,
    /// Ports published on hosts.
    pub ports: Vec<PortSpec>,
    /// Ports it serves inside, for SRV records and the wiser error message.
    pub expose: Vec<ExposedPort>,
    /// What must be so before it starts the first time in a release.
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// What the scheduler must keep free for each of its tasks.
    pub reservations: Reservations,
    /// Networks it is on, by the manifest's names.
    pub networks: BTreeSet<String>,
    /// Replicated, or one on every node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: ServiceMode,
    /// How a change of its container is rolled out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub update: UpdateSpec,
    /// How a failed change is taken back.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollback: UpdateSpec,
    /// Where its tasks may be, and where they rather are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub placement: PlacementSpec,
    /// Further names in discovery, by the network they are for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub aliases: BTreeMap<String, BTreeSet<String>>,
    /// The user's labels of the service itself (`deploy.labels`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Time between leaving discovery and the stop signal, in milliseconds, when another task takes over.
    #[serde(default = "drain_default_ms", skip_serializing_if = "is_drain_default")]
    pub drain_ms: u64,
}

impl ServiceSpec {
    /// How many tasks it has, in words: `3`, or `one on each node`.
    pub fn how_many(&self) -> String {
        match self.mode {
            ServiceMode::Replicated => self.replicas.to_string(),
            ServiceMode::Global => "one on each node".to_owned(),
        }
    }

    /// What two containers of one slot would get in each other's way over; `None`: they may run side by side.
    pub fn collision(&self) -> Option<Collision> {
        let written = self.container.mounts.iter().find_map(|m| match &m.source {
            MountSource::Volume { name, .. } if !m.read_only => Some(Collision::Volume(name.clone())),
            _ => None,
        });
        let fixed = self.ports.iter().find(|p| p.mode == PortMode::Host && p.published != 0);
        written.or_else(|| fixed.map(|p| Collision::HostPort(p.published)))
    }
}

/// What only one container of a slot can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collision {
    /// A port of the host that Docker binds.
    HostPort(u16),
    /// A named volume that it writes to.
    Volume(String),
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Collision::HostPort(port) => write!(f, "both want host port {port}"),
            Collision::Volume(volume) => write!(f, "both write to volume `{volume}`"),
        }
    }
}

/// How many tasks of a service there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum ServiceMode {
    /// So many as `replicas` says.
    #[default]
    Replicated,
    /// One on every node that may hold it; its slots are nodes.
    Global,
}

/// How a change is rolled out over a service's slots. Compose Specification, `deploy.update_config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateSpec {
    /// Slots in change at a time; 0: all.
    pub parallelism: u32,
    /// Pause between one slot's end and the next slot's begin, in milliseconds.
    pub delay_ms: u64,
    /// Which task of a slot runs first; `None`: the new one, unless both would want the same host port or volume.
    pub order: Option<UpdateOrder>,
    /// How long a new task must stay ready, without a new incarnation, before its slot counts as done, in milliseconds.
    pub monitor_ms: u64,
    /// What follows when too many slots failed.
    pub on_failure: FailureAction,
    /// How many of a thousand slots may fail before that.
    pub max_failures_per_mille: u32,
    /// How long a started task may take until it is ready, in milliseconds.
    pub deadline_ms: u64,
}

/// Which task of a slot runs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateOrder {
    /// The new one; the old one stops once it is done.
    StartFirst,
    /// The old one stops, then the new one starts.
    StopFirst,
}

/// What follows when a rollout fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum FailureAction {
    /// The earlier spec is restored. The default here.
    #[default]
    Rollback,
    /// It stays where it is until an operator decides.
    Pause,
    /// It goes on.
    Continue,
}

/// Where tasks may be. Compose Specification, `deploy.placement`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct PlacementSpec {
    /// All must hold of a node.
    pub constraints: Vec<Constraint>,
    /// Attributes over whose values tasks are spread evenly, the first counting most (`node.labels.zone`).
    pub spread: Vec<String>,
    /// Tasks of the service on one node at most; 0: any number.
    pub max_per_node: u32,
}

/// A condition on one attribute of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraint {
    /// `node.id`, `node.hostname`, `node.platform.os`, `node.platform.arch`, `node.labels.KEY`.
    pub attribute: String,
    /// The value must be this (true) or must not be (false).
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// What placement sets aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Reservations {
    /// Thousandths of a processor.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

/// What happens when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Start it again, whatever its exit code. The default here.
    #[default]
    Always,
    /// Start it again after a non-zero exit, at most so many times in a row (0: without limit).
    OnFailure {
        /// Highest number of restarts.
        max: u32,
    },
    /// Leave it: exit 0 is complete, another code is failed.
    No,
}

// === impl RestartPolicy ===

impl RestartPolicy {
    /// Is a process that failed so many times in a row started again?
    pub fn starts_again(self, failures: u32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure { max } => max == 0 || failures <= max,
            RestartPolicy::No => false,
        }
    }
}

/// How health is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum HealthSpec {
    /// The image's HEALTHCHECK, if it has one.
    #[default]
    FromImage,
    /// None, also when the image has one.
    Disabled,
    /// This one.
    Check(HealthCheck),
}

/// A health check, run by the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Time between checks once one succeeded.
    pub interval_ms: u64,
    /// Time one check may take.
    pub timeout_ms: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Time after the start in which failures do not count.
    pub start_period_ms: u64,
    /// Time between checks until the first success.
    pub start_interval_ms: u64,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A command inside the container; exit 0 is healthy.
    Exec {
        /// Program and arguments. A shell form is lowered to `/bin/sh -c`.
        argv: Vec<String>,
    },
    /// GET answers 200 to 399.
    Http {
        /// Port inside.
        port: u16,
        /// Path, `/` first.
        path: String,
    },
    /// A connection is accepted.
    Tcp {
        /// Port inside.
        port: u16,
    },
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// Name, for SRV records.
    pub name: Option<String>,
    /// Port inside.
    pub target: u16,
    /// Port on the host; 0: any free one, chosen by the agent and shown.
    pub published: u16,
    /// Address on the host as written; `None`: all.
    pub host_ip: Option<IpAddr>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who forwards.
    pub mode: PortMode,
}

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `tcp` or `udp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// Who forwards a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum PortMode {
    /// The agent, over all ready endpoints.
    #[default]
    Ingress,
    /// Docker's own binding, to the task on that host: one task of it per host.
    Host,
}

/// A port served inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExposedPort {
    /// Port inside.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// What a service waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// What must be so.
    pub condition: DependencyCondition,
    /// Absent dependency: an error (true) or a notice (false).
    pub required: bool,
}

/// What must be so of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    /// Every replica's process runs.
    Started,
    /// Every replica is healthy.
    Healthy,
    /// It ran and exited 0.
    Completed,
}

/// A named volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct VolumeSpec {
    /// Name in Docker; `None`: `PROJECT_NAME`, as Compose names it.
    pub docker_name: Option<String>,
    /// It exists already and is neither made nor removed.
    pub external: bool,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
}

impl VolumeSpec {
    /// The name in Docker of the project's volume `key`.
    pub fn name_in_docker(&self, project: &ProjectName, key: &str) -> String {
        self.docker_name.clone().unwrap_or_else(|| format!("{project}_{key}"))
    }
}

impl Default for ServiceSpec {
    fn default() -> Self {
        ServiceSpec {
            container: Arc::default(),
            replicas: 1,
            restart: RestartPolicy::default(),
            health: HealthSpec::default(),
            ports: Vec::new(),
            expose: Vec::new(),
            depends_on: BTreeMap::new(),
            reservations: Reservations::default(),
            networks: BTreeSet::new(),
            mode: ServiceMode::default(),
            update: UpdateSpec::default(),
            rollback: UpdateSpec::default(),
            placement: PlacementSpec::default(),
            aliases: BTreeMap::new(),
            labels: BTreeMap::new(),
            drain_ms: DRAIN_DEFAULT_MS,
        }
    }
}

impl Default for UpdateSpec {
    fn default() -> Self {
        UpdateSpec {
            parallelism: 1,
            delay_ms: 0,
            order: None,
            monitor_ms: UPDATE_MONITOR_DEFAULT_MS,
            on_failure: FailureAction::default(),
            max_failures_per_mille: 0,
            deadline_ms: UPDATE_DEADLINE_DEFAULT_MS,
        }
    }
}

/// What an earlier version wrote without a field has that field's default; writing it out would change hashes.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn drain_default_ms() -> u64 {
    DRAIN_DEFAULT_MS
}

fn is_drain_default(ms: &u64) -> bool {
    *ms == DRAIN_DEFAULT_MS
}
