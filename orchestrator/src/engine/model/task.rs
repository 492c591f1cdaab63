//! One slot's placement on one node: restarted in place, never moved, only replaced.

use proto::assignment::Desired;
use proto::id::{NodeId, ServiceKey, Slot, TaskId};
use proto::revision::{Revision, Time, Uid, Wall};
use proto::spec::{ContainerSpec, MountSource, PortSpec, Reservations, VolumeSpec};
use proto::task_state::{Phase, TaskStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A task. It holds its address and reservations until its stop is confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Identity for its whole life.
    pub uid: Uid,
    /// Its service.
    pub service: ServiceKey,
    /// Its slot.
    pub slot: Slot,
    /// Its node.
    pub node: NodeId,
    /// The service's generation it was made from.
    pub generation: u64,
    /// Hash of what its container is made from.
    pub spec_hash: String,
    /// Its container.
    pub container: Arc<ContainerSpec>,
    /// Named volumes it mounts.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Ports Docker binds for it.
    pub host_ports: Vec<PortSpec>,
    /// What is set aside for it.
    pub reservations: Reservations,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// What is wanted of it.
    pub desired: Desired,
    /// What its agent last said.
    pub status: TaskStatus,
    /// When it was made.
    pub created_at: Wall,
    /// The same on the cluster's clock.
    pub created: Time,
    /// It has been ready once.
    pub was_ready: bool,
    /// Last revision that changed it.
    pub modified: Revision,
}

impl Task {
    /// Wanted to run.
    pub fn is_wanted(&self) -> bool {
        self.desired == Desired::Run
    }

    /// Discovery may answer with it, or it has done what it was for.
    pub fn is_satisfied(&self) -> bool {
        self.is_wanted() && (self.status.is_ready() || self.is_complete())
    }

    /// Its process ended with 0 and is not to be started again.
    pub fn is_complete(&self) -> bool {
        self.status.phase == Phase::Exited && self.status.exit_code == Some(0) && self.status.retry_at.is_none()
    }

    /// It mounts a named volume of its own node.
    pub fn has_local_volume(&self) -> bool {
        self.container.mounts.iter().any(|m| match &m.source {
            MountSource::Volume { name, .. } => self.volumes.get(name).is_none_or(|v| !v.external),
            _ => false,
        })
    }
}
