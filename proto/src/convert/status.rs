//! An agent's observations of tasks, to the wire and back. Never judges their order: `TaskStatus::supersedes` does.

use super::{ConvertError, enumerated};
use crate::revision::Wall;
use crate::task_state::{Health, Phase, TaskStatus};
use crate::v1;

enumeration!(Phase { Pending, Preparing, Prepared, Starting, Running, Exited, Failed, Stopped });
enumeration!(Health { None, Starting, Healthy, Unhealthy });

impl From<&TaskStatus> for v1::TaskStatus {
    fn from(s: &TaskStatus) -> Self {
        v1::TaskStatus {
            incarnation: s.incarnation,
            phase: s.phase.into(),
            health: s.health.into(),
            sequence: s.sequence,
            exit_code: s.exit_code,
            oom_killed: s.oom_killed,
            message: s.message.clone(),
            container_id: s.container_id.clone(),
            started_at_unix_ms: s.started_at.map(|at| at.0),
            finished_at_unix_ms: s.finished_at.map(|at| at.0),
            retry_at_unix_ms: s.retry_at.map(|at| at.0),
            failures_in_a_row: s.failures_in_a_row,
            last_log: s.last_log.clone(),
            warnings: s.warnings.clone(),
        }
    }
}

impl TryFrom<v1::TaskStatus> for TaskStatus {
    type Error = ConvertError;
    fn try_from(w: v1::TaskStatus) -> Result<Self, ConvertError> {
        Ok(TaskStatus {
            incarnation: w.incarnation,
            phase: enumerated("phase", w.phase)?,
            health: enumerated("health", w.health)?,
            sequence: w.sequence,
            exit_code: w.exit_code,
            oom_killed: w.oom_killed,
            message: w.message,
            container_id: w.container_id,
            started_at: w.started_at_unix_ms.map(Wall),
            finished_at: w.finished_at_unix_ms.map(Wall),
            retry_at: w.retry_at_unix_ms.map(Wall),
            failures_in_a_row: w.failures_in_a_row,
            last_log: w.last_log,
            warnings: w.warnings,
        })
    }
}
