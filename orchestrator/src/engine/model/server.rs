//! A member of the control plane, as it says of itself.

use proto::id::ServerId;
use proto::revision::{Revision, Wall};
use serde::{Deserialize, Serialize};

use super::is_default;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerInfo {
    /// Which.
    pub id: ServerId,
    /// Its host's name.
    pub hostname: String,
    /// `HOST:PORT` where servers and agents reach it; empty: it has unix sockets only.
    pub peers: String,
    /// `HOST:PORT` where operators reach it.
    pub operators: String,
    /// The newest version of State that it understands.
    pub understands: u32,
    /// The version of its program.
    pub program: String,
    /// Ids of the sealing keys that it has on disk. Since version 7; before, nobody says so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sealing_keys: Vec<String>,
}

impl ServerInfo {
    /// Whether it says that it has this sealing key.
    pub fn has_key(&self, id: &str) -> bool {
        self.sealing_keys.iter().any(|held| held == id)
    }
}

/// A server that is or will be a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// What it said last.
    pub info: ServerInfo,
    /// When it was heard of first.
    pub since: Wall,
    /// Revision that wrote it.
    pub modified: Revision,
}
