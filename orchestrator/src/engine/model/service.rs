//! A service: a spec with a name and history.

use proto::id::{ServiceKey, ServiceName};
use proto::revision::{Revision, Uid, Wall};
use proto::spec::{
    Collision, HealthSpec, MountSource, PortMode, PortSpec, ServiceSpec, UpdateOrder, UpdateSpec, VolumeSpec,
};
use proto::task_state::Phase;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Rollout, Task, is_default};

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its full name.
    pub key: ServiceKey,
    /// Identity for its whole life.
    pub uid: Uid,
    /// What is wanted.
    pub spec: Arc<ServiceSpec>,
    /// Its named volumes, by the manifest's names.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Counts the changes that needed new containers, from 1.
    pub generation: u64,
    /// Hash of what a container is made from: a task with another one is outdated.
    pub spec_hash: String,
    /// Dependencies whose condition was met once in this generation.
    pub gates: BTreeMap<ServiceName, Revision>,
    /// How far its last change has come; `None`: it is as first applied.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollout: Option<Rollout>,
    /// It is to go, and waits for its tasks.
    pub removing: bool,
    /// When it came.
    pub created_at: Wall,
    /// Last revision that changed what is wanted.
    pub modified: Revision,
}

impl Service {
    /// Ports that Docker itself binds on the task's host.
    pub fn host_ports(&self) -> Vec<PortSpec> {
        self.spec.ports.iter().filter(|p| p.mode == PortMode::Host).cloned().collect()
    }

    /// Why the old task of a slot stops before the new one starts; `None`: it serves until the new one is done.
    ///
    /// Two containers of one slot would get in each other's way over a host port or a volume that they write.
    pub fn stop_first(&self) -> Option<StopFirst> {
        match (self.spec.collision(), self.policy().order) {
            (Some(Collision::Volume(volume)), _) => Some(StopFirst::Volume { volume }),
            (Some(Collision::HostPort(port)), _) => Some(StopFirst::HostPort { port }),
            (None, Some(UpdateOrder::StopFirst)) => Some(StopFirst::Asked),
            (None, _) => None,
        }
    }

    /// What governs its present rollout: `rollback` while a change is taken back, else `update`.
    pub fn policy(&self) -> &UpdateSpec {
        match self.rollout.as_ref().is_some_and(|r| r.back.is_some()) {
            true => &self.spec.rollback,
            false => &self.spec.update,
        }
    }

    /// Its process ended, and the restart policy leaves it at that, although it is not complete.
    pub fn gave_up(&self, task: &Task) -> bool {
        let status = &task.status;
        let starts_again = self.spec.restart.starts_again(status.failures_in_a_row);
        status.phase == Phase::Exited && status.retry_at.is_none() && !task.is_complete() && !starts_again
    }

    /// How long a started task may take until it is ready, in milliseconds.
    pub fn ready_within_ms(&self) -> u64 {
        let start_period_ms = match &self.spec.health {
            HealthSpec::Check(check) => check.start_period_ms,
            HealthSpec::FromImage | HealthSpec::Disabled => 0,
        };
        self.policy().deadline_ms.saturating_add(start_period_ms)
    }
}

/// Why the old task of a slot stops before the new one starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopFirst {
    /// The manifest says `order: stop-first`.
    Asked,
    /// Docker binds a port of the host for it.
    HostPort {
        /// Which.
        port: u16,
    },
    /// It writes to a named volume.
    Volume {
        /// The manifest's name for it.
        volume: String,
    },
}

impl fmt::Display for StopFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopFirst::Asked => write!(f, "`order: stop-first`"),
            StopFirst::HostPort { port } => write!(f, "{}", Collision::HostPort(*port)),
            StopFirst::Volume { volume } => write!(f, "{}", Collision::Volume(volume.clone())),
        }
    }
}

/// Hash of everything that a task of this spec is made from and judged by: if it changes, slots are updated one by one.
pub fn replacement_hash(spec: &ServiceSpec, volumes: &BTreeMap<String, VolumeSpec>) -> String {
    proto::digest::short_hash(&(&*spec.container, volumes, host_ports(spec), &spec.health))
}

/// The same before version 5 of State, whose health checks changed under tasks that ran.
pub fn container_hash(spec: &ServiceSpec, volumes: &BTreeMap<String, VolumeSpec>) -> String {
    proto::digest::short_hash(&(&*spec.container, volumes, host_ports(spec)))
}

fn host_ports(spec: &ServiceSpec) -> Vec<&PortSpec> {
    spec.ports.iter().filter(|p| p.mode == PortMode::Host).collect()
}

/// The volumes of `all` that the spec mounts.
pub fn volumes_used(spec: &ServiceSpec, all: &BTreeMap<String, VolumeSpec>) -> BTreeMap<String, VolumeSpec> {
    let mut used = BTreeMap::new();
    for mount in &spec.container.mounts {
        if let MountSource::Volume { name, .. } = &mount.source
            && let Some(volume) = all.get(name)
        {
            used.insert(name.clone(), volume.clone());
        }
    }
    used
}
