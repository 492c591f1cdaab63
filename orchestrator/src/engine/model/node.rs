//! A host with an agent, as State knows it.

use proto::assignment::{NodeNetwork, Verdict};
use proto::node::{NodeConditions, NodeInfo};
use proto::revision::{Revision, Time, Uid, Wall};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::is_default;

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
    /// Last revision that changed its fingerprint, its labels or its reachability.
    pub modified: Revision,
    /// The labels that operators gave it: each wins over one of its agent's own, which are in `info`.
    // Since version 8.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// The revision that last changed them; 0: none has.
    // Since version 8.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labelled: Revision,
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

    /// The value of a label: an operator's, else its agent's own.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).or_else(|| self.info.labels.get(key)).map(String::as_str)
    }

    /// All its labels, as `label` tells each of them.
    pub fn labels(&self) -> BTreeMap<&str, &str> {
        let both = self.info.labels.iter().chain(&self.labels);
        both.map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}
