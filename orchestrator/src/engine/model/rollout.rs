//! How far a change of a service has come, and what there is to go back to: all that a new leader must know of it.
//!
//! Plain data. Decided by `reconcile/rollout`, written by `state/apply/rollout`, told by `explain`.

use proto::id::{ServiceName, Slot, TaskId};
use proto::revision::{Revision, Time, Wall};
use proto::spec::{ServiceSpec, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Progress of a service's last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// What it goes back to when it fails: the last spec that was rolled out whole, or first applied and ready once.
    pub from: Option<Arc<Earlier>>,
    /// The generation that is rolled out.
    pub to: u64,
    /// The release that asked for it.
    pub release: u64,
    /// When it began.
    pub began: Time,
    /// The same, for people.
    pub began_at: Wall,
    /// What tasks went through up to this revision is not held against it.
    pub since: Revision,
    /// Where it is.
    pub state: RolloutState,
    /// Set when it takes back a change that failed.
    pub back: Option<Arc<Back>>,
    /// Slots whose new task failed.
    pub failed: BTreeMap<Slot, SlotFailure>,
    /// Slots whose turn it is and that no node can hold, and since when.
    pub unplaced: BTreeMap<Slot, Time>,
    /// When it ended.
    pub ended_at: Option<Wall>,
}

/// A spec that can be gone back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// The release it came with.
    pub release: u64,
    /// Its generation.
    pub generation: u64,
    /// Hash of what its containers are made from.
    pub spec_hash: String,
    /// What was wanted.
    pub spec: Arc<ServiceSpec>,
    /// Its named volumes.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Its open gates.
    pub gates: BTreeMap<ServiceName, Revision>,
}

/// Where a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// It goes on.
    Running,
    /// No further slot begins until an operator decides.
    Paused {
        /// Why.
        cause: String,
    },
    /// Too many slots failed and there is nothing to go back to. What is wanted is tried further.
    Failed {
        /// Why.
        cause: String,
    },
    /// Every slot is done.
    Done,
}

/// Of a rollout that takes back a change: which, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Back {
    /// The release that failed.
    pub of: u64,
    /// The release whose spec is restored.
    pub to: u64,
    /// What went wrong, such as `web.1: exit code 1: panicked`.
    pub cause: String,
    /// Last lines of the failed task's log.
    pub log: Vec<String>,
    /// That task.
    pub task: Option<TaskId>,
}

/// What went wrong in one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotFailure {
    /// The new task, if there was one.
    pub task: Option<TaskId>,
    /// When.
    pub at: Wall,
    /// In words.
    pub cause: String,
    /// Last lines of its log.
    pub log: Vec<String>,
}

// === impl Rollout ===

impl Rollout {
    /// New slots may begin and new tasks are judged.
    pub fn is_running(&self) -> bool {
        self.state == RolloutState::Running
    }

    /// Every slot is done.
    pub fn is_done(&self) -> bool {
        self.state == RolloutState::Done
    }

    /// A stable word: `running`, `paused`, `failed`, `done`, `rolling-back`, `rolled-back`.
    pub fn word(&self) -> &'static str {
        match (&self.state, &self.back) {
            (RolloutState::Running, None) => "running",
            (RolloutState::Running, Some(_)) => "rolling-back",
            (RolloutState::Done, None) => "done",
            (RolloutState::Done, Some(_)) => "rolled-back",
            (RolloutState::Paused { .. }, _) => "paused",
            (RolloutState::Failed { .. }, _) => "failed",
        }
    }

    /// Why it is not simply running or done; empty when it is.
    pub fn cause(&self) -> &str {
        match (&self.state, &self.back) {
            (RolloutState::Paused { cause } | RolloutState::Failed { cause }, _) => cause,
            (_, Some(back)) => &back.cause,
            _ => "",
        }
    }

    /// The first slot that failed, with its failure.
    pub fn first_failure(&self) -> Option<(Slot, &SlotFailure)> {
        self.failed.iter().min_by_key(|(slot, f)| (f.at, **slot)).map(|(slot, f)| (*slot, f))
    }
}
