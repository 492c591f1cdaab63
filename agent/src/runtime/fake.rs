//! A container engine in memory, for simulation and for tests of the worker and the prober.
//!
//! Deterministic: ids and process ids are counted, time is what its owner says, nothing happens by itself. What goes
//! wrong is scripted. Never reads a clock; waits (a grace, a command's time) are tokio's, so paused time drives them.

mod world;

use super::{
    ContainerRuntime, CreateRequest, Created, EngineInfo, ExecOutcome, Hint, Identity, ImageInfo, LogChunk, LogQuery,
    RuntimeError, SeenContainer,
};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use proto::assignment::NodeNetwork;
use proto::id::TaskId;
use proto::revision::Wall;
use proto::spec::ContainerSpec;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use world::World;

/// Which call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "named as in `ContainerRuntime`")]
pub enum CallKind {
    Info,
    EnsureNetwork,
    RemoveNetwork,
    Image,
    Pull,
    Admits,
    Create,
    Start,
    Stop,
    Remove,
    List,
    Inspect,
    Events,
    Exec,
    Logs,
    RemoveVolume,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub kind: CallKind,
    /// Of what: a container's or volume's name, an image's reference; empty for the engine itself.
    pub subject: String,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and this is the answer.
    Fails(RuntimeError),
    /// It is done, and yet this is the answer: an outcome that nobody knows.
    FailsAfter(RuntimeError),
    /// It is not done, and no answer ever comes.
    Hangs,
    /// It is done, and no answer ever comes.
    HangsAfter,
    /// It is not done; the answer makes no sense.
    Nonsense,
}

/// What comes of a command inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecScript {
    /// It ends at once.
    Ends(ExecOutcome),
    /// It runs past its time and is killed.
    Hangs,
    /// The engine answers so.
    Fails(RuntimeError),
}

/// The engine. Clones are the same engine.
#[derive(Debug, Clone, Default)]
pub struct FakeRuntime {
    world: Arc<Mutex<World>>,
}

impl FakeRuntime {
    /// An engine without images, networks and containers.
    pub fn new() -> FakeRuntime {
        FakeRuntime::default()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time it is.
    pub fn set_now(&self, now: Wall) {
        self.world().now = now;
    }

    /// An image that is there.
    pub fn add_image(&self, reference: &str, info: ImageInfo) {
        self.world().images.insert(reference.to_owned(), info);
    }

    /// An image that can be pulled.
    pub fn add_to_registry(&self, reference: &str, info: ImageInfo) {
        self.world().registry.insert(reference.to_owned(), info);
    }

    /// An image that is gone.
    pub fn remove_image(&self, reference: &str) {
        self.world().images.remove(reference);
    }

    /// A volume that somebody else made.
    pub fn add_volume(&self, name: &str) {
        self.world().volumes.insert(name.to_owned());
    }

    /// The volumes there are, in order.
    pub fn volumes(&self) -> Vec<String> {
        self.world().volumes.iter().cloned().collect()
    }

    /// What goes wrong with the next call of this kind that has no fault yet.
    pub fn fault(&self, kind: CallKind, fault: Fault) {
        self.world().faults.entry(kind).or_default().push_back(fault);
    }

    /// The faults that did not happen yet: a fault that was never met proves nothing.
    pub fn faults_left(&self) -> usize {
        self.world().faults.values().map(|queue| queue.len()).sum()
    }

    /// What comes of the next command in a container of this task; without a script, exit code 0.
    pub fn script_exec(&self, task: TaskId, script: ExecScript) {
        self.world().execs.entry(task).or_default().push_back(script);
    }

    /// Containers of this image end with this code as soon as they start.
    pub fn exit_on_start(&self, image: &str, exit_code: i32) {
        self.world().exits_on_start.insert(image.to_owned(), exit_code);
    }

    /// The task's process does not heed the stop signal.
    pub fn ignore_stop(&self, task: TaskId) {
        self.world().deaf.insert(task);
    }

    /// The task's process ends. `false` when none runs.
    pub fn exit(&self, task: TaskId, exit_code: i32) -> bool {
        self.world().exit(task, exit_code, false)
    }

    /// The kernel kills the task's process for its memory. `false` when none runs.
    pub fn kill_for_memory(&self, task: TaskId) -> bool {
        self.world().exit(task, 137, true)
    }

    /// Somebody removes the task's containers by hand, running or not.
    pub fn remove_by_hand(&self, task: TaskId) {
        self.world().remove_by_hand(task);
    }

    /// The task's process writes.
    pub fn write_log(&self, task: TaskId, stderr: bool, bytes: &[u8]) {
        self.world().write_log(task, LogChunk { stderr, at: None, bytes: bytes.to_vec() });
    }

    /// The engine goes away: every call is `Unreachable` and the streams of hints end. Processes go on.
    pub fn engine_down(&self) {
        let mut world = self.world();
        world.down = true;
        world.listeners.clear();
    }

    /// The engine is back. Without `live_restore` its processes ended with it, without a hint.
    pub fn engine_up(&self, live_restore: bool) {
        let mut world = self.world();
        world.down = false;
        if !live_restore {
            world.end_all(137);
        }
    }

    /// Hints are lost from now on, or not any more. Streams stay open.
    pub fn drop_hints(&self, lost: bool) {
        self.world().hints_lost = lost;
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.world().calls.clone()
    }

    /// How many calls of a kind there were.
    pub fn count(&self, kind: CallKind) -> usize {
        self.world().calls.iter().filter(|call| call.kind == kind).count()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.world().calls.clear();
    }

    /// What is there, of every cluster and node, without a call: for assertions.
    pub fn containers(&self) -> Vec<SeenContainer> {
        self.world().seen(None)
    }

    /// What the task's container was made from, without a call.
    pub fn request(&self, task: TaskId) -> Option<CreateRequest> {
        self.world().request(task)
    }

    /// Notes the call, meets its fault, does it.
    async fn call<T>(
        &self,
        kind: CallKind,
        subject: &str,
        act: impl FnOnce(&mut World) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let (fault, done) = {
            let mut world = self.world();
            let fault = world.begin(kind, subject)?;
            match fault {
                Some(Fault::Fails(_) | Fault::Hangs | Fault::Nonsense) => (fault, None),
                _ => (fault, Some(act(&mut world))),
            }
        };
        match (fault, done) {
            (Some(Fault::Fails(error) | Fault::FailsAfter(error)), _) => Err(error),
            (Some(Fault::Hangs | Fault::HangsAfter), _) => std::future::pending().await,
            (Some(Fault::Nonsense), _) | (None, None) => {
                Err(RuntimeError::Nonsense { call: "a scripted call", cause: "scripted".to_owned() })
            }
            (None, Some(done)) => done,
        }
    }
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    async fn info(&self) -> Result<EngineInfo, RuntimeError> {
        let info = EngineInfo {
            version: "fake".to_owned(),
            api_version: "1.41".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            cpus: 4,
            memory_bytes: 8 << 30,
            features: super::translate::abilities::features(&BTreeSet::new(), "1.41"),
        };
        self.call(CallKind::Info, "", |_| Ok(info)).await
    }

    async fn ensure_network(&self, identity: &Identity, network: &NodeNetwork) -> Result<String, RuntimeError> {
        let name = identity.network_name();
        self.call(CallKind::EnsureNetwork, &name, |world| world.ensure_network(identity, network)).await
    }

    async fn remove_network(&self, identity: &Identity) -> Result<(), RuntimeError> {
        let name = identity.network_name();
        self.call(CallKind::RemoveNetwork, &name, |world| {
            world.networks.remove(&name);
            Ok(())
        })
        .await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        self.call(CallKind::Image, reference, |world| Ok(world.image(reference))).await
    }

    async fn pull(&self, reference: &str, _platform: Option<&str>) -> Result<(), RuntimeError> {
        self.call(CallKind::Pull, reference, |world| world.pull(reference)).await
    }

    async fn admits(&self, _: &ContainerSpec) -> Result<(), RuntimeError> {
        self.call(CallKind::Admits, "", |_| Ok(())).await
    }

    async fn create(&self, request: &CreateRequest) -> Result<Created, RuntimeError> {
        self.call(CallKind::Create, &request.name, |world| world.create(request))
            .await
            .map(|id| Created { id, warnings: Vec::new() })
    }

    async fn start(&self, container_id: &str) -> Result<(), RuntimeError> {
        self.call(CallKind::Start, container_id, |world| world.start(container_id)).await
    }

    async fn stop(&self, container_id: &str, grace_ms: u64) -> Result<(), RuntimeError> {
        let heard = self.call(CallKind::Stop, container_id, |world| Ok(world.ask_to_stop(container_id))).await?;
        if !heard {
            tokio::time::sleep(Duration::from_millis(grace_ms)).await;
            self.world().kill(container_id);
        }
        Ok(())
    }

    async fn remove(&self, container_id: &str) -> Result<(), RuntimeError> {
        self.call(CallKind::Remove, container_id, |world| world.remove(container_id)).await
    }

    async fn list(&self, identity: &Identity) -> Result<Vec<SeenContainer>, RuntimeError> {
        self.call(CallKind::List, "", |world| Ok(world.seen(Some(identity)))).await
    }

    async fn inspect(&self, container_id: &str) -> Result<SeenContainer, RuntimeError> {
        self.call(CallKind::Inspect, container_id, |world| world.inspect(container_id)).await
    }

    async fn events(
        &self,
        identity: &Identity,
    ) -> Result<BoxStream<'static, Result<Hint, RuntimeError>>, RuntimeError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.call(CallKind::Events, "", |world| {
            world.listeners.push((identity.clone(), sender));
            Ok(())
        })
        .await?;
        Ok(UnboundedReceiverStream::new(receiver).map(Ok).boxed())
    }

    async fn exec(&self, container_id: &str, _argv: &[String], timeout_ms: u64) -> Result<ExecOutcome, RuntimeError> {
        match self.call(CallKind::Exec, container_id, |world| world.exec(container_id)).await? {
            ExecScript::Ends(outcome) => Ok(outcome),
            ExecScript::Fails(error) => Err(error),
            ExecScript::Hangs => {
                tokio::time::sleep(Duration::from_millis(timeout_ms)).await;
                Err(RuntimeError::CommandTimeout { after_ms: timeout_ms, output: String::new() })
            }
        }
    }

    async fn logs(
        &self,
        container_id: &str,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError> {
        let (there, coming) = self.call(CallKind::Logs, container_id, |world| world.logs(container_id, query)).await?;
        let coming = match coming {
            Some(coming) => UnboundedReceiverStream::new(coming).boxed(),
            None => stream::empty().boxed(),
        };
        Ok(stream::iter(there).chain(coming).map(Ok).boxed())
    }

    async fn remove_volume(&self, name: &str) -> Result<(), RuntimeError> {
        self.call(CallKind::RemoveVolume, name, |world| world.remove_volume(name)).await
    }
}

#[cfg(test)]
mod tests;
