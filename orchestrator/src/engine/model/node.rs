//! A host with an agent, as State knows it.

use proto::assignment::{NodeNetwork, Verdict};
use proto::node::{NodeConditions, NodeInfo};
use proto::revision::{Revision, Time, Uid, Wall};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Identity for its whole life.
    pub uid: Uid,
    /// What it says of itself.
    pub info: NodeInfo,
    /// The how-manieth subnet of the range it has.
    pub subnet_index: u32,
    /// Its subnet.
    pub network: NodeNetwork,
    /// Whether its lease is kept, as last decided.
    pub reachability: Reachability,
    /// What it found that is not about one task.
    pub conditions: NodeConditions,
    /// What to do with containers of ours that no set mentioned, by Docker id.
    pub verdicts: BTreeMap<String, Verdict>,
    /// The last host number given to a task, so that addresses rotate.
    pub last_host: u32,
    /// When it came.
    pub registered_at: Wall,
    /// Last revision that changed its fingerprint or reachability.
    pub modified: Revision,
}

/// Whether a node's lease is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reachability {
    /// It is heard.
    Up,
    /// It was silent for longer than its lease.
    Down {
        /// Since when.
        since: Time,
        /// The same, for people.
        since_wall: Wall,
    },
}

impl Node {
    /// Is it heard?
    pub fn is_up(&self) -> bool {
        self.reachability == Reachability::Up
    }
}
