//! Why a change is planned: the event users see and part of the answer of `ctl why`.

use proto::id::{NodeId, ServiceName, TaskId};
use proto::spec::DependencyCondition;
use serde::{Deserialize, Serialize};
use std::fmt;

use super::explain::span;
use super::model::StopFirst;

/// Why a change is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A wanted slot has no task.
    SlotEmpty,
    /// The container's spec changed; the new one starts before the old one stops.
    SpecChanged,
    /// The container's spec changed; the old one must stop first.
    SpecChangedStopFirst,
    /// The container's spec changed; it is prepared while the old one still runs, which stops first.
    Prepares {
        /// Why it does.
        because: StopFirst,
    },
    /// What it takes the place of has stopped.
    PredecessorStopped,
    /// A task of the new spec failed.
    NewTaskFailed,
    /// A task of the new spec was started and did not get ready.
    NotReadyInTime {
        /// Within so many milliseconds.
        ms: u64,
    },
    /// No node could hold a task of the new spec.
    NotPlacedInTime {
        /// For so many milliseconds.
        ms: u64,
    },
    /// It is the slot's turn, and no node can hold its task now.
    NoNodeNow,
    /// More slots failed than may.
    TooManyFailed {
        /// So many did.
        failed: u32,
        /// So many may.
        allowed: u32,
    },
    /// Those slots that did not fail are done.
    OthersDone,
    /// Every slot is done.
    AllDone,
    /// Every slot that a node can hold is done.
    PlacedDone {
        /// Slots that no node can hold.
        without_node: u32,
    },
    /// Its successor is ready.
    Superseded {
        /// The successor.
        by: TaskId,
    },
    /// Its spec was replaced by a later one before it became ready.
    NeverReady,
    /// Fewer replicas are wanted.
    ScaledDown {
        /// How many are wanted.
        replicas: u32,
    },
    /// A global service's task is where none of its slot may be.
    Misplaced {
        /// Why not, in words.
        because: String,
    },
    /// Its service goes.
    ServiceRemoved,
    /// Its project goes.
    ProjectDeleted,
    /// Its node is lost.
    NodeLost {
        /// The node.
        node: NodeId,
    },
    /// The lost node came back before the replacement was ready.
    NodeCameBack {
        /// The node.
        node: NodeId,
    },
    /// It kept failing where it was.
    KeptFailing {
        /// Failures in a row.
        failures: u32,
    },
    /// The node was silent for longer than its lease.
    LeaseExpired,
    /// The node is heard again.
    HeardAgain,
    /// A dependency's condition is met.
    DependencyMet {
        /// The dependency.
        dependency: ServiceName,
        /// Its condition.
        condition: DependencyCondition,
    },
    /// A dependency is not there and need not be.
    DependencyAbsent {
        /// The dependency.
        dependency: ServiceName,
    },
    /// The last task of what is to go has gone.
    NothingLeft,
    /// Nothing refers to it any more.
    Unreferenced,
    /// A container carries the number of a task whose stop was confirmed before.
    StoppedBefore,
    /// A container carries the number of a task this State never made: kept until an operator decides.
    NeverMade,
    /// The container it was about is gone.
    ContainerGone,
}

impl Reason {
    /// The State version that knows it.
    pub fn version(&self) -> u32 {
        match self {
            Reason::Prepares { .. }
            | Reason::PredecessorStopped
            | Reason::NewTaskFailed
            | Reason::NotReadyInTime { .. }
            | Reason::NotPlacedInTime { .. }
            | Reason::NoNodeNow
            | Reason::TooManyFailed { .. }
            | Reason::OthersDone
            | Reason::AllDone => 2,
            Reason::Misplaced { .. } | Reason::PlacedDone { .. } => 4,
            _ => 1,
        }
    }

    /// A stable word, used as an event's kind and in counts.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::SlotEmpty => "slot-empty",
            Reason::SpecChanged => "spec-changed",
            Reason::SpecChangedStopFirst => "spec-changed-stop-first",
            Reason::Prepares { .. } => "prepares",
            Reason::PredecessorStopped => "predecessor-stopped",
            Reason::NewTaskFailed => "new-task-failed",
            Reason::NotReadyInTime { .. } => "not-ready-in-time",
            Reason::NotPlacedInTime { .. } => "not-placed-in-time",
            Reason::NoNodeNow => "no-node-now",
            Reason::TooManyFailed { .. } => "too-many-failed",
            Reason::OthersDone => "others-done",
            Reason::AllDone => "all-done",
            Reason::PlacedDone { .. } => "placed-done",
            Reason::Superseded { .. } => "superseded",
            Reason::NeverReady => "never-ready",
            Reason::ScaledDown { .. } => "scaled-down",
            Reason::Misplaced { .. } => "misplaced",
            Reason::ServiceRemoved => "service-removed",
            Reason::ProjectDeleted => "project-deleted",
            Reason::NodeLost { .. } => "node-lost",
            Reason::NodeCameBack { .. } => "node-came-back",
            Reason::KeptFailing { .. } => "kept-failing",
            Reason::LeaseExpired => "lease-expired",
            Reason::HeardAgain => "heard-again",
            Reason::DependencyMet { .. } => "dependency-met",
            Reason::DependencyAbsent { .. } => "dependency-absent",
            Reason::NothingLeft => "nothing-left",
            Reason::Unreferenced => "unreferenced",
            Reason::StoppedBefore => "stopped-before",
            Reason::NeverMade => "never-made",
            Reason::ContainerGone => "container-gone",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::SlotEmpty => write!(f, "the slot has no task"),
            Reason::SpecChanged => {
                write!(f, "its spec changed; the old one serves until the new one is ready")
            }
            Reason::SpecChangedStopFirst => {
                write!(f, "its spec changed; its successor starts once it has stopped")
            }
            Reason::Prepares { because } => {
                write!(f, "its spec changed; the old one stops first, once this one is prepared: {because}")
            }
            Reason::PredecessorStopped => write!(f, "what it takes the place of has stopped"),
            Reason::NewTaskFailed => write!(f, "a task of the new spec failed"),
            Reason::NotReadyInTime { ms } => write!(f, "not ready within {} of its start", span(*ms)),
            Reason::NotPlacedInTime { ms } => write!(f, "no node could hold it for {}", span(*ms)),
            Reason::NoNodeNow => write!(f, "it is its turn, and no node can hold it now"),
            Reason::TooManyFailed { failed, allowed } => write!(f, "slots that failed: {failed}; that may: {allowed}"),
            Reason::OthersDone => write!(f, "all slots that did not fail are done"),
            Reason::AllDone => write!(f, "every slot is done"),
            Reason::PlacedDone { without_node } => {
                write!(f, "every slot that has a node is done; slots that no node can hold: {without_node}")
            }
            Reason::Superseded { by } => write!(f, "{by} is ready in its place"),
            Reason::NeverReady => write!(f, "a later spec replaced it before it was ready"),
            Reason::ScaledDown { replicas } => write!(f, "scaled down to {replicas}"),
            Reason::Misplaced { because } => write!(f, "it may not be where it is: {because}"),
            Reason::ServiceRemoved => write!(f, "its service is being removed"),
            Reason::ProjectDeleted => write!(f, "its project is being deleted"),
            Reason::NodeLost { node } => write!(f, "node {node} is lost"),
            Reason::NodeCameBack { node } => write!(f, "node {node} came back before the replacement was ready"),
            Reason::KeptFailing { failures } => write!(f, "it failed {failures} times in a row where it was"),
            Reason::LeaseExpired => write!(f, "silent for longer than its lease"),
            Reason::HeardAgain => write!(f, "heard again"),
            Reason::DependencyMet { dependency, condition } => {
                let word = match condition {
                    DependencyCondition::Started => "started",
                    DependencyCondition::Healthy => "healthy",
                    DependencyCondition::Completed => "completed",
                };
                write!(f, "`{dependency}` is {word}")
            }
            Reason::DependencyAbsent { dependency } => write!(f, "`{dependency}` is not there and not required"),
            Reason::NothingLeft => write!(f, "its last task has gone"),
            Reason::Unreferenced => write!(f, "nothing refers to it any more"),
            Reason::StoppedBefore => write!(f, "its stop was confirmed before"),
            Reason::NeverMade => write!(f, "this cluster's state does not know it; kept until an operator decides"),
            Reason::ContainerGone => write!(f, "the container is gone"),
        }
    }
}
