//! A service: a spec with a name and history.

use proto::id::{ServiceKey, ServiceName};
use proto::revision::{Revision, Uid, Wall};
use proto::spec::{MountSource, PortMode, PortSpec, ServiceSpec, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its full name.
    pub key: ServiceKey,
    /// Identity for its whole life.
    pub uid: Uid,
    /// What is wanted.
    pub spec: Arc<ServiceSpec>,
    /// Its named volumes, by the manifest's names.
    pub volumes: BTreeMap<String, VolumeSpec>,
    /// Counts the changes that needed new containers, from 1.
    pub generation: u64,
    /// Hash of what a container is made from: a task with another one is outdated.
    pub spec_hash: String,
    /// Dependencies whose condition was met once in this generation.
    pub gates: BTreeMap<ServiceName, Revision>,
    /// It is to go, and waits for its tasks.
    pub removing: bool,
    /// When it came.
    pub created_at: Wall,
    /// Last revision that changed what is wanted.
    pub modified: Revision,
}

impl Service {
    /// Ports that Docker itself binds on the task's host.
    pub fn host_ports(&self) -> Vec<PortSpec> {
        self.spec.ports.iter().filter(|p| p.mode == PortMode::Host).cloned().collect()
    }

    /// Would two containers of one slot get in each other's way? Then the old one stops first.
    pub fn stops_first(&self) -> bool {
        let writes_volume =
            self.spec.container.mounts.iter().any(|m| matches!(m.source, MountSource::Volume { .. }) && !m.read_only);
        writes_volume || !self.host_ports().is_empty()
    }
}

/// Hash of everything that a container of this spec is made from.
pub fn replacement_hash(spec: &ServiceSpec, volumes: &BTreeMap<String, VolumeSpec>) -> String {
    let host_ports: Vec<&PortSpec> = spec.ports.iter().filter(|p| p.mode == PortMode::Host).collect();
    proto::digest::short_hash(&(&*spec.container, volumes, host_ports))
}

/// The volumes of `all` that the spec mounts.
pub fn volumes_used(spec: &ServiceSpec, all: &BTreeMap<String, VolumeSpec>) -> BTreeMap<String, VolumeSpec> {
    let mut used = BTreeMap::new();
    for mount in &spec.container.mounts {
        if let MountSource::Volume { name, .. } = &mount.source
            && let Some(volume) = all.get(name)
        {
            used.insert(name.clone(), volume.clone());
        }
    }
    used
}
