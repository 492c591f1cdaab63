//! A named volume on a node.

use proto::id::{NodeId, ProjectName};
use proto::revision::{Revision, Uid, Wall};
use serde::{Deserialize, Serialize};

/// What a volume is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeKey {
    /// Its project.
    pub project: ProjectName,
    /// The manifest's name for it.
    pub name: String,
    /// Where it is.
    pub node: NodeId,
}

/// A named volume. It outlives its project unless its removal is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// What it is known by.
    pub key: VolumeKey,
    /// Identity for its whole life.
    pub uid: Uid,
    /// Its name in Docker.
    pub docker_name: String,
    /// It was there before us: never removed.
    pub external: bool,
    /// Its removal was asked for.
    pub removing: bool,
    /// When it came.
    pub created_at: Wall,
    /// Last revision that changed it.
    pub modified: Revision,
}
