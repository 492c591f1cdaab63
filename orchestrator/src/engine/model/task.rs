//! One slot's placement on one node: restarted in place, never moved, only replaced.

use proto::assignment::Desired;
use proto::id::{NodeId, ServiceKey, Slot, TaskId};
use proto::revision::{Revision, Time, Uid, Wall};
use proto::spec::{ContainerSpec, HealthSpec, MountSource, PortSpec, Reservations, VolumeSpec};
use proto::task_state::{Phase, TaskStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::is_default;

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
    /// Hash of what it is made from and judged by.
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
    /// Since when it is ready without a break, in one incarnation.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ready_since: Option<Time>,
    /// When its incarnation or phase last changed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub phase_since: Time,
    /// What last went wrong with it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub setback: Option<Arc<Setback>>,
    /// With `Desired::Stop`: time between leaving discovery and the stop signal, in milliseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub drain_ms: u64,
    /// The task it takes the place of, while it is prepared for that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub succeeds: Option<TaskId>,
    /// How its health is judged. Absent before version 5: then as its service's spec says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub health: Option<HealthSpec>,
}

/// Something that went wrong with a task: its process ended, it was unhealthy, or it could not be prepared again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setback {
    /// The revision that made it known.
    pub revision: Revision,
    /// The incarnation it befell.
    pub incarnation: u32,
    /// In words.
    pub cause: String,
    /// Last lines of its log.
    pub log: Vec<String>,
}

impl Task {
    /// Wanted to run, or being prepared for that.
    pub fn is_wanted(&self) -> bool {
        self.desired != Desired::Stop
    }

    /// Its image is fetched, and it starts once its predecessor has stopped.
    pub fn is_prepared_only(&self) -> bool {
        self.desired == Desired::Prepare
    }

    /// Discovery may answer with it, or it has done what it was for.
    pub fn is_satisfied(&self) -> bool {
        self.is_wanted() && (self.status.is_ready() || self.is_complete())
    }

    /// Its process ended with 0 and is not to be started again.
    pub fn is_complete(&self) -> bool {
        // An agent counts an end as a failure when the restart policy starts the process again.
        let is_counted = self.status.failures_in_a_row > 0 || self.status.retry_at.is_some();
        self.status.phase == Phase::Exited && self.status.exit_code == Some(0) && !is_counted
    }

    /// It mounts a named volume of its own node.
    pub fn has_local_volume(&self) -> bool {
        self.container.mounts.iter().any(|m| match &m.source {
            MountSource::Volume { name, .. } => self.volumes.get(name).is_none_or(|v| !v.external),
            _ => false,
        })
    }
}
