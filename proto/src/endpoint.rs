//! What discovery may answer: services, their tasks' addresses and states.
//!
//! Projected from State by the server; each node lays its own view of its own tasks over it.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::id::{NodeId, ServiceKey, Slot, TaskId};
use crate::revision::{Epoch, Revision};
use crate::spec::Protocol;

/// All services and their endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct EndpointTable {
    /// Epoch of the State it was projected from.
    pub epoch: Epoch,
    /// The State it was projected from.
    pub revision: Revision,
    /// Every service, also one without endpoints: its name exists.
    #[serde(with = "entries")]
    pub services: BTreeMap<ServiceKey, ServiceEndpoints>,
}

impl EndpointTable {
    /// The highest incarnation of a node's tasks in it; 0 when it has none.
    pub fn highest_incarnation(&self, node: NodeId) -> u32 {
        let all = self.services.values().flat_map(|s| &s.endpoints);
        all.filter(|e| e.node == node).map(|e| e.incarnation).max().unwrap_or(0)
    }
}

/// One service's endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct ServiceEndpoints {
    /// Ports with their names, for SRV.
    pub ports: Vec<NamedPort>,
    /// Tasks with an address.
    pub endpoints: Vec<Endpoint>,
    /// Its further names in its project, in lower case.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<String>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedPort {
    /// `http` in `_http._tcp`; the number in digits when the manifest gives no name.
    pub name: String,
    /// Port inside.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// A task's address under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The task.
    pub task: TaskId,
    /// Its slot.
    pub slot: Slot,
    /// Its node: a node's own view overrides the table for its own tasks.
    pub node: NodeId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// May it be answered?
    pub state: EndpointState,
    /// The incarnation the state is about.
    pub incarnation: u32,
    /// The sequence of the status it comes from.
    pub sequence: u64,
}

/// Whether an endpoint may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// Not yet, or not now: answered only under its slot's name.
    Starting,
    /// Yes.
    Ready,
    /// No more: it is about to be stopped; its open connections go on.
    Draining,
}

/// Maps whose keys are structs travel as lists of pairs.
pub mod entries {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    /// A map as a list of pairs.
    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(map: &BTreeMap<K, V>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(map.iter())
    }

    /// A list of pairs as a map.
    pub fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Ok(Vec::<(K, V)>::deserialize(d)?.into_iter().collect())
    }
}
