//! What reconcile proposes: changes without choices, each with what it relied on and why.

use proto::assignment::Verdict;
use proto::id::{BlobDigest, NodeId, ProjectName, ServiceKey, ServiceName, Slot, TaskId};
use proto::revision::Revision;
use serde::{Deserialize, Serialize};
use std::fmt;

use super::model::VolumeKey;
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
    /// Asks a task to stop. It leaves State when its stop is confirmed.
    StopTask {
        /// Which.
        task: TaskId,
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
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::CreateTask { service, slot, node } => write!(f, "create {service}.{slot} on {node}"),
            Change::StopTask { task } => write!(f, "stop {task}"),
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
