//! What a node says of itself.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::id::{NodeId, ServiceKey, TaskId};
use crate::spec::PortSpec;

/// Feature of an agent: it honours `Desired::Prepare`.
pub const FEATURE_PREPARE: &str = "prepare";

/// A node's fingerprint: who it is and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Its host name; unique enough for people, not used for identity.
    pub hostname: String,
    /// Version of its agent.
    pub agent_version: String,
    /// Version of its Docker Engine.
    pub engine_version: String,
    /// `linux`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub arch: String,
    /// Thousandths of a processor it has.
    pub cpu_millis: u64,
    /// Bytes of memory it has.
    pub memory_bytes: u64,
    /// Addresses of the host that others reach it by.
    pub addresses: Vec<IpAddr>,
    /// The operator's labels.
    pub labels: BTreeMap<String, String>,
    /// What it can do beyond the first release; placement avoids nodes that lack what is needed.
    pub features: BTreeSet<String>,
}

/// What a node found that is not about one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct NodeConditions {
    /// Why its Docker Engine cannot be used now; empty when it can.
    pub engine_problem: String,
    /// Published ports and what became of them.
    pub forwards: Vec<ForwardStatus>,
    /// Containers with our label that no set mentions.
    pub strangers: Vec<Stranger>,
    /// Docker names of volumes it removed on request.
    pub removed_volumes: Vec<String>,
}

/// One published port on one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardStatus {
    /// Whose.
    pub service: ServiceKey,
    /// As written.
    pub port: PortSpec,
    /// Port really bound; 0 when it could not be.
    pub bound: u16,
    /// Why it could not be bound; empty when it is.
    pub problem: String,
}

/// A container with our label that no set mentions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stranger {
    /// Docker's id.
    pub container_id: String,
    /// Its name.
    pub name: String,
    /// The task its label names.
    pub task: TaskId,
    /// Its service by its label.
    pub service: ServiceKey,
    /// It runs.
    pub running: bool,
}
