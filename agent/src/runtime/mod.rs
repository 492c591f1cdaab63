//! The edge towards containers: one narrow trait, its Docker form and a scripted fake.
//!
//! Never decides: it does what it is told and says what it saw. Called by the worker, the prober and log streams.
//! An answer that cannot be understood is an error, never "gone".

pub mod build;
pub mod docker;
pub mod fake;
pub mod translate;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use proto::assignment::{Assignment, NodeNetwork};
use proto::id::{ClusterId, NodeId, ServiceKey, Slot, TaskId};
use proto::needs::Lack;
use proto::revision::{Epoch, Wall};
use proto::spec::{ContainerSpec, HealthCheck};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Who we are, for labels and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its epoch.
    pub epoch: Epoch,
    /// This node.
    pub node: NodeId,
}

impl Identity {
    /// Name of the node's network in Docker.
    pub fn network_name(&self) -> String {
        format!("wherry-{}", self.cluster.short())
    }
    /// Interface name of the node's bridge, within the kernel's 15 characters.
    pub fn bridge_name(&self) -> String {
        format!("wh-{}", self.cluster.short())
    }
}

/// A container of ours as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenContainer {
    /// Docker's id.
    pub id: String,
    /// Its name without the leading slash.
    pub name: String,
    /// The task its label names.
    pub task: TaskId,
    /// Its service by its labels.
    pub service: ServiceKey,
    /// Its slot by its label.
    pub slot: Slot,
    /// Its generation by its label.
    pub generation: u64,
    /// Hash of the spec it was made from.
    pub spec_hash: String,
    /// Where it is.
    pub state: SeenState,
}

/// Where a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running {
        /// Since when.
        started_at: Wall,
        /// Its process id on the host.
        pid: i64,
    },
    /// Its process ended.
    Exited {
        /// When it had started.
        started_at: Option<Wall>,
        /// When it ended.
        finished_at: Option<Wall>,
        /// Its exit code.
        exit_code: i32,
        /// Killed by the kernel for memory.
        oom_killed: bool,
        /// What the engine says of it, such as why it could not start.
        error: String,
    },
    /// Paused, restarting, dead, or a word we do not know: wait and look again.
    Other(String),
}

/// Something happened to a container of ours: a hint to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Docker's id of the container.
    pub container_id: String,
    /// The task its label names.
    pub task: TaskId,
    /// The engine's word: `die`, `start`, `destroy`, `oom`, ...
    pub action: String,
}

/// All that is needed to make one container.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// Who we are.
    pub identity: Identity,
    /// What to make.
    pub assignment: Assignment,
    /// The node's network: its Docker network's name and addresses.
    pub network: NodeNetwork,
    /// Host path to the resolv.conf to mount over the container's.
    pub resolv_conf: PathBuf,
    /// Host paths of the configs and secrets, by their target inside; mounted read-only.
    pub files: BTreeMap<String, PathBuf>,
    /// Container name to use.
    pub name: String,
}

/// One line or part of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// From stderr rather than stdout.
    pub stderr: bool,
    /// Time the engine wrote it, in milliseconds.
    pub at: Option<Wall>,
    /// Bytes as written, the line end included.
    pub bytes: Vec<u8>,
}

/// Which part of a log is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// Go on as it grows.
    pub follow: bool,
    /// Only the last so many lines; `None`: all.
    pub tail: Option<u64>,
    /// Only since then.
    pub since: Option<Wall>,
}

/// What came of a command inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Its exit code.
    pub exit_code: i64,
    /// The end of its output, at most 4 KiB.
    pub output: String,
}

/// What a node's engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version.
    pub version: String,
    /// Its API's version.
    pub api_version: String,
    /// `linux`.
    pub os: String,
    /// `x86_64`.
    pub arch: String,
    /// Processors it may use.
    pub cpus: u64,
    /// Bytes of memory it may use.
    pub memory_bytes: u64,
    /// What the node can do and allows with it, as placement knows it (`proto::needs`).
    pub features: BTreeSet<String>,
}

/// What the image says that matters before a container is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageInfo {
    /// Docker's id of the image, `sha256:...`.
    pub id: String,
    /// Its HEALTHCHECK, if it has one that is not NONE.
    pub health: Option<HealthCheck>,
    /// Ports it exposes, tcp and udp together.
    pub exposed: Vec<proto::spec::ExposedPort>,
    /// What it is made for, `OS/ARCH[/VARIANT]`; empty when it does not say.
    pub platform: String,
}

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Docker's id.
    pub id: String,
    /// What the engine could not do of what it was asked for, in its words.
    pub warnings: Vec<String>,
}

/// Why the engine did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The engine does not answer: nothing is known.
    #[error("the Docker Engine at {endpoint} does not answer: {cause}")]
    Unreachable {
        /// Its socket.
        endpoint: String,
        /// Why.
        cause: String,
    },
    /// Our own deadline passed; the outcome is unknown.
    #[error("the Docker Engine did not finish `{call}` within {after_ms} ms; its outcome is unknown")]
    Deadline {
        /// What was asked.
        call: &'static str,
        /// After how long we gave up.
        after_ms: u64,
    },
    /// It is not there. Only for an answer that says so plainly (404 for that very object).
    #[error("{what} does not exist")]
    NotFound {
        /// The object.
        what: String,
    },
    /// The image is not to be had.
    #[error("image `{image}` cannot be pulled: {cause}")]
    Pull {
        /// Its reference.
        image: String,
        /// The engine's reason, shortened.
        cause: String,
    },
    /// The node does not allow it, or its engine cannot: said before the engine was asked.
    #[error("{lack}")]
    Lacking {
        /// What is lacking, and the remedy.
        lack: Lack,
    },
    /// A name, address or port is taken.
    #[error("{what} is taken: {cause}")]
    Conflict {
        /// What.
        what: String,
        /// The engine's words.
        cause: String,
    },
    /// A command inside a container did not end in its time and was killed. The engine itself answers.
    #[error("the command did not end within {after_ms} ms and was killed")]
    CommandTimeout {
        /// The time it had.
        after_ms: u64,
        /// The end of what it had written, at most 4 KiB.
        output: String,
    },
    /// The engine refused.
    #[error("the Docker Engine refused `{call}`: {cause}")]
    Refused {
        /// What was asked.
        call: &'static str,
        /// The engine's words.
        cause: String,
    },
    /// The engine answered what we cannot understand: nothing is known.
    #[error("the Docker Engine's answer to `{call}` cannot be understood: {cause}")]
    Nonsense {
        /// What was asked.
        call: &'static str,
        /// What was wrong.
        cause: String,
    },
}

/// What a node can do with containers. Every call ends within its own deadline, bodies included.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + std::fmt::Debug + 'static {
    /// The engine itself.
    async fn info(&self) -> Result<EngineInfo, RuntimeError>;
    /// Makes the node's network (a bridge with that subnet and gateway) when it is absent; checks it when it is there.
    /// Returns the bridge's interface name.
    async fn ensure_network(&self, identity: &Identity, network: &NodeNetwork) -> Result<String, RuntimeError>;
    /// Removes the node's network.
    async fn remove_network(&self, identity: &Identity) -> Result<(), RuntimeError>;
    /// The image, `None` when it is absent.
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError>;
    /// Pulls an image to the end, for that platform if one is named.
    async fn pull(&self, reference: &str, platform: Option<&str>) -> Result<(), RuntimeError>;
    /// May such a container be made here? `Lacking` when the node does not allow it, or its engine cannot. For before its
    /// image is pulled; `create` asks again.
    async fn admits(&self, spec: &ContainerSpec) -> Result<(), RuntimeError>;
    /// Makes a container, not started. Named volumes are made when absent.
    async fn create(&self, request: &CreateRequest) -> Result<Created, RuntimeError>;
    /// Starts a made or exited container.
    async fn start(&self, container_id: &str) -> Result<(), RuntimeError>;
    /// Sends the stop signal, waits the grace, then SIGKILL. An absent or stopped container is Ok.
    async fn stop(&self, container_id: &str, grace_ms: u64) -> Result<(), RuntimeError>;
    /// Removes a stopped container with its anonymous volumes. An absent container is Ok.
    async fn remove(&self, container_id: &str) -> Result<(), RuntimeError>;
    /// All containers labelled for this cluster and node, whole or an error.
    async fn list(&self, identity: &Identity) -> Result<Vec<SeenContainer>, RuntimeError>;
    /// One container by id.
    async fn inspect(&self, container_id: &str) -> Result<SeenContainer, RuntimeError>;
    /// Hints from now on. The stream ends when the engine goes away; what happened in between must be looked up.
    async fn events(&self, identity: &Identity)
    -> Result<BoxStream<'static, Result<Hint, RuntimeError>>, RuntimeError>;
    /// Runs a command inside; killed at the deadline (`CommandTimeout`). `Deadline` says the engine hung instead.
    async fn exec(&self, container_id: &str, argv: &[String], timeout_ms: u64) -> Result<ExecOutcome, RuntimeError>;
    /// A container's output.
    async fn logs(
        &self,
        container_id: &str,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError>;
    /// Removes a named volume. An absent volume is Ok; one in use is `Conflict`.
    async fn remove_volume(&self, name: &str) -> Result<(), RuntimeError>;
}
