//! Full values through bytes and back, and the paths that errors name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use prost::Message;
use serde::Serialize;

use super::ConvertError;
use crate::assignment::{Assignment, AssignmentSet, Desired, Forward, NodeNetwork, Verdict};
use crate::endpoint::{Endpoint, EndpointState, EndpointTable, NamedPort, ServiceEndpoints};
use crate::id::{BlobDigest, ClusterId, NodeId, RequestId, ServiceKey, SessionId, Slot, TaskId};
use crate::node::{ForwardStatus, NodeConditions, NodeInfo, Stranger};
use crate::revision::{Epoch, Revision, Wall};
use crate::spec::*;
use crate::task_state::{Health, Phase, TaskStatus};
use crate::v1;

/// What the other side makes of `value` after encoding and decoding.
fn there_and_back<W, T>(value: &T) -> T
where
    W: Message + Default + for<'a> From<&'a T>,
    T: TryFrom<W, Error = ConvertError>,
{
    let bytes = W::from(value).encode_to_vec();
    T::try_from(W::decode(bytes.as_slice()).expect("own bytes decode")).expect("own message converts")
}

fn survives<W, T>(value: &T)
where
    W: Message + Default + for<'a> From<&'a T>,
    T: TryFrom<W, Error = ConvertError> + PartialEq + Debug,
{
    assert_eq!(&there_and_back::<W, T>(value), value);
}

/// A field left at its default would survive without being converted at all.
fn assert_full<T: Serialize>(value: &T) {
    fn look(path: &str, value: &serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::Array(items) if !items.is_empty() => {
                items.iter().enumerate().for_each(|(i, item)| look(&format!("{path}[{i}]"), item));
            }
            Value::Object(fields) if !fields.is_empty() => {
                fields.iter().for_each(|(name, field)| look(&format!("{path}.{name}"), field));
            }
            Value::String(text) if !text.is_empty() => {}
            Value::Number(number) if number.as_f64() != Some(0.0) => {}
            Value::Bool(true) => {}
            unset => panic!("{path} is {unset}: the test says nothing about it"),
        }
    }
    look("", &serde_json::to_value(value).expect("vocabulary is JSON"));
}

fn text(s: &str) -> Option<String> {
    Some(s.to_owned())
}

fn pairs(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn key() -> ServiceKey {
    ServiceKey { project: "shop".parse().expect("name"), service: "web".parse().expect("name") }
}

fn port() -> PortSpec {
    PortSpec {
        name: text("http"),
        target: 8080,
        published: 65_535,
        host_ip: Some("127.0.0.1".parse().expect("address")),
        protocol: Protocol::Udp,
        mode: PortMode::Host,
    }
}

/// With every field that came after the first version.
fn container() -> ContainerSpec {
    let rate = |path: &str| vec![DeviceRate { path: path.to_owned(), rate: 1 << 40 }];
    let list = |text: &str| vec![text.to_owned()];
    ContainerSpec {
        mounts: vec![
            Mount {
                source: MountSource::Volume { name: "db".to_owned(), nocopy: true, subpath: text("a/b") },
                target: "/a".to_owned(),
                read_only: true,
            },
            Mount {
                source: MountSource::Bind { path: "/h".to_owned(), create: true, propagation: text("rslave") },
                target: "/b".to_owned(),
                read_only: true,
            },
        ],
        platform: text("linux/arm64/v8"),
        tty: true,
        stdin_open: true,
        tmpfs: pairs("/run", "size=1m"),
        kernel: Kernel {
            memory: MemoryTuning {
                soft_limit_bytes: Some(1 << 33),
                with_swap_bytes: Some(-1),
                swappiness: Some(60),
                shm_bytes: Some(1 << 20),
                oom_kill_disable: true,
                oom_score_adj: -7,
            },
            cpu: CpuTuning {
                shares: Some(2),
                period_us: Some(3),
                quota_us: Some(-1),
                realtime_period_us: Some(4),
                realtime_runtime_us: Some(5),
                set: text("0-1"),
            },
            block_io: BlockIo {
                weight: Some(10),
                weight_device: rate("/dev/a"),
                read_bps: rate("/dev/b"),
                write_bps: rate("/dev/c"),
                read_iops: rate("/dev/d"),
                write_iops: rate("/dev/e"),
            },
            ulimits: BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 1, hard: -1 })]),
            sysctls: pairs("net.core.somaxconn", "1024"),
            storage_opt: pairs("size", "1g"),
        },
        isolation: Isolation {
            privileged: true,
            cap_add: BTreeSet::from(["NET_ADMIN".to_owned()]),
            cap_drop: BTreeSet::from(["ALL".to_owned()]),
            security_opt: list("no-new-privileges:true"),
            devices: vec![Device {
                source: "/dev/fuse".to_owned(),
                target: "/dev/fuse0".to_owned(),
                permissions: "rw".to_owned(),
            }],
            device_cgroup_rules: list("c 1:3 mr"),
            group_add: list("audio"),
            pid: Namespace::Host,
            ipc: Namespace::Shareable,
            uts: Namespace::Host,
            userns: Namespace::Host,
            cgroup: Namespace::Private,
            cgroup_parent: text("/apps"),
            no_network: true,
            runtime: text("runc"),
        },
        naming: Naming {
            servers: vec!["192.0.2.1".parse().expect("address")],
            search: list("example.com"),
            options: list("timeout:3"),
            domain: text("example.com"),
            hosts: vec![HostEntry { name: "db".to_owned(), address: Some("2001:db8::1".parse().expect("address")) }],
        },
        logging: Logging { driver: text("json-file"), options: pairs("max-size", "1m") },
        annotations: pairs("a", "b"),
        ..first_container()
    }
}

pub(crate) fn first_container() -> ContainerSpec {
    let mount = |source| Mount { source, target: "/data".to_owned(), read_only: true };
    ContainerSpec {
        image: "shop/web:1".to_owned(),
        image_id: "sha256:12".to_owned(),
        pull: PullPolicy::Never,
        command: Some(vec!["serve".to_owned(), "--fast".to_owned()]),
        entrypoint: Some(vec!["/web".to_owned()]),
        environment: pairs("A", "b"),
        labels: pairs("team", "red"),
        hostname: text("web-host"),
        container_name: text("the-web"),
        user: text("1000:1000"),
        working_dir: text("/srv"),
        stop_grace_ms: 1_500,
        stop_signal: text("SIGINT"),
        init: true,
        read_only: true,
        mounts: vec![
            mount(MountSource::Volume { name: "db".to_owned(), nocopy: false, subpath: None }),
            mount(MountSource::Anonymous),
            mount(MountSource::Bind { path: "/host".to_owned(), create: true, propagation: None }),
            mount(MountSource::Tmpfs { size_bytes: Some(1 << 33), mode: Some(0o1777) }),
        ],
        files: vec![FileMount {
            kind: BlobKind::Secret,
            name: "token".to_owned(),
            digest: BlobDigest("ab".repeat(32)),
            target: "/run/secrets/token".to_owned(),
            uid: 1,
            gid: 2,
            mode: 0o400,
        }],
        limits: Limits { cpu_millis: Some(500), memory_bytes: Some(1 << 34), pids: Some(-1) },
        ..ContainerSpec::default()
    }
}

pub(crate) fn check(probe: Probe) -> HealthSpec {
    HealthSpec::Check(HealthCheck {
        probe,
        interval_ms: 1,
        timeout_ms: 2,
        retries: 3,
        start_period_ms: 4,
        start_interval_ms: 5,
    })
}

fn volume() -> VolumeSpec {
    VolumeSpec { docker_name: text("shop_db"), external: true, labels: pairs("keep", "yes") }
}

fn service() -> ServiceSpec {
    ServiceSpec {
        container: Arc::new(container()),
        replicas: 3,
        restart: RestartPolicy::OnFailure { max: 4 },
        health: check(Probe::Http { port: 80, path: "/up".to_owned() }),
        ports: vec![port()],
        expose: vec![ExposedPort { port: 9, protocol: Protocol::Udp }],
        depends_on: BTreeMap::from([(
            "db".parse().expect("name"),
            Dependency { condition: DependencyCondition::Completed, required: true },
        )]),
        reservations: Reservations { cpu_millis: 6, memory_bytes: 7 },
        networks: ["back".to_owned(), "front".to_owned()].into(),
        mode: ServiceMode::Global,
        update: UpdateSpec {
            parallelism: 3,
            delay_ms: 4,
            order: Some(UpdateOrder::StopFirst),
            monitor_ms: 5,
            on_failure: FailureAction::Pause,
            max_failures_per_mille: 6,
            deadline_ms: 7,
        },
        rollback: UpdateSpec {
            delay_ms: 1,
            max_failures_per_mille: 2,
            on_failure: FailureAction::Continue,
            order: Some(UpdateOrder::StartFirst),
            ..UpdateSpec::default()
        },
        placement: PlacementSpec {
            constraints: vec![Constraint { attribute: "node.hostname".to_owned(), equal: true, value: "a".to_owned() }],
            spread: vec!["node.labels.zone".to_owned()],
            max_per_node: 8,
        },
        aliases: BTreeMap::from([("back".to_owned(), ["database".to_owned()].into())]),
        labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        drain_ms: 9,
    }
}

pub(crate) fn project() -> ProjectSpec {
    ProjectSpec {
        name: "shop".parse().expect("name"),
        services: BTreeMap::from([("web".parse().expect("name"), service())]),
        volumes: BTreeMap::from([("db".to_owned(), volume())]),
        networks: ["back".to_owned(), "front".to_owned()].into(),
    }
}

fn set() -> AssignmentSet {
    let assignment = |task| Assignment {
        task: TaskId(task),
        service: key(),
        slot: Slot(2),
        generation: 3,
        desired: Desired::Stop,
        addresses: vec!["10.210.3.7".parse().expect("address"), "fd00::7".parse().expect("address")],
        container: Arc::new(container()),
        spec_hash: container().hash(),
        restart: RestartPolicy::No,
        health: check(Probe::Tcp { port: 5432 }),
        host_ports: vec![port()],
        expose: vec![ExposedPort { port: 10, protocol: Protocol::Udp }],
        volumes: BTreeMap::from([("db".to_owned(), volume())]),
        drain_ms: 11,
    };
    AssignmentSet {
        cluster: ClusterId(u64::MAX),
        epoch: Epoch(2),
        node: NodeId(3),
        session: SessionId(4),
        revision: Revision(5),
        network: NodeNetwork {
            subnet: "10.210.3.0".parse().expect("address"),
            prefix: 24,
            gateway: "10.210.3.1".parse().expect("address"),
        },
        tasks: [6, 7].map(|task| (TaskId(task), assignment(task))).into(),
        forwards: vec![Forward { service: key(), port: port() }],
        verdicts: BTreeMap::from([("c1".to_owned(), Verdict::Keep), ("c2".to_owned(), Verdict::Stop)]),
        remove_volumes: vec!["shop_old".to_owned()],
    }
}

fn table() -> EndpointTable {
    let endpoint = |task, state| Endpoint {
        task: TaskId(task),
        slot: Slot(1),
        node: NodeId(2),
        addresses: vec!["10.210.3.7".parse().expect("address")],
        state,
        incarnation: 3,
        sequence: 4,
    };
    let endpoints = ServiceEndpoints {
        aliases: BTreeSet::from(["www".to_owned()]),
        ports: vec![NamedPort { name: "dns".to_owned(), port: 53, protocol: Protocol::Udp }],
        endpoints: vec![
            endpoint(1, EndpointState::Starting),
            endpoint(2, EndpointState::Ready),
            endpoint(3, EndpointState::Draining),
        ],
    };
    EndpointTable { epoch: Epoch(5), revision: Revision(6), services: BTreeMap::from([(key(), endpoints)]) }
}

fn status() -> TaskStatus {
    TaskStatus {
        incarnation: 1,
        phase: Phase::Exited,
        health: Health::Unhealthy,
        sequence: 2,
        exit_code: Some(-3),
        oom_killed: true,
        message: "killed".to_owned(),
        container_id: "c0ffee".to_owned(),
        started_at: Some(Wall(4)),
        finished_at: Some(Wall(5)),
        retry_at: Some(Wall(6)),
        failures_in_a_row: 7,
        warnings: vec!["no swap limit".to_owned()],
        last_log: vec!["out of cheese".to_owned()],
    }
}

fn node() -> NodeInfo {
    NodeInfo {
        id: NodeId(0xabc),
        hostname: "one".to_owned(),
        agent_version: "0.1.0".to_owned(),
        engine_version: "20.10".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        cpu_millis: 4_000,
        memory_bytes: 1 << 35,
        addresses: vec!["fe80::1".parse().expect("address")],
        labels: pairs("disk", "fast"),
        features: ["ipv6".to_owned()].into(),
    }
}

fn conditions() -> NodeConditions {
    NodeConditions {
        engine_problem: "not running".to_owned(),
        forwards: vec![ForwardStatus { service: key(), port: port(), bound: 81, problem: "in use".to_owned() }],
        strangers: vec![Stranger {
            container_id: "c0ffee".to_owned(),
            name: "shop-web-1".to_owned(),
            task: TaskId(8),
            service: key(),
            running: true,
        }],
        removed_volumes: vec!["shop_old".to_owned()],
    }
}

#[test]
fn full_values_survive() {
    macro_rules! check_full {
        ($($wire:ident: $value:expr),+ $(,)?) => {$(
            let value = $value;
            assert_full(&value);
            survives::<v1::$wire, _>(&value);
        )+};
    }
    check_full!(
        ProjectSpec: project(),
        AssignmentSet: set(),
        EndpointTable: table(),
        TaskStatus: status(),
        NodeInfo: node(),
        NodeConditions: conditions(),
        RequestId: RequestId { client: u64::MAX, sequence: 9 },
    );
}

#[test]
fn a_spec_keeps_its_hash() {
    let spec = container();
    assert_eq!(there_and_back::<v1::ContainerSpec, _>(&spec).hash(), spec.hash());
}

#[test]
fn defaults_survive_and_absent_differs_from_empty() {
    survives::<v1::ServiceSpec, _>(&ServiceSpec::default());
    survives::<v1::TaskStatus, _>(&TaskStatus::default());
    survives::<v1::NodeConditions, _>(&NodeConditions::default());
    survives::<v1::EndpointTable, _>(&EndpointTable::default());
    survives::<v1::ContainerSpec, _>(&ContainerSpec { entrypoint: Some(vec![]), ..ContainerSpec::default() });
    let bare = Mount {
        source: MountSource::Tmpfs { size_bytes: None, mode: Some(0) },
        target: "/t".to_owned(),
        read_only: false,
    };
    survives::<v1::Mount, _>(&bare);
    survives::<v1::HostEntry, _>(&HostEntry { name: "host".to_owned(), address: None });
    survives::<v1::PortSpec, _>(&PortSpec { published: 0, host_ip: None, ..port() });
}

#[test]
fn every_variant_survives() {
    for restart in [RestartPolicy::Always, RestartPolicy::OnFailure { max: 0 }, RestartPolicy::No] {
        survives::<v1::RestartPolicy, _>(&restart);
    }
    let exec = Probe::Exec { argv: vec!["true".to_owned()] };
    for health in [HealthSpec::FromImage, HealthSpec::Disabled, check(exec), check(Probe::Tcp { port: 1 })] {
        survives::<v1::HealthSpec, _>(&health);
    }
    // A number without meaning must fail, all others return to themselves: eight is the longest enum.
    macro_rules! numbers {
        ($($name:ident: $count:literal),+ $(,)?) => {$(
            for number in 1..=$count {
                let value = $name::try_from(number).expect("a known number");
                assert_eq!(i32::from(value), number);
                assert_eq!($name::try_from(v1::$name::from(&value)), Ok(value));
            }
            for number in [-1, 0, $count + 1, i32::MAX] {
                assert!($name::try_from(number).is_err(), "{} {number}", stringify!($name));
            }
        )+};
    }
    numbers!(
        PullPolicy: 3, BlobKind: 2, Protocol: 2, PortMode: 2, DependencyCondition: 3,
        Phase: 8, Health: 4, Desired: 3, ServiceMode: 2, UpdateOrder: 2, FailureAction: 3, Verdict: 2, EndpointState: 3,
    );
}

/// The field that is named when `spoil` was done to a good message.
fn blamed<W, T>(value: &T, spoil: impl FnOnce(&mut W)) -> String
where
    W: Message + Default + for<'a> From<&'a T>,
    T: TryFrom<W, Error = ConvertError> + Debug,
{
    let mut wire = W::from(value);
    spoil(&mut wire);
    let error = T::try_from(wire).expect_err("a spoilt message does not convert");
    assert!(!error.problem.is_empty());
    error.field
}

#[test]
fn errors_name_the_path_in_a_project() {
    type Web<'a> = &'a mut v1::ServiceSpec;
    let in_web = |spoil: fn(Web<'_>)| {
        blamed::<v1::ProjectSpec, _>(&project(), |w| spoil(w.services.get_mut("web").expect("there")))
    };
    let in_container = |spoil: fn(&mut v1::ContainerSpec)| blamed::<v1::ContainerSpec, _>(&container(), spoil);
    assert_eq!(in_web(|w| w.ports[0].target = 65_536), "services.web.ports[0].target");
    assert_eq!(in_web(|w| w.ports[0].target = 0), "services.web.ports[0].target");
    assert_eq!(in_web(|w| w.ports[0].published = u32::MAX), "services.web.ports[0].published");
    assert_eq!(in_web(|w| w.ports[0].host_ip = text("here")), "services.web.ports[0].host_ip");
    assert_eq!(in_web(|w| w.ports[0].mode = 9), "services.web.ports[0].mode");
    assert_eq!(in_web(|w| w.expose[0].protocol = 0), "services.web.expose[0].protocol");
    assert_eq!(in_web(|w| w.container = None), "services.web.container");
    assert_eq!(in_web(|w| w.restart = Some(v1::RestartPolicy::default())), "services.web.restart.policy");
    assert_eq!(in_web(|w| w.health = Some(v1::HealthSpec::default())), "services.web.health.source");
    assert_eq!(in_web(|w| w.reservations = None), "services.web.reservations");
    assert_eq!(
        in_web(|w| w.depends_on.get_mut("db").expect("there").condition = -1),
        "services.web.depends_on.db.condition"
    );
    assert_eq!(in_container(|w| w.pull = 77), "pull");
    assert_eq!(in_container(|w| w.mounts[1].source = None), "mounts[1].source");
    assert_eq!(in_container(|w| w.files[0].digest = "../../etc".to_owned()), "files[0].digest");
    assert_eq!(in_container(|w| w.files[0].digest = "AB".repeat(32)), "files[0].digest");
    assert_eq!(in_container(|w| w.limits = None), "limits");
    let renamed = |w: &mut v1::ProjectSpec| {
        let web = w.services.remove("web").expect("there");
        w.services.insert("Web".to_owned(), web);
    };
    assert_eq!(blamed::<v1::ProjectSpec, _>(&project(), renamed), "services.Web");
    assert_eq!(blamed::<v1::ProjectSpec, _>(&project(), |w| w.name = String::new()), "name");
}

#[test]
fn errors_name_the_path_in_a_health_check() {
    let spoil = |probe| {
        move |w: &mut v1::HealthSpec| match &mut w.source {
            Some(v1::health_spec::Source::Check(check)) => check.probe = probe,
            other => panic!("{other:?}"),
        }
    };
    let health = check(Probe::Tcp { port: 1 });
    let tcp = v1::health_check::Probe::Tcp(v1::health_check::Tcp { port: 0 });
    assert_eq!(blamed::<v1::HealthSpec, _>(&health, spoil(Some(tcp))), "check.tcp.port");
    assert_eq!(blamed::<v1::HealthSpec, _>(&health, spoil(None)), "check.probe");
}

#[test]
fn errors_name_the_path_in_what_agents_exchange() {
    let in_set = |spoil: fn(&mut v1::AssignmentSet)| blamed::<v1::AssignmentSet, _>(&set(), spoil);
    assert_eq!(in_set(|w| w.cluster = "12".to_owned()), "cluster");
    assert_eq!(in_set(|w| w.node = "+00000000000000a".to_owned()), "node");
    assert_eq!(in_set(|w| w.network = None), "network");
    assert_eq!(in_set(|w| w.network.as_mut().expect("there").prefix = 33), "network.prefix");
    assert_eq!(in_set(|w| w.network.as_mut().expect("there").gateway = "::1".to_owned()), "network.gateway");
    assert_eq!(in_set(|w| w.tasks[1].task = w.tasks[0].task), "tasks[1].task");
    assert_eq!(in_set(|w| w.tasks[1].desired = 0), "tasks[1].desired");
    assert_eq!(in_set(|w| w.tasks[0].addresses[1] = "x".to_owned()), "tasks[0].addresses[1]");
    assert_eq!(in_set(|w| w.tasks[0].service = None), "tasks[0].service");
    assert_eq!(
        in_set(|w| w.forwards[0].service.as_mut().expect("there").project.clear()),
        "forwards[0].service.project"
    );
    assert_eq!(in_set(|w| _ = w.verdicts.insert("c1".to_owned(), 3)), "verdicts.c1");

    let in_table = |spoil: fn(&mut v1::EndpointTable)| blamed::<v1::EndpointTable, _>(&table(), spoil);
    assert_eq!(in_table(|w| w.services.push(w.services[0].clone())), "services[1].service");
    assert_eq!(in_table(|w| w.services[0].service = None), "services[0].service");
    assert_eq!(in_table(|w| w.services[0].ports[0].port = 0), "services[0].ports[0].port");
    assert_eq!(in_table(|w| w.services[0].endpoints[2].state = 4), "services[0].endpoints[2].state");

    assert_eq!(blamed::<v1::TaskStatus, _>(&status(), |w| w.phase = 9), "phase");
    assert_eq!(blamed::<v1::TaskStatus, _>(&status(), |w| w.health = 0), "health");
    assert_eq!(blamed::<v1::NodeInfo, _>(&node(), |w| w.addresses[0].clear()), "addresses[0]");
    let bound = |w: &mut v1::NodeConditions| w.forwards[0].bound = 65_536;
    assert_eq!(blamed::<v1::NodeConditions, _>(&conditions(), bound), "forwards[0].bound");
    let nameless = |w: &mut v1::NodeConditions| w.strangers[0].service = None;
    assert_eq!(blamed::<v1::NodeConditions, _>(&conditions(), nameless), "strangers[0].service");
}

#[test]
fn messages_that_say_nothing_are_errors_and_never_panic() {
    assert!(ProjectSpec::try_from(v1::ProjectSpec::default()).is_err());
    assert!(AssignmentSet::try_from(v1::AssignmentSet::default()).is_err());
    assert!(NodeInfo::try_from(v1::NodeInfo::default()).is_err());
    assert!(TaskStatus::try_from(v1::TaskStatus::default()).is_err());
}

#[test]
fn an_error_reads_well_with_and_without_a_path() {
    let whole = ConvertError::new("is missing");
    assert_eq!(whole.to_string(), "is missing");
    assert_eq!(whole.under("ports[0]").under("services.web").to_string(), "`services.web.ports[0]`: is missing");
}

/// Committed figures of the first version: other ones would restart every container at an upgrade in place.
#[test]
fn a_spec_that_uses_nothing_new_has_the_hash_it_always_had() {
    assert_eq!(first_container().hash(), "68bfc5009ef467c2");
    assert_eq!(ContainerSpec::default().hash(), "cb6e4369143b4212");
    assert_ne!(container().hash(), first_container().hash());
}

#[test]
fn a_container_of_the_first_version_says_nothing_of_what_came_later() {
    let wire = v1::ContainerSpec::from(&first_container());
    assert_eq!((wire.kernel, wire.isolation, wire.naming, wire.logging), (None, None, None, None));
}
