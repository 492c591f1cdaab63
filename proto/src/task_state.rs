//! What an agent says of a task: phase, health, and the order in which one observation supersedes another.
//!
//! Never decides anything: judgements are the engines'.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::revision::Wall;

/// Where one incarnation of a task's container is. Forward-only within an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Assigned; the agent has not begun.
    #[default]
    Pending,
    /// The image is pulled, files are written, the container is created.
    Preparing,
    /// Image and files are there; it waits for its turn to be created and started.
    Prepared,
    /// Docker was asked to start it.
    Starting,
    /// Its process runs.
    Running,
    /// Its process ended; `exit_code` says how.
    Exited,
    /// It could not be prepared or started; `message` says why.
    Failed,
    /// Stopped because that was asked, and removed. Final for the task, whatever the incarnation.
    Stopped,
}

impl Phase {
    /// May `next` be reported after `self` within the same incarnation?
    pub fn can_follow(self, next: Phase) -> bool {
        next >= self && !(self == Phase::Exited && next == Phase::Failed)
    }

    /// The word shown to people and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Preparing => "preparing",
            Phase::Prepared => "prepared",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Exited => "exited",
            Phase::Failed => "failed",
            Phase::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The judgement of a running container's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It has no check: running is ready.
    #[default]
    None,
    /// No check succeeded yet.
    Starting,
    /// The last check succeeded.
    Healthy,
    /// `retries` checks in a row failed.
    Unhealthy,
}

impl Health {
    /// The word shown to people and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::None => "none",
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        }
    }
}

/// One observation of a task by its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct TaskStatus {
    /// The how-manieth start of the task's container this is about, from 1; 0 before the first.
    pub incarnation: u32,
    /// Where that incarnation is.
    pub phase: Phase,
    /// What its checks say.
    pub health: Health,
    /// Counted up by the agent with each change of this task: orders observations within an incarnation.
    pub sequence: u64,
    /// How the process ended, once it did.
    pub exit_code: Option<i32>,
    /// The kernel killed it for memory.
    pub oom_killed: bool,
    /// Cause in words: the pull's error, the probe's output, the last log line. Empty when all is well.
    pub message: String,
    /// Docker's id of the container, empty before there is one.
    pub container_id: String,
    /// When this incarnation's process started.
    pub started_at: Option<Wall>,
    /// When it ended.
    pub finished_at: Option<Wall>,
    /// When the agent will try again, while it waits.
    pub retry_at: Option<Wall>,
    /// Failures in a row, reset by a success that lasted.
    pub failures_in_a_row: u32,
    /// The last lines of its log, kept when it ended badly.
    pub last_log: Vec<String>,
    /// What the engine could not do of what it was asked for when it made the container, in its words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl TaskStatus {
    /// May discovery answer with it?
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && matches!(self.health, Health::None | Health::Healthy)
    }

    /// Does this observation supersede `earlier`?
    ///
    /// Stopped is final. Otherwise order is (incarnation, sequence), and a phase never goes back
    /// within an incarnation.
    pub fn supersedes(&self, earlier: &TaskStatus) -> bool {
        if earlier.phase == Phase::Stopped {
            return false;
        }
        if self.incarnation != earlier.incarnation {
            return self.incarnation > earlier.incarnation || self.phase == Phase::Stopped;
        }
        self.sequence > earlier.sequence && earlier.phase.can_follow(self.phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(incarnation: u32, phase: Phase, sequence: u64) -> TaskStatus {
        TaskStatus { incarnation, phase, sequence, ..TaskStatus::default() }
    }

    #[test]
    fn a_later_incarnation_wins_and_an_earlier_one_never_returns() {
        let exited = status(1, Phase::Exited, 9);
        assert!(status(2, Phase::Preparing, 10).supersedes(&exited));
        assert!(!exited.supersedes(&status(2, Phase::Preparing, 10)));
    }

    #[test]
    fn within_an_incarnation_the_phase_goes_forward_and_health_may_flap() {
        let running = status(1, Phase::Running, 5);
        assert!(!status(1, Phase::Starting, 6).supersedes(&running));
        let sick = TaskStatus { health: Health::Unhealthy, ..status(1, Phase::Running, 6) };
        assert!(sick.supersedes(&running));
        assert!(!running.supersedes(&sick), "an old observation does not come back");
    }

    #[test]
    fn stopped_is_final() {
        let stopped = status(3, Phase::Stopped, 7);
        assert!(!status(4, Phase::Running, 99).supersedes(&stopped));
        assert!(status(1, Phase::Stopped, 8).supersedes(&status(2, Phase::Running, 7)));
    }
}
