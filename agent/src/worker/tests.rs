//! The worker on a small engine in memory, in paused time.

use super::*;
use crate::engine::world::{assignment, check, empty_set};
use crate::files::BlobSource;
use crate::pulse::Pulse;
use crate::runtime::*;
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use proto::assignment::Desired;
use proto::endpoint::EndpointState;
use proto::id::BlobDigest;
use proto::revision::Wall;
use proto::spec::{ContainerSpec, HealthSpec};
use proto::task_state::{Phase, TaskStatus};
use std::sync::Mutex;

const CREATE: Duration = Duration::from_millis(80);
const START: Duration = Duration::from_millis(120);
const READ: Duration = Duration::from_millis(50);

/// An engine whose calls take as long as a real one's.
#[derive(Debug)]
struct Bench {
    clock: Clock,
    state: Mutex<BenchState>,
    hints: tokio::sync::broadcast::Sender<Hint>,
}

#[derive(Debug, Default)]
struct BenchState {
    containers: BTreeMap<String, SeenContainer>,
    made: u32,
    calls: Vec<String>,
    /// Starts of this container never end.
    stuck: Option<String>,
    unhealthy: bool,
    down: bool,
    /// No image is there before it is pulled.
    is_imageless: bool,
}

impl Bench {
    fn new(clock: Clock) -> Arc<Bench> {
        Arc::new(Bench { clock, state: Mutex::default(), hints: tokio::sync::broadcast::channel(64).0 })
    }

    fn with<T>(&self, f: impl FnOnce(&mut BenchState) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }

    fn up(&self) -> Result<(), RuntimeError> {
        let down = self.with(|s| s.down);
        if down { Err(RuntimeError::Unreachable { endpoint: "bench".into(), cause: "down".into() }) } else { Ok(()) }
    }

    fn find(&self, id: &str) -> Result<SeenContainer, RuntimeError> {
        self.with(|s| s.containers.get(id).cloned()).ok_or(RuntimeError::NotFound { what: id.into() })
    }

    fn end(&self, id: &str, exit_code: i32) {
        let now = self.clock.wall();
        let task = self.with(|s| {
            let container = s.containers.get_mut(id).unwrap();
            let SeenState::Running { started_at, .. } = container.state else { return None };
            container.state = SeenState::Exited {
                started_at: Some(started_at),
                finished_at: Some(now),
                exit_code,
                oom_killed: false,
                error: String::new(),
            };
            Some(container.task)
        });
        if let Some(task) = task {
            let _ = self.hints.send(Hint { container_id: id.into(), task, action: "die".into() });
        }
    }
}

#[async_trait]
impl ContainerRuntime for Bench {
    async fn info(&self) -> Result<EngineInfo, RuntimeError> {
        self.up()?;
        let (version, api_version, os, arch) = ("20.10".into(), "1.41".into(), "linux".into(), "x86_64".into());
        Ok(EngineInfo { version, api_version, os, arch, cpus: 2, memory_bytes: 1 << 30, features: Default::default() })
    }
    async fn ensure_network(&self, identity: &Identity, _: &NodeNetwork) -> Result<String, RuntimeError> {
        Ok(identity.bridge_name())
    }
    async fn remove_network(&self, _: &Identity) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn image(&self, _: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok((!self.with(|s| s.is_imageless)).then(ImageInfo::default))
    }
    async fn pull(&self, _: &str, _: Option<&str>) -> Result<(), RuntimeError> {
        self.with(|s| {
            s.calls.push("pull".into());
            s.is_imageless = false;
        });
        Ok(())
    }
    async fn admits(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let lack = proto::needs::lack(spec, &Default::default(), &[]);
        lack.map_or(Ok(()), |lack| Err(RuntimeError::Lacking { lack }))
    }
    async fn create(&self, request: &CreateRequest) -> Result<Created, RuntimeError> {
        self.up()?;
        tokio::time::sleep(CREATE).await;
        let made = &request.assignment;
        Ok(self.with(|s| {
            s.made += 1;
            let id = format!("c{}", s.made);
            s.calls.push(format!("create {id}"));
            let container = SeenContainer {
                id: id.clone(),
                name: request.name.clone(),
                task: made.task,
                service: made.service.clone(),
                slot: made.slot,
                generation: made.generation,
                spec_hash: made.spec_hash.clone(),
                state: SeenState::Created,
            };
            s.containers.insert(id.clone(), container);
            Created { id, warnings: Vec::new() }
        }))
    }
    async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        self.up()?;
        if self.with(|s| s.stuck.as_deref() == Some(id)) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(START).await;
        let started_at = self.clock.wall();
        self.with(|s| {
            s.calls.push(format!("start {id}"));
            s.containers.get_mut(id).unwrap().state = SeenState::Running { started_at, pid: 1 };
        });
        Ok(())
    }
    async fn stop(&self, id: &str, _: u64) -> Result<(), RuntimeError> {
        self.up()?;
        self.with(|s| s.calls.push(format!("stop {id}")));
        self.end(id, 143);
        Ok(())
    }
    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.with(|s| {
            s.calls.push(format!("remove {id}"));
            s.containers.remove(id);
        });
        Ok(())
    }
    async fn list(&self, _: &Identity) -> Result<Vec<SeenContainer>, RuntimeError> {
        self.up()?;
        Ok(self.with(|s| s.containers.values().cloned().collect()))
    }
    async fn inspect(&self, id: &str) -> Result<SeenContainer, RuntimeError> {
        self.up()?;
        tokio::time::sleep(Duration::from_millis(3)).await;
        self.find(id)
    }
    async fn events(&self, _: &Identity) -> Result<BoxStream<'static, Result<Hint, RuntimeError>>, RuntimeError> {
        self.up()?;
        let stream = tokio_stream::wrappers::BroadcastStream::new(self.hints.subscribe());
        Ok(stream.filter_map(|hint| async { hint.ok().map(Ok) }).boxed())
    }
    async fn exec(&self, _: &str, _: &[String], _: u64) -> Result<ExecOutcome, RuntimeError> {
        let exit_code = i64::from(self.with(|s| s.unhealthy));
        Ok(ExecOutcome { exit_code, output: "sick".into() })
    }
    async fn logs(
        &self,
        id: &str,
        _: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError> {
        tokio::time::sleep(READ).await;
        self.find(id)?;
        let chunk = LogChunk { stderr: true, at: None, bytes: b"cannot go on\n".to_vec() };
        Ok(futures_util::stream::iter([Ok(chunk)]).boxed())
    }
    async fn remove_volume(&self, _: &str) -> Result<(), RuntimeError> {
        Ok(())
    }
}

#[derive(Debug)]
struct NoBlobs;

#[async_trait]
impl BlobSource for NoBlobs {
    async fn fetch(&self, _: &BlobDigest) -> Result<Vec<u8>, String> {
        Err("none".into())
    }
}

/// A worker that runs on a bench.
struct Node {
    bench: Arc<Bench>,
    clock: Clock,
    dir: tempfile::TempDir,
    reporter: Reporter,
    accepted: channel::Sender<Option<Arc<AssignmentSet>>>,
    view: channel::Receiver<View>,
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<()>,
    said: BTreeMap<TaskId, Vec<TaskStatus>>,
}

impl Node {
    fn new() -> Node {
        let clock = Clock::simulated(Wall(1_800_000_000_000));
        Node::on(Bench::new(clock), clock, tempfile::tempdir().unwrap(), None)
    }

    fn on(bench: Arc<Bench>, clock: Clock, dir: tempfile::TempDir, set: Option<Arc<AssignmentSet>>) -> Node {
        let ledger = Arc::new(Ledger::open(dir.path()).unwrap());
        let memory = ledger.memory().unwrap().whole().unwrap_or_default();
        let memory = memory.restored(set.as_deref(), clock.now(), clock.wall());
        let (accepted, accepted_seen) = channel::channel(set);
        let (view, view_seen) = channel::channel(View::default());
        let reporter = Reporter::default();
        let parts = Parts {
            runtime: Arc::clone(&bench) as Arc<dyn ContainerRuntime>,
            files: Arc::new(Files::without_tmpfs(dir.path(), None, Arc::new(NoBlobs))),
            ledger,
            reporter: reporter.clone(),
            clock,
            accepted: accepted_seen,
            view,
            pulse: Pulse::default(),
        };
        let stop = CancellationToken::new();
        let worker = tokio::spawn(run(parts, memory, stop.clone()));
        Node { bench, clock, dir, reporter, accepted, view: view_seen, stop, worker, said: BTreeMap::new() }
    }

    async fn restarted(self) -> Node {
        let set = self.accepted.borrow().clone();
        self.stop.cancel();
        self.worker.await.unwrap();
        Node::on(self.bench, self.clock, self.dir, set)
    }

    fn assign(&self, tasks: Vec<proto::assignment::Assignment>) {
        let mut set = empty_set();
        set.revision.0 = self.accepted.borrow().as_ref().map_or(1, |s| s.revision.0 + 1);
        set.tasks = tasks.into_iter().map(|a| (a.task, a)).collect();
        self.accepted.send_replace(Some(Arc::new(set)));
    }

    /// The milliseconds until a status of the task satisfies `what`.
    async fn until(&mut self, task: u64, what: impl Fn(&TaskStatus) -> bool) -> u64 {
        let begun = self.clock.now();
        let mut fresh: Vec<TaskStatus> =
            self.said.get(&TaskId(task)).and_then(|s| s.last()).cloned().into_iter().collect();
        loop {
            while let Some(batch) = { self.reporter.lock().take() } {
                self.reporter.lock().acknowledged(batch.number);
                for (id, status) in batch.reports {
                    fresh.extend((id == TaskId(task)).then(|| status.clone()));
                    self.said.entry(id).or_default().push(status);
                }
            }
            if fresh.iter().any(&what) {
                return self.clock.now().since_ms(begun);
            }
            fresh.clear();
            assert!(self.clock.now().since_ms(begun) < 120_000, "it never came: {:?}", self.said);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn calls(&self) -> String {
        self.bench.with(|s| std::mem::take(&mut s.calls)).join(", ")
    }

    fn endpoint(&self, task: u64) -> Option<EndpointState> {
        self.view.borrow().endpoints.get(&TaskId(task)).map(|e| e.0)
    }
}

fn running(status: &TaskStatus) -> bool {
    status.phase == Phase::Running
}

#[tokio::test(start_paused = true)]
async fn a_killed_container_runs_again_within_one_and_a_half_times_create_and_start() {
    let mut node = Node::new();
    node.assign(vec![assignment(1, "web", 1, "app")]);
    node.until(1, running).await;
    assert_eq!(node.calls(), "create c1, start c1");
    assert_eq!(node.endpoint(1), Some(EndpointState::Ready));
    node.bench.end("c1", 137);
    // The inspection takes 3 ms: the endpoint is gone before it.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(node.endpoint(1), Some(EndpointState::Starting));
    let took = node.until(1, |s| s.incarnation == 2 && running(s)).await;
    let budget = (CREATE + START).as_millis() as u64 * 3 / 2;
    assert!(took <= budget, "{took} ms of {budget}");
    assert_eq!(node.calls(), "start c1", "restarted in place");
    node.until(1, |s| s.last_log == ["cannot go on"]).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_pulled_for_what_the_node_does_not_allow() {
    let mut node = Node::new();
    node.bench.with(|s| s.is_imageless = true);
    let mut privileged = assignment(1, "web", 1, "app");
    Arc::make_mut(&mut privileged.container).isolation.privileged = true;
    node.assign(vec![privileged]);
    node.until(1, |s| s.phase == Phase::Failed && s.message.contains("the node does not allow")).await;
    assert_eq!(node.calls(), "");
    node.assign(vec![assignment(2, "db", 1, "app")]);
    node.until(2, running).await;
    assert_eq!(node.calls(), "pull, create c1, start c1");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_container_holds_up_nobody() {
    let mut node = Node::new();
    node.bench.with(|s| s.stuck = Some("c1".into()));
    node.assign(vec![assignment(1, "web", 1, "app")]);
    node.until(1, |s| s.phase == Phase::Starting).await;
    node.assign(vec![assignment(1, "web", 1, "app"), assignment(2, "db", 1, "app")]);
    node.until(2, running).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_confirmed_and_forgotten_with_its_container() {
    let mut node = Node::new();
    let mut task = assignment(1, "web", 1, "app");
    node.assign(vec![task.clone()]);
    node.until(1, running).await;
    node.calls();
    task.desired = Desired::Stop;
    node.assign(vec![task.clone()]);
    node.until(1, |s| s.phase == Phase::Stopped).await;
    assert_eq!(node.calls(), "stop c1, remove c1");
    node.said.clear();
    node.assign(vec![task]);
    node.until(1, |s| s.phase == Phase::Stopped).await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_touches_nothing_and_goes_on_with_the_same_incarnation() {
    let mut node = Node::new();
    node.assign(vec![assignment(1, "web", 1, "app")]);
    node.until(1, running).await;
    let before = node.said[&TaskId(1)].last().unwrap().clone();
    node.calls();
    let mut node = node.restarted().await;
    node.until(1, running).await;
    let after = node.said[&TaskId(1)].last().unwrap().clone();
    assert_eq!(TaskStatus { sequence: 0, ..before.clone() }, TaskStatus { sequence: 0, ..after.clone() });
    assert!(after.sequence > before.sequence);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(node.calls(), "");
    assert_eq!(node.endpoint(1), Some(EndpointState::Ready));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_changes_nothing_and_is_found_again() {
    let mut node = Node::new();
    node.bench.with(|s| s.down = true);
    node.assign(vec![assignment(1, "web", 1, "app")]);
    let mut view = node.view.clone();
    view.wait_for(|v| !v.conditions.engine_problem.is_empty()).await.unwrap();
    node.bench.with(|s| s.down = false);
    node.until(1, running).await;
    assert_eq!(node.view.borrow().conditions.engine_problem, "");
}

#[tokio::test(start_paused = true)]
async fn a_death_without_a_hint_is_noticed_by_the_list() {
    let mut node = Node::new();
    node.assign(vec![assignment(1, "web", 1, "app")]);
    node.until(1, running).await;
    node.bench.with(|s| {
        s.containers.get_mut("c1").unwrap().state = SeenState::Exited {
            started_at: None,
            finished_at: None,
            exit_code: 1,
            oom_killed: false,
            error: String::new(),
        };
    });
    let took = node.until(1, |s| s.incarnation == 2 && running(s)).await;
    assert!(took <= 11_000, "{took}");
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_container_leaves_discovery_and_is_restarted() {
    let mut node = Node::new();
    let mut task = assignment(1, "web", 1, "app");
    let probe = proto::spec::Probe::Exec { argv: vec!["true".into()] };
    task.health = HealthSpec::Check(proto::spec::HealthCheck { probe, ..check() });
    node.assign(vec![task]);
    node.until(1, TaskStatus::is_ready).await;
    assert_eq!(node.endpoint(1), Some(EndpointState::Ready));
    node.bench.with(|s| s.unhealthy = true);
    node.until(1, |s| s.phase == Phase::Exited && s.message.contains("sick")).await;
    assert_eq!(node.endpoint(1), Some(EndpointState::Starting));
    node.bench.with(|s| s.unhealthy = false);
    node.until(1, |s| s.incarnation == 2 && s.is_ready()).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_words_of_one_that_is_taken_away_at_once_are_still_heard() {
    let mut node = Node::new();
    let mut task = assignment(1, "web", 1, "app");
    // It is not started again: nothing keeps its container but what is to be read of it.
    task.restart = proto::spec::RestartPolicy::No;
    node.assign(vec![task.clone()]);
    node.until(1, running).await;
    node.bench.end("c1", 7);
    node.until(1, |s| s.exit_code == Some(7)).await;
    task.desired = Desired::Stop;
    node.assign(vec![task]);
    node.until(1, |s| s.phase == Phase::Stopped && s.last_log == ["cannot go on"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_successor_is_prepared_then_runs_beside_the_one_that_drains() {
    let mut node = Node::new();
    let (mut old, mut new) = (assignment(1, "web", 1, "app"), assignment(2, "web", 1, "next"));
    new.desired = Desired::Prepare;
    node.assign(vec![old.clone()]);
    node.until(1, running).await;
    assert_eq!(node.calls(), "create c1, start c1");
    node.assign(vec![old.clone(), new.clone()]);
    node.until(2, |s| s.phase == Phase::Prepared).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(node.calls(), "", "it waits for its turn");
    new.desired = Desired::Run;
    node.assign(vec![old.clone(), new.clone()]);
    node.until(2, running).await;
    assert_eq!(node.calls(), "create c2, start c2");
    (old.desired, old.drain_ms) = (Desired::Stop, 2_000);
    node.assign(vec![old, new]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((node.endpoint(1), node.endpoint(2)), (Some(EndpointState::Draining), Some(EndpointState::Ready)));
    tokio::time::sleep(Duration::from_millis(1_990)).await;
    assert_eq!(node.calls(), "", "it drains");
    let took = node.until(1, |s| s.phase == Phase::Stopped).await;
    assert_eq!(node.calls(), "stop c1, remove c1");
    assert!(took < 100, "{took} ms");
}
