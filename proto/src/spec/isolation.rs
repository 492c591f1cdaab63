//! How far a container is kept apart from its host: privileges, capabilities, devices, namespaces.
//!
//! Never judges whether a node allows it: `needs` does. Part of `ContainerSpec`; every field's default is the engine's
//! own, which gives nothing away. Compose Specification, section 05.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

use super::is_default;

/// How far a container is kept apart from its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Isolation {
    /// Everything the host's root may do.
    #[serde(default, skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// Capabilities on top of the engine's default set, in capitals and without `CAP_`; `ALL`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cap_add: BTreeSet<String>,
    /// Capabilities taken from that set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cap_drop: BTreeSet<String>,
    /// Options such as `no-new-privileges:true`; a seccomp profile is carried whole (`seccomp={...}`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub security_opt: Vec<String>,
    /// Devices of the host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub devices: Vec<Device>,
    /// Rules of the device cgroup (`c 1:3 mr`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub device_cgroup_rules: Vec<String>,
    /// Further groups of its process, names or numbers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group_add: Vec<String>,
    /// Processes it sees.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pid: Namespace,
    /// Shared memory and semaphores it sees.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ipc: Namespace,
    /// Host name and domain name it sees.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uts: Namespace,
    /// Users it sees.
    #[serde(default, skip_serializing_if = "is_default")]
    pub userns: Namespace,
    /// Control groups it sees.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cgroup: Namespace,
    /// The control group its own is made in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cgroup_parent: Option<String>,
    /// It has no network but its loopback: no address, no names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_network: bool,
    /// The engine's runtime by its name there (`runc`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub runtime: Option<String>,
}

/// Whose namespace a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Namespace {
    /// What the engine does when nothing is said: one of its own, unless the engine is set up otherwise.
    #[default]
    Default,
    /// One of its own.
    Private,
    /// One of its own that others may join.
    Shareable,
    /// None at all, where that is possible.
    Absent,
    /// The host's.
    Host,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Path on the host.
    pub source: String,
    /// Path inside.
    pub target: String,
    /// Letters of `rwm`: read, write, make nodes.
    pub permissions: String,
}
