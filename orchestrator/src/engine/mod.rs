//! Stand-in for the engine: a map of numbered texts behind the engine's interface.
//!
//! Never does I/O. Called by `raft::state_machine` (apply) and by everyone who reads State.

use imbl::OrdMap;
use proto::id::RequestId;
use proto::revision::{Epoch, Revision, Time, Wall};
use serde::{Deserialize, Serialize};

/// The newest State version that this binary understands.
pub const STATE_VERSION: u32 = 1;

/// Everything the cluster knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    epoch: Epoch,
    revision: Revision,
    clock: Time,
    wall: Wall,
    items: OrdMap<u64, String>,
}

impl State {
    /// The state of a cluster before its first command.
    pub fn empty() -> State {
        State {
            version: STATE_VERSION,
            epoch: Epoch(0),
            revision: Revision(0),
            clock: Time(0),
            wall: Wall(0),
            items: OrdMap::new(),
        }
    }
    /// Gates commands, codec and hash.
    pub fn version(&self) -> u32 {
        self.version
    }
    /// Count of applied commands.
    pub fn revision(&self) -> Revision {
        self.revision
    }
    /// Cluster time of the last command.
    pub fn clock(&self) -> Time {
        self.clock
    }
    /// Wall time of the last command.
    pub fn wall(&self) -> Wall {
        self.wall
    }
    /// Count of restores and recoveries.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
    /// The text under a number.
    pub fn item(&self, key: u64) -> Option<&str> {
        self.items.get(&key).map(String::as_str)
    }
}

/// What a log entry is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Command {
    /// Writes a text under a number.
    Put {
        /// The number.
        key: u64,
        /// The text.
        text: String,
    },
}

impl Command {
    /// The State version that the command needs.
    pub fn version(&self) -> u32 {
        1
    }
}

/// A command with what the leader knew when it accepted it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamped {
    /// Cluster time.
    pub at: Time,
    /// Wall time, for display and expiry only.
    pub wall: Wall,
    /// Who asked.
    pub request: Option<RequestId>,
    /// What.
    pub command: Command,
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Outcome {
    /// Written under this number.
    Put {
        /// The number.
        key: u64,
    },
}

/// The only writer of State. Total: every command has an outcome.
pub fn apply(state: &mut State, stamped: &Stamped) -> Outcome {
    state.revision.0 += 1;
    state.clock = state.clock.max(stamped.at);
    state.wall = stamped.wall;
    match &stamped.command {
        Command::Put { key, text } => {
            state.items.insert(*key, text.clone());
            Outcome::Put { key: *key }
        }
    }
}
