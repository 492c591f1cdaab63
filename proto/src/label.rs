//! Labels and names in Docker: the contract between agents, their successors and people.

use crate::id::{ServiceKey, Slot};

/// Version of this set of labels.
pub const VERSION: &str = "1";
/// Labels' version.
pub const LABELS: &str = "wherry.labels";
/// Cluster id.
pub const CLUSTER: &str = "wherry.cluster";
/// Epoch.
pub const EPOCH: &str = "wherry.epoch";
/// Node id.
pub const NODE: &str = "wherry.node";
/// Project.
pub const PROJECT: &str = "wherry.project";
/// Service.
pub const SERVICE: &str = "wherry.service";
/// Slot.
pub const SLOT: &str = "wherry.slot";
/// Task.
pub const TASK: &str = "wherry.task";
/// Generation of the service.
pub const GENERATION: &str = "wherry.generation";
/// Name of the container within its task.
pub const CONTAINER: &str = "wherry.container";
/// Hash of the container's spec.
pub const SPEC_HASH: &str = "wherry.spec-hash";

/// `PROJECT-SERVICE-SLOT`.
pub fn container_name(service: &ServiceKey, slot: Slot) -> String {
    format!("{}-{}-{}", service.project, service.service, slot)
}
