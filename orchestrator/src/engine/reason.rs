//! Why a change is planned: the event users see and part of the answer of `ctl why`.

use proto::id::{NodeId, ServiceName, TaskId};
use proto::spec::DependencyCondition;
use serde::{Deserialize, Serialize};
use std::fmt;

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
    /// A stable word, used as an event's kind and in counts.
    pub fn kind(&self) -> &'static str {
        match self {
            Reason::SlotEmpty => "slot-empty",
            Reason::SpecChanged => "spec-changed",
            Reason::SpecChangedStopFirst => "spec-changed-stop-first",
            Reason::Superseded { .. } => "superseded",
            Reason::NeverReady => "never-ready",
            Reason::ScaledDown { .. } => "scaled-down",
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
                write!(f, "its container's spec changed; the old one serves until the new one is ready")
            }
            Reason::SpecChangedStopFirst => {
                write!(f, "its container's spec changed; it holds a host port or a volume, so the old one stops first")
            }
            Reason::Superseded { by } => write!(f, "{by} is ready in its place"),
            Reason::NeverReady => write!(f, "a later spec replaced it before it was ready"),
            Reason::ScaledDown { replicas } => write!(f, "scaled down to {replicas}"),
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
