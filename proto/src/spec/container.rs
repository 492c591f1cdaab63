//! One container: what it is made from, what it mounts, how it finds others, where its output goes.
//!
//! Never knows how many there are or where: that is the service's. A field that came after the first version is left out
//! while it has its default, so that hashes of earlier specs stay. Compose Specification, section 05.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::is_default;
use super::{Isolation, Kernel};
use crate::id::BlobDigest;

/// The part of a service whose change needs a new container. Its hash tells whether one does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// Image reference as written.
    pub image: String,
    /// Identity of the image's content when it was built on this machine (`sha256:...`), empty when it is pulled:
    /// a rebuilt image under the same name is a change.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image_id: String,
    /// When to pull.
    pub pull: PullPolicy,
    /// Arguments; `None` takes the image's.
    pub command: Option<Vec<String>>,
    /// Entry point; `None` takes the image's, an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Host name inside; `None` takes `SERVICE-SLOT`.
    pub hostname: Option<String>,
    /// Container name asked for; honoured when there is one replica.
    pub container_name: Option<String>,
    /// `UID[:GID]` or names.
    pub user: Option<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// Time between the stop signal and SIGKILL, in milliseconds.
    pub stop_grace_ms: u64,
    /// Signal that asks it to stop; `None` takes the image's or SIGTERM.
    pub stop_signal: Option<String>,
    /// Run an init process as PID 1.
    pub init: bool,
    /// Mount the root file system read-only.
    pub read_only: bool,
    /// Volumes, host paths and tmpfs.
    pub mounts: Vec<Mount>,
    /// Configs and secrets as files.
    pub files: Vec<FileMount>,
    /// Upper limits.
    pub limits: Limits,
    /// What its image must be made for, `OS[/ARCH[/VARIANT]]` as written in lower case (`linux/amd64`); `None`: whatever
    /// the node is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub platform: Option<String>,
    /// Give its process a terminal.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tty: bool,
    /// Keep its standard input open.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stdin_open: bool,
    /// Memory file systems by path, with the mount options as written (`size=64m,mode=1777`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub tmpfs: BTreeMap<String, String>,
    /// What it gets of the kernel.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kernel: Kernel,
    /// How far it is kept apart from its host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub isolation: Isolation,
    /// How it finds others by name, beyond the cluster's names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub naming: Naming,
    /// Where the engine puts its output.
    #[serde(default, skip_serializing_if = "is_default")]
    pub logging: Logging,
    /// Annotations for the engine's runtime.
    #[serde(default, skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// How a container finds others by name. The cluster's own names come first, whatever stands here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Naming {
    /// Servers asked for names that are not the cluster's; empty: the host's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub servers: Vec<IpAddr>,
    /// Domains tried after the cluster's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub search: Vec<String>,
    /// Options of its resolver (`timeout:3`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: Vec<String>,
    /// The domain of its own host name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub domain: Option<String>,
    /// Lines of its `/etc/hosts`: name and address, `host-gateway` for the node it is on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hosts: Vec<HostEntry>,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// Its address; `None`: the node's own.
    pub address: Option<IpAddr>,
}

/// Where the engine puts a container's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// The engine's log driver; `None`: the engine's default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub driver: Option<String>,
    /// The driver's options.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: BTreeMap<String, String>,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// When it is absent on the node.
    #[default]
    Missing,
    /// Before every create.
    Always,
    /// Not at all.
    Never,
}

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// Absolute path inside.
    pub target: String,
    /// No writing.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A named volume of the project, by the manifest's name.
    Volume {
        /// Key under `volumes:`.
        name: String,
        /// Leave an empty volume empty: the image's files at the target are not copied into it.
        #[serde(default, skip_serializing_if = "is_default")]
        nocopy: bool,
        /// The part of it that is mounted, a relative path; `None`: all of it.
        #[serde(default, skip_serializing_if = "is_default")]
        subpath: Option<String>,
    },
    /// A volume without a name, that lives as long as its task.
    Anonymous,
    /// A host path, absolute.
    Bind {
        /// Path on the host.
        path: String,
        /// Make the directory when it is absent (Compose's short form does).
        create: bool,
        /// Whether mounts made below it later are seen on the other side, in the engine's word (`rslave`).
        #[serde(default, skip_serializing_if = "is_default")]
        propagation: Option<String>,
    },
    /// Memory.
    Tmpfs {
        /// Limit in bytes; `None`: half of memory.
        size_bytes: Option<u64>,
        /// Permission bits.
        mode: Option<u32>,
    },
}

/// A config or secret as a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileMount {
    /// Config or secret.
    pub kind: BlobKind,
    /// Key under `configs:` or `secrets:`.
    pub name: String,
    /// Its content.
    pub digest: BlobDigest,
    /// Absolute path inside.
    pub target: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits: 0400 for a secret, 0444 for a config unless written.
    pub mode: u32,
}

/// What a blob is: secrets are sealed and kept in memory file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlobKind {
    /// Readable configuration.
    Config,
    /// A secret.
    Secret,
}

/// Upper limits enforced by the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<i64>,
}

impl ContainerSpec {
    /// 16 hexadecimal digits that differ when a new container is needed.
    pub fn hash(&self) -> String {
        crate::digest::short_hash(self)
    }
}
