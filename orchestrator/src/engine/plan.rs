//! What reconcile proposes: changes without choices, each with what it relied on and why.

use proto::assignment::Verdict;
use proto::id::{BlobDigest, NodeId, ProjectName, ServiceKey, ServiceName, Slot, TaskId};
use proto::revision::Revision;
use serde::{Deserialize, Serialize};
use std::fmt;

use super::explain::span;
use super::model::{VolumeKey, is_default};
use super::placement::Unplaceable;
use super::reason::Reason;

/// Changes proposed against one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The revision it was made from.
    pub base: Revision,
    /// In the order they are to be made.
    pub changes: Vec<Planned>,
    /// Wanted but not possible now; for the reader, not for the log.
    #[serde(skip)]
    pub unplaced: Vec<Unplaced>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// What.
    pub change: Change,
    /// What it relied on: it is rejected if any of these moved.
    pub requires: Vec<Requires>,
    /// Why.
    pub reason: Reason,
}

/// What a plan can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Makes a task.
    CreateTask {
        /// Of which service.
        service: ServiceKey,
        /// For which slot.
        slot: Slot,
        /// On which node.
        node: NodeId,
    },
    /// Makes a task that is prepared and does not start: its predecessor still runs.
    PrepareTask {
        /// Of which service.
        service: ServiceKey,
        /// For which slot.
        slot: Slot,
        /// On which node.
        node: NodeId,
        /// The task whose place it takes.
        succeeds: TaskId,
    },
    /// A prepared task starts.
    RunTask {
        /// Which.
        task: TaskId,
    },
    /// Asks a task to stop. It leaves State when its stop is confirmed.
    StopTask {
        /// Which.
        task: TaskId,
        /// Time between leaving discovery and the stop signal, in milliseconds; 0 when nobody takes over.
        #[serde(default, skip_serializing_if = "is_default")]
        drain_ms: u64,
    },
    /// A slot's new task failed.
    FailSlot {
        /// Of which service.
        service: ServiceKey,
        /// Which slot.
        slot: Slot,
        /// The task, unless no node could hold one.
        task: Option<TaskId>,
        /// What went wrong, in words.
        cause: String,
    },
    /// It is a slot's turn and no node can hold its new task: the time it waits counts from here.
    HoldSlot {
        /// Of which service.
        service: ServiceKey,
        /// Which slot.
        slot: Slot,
    },
    /// Every service that a release changed becomes what it was before, as a release of its own.
    RollBack {
        /// The service whose rollout failed.
        service: ServiceKey,
    },
    /// A rollout waits for an operator.
    PauseRollout {
        /// Of which service.
        service: ServiceKey,
    },
    /// A rollout failed, and nothing is gone back to.
    FailRollout {
        /// Of which service.
        service: ServiceKey,
    },
    /// A rollout is over.
    FinishRollout {
        /// Of which service.
        service: ServiceKey,
    },
    /// A dependency's gate is open from now on.
    LatchGate {
        /// Whose gate.
        service: ServiceKey,
        /// To which dependency.
        dependency: ServiceName,
    },
    /// A node is lost.
    MarkDown {
        /// Which.
        node: NodeId,
    },
    /// A node is heard again.
    MarkUp {
        /// Which.
        node: NodeId,
    },
    /// A service whose last task has gone leaves State.
    ForgetService {
        /// Which.
        service: ServiceKey,
    },
    /// A project whose last service has gone leaves State.
    ForgetProject {
        /// Which.
        project: ProjectName,
    },
    /// A volume is to be removed by its node.
    RemoveVolume {
        /// Which.
        volume: VolumeKey,
    },
    /// A removed volume leaves State.
    ForgetVolume {
        /// Which.
        volume: VolumeKey,
    },
    /// Content nobody refers to leaves State.
    ForgetBlob {
        /// Which.
        digest: BlobDigest,
    },
    /// What to do with a container of ours that no set mentions.
    JudgeStranger {
        /// Where.
        node: NodeId,
        /// Its Docker id.
        container: String,
        /// Keep or stop; `None`: it is gone, forget the verdict.
        verdict: Option<Verdict>,
    },
}

/// What a change relied on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requires {
    /// The service as of that revision.
    Service(ServiceKey, Revision),
    /// The task as of that revision.
    Task(TaskId, Revision),
    /// The node as of that revision.
    Node(NodeId, Revision),
    /// The project as of that revision.
    Project(ProjectName, Revision),
}

/// A slot that could not be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unplaced {
    /// Of which service.
    pub service: ServiceKey,
    /// Which slot.
    pub slot: Slot,
    /// Why no node took it.
    pub why: Unplaceable,
}

impl Plan {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The State version that knows all its changes.
    pub fn version(&self) -> u32 {
        self.changes.iter().map(|p| p.change.version().max(p.reason.version())).max().unwrap_or(1)
    }
}

// === impl Change ===

impl Change {
    /// The State version that knows it.
    fn version(&self) -> u32 {
        match self {
            Change::PrepareTask { .. }
            | Change::RunTask { .. }
            | Change::FailSlot { .. }
            | Change::HoldSlot { .. }
            | Change::RollBack { .. }
            | Change::PauseRollout { .. }
            | Change::FailRollout { .. }
            | Change::FinishRollout { .. } => 2,
            Change::StopTask { drain_ms, .. } if *drain_ms > 0 => 2,
            Change::CreateTask { .. }
            | Change::StopTask { .. }
            | Change::LatchGate { .. }
            | Change::MarkDown { .. }
            | Change::MarkUp { .. }
            | Change::ForgetService { .. }
            | Change::ForgetProject { .. }
            | Change::RemoveVolume { .. }
            | Change::ForgetVolume { .. }
            | Change::ForgetBlob { .. }
            | Change::JudgeStranger { .. } => 1,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::CreateTask { service, slot, node } => write!(f, "create {service}.{slot} on {node}"),
            Change::PrepareTask { service, slot, node, succeeds } => {
                write!(f, "prepare {service}.{slot} on {node} in place of {succeeds}")
            }
            Change::RunTask { task } => write!(f, "start {task}"),
            Change::StopTask { task, drain_ms: 0 } => write!(f, "stop {task}"),
            Change::StopTask { task, drain_ms } => write!(f, "drain {task} for {} and stop it", span(*drain_ms)),
            Change::FailSlot { service, slot, cause, .. } => write!(f, "count {service}.{slot} as failed ({cause})"),
            Change::HoldSlot { service, slot } => write!(f, "hold {service}.{slot}"),
            Change::RollBack { service } => write!(f, "roll back {service}"),
            Change::PauseRollout { service } => write!(f, "pause the rollout of {service}"),
            Change::FailRollout { service } => write!(f, "end the rollout of {service} as failed"),
            Change::FinishRollout { service } => write!(f, "end the rollout of {service}"),
            Change::LatchGate { service, dependency } => write!(f, "open the gate of {service} to {dependency}"),
            Change::MarkDown { node } => write!(f, "mark {node} down"),
            Change::MarkUp { node } => write!(f, "mark {node} up"),
            Change::ForgetService { service } => write!(f, "forget service {service}"),
            Change::ForgetProject { project } => write!(f, "forget project {project}"),
            Change::RemoveVolume { volume } => write!(f, "remove volume {}/{}", volume.project, volume.name),
            Change::ForgetVolume { volume } => write!(f, "forget volume {}/{}", volume.project, volume.name),
            Change::ForgetBlob { digest } => write!(f, "forget content {}", &digest.0[..digest.0.len().min(12)]),
            Change::JudgeStranger { container, verdict, .. } => {
                let word = match verdict {
                    Some(Verdict::Keep) => "keep",
                    Some(Verdict::Stop) => "stop",
                    None => "forget",
                };
                write!(f, "{word} stranger {}", &container[..container.len().min(12)])
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for planned in &self.changes {
            writeln!(f, "{}: {}", planned.change, planned.reason)?;
        }
        for unplaced in &self.unplaced {
            writeln!(f, "cannot place {}.{}: {}", unplaced.service, unplaced.slot, unplaced.why)?;
        }
        Ok(())
    }
}
