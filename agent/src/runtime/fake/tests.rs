//! The fake engine behaves as the real one where it matters, and goes wrong when told to.

use super::super::SeenState;
use super::*;
use proto::assignment::{Assignment, Desired};
use proto::id::{ClusterId, NodeId, ServiceKey, Slot};
use proto::revision::Epoch;
use proto::spec::{ContainerSpec, HealthSpec, Mount, MountSource, RestartPolicy, VolumeSpec};
use std::collections::BTreeMap;
use tokio::time::{Instant, timeout};

fn identity(node: u64) -> Identity {
    Identity { cluster: ClusterId(1), epoch: Epoch(1), node: NodeId(node) }
}

fn network() -> NodeNetwork {
    NodeNetwork { subnet: [10, 210, 0, 0].into(), prefix: 24, gateway: [10, 210, 0, 1].into() }
}

fn request(slot: u8) -> CreateRequest {
    let container = ContainerSpec { image: "app".to_owned(), ..ContainerSpec::default() };
    CreateRequest {
        identity: identity(1),
        network: network(),
        resolv_conf: "/run/resolv.conf".into(),
        files: BTreeMap::new(),
        name: format!("shop-web-{slot}"),
        assignment: Assignment {
            task: TaskId(slot.into()),
            service: ServiceKey { project: "shop".parse().unwrap(), service: "web".parse().unwrap() },
            slot: Slot(slot.into()),
            generation: 1,
            desired: Desired::Run,
            addresses: vec![[10, 210, 0, slot].into()],
            spec_hash: container.hash(),
            container: container.into(),
            restart: RestartPolicy::Always,
            health: HealthSpec::Disabled,
            host_ports: Vec::new(),
            expose: Vec::new(),
            volumes: BTreeMap::new(),
            drain_ms: 0,
        },
    }
}

async fn engine() -> FakeRuntime {
    let fake = FakeRuntime::new();
    fake.set_now(Wall(1_000));
    fake.add_image("app", ImageInfo::default());
    fake.ensure_network(&identity(1), &network()).await.unwrap();
    fake
}

async fn running(fake: &FakeRuntime, slot: u8) -> String {
    let id = fake.create(&request(slot)).await.unwrap().id;
    fake.start(&id).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn a_life() {
    let fake = engine().await;
    let mut hints = fake.events(&identity(1)).await.unwrap();
    let mut elsewhere = fake.events(&identity(2)).await.unwrap();
    let id = running(&fake, 1).await;
    assert_eq!(fake.inspect(&id).await.unwrap().state, SeenState::Running { started_at: Wall(1_000), pid: 1_001 });
    fake.set_now(Wall(5_000));
    assert!(fake.kill_for_memory(TaskId(1)));
    assert!(!fake.exit(TaskId(1), 0), "nothing runs any more");
    let ended = SeenState::Exited {
        started_at: Some(Wall(1_000)),
        finished_at: Some(Wall(5_000)),
        exit_code: 137,
        oom_killed: true,
        error: String::new(),
    };
    assert_eq!(fake.list(&identity(1)).await.unwrap()[0].state, ended);
    assert_eq!(fake.list(&identity(2)).await.unwrap(), []);
    fake.remove(&id).await.unwrap();
    fake.remove(&id).await.unwrap();
    assert!(matches!(fake.inspect(&id).await, Err(RuntimeError::NotFound { .. })));
    fake.engine_down();
    let actions: Vec<String> = hints.by_ref().map(|hint| hint.unwrap().action).collect().await;
    assert_eq!(actions, ["create", "start", "oom", "die", "destroy"]);
    assert!(elsewhere.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn names_addresses_images_and_volumes_are_kept_apart() {
    let fake = engine().await;
    running(&fake, 1).await;
    assert!(matches!(fake.create(&request(1)).await, Err(RuntimeError::Conflict { .. })));
    let mut twin = request(2);
    twin.assignment.addresses = request(1).assignment.addresses;
    let twin = fake.create(&twin).await.unwrap().id;
    assert!(matches!(fake.start(&twin).await, Err(RuntimeError::Conflict { .. })));
    fake.exit(TaskId(1), 0);
    fake.start(&twin).await.unwrap();

    fake.remove_image("app");
    assert!(matches!(fake.create(&request(3)).await, Err(RuntimeError::NotFound { .. })));
    assert!(matches!(fake.pull("app", None).await, Err(RuntimeError::Pull { .. })));
    fake.add_to_registry("app", ImageInfo::default());
    fake.pull("app", None).await.unwrap();
    let mut with_volume = request(3);
    let mut spec = (*with_volume.assignment.container).clone();
    let source = MountSource::Volume { name: "data".to_owned(), nocopy: false, subpath: None };
    spec.mounts = vec![Mount { source, target: "/data".to_owned(), read_only: false }];
    with_volume.assignment.container = spec.into();
    with_volume.assignment.volumes.insert("data".to_owned(), VolumeSpec::default());
    let id = fake.create(&with_volume).await.unwrap().id;
    assert_eq!(fake.volumes(), ["shop_data"]);
    assert!(matches!(fake.remove_volume("shop_data").await, Err(RuntimeError::Conflict { .. })));
    fake.remove(&id).await.unwrap();
    fake.remove_volume("shop_data").await.unwrap();
    assert!(fake.volumes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn faults_happen_once_each_and_in_order() {
    let fake = engine().await;
    let error = RuntimeError::Deadline { call: "start a container", after_ms: 1 };
    let id = fake.create(&request(1)).await.unwrap().id;
    fake.fault(CallKind::Start, Fault::Fails(error.clone()));
    fake.fault(CallKind::Start, Fault::FailsAfter(error.clone()));
    assert_eq!(fake.start(&id).await, Err(error.clone()));
    assert_eq!(fake.inspect(&id).await.unwrap().state, SeenState::Created, "not done");
    assert_eq!(fake.faults_left(), 1);
    assert_eq!(fake.start(&id).await, Err(error));
    assert!(matches!(fake.inspect(&id).await.unwrap().state, SeenState::Running { .. }), "done, though it failed");

    fake.fault(CallKind::List, Fault::Nonsense);
    assert!(matches!(fake.list(&identity(1)).await, Err(RuntimeError::Nonsense { .. })));
    fake.fault(CallKind::List, Fault::Hangs);
    let identity = identity(1);
    assert!(timeout(Duration::from_secs(3600), fake.list(&identity)).await.is_err(), "it hangs");
    assert_eq!(fake.list(&identity).await.unwrap().len(), 1);
    fake.fault(CallKind::Stop, Fault::HangsAfter);
    assert!(timeout(Duration::from_secs(3600), fake.stop(&id, 10)).await.is_err());
    assert!(matches!(fake.inspect(&id).await.unwrap().state, SeenState::Exited { .. }), "done, though nobody knows");
    assert_eq!(fake.faults_left(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deaf_process_takes_its_grace() {
    let fake = engine().await;
    let (polite, deaf) = (running(&fake, 1).await, running(&fake, 2).await);
    fake.ignore_stop(TaskId(2));
    let code = async |id: &str| match fake.inspect(id).await.unwrap().state {
        SeenState::Exited { exit_code, .. } => exit_code,
        other => panic!("{other:?}"),
    };
    for (id, expect, waits_ms) in [(&polite, 143, 0), (&deaf, 137, 700)] {
        let begin = Instant::now();
        fake.stop(id, 700).await.unwrap();
        assert_eq!((begin.elapsed().as_millis(), code(id).await), (waits_ms, expect));
    }
}

#[tokio::test(start_paused = true)]
async fn commands_are_scripted() {
    let fake = engine().await;
    let id = running(&fake, 1).await;
    let sick = ExecOutcome { exit_code: 1, output: "sick".to_owned() };
    fake.script_exec(TaskId(1), ExecScript::Ends(sick.clone()));
    fake.script_exec(TaskId(1), ExecScript::Hangs);
    let argv = ["probe".to_owned()];
    assert_eq!(fake.exec(&id, &argv, 50).await, Ok(sick));
    let late = RuntimeError::CommandTimeout { after_ms: 50, output: String::new() };
    assert_eq!(fake.exec(&id, &argv, 50).await, Err(late));
    assert_eq!(fake.exec(&id, &argv, 50).await.unwrap().exit_code, 0);
    fake.exit(TaskId(1), 0);
    assert!(matches!(fake.exec(&id, &argv, 50).await, Err(RuntimeError::Conflict { .. })));
    assert_eq!(fake.count(CallKind::Exec), 4);
    assert_eq!(fake.calls().last().unwrap().subject, "shop-web-1");
}

#[tokio::test(start_paused = true)]
async fn the_engine_goes_away_and_comes_back() {
    let fake = engine().await;
    fake.exit_on_start("crash", 3);
    let id = running(&fake, 1).await;
    fake.engine_down();
    assert!(matches!(fake.list(&identity(1)).await, Err(RuntimeError::Unreachable { .. })));
    fake.engine_up(true);
    assert!(matches!(fake.inspect(&id).await.unwrap().state, SeenState::Running { .. }));
    fake.engine_down();
    fake.engine_up(false);
    assert!(matches!(fake.inspect(&id).await.unwrap().state, SeenState::Exited { exit_code: 137, .. }));

    let mut crash = request(2);
    crash.assignment.container = ContainerSpec { image: "crash".to_owned(), ..ContainerSpec::default() }.into();
    fake.add_image("crash", ImageInfo::default());
    let crash = fake.create(&crash).await.unwrap().id;
    fake.start(&crash).await.unwrap();
    assert!(matches!(fake.inspect(&crash).await.unwrap().state, SeenState::Exited { exit_code: 3, .. }));
    fake.remove_by_hand(TaskId(2));
    assert_eq!(fake.containers().len(), 1);
    assert!(fake.request(TaskId(1)).is_some() && fake.request(TaskId(2)).is_none());
}

#[tokio::test(start_paused = true)]
async fn logs_are_kept_and_followed() {
    let fake = engine().await;
    let id = running(&fake, 1).await;
    for (at, text) in [(2_000, "a"), (3_000, "b"), (4_000, "c")] {
        fake.set_now(Wall(at));
        fake.write_log(TaskId(1), false, text.as_bytes());
    }
    let read = async |query: LogQuery| -> String {
        let chunks = fake.logs(&id, &query).await.unwrap();
        let texts: Vec<Vec<u8>> = chunks.map(|chunk| chunk.unwrap().bytes).collect().await;
        String::from_utf8(texts.concat()).unwrap()
    };
    assert_eq!(read(LogQuery::default()).await, "abc");
    assert_eq!(read(LogQuery { tail: Some(2), ..LogQuery::default() }).await, "bc");
    assert_eq!(read(LogQuery { since: Some(Wall(3_500)), ..LogQuery::default() }).await, "c");
    let follow = LogQuery { follow: true, tail: Some(1), since: None };
    let (text, ()) = tokio::join!(read(follow), async {
        tokio::task::yield_now().await;
        fake.write_log(TaskId(1), true, b"d");
        fake.exit(TaskId(1), 0);
    });
    assert_eq!(text, "cd");
}
