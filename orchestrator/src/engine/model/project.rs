//! The unit of apply, rollback and naming.

use proto::id::{ProjectName, ServiceName};
use proto::revision::{Revision, Uid, Wall};
use proto::spec::{ProjectSpec, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::is_default;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// Identity for its whole life.
    pub uid: Uid,
    /// Number of the present release.
    pub release: u64,
    /// The last releases, oldest first, at most `limits::RELEASES_KEPT`.
    pub releases: Vec<Release>,
    /// Set once it is to go.
    pub deletion: Option<Deletion>,
    /// When the present release was applied.
    pub applied_at: Wall,
    /// Last revision that changed it.
    pub modified: Revision,
}

/// The n-th applied version of a project, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Counted from 1.
    pub number: u64,
    /// When it was applied.
    pub at: Wall,
    /// What was applied.
    pub spec: Arc<ProjectSpec>,
    /// What made it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub origin: Origin,
    /// How its changes of services ended, as far as they have: a word of `Rollout::word`, or
    /// `superseded`; after a colon its cause.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outcomes: BTreeMap<ServiceName, String>,
}

/// What made a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A manifest was applied.
    #[default]
    Applied,
    /// A service was scaled.
    Scaled {
        /// Which.
        service: ServiceName,
        /// To how many.
        replicas: u32,
    },
    /// A service was deleted.
    ServiceDeleted {
        /// Which.
        service: ServiceName,
    },
    /// An operator went back to what a service was in an earlier release.
    Undone {
        /// Which service.
        service: ServiceName,
        /// The release whose spec it has again.
        to: u64,
    },
    /// A change failed and was taken back.
    RolledBack {
        /// The release that failed.
        of: u64,
        /// The release gone back to.
        to: u64,
        /// What went wrong.
        cause: String,
    },
}

/// How a project goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// Its named volumes go too.
    pub volumes: bool,
}

impl Project {
    /// The present release's spec.
    pub fn spec(&self) -> &Arc<ProjectSpec> {
        &self.releases.last().expect("a project is made with its first release").spec
    }

    /// The present release's volumes.
    pub fn volumes(&self) -> &BTreeMap<String, VolumeSpec> {
        &self.spec().volumes
    }
}
