//! What one node should run: projected from State by the server, accepted and diffed by the agent.
//!
//! A stop is explicit and stays in the set until the agent confirmed it; absence never removes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::id::{ClusterId, NodeId, ServiceKey, SessionId, Slot, TaskId};
use crate::revision::{Epoch, Revision};
use crate::spec::{ContainerSpec, ExposedPort, HealthSpec, PortSpec, RestartPolicy, VolumeSpec};

/// Everything one node should run, whole. An older one (epoch, revision) than the accepted one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentSet {
    /// The cluster it comes from.
    pub cluster: ClusterId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The node it is for.
    pub node: NodeId,
    /// The session it was sent in.
    pub session: SessionId,
    /// The State it was projected from.
    pub revision: Revision,
    /// The node's network.
    pub network: NodeNetwork,
    /// Tasks by id, those to stop among them.
    pub tasks: BTreeMap<TaskId, Assignment>,
    /// Published ports this node forwards.
    pub forwards: Vec<Forward>,
    /// What to do with containers of ours that no set mentioned, by Docker id.
    pub verdicts: BTreeMap<String, Verdict>,
    /// Docker names of volumes to remove because the operator asked for it.
    pub remove_volumes: Vec<String>,
}

/// The subnet of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeNetwork {
    /// First address of the subnet, such as 10.210.3.0.
    pub subnet: Ipv4Addr,
    /// Prefix length, such as 24.
    pub prefix: u8,
    /// The node's own address in it, such as 10.210.3.1: gateway and DNS server of its containers.
    pub gateway: Ipv4Addr,
}

/// What is wanted of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// Fetch its image and its files, and start nothing: what it takes the place of still runs.
    Prepare,
    /// Run it and keep it running.
    Run,
    /// Stop it with its grace, remove its container, confirm.
    Stop,
}

/// One task on its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// Its service.
    pub service: ServiceKey,
    /// Its slot.
    pub slot: Slot,
    /// The service's generation it was made from.
    pub generation: u64,
    /// Run or stop.
    pub desired: Desired,
    /// Its addresses, kept across restarts.
    pub addresses: Vec<IpAddr>,
    /// Its container.
    pub container: Arc<ContainerSpec>,
    /// `container.hash()`, carried so that both sides mean the same.
    pub spec_hash: String,
    /// What to do when its process ends.
    pub restart: RestartPolicy,
    /// How its health is judged.
    pub health: HealthSpec,
    /// Ports with `mode: host`, bound by Docker.
    pub host_ports: Vec<PortSpec>,
    /// Ports served inside.
    pub expose: Vec<ExposedPort>,
    /// Named volumes it mounts: the manifest's name to the volume.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// With `Stop`: time between leaving discovery and the stop signal, in milliseconds; 0 when nobody takes over.
    #[serde(default)]
    pub drain_ms: u64,
}

/// A published port forwarded by a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Whose ready endpoints get the connections.
    pub service: ServiceKey,
    /// The port as written.
    pub port: PortSpec,
}

/// What to do with a container of ours that no set mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Leave it running and listed.
    Keep,
    /// Stop and remove it.
    Stop,
}
