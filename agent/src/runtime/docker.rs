//! The Docker Engine over its unix socket, through bollard.
//!
//! Never decides and never waits without end: bollard's own timeout covers response headers only, so every call, its
//! body included, runs inside a deadline of ours. Called by the worker, the prober, log streams, and ctl for builds.

mod build;
mod containers;
mod events;
mod exec;
pub mod failure;
mod images;
mod logs;
mod network;
mod plain;
mod process;

pub use build::BuildQuestion;

use super::{
    ContainerRuntime, CreateRequest, Created, EngineInfo, ExecOutcome, Hint, Identity, ImageInfo, LogChunk, LogQuery,
    RuntimeError, SeenContainer,
};
use async_trait::async_trait;
use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use failure::Thing;
use futures_util::stream::BoxStream;
use proto::assignment::NodeNetwork;
use proto::needs::Permission;
use proto::spec::ContainerSpec;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Where the engine listens unless told otherwise.
pub const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";
/// bollard's own limit, in seconds: beyond every deadline of ours.
const CLIENT_TIMEOUT_SECONDS: u64 = 7 * 24 * 3600;
/// Pulls at one time.
const PULLS: usize = 3;

/// How long each class of call may take, from asking to the end of the answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// List, inspect and other questions.
    pub look: Duration,
    /// One container's inspection within a list: a stuck one must not hold up the others.
    pub look_within_list: Duration,
    /// Create and start.
    pub make: Duration,
    /// What a stop may take beyond its grace.
    pub stop_beyond_grace: Duration,
    /// Remove.
    pub remove: Duration,
    /// Silence within a pull.
    pub pull_silence: Duration,
    /// Silence within a build, whose steps may compute for long without a word.
    pub build_silence: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            look: Duration::from_secs(10),
            look_within_list: Duration::from_secs(5),
            make: Duration::from_secs(30),
            stop_beyond_grace: Duration::from_secs(15),
            remove: Duration::from_secs(30),
            pull_silence: Duration::from_secs(60),
            build_silence: Duration::from_secs(600),
        }
    }
}

/// A node's Docker Engine. Cheap to clone; connects at the first call and again after the engine went away.
#[derive(Debug, Clone)]
pub struct DockerRuntime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoint: String,
    deadlines: Deadlines,
    /// What the operator of this node allows.
    allowed: BTreeSet<Permission>,
    /// The client once its version is negotiated; emptied when the engine goes away, since another may come back.
    client: Mutex<Option<Docker>>,
    pulls: Semaphore,
    /// Processors of the engine, 0 until asked.
    cpus: std::sync::atomic::AtomicU64,
}

impl DockerRuntime {
    /// An engine by its socket: `unix:///path` or a plain path. Nothing is asked yet.
    pub fn new(endpoint: &str) -> DockerRuntime {
        DockerRuntime::with_deadlines(endpoint, Deadlines::default())
    }

    /// The same on a node that allows more than nothing.
    pub fn allowing(endpoint: &str, allowed: BTreeSet<Permission>) -> DockerRuntime {
        DockerRuntime::made(endpoint, Deadlines::default(), allowed)
    }

    /// The same with deadlines of one's own.
    pub fn with_deadlines(endpoint: &str, deadlines: Deadlines) -> DockerRuntime {
        DockerRuntime::made(endpoint, deadlines, BTreeSet::new())
    }

    fn made(endpoint: &str, deadlines: Deadlines, allowed: BTreeSet<Permission>) -> DockerRuntime {
        DockerRuntime {
            shared: Arc::new(Shared {
                endpoint: endpoint.to_owned(),
                deadlines,
                allowed,
                client: Mutex::new(None),
                pulls: Semaphore::new(PULLS),
                cpus: std::sync::atomic::AtomicU64::new(0),
            }),
        }
    }

    /// The socket as it was given.
    pub fn endpoint(&self) -> &str {
        &self.shared.endpoint
    }

    fn deadlines(&self) -> &Deadlines {
        &self.shared.deadlines
    }

    fn socket_path(&self) -> &str {
        let endpoint = self.endpoint();
        endpoint.strip_prefix("unix://").unwrap_or(endpoint)
    }

    /// The client, connected and with its version negotiated. Held by no lock while it asks: a hung engine must not
    /// make callers queue behind each other.
    async fn client(&self) -> Result<Docker, Error> {
        let known = self.shared.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let client = Docker::connect_with_unix(self.socket_path(), CLIENT_TIMEOUT_SECONDS, API_DEFAULT_VERSION)?
            .negotiate_version()
            .await?;
        *self.shared.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }

    /// One call about one thing, whole within `limit`.
    async fn call<T, F, A>(
        &self,
        call: &'static str,
        thing: Thing<'_>,
        limit: Duration,
        ask: F,
    ) -> Result<T, RuntimeError>
    where
        F: FnOnce(Docker) -> A,
        A: Future<Output = Result<T, Error>>,
    {
        let asked = async { ask(self.client().await?).await };
        match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer.map_err(|error| self.failed(call, thing, error)),
            Err(_) => Err(deadline(call, limit)),
        }
    }

    /// What an error of bollard's means; forgets the client when the engine is gone.
    fn failed(&self, call: &'static str, thing: Thing<'_>, error: Error) -> RuntimeError {
        let meant = failure::classify(self.endpoint(), call, thing, error);
        if matches!(meant, RuntimeError::Unreachable { .. }) {
            *self.shared.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        meant
    }
}

fn deadline(call: &'static str, limit: Duration) -> RuntimeError {
    RuntimeError::Deadline { call, after_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
}

/// Several calls that belong together, whole within `limit`.
async fn within<T>(
    call: &'static str,
    limit: Duration,
    steps: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    tokio::time::timeout(limit, steps).await.unwrap_or_else(|_| Err(deadline(call, limit)))
}

/// `Ok` where the thing is gone already.
fn gone_is_fine(result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Err(RuntimeError::NotFound { .. }) => Ok(()),
        other => other,
    }
}

#[async_trait]
impl ContainerRuntime for DockerRuntime {
    async fn info(&self) -> Result<EngineInfo, RuntimeError> {
        self.engine_info().await
    }
    async fn ensure_network(&self, identity: &Identity, network: &NodeNetwork) -> Result<String, RuntimeError> {
        self.network_ready(identity, network).await
    }
    async fn remove_network(&self, identity: &Identity) -> Result<(), RuntimeError> {
        self.network_gone(&identity.network_name()).await
    }
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        self.image_info(reference).await
    }
    async fn pull(&self, reference: &str, platform: Option<&str>) -> Result<(), RuntimeError> {
        self.pull_image(reference, platform).await
    }
    async fn admits(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        within(containers::CREATE, self.deadlines().look, self.admits_container(spec)).await
    }
    async fn create(&self, request: &CreateRequest) -> Result<Created, RuntimeError> {
        let steps = Box::pin(self.create_container(request));
        within(containers::CREATE, self.deadlines().make, steps).await
    }
    async fn start(&self, container_id: &str) -> Result<(), RuntimeError> {
        self.start_container(container_id).await
    }
    async fn stop(&self, container_id: &str, grace_ms: u64) -> Result<(), RuntimeError> {
        let grace = Duration::from_millis(grace_ms);
        let limit = grace.saturating_add(self.deadlines().stop_beyond_grace);
        within(containers::STOP, limit, self.stop_container(container_id, grace)).await
    }
    async fn remove(&self, container_id: &str) -> Result<(), RuntimeError> {
        within(containers::REMOVE, self.deadlines().remove, self.remove_container(container_id)).await
    }
    async fn list(&self, identity: &Identity) -> Result<Vec<SeenContainer>, RuntimeError> {
        self.list_containers(identity).await
    }
    async fn inspect(&self, container_id: &str) -> Result<SeenContainer, RuntimeError> {
        self.inspect_container(container_id).await
    }
    async fn events(
        &self,
        identity: &Identity,
    ) -> Result<BoxStream<'static, Result<Hint, RuntimeError>>, RuntimeError> {
        self.hints(identity).await
    }
    async fn exec(&self, container_id: &str, argv: &[String], timeout_ms: u64) -> Result<ExecOutcome, RuntimeError> {
        self.exec_to_the_end(container_id, argv, timeout_ms).await
    }
    async fn logs(
        &self,
        container_id: &str,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError> {
        self.log_stream(container_id, query).await
    }
    async fn remove_volume(&self, name: &str) -> Result<(), RuntimeError> {
        self.volume_gone(name).await
    }
}
