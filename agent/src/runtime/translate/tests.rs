//! Request bodies and answers word for word: what the engine is told, and what is read from what it says.

use super::*;
use proto::assignment::Desired;
use proto::id::{BlobDigest, ClusterId, NodeId, ServiceKey, Slot, TaskId};
use proto::revision::Epoch;
use proto::spec::{
    BlobKind, ExposedPort, FileMount, HealthSpec, Limits, Mount, MountSource, PortMode, PortSpec, Protocol,
    RestartPolicy, VolumeSpec,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

fn identity() -> Identity {
    Identity { cluster: ClusterId(0xabcd_ef01_2345_6789), epoch: Epoch(4), node: NodeId(0x11) }
}

fn network() -> NodeNetwork {
    NodeNetwork { subnet: Ipv4Addr::new(10, 210, 3, 0), prefix: 24, gateway: Ipv4Addr::new(10, 210, 3, 1) }
}

fn request(container: ContainerSpec) -> CreateRequest {
    let service = ServiceKey { project: "shop".parse().unwrap(), service: "web".parse().unwrap() };
    CreateRequest {
        identity: identity(),
        network: network(),
        resolv_conf: PathBuf::from("/run/w/resolv.conf"),
        files: BTreeMap::new(),
        name: "shop-web-2".to_owned(),
        assignment: Assignment {
            task: TaskId(7),
            service,
            slot: Slot(2),
            generation: 3,
            desired: Desired::Run,
            addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 210, 3, 9))],
            spec_hash: container.hash(),
            container: Arc::new(container),
            restart: RestartPolicy::Always,
            health: HealthSpec::FromImage,
            host_ports: Vec::new(),
            expose: Vec::new(),
            volumes: BTreeMap::new(),
            drain_ms: 0,
        },
    }
}

fn spec() -> ContainerSpec {
    ContainerSpec { image: "app:1".to_owned(), stop_grace_ms: 10_000, ..ContainerSpec::default() }
}

fn body(container: ContainerSpec) -> ContainerCreateBody {
    create_body(&request(container), &Facts::default()).unwrap()
}

/// The part of the JSON that the engine would get, by a pointer.
fn sent(request: &CreateRequest, facts: &Facts, pointer: &str) -> serde_json::Value {
    let body = serde_json::to_value(create_body(request, facts).unwrap()).unwrap();
    body.pointer(pointer).cloned().unwrap_or(serde_json::Value::Null)
}

fn check(change: impl FnOnce(&mut ContainerSpec), pointer: &str, expect: serde_json::Value) {
    let mut container = spec();
    change(&mut container);
    assert_eq!(sent(&request(container), &Facts::default(), pointer), expect, "{pointer}");
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

mod keys;

#[test]
fn nothing_opens_the_host_unless_it_is_said_and_restarts_are_ours() {
    check(|_| (), "/HostConfig/Privileged", false.into());
    check(|_| (), "/HostConfig/RestartPolicy/Name", "no".into());
    check(|_| (), "/HostConfig/AutoRemove", false.into());
    check(|_| (), "/Healthcheck/Test", serde_json::json!(["NONE"]));
    // Two things are said for every container: less than the engine gives.
    check(|_| (), "/HostConfig/CapDrop", serde_json::json!(["NET_RAW"]));
    check(|_| (), "/HostConfig/SecurityOpt", serde_json::json!(["no-new-privileges"]));
    for absent in ["CapAdd", "Devices", "PidMode", "IpcMode", "UsernsMode", "LogConfig", "Dns"] {
        check(|_| (), &format!("/HostConfig/{absent}"), serde_json::Value::Null);
    }
}

#[test]
fn plain_fields() {
    let text = |s: &str| Some(s.to_owned());
    check(|_| (), "/Image", "app:1".into());
    check(|c| c.image_id = "sha256:00".to_owned(), "/Image", "sha256:00".into());
    check(|_| (), "/Hostname", "web-2".into());
    check(|c| c.hostname = text("db"), "/Hostname", "db".into());
    check(|c| c.user = text("1000:1000"), "/User", "1000:1000".into());
    check(|c| c.working_dir = text("/srv"), "/WorkingDir", "/srv".into());
    check(|c| c.stop_signal = text("SIGQUIT"), "/StopSignal", "SIGQUIT".into());
    check(|_| (), "/StopSignal", serde_json::Value::Null);
    check(|c| c.stop_grace_ms = 1_001, "/StopTimeout", 2.into());
    check(|c| c.init = true, "/HostConfig/Init", true.into());
    check(|c| c.read_only = true, "/HostConfig/ReadonlyRootfs", true.into());
    check(
        |c| c.environment = BTreeMap::from([("B".into(), "x=y".into()), ("A".into(), String::new())]),
        "/Env",
        serde_json::json!(["A=", "B=x=y"]),
    );
}

#[test]
fn entry_point_and_command() {
    let null = serde_json::Value::Null;
    check(|_| (), "/Entrypoint", null.clone());
    check(|_| (), "/Cmd", null);
    check(|c| c.entrypoint = Some(Vec::new()), "/Entrypoint", serde_json::json!([]));
    check(|c| c.entrypoint = Some(strings(&["/a", "b"])), "/Entrypoint", serde_json::json!(["/a", "b"]));
    check(|c| c.command = Some(strings(&["-v"])), "/Cmd", serde_json::json!(["-v"]));
}

#[test]
fn a_cleared_command_names_the_images_entry_point_so_that_its_command_is_not_taken() {
    let cleared = ContainerSpec { command: Some(Vec::new()), ..spec() };
    assert!(needs_image_entrypoint(&cleared));
    assert!(!needs_image_entrypoint(&spec()));
    let without = sent(&request(cleared.clone()), &Facts::default(), "/Entrypoint");
    assert_eq!(without, serde_json::json!([""]), "the image has no entry point");
    let facts = Facts { image_entrypoint: Some(strings(&["/entry"])), ..Facts::default() };
    assert_eq!(sent(&request(cleared), &facts, "/Entrypoint"), serde_json::json!(["/entry"]));
    assert_eq!(sent(&request(spec()), &facts, "/Entrypoint"), serde_json::Value::Null);
}

#[test]
fn host_names_fit_the_kernel() {
    let mut long = request(spec());
    long.assignment.service.service = "s".repeat(63).parse().unwrap();
    let name = create_body(&long, &Facts::default()).unwrap().hostname.unwrap();
    assert_eq!(name.len(), 63);
    assert!(name.ends_with("s-2"), "{name}");
}

#[test]
fn our_labels_win() {
    let pairs = [("wherry.task", "t1"), ("wherry.mine", "x"), ("tier", "front"), ("wherryx", "y")];
    let labels = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
    let container = ContainerSpec { labels, ..spec() };
    let hash = container.hash();
    let made = body(container).labels.unwrap();
    let expect = [
        ("wherry.labels", "1"),
        ("wherry.cluster", "abcdef0123456789"),
        ("wherry.epoch", "4"),
        ("wherry.node", "0000000000000011"),
        ("wherry.project", "shop"),
        ("wherry.service", "web"),
        ("wherry.slot", "2"),
        ("wherry.task", "t7"),
        ("wherry.generation", "3"),
        ("wherry.container", "main"),
        ("wherry.spec-hash", hash.as_str()),
        ("tier", "front"),
        ("wherryx", "y"),
    ];
    assert_eq!(made, expect.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect());
}

#[test]
fn labels_read_back_as_the_task() {
    let request = request(spec());
    let made = create_body(&request, &Facts::default()).unwrap().labels.unwrap();
    let seen = seen::identify("id", "/n", &made, super::super::SeenState::Created).unwrap();
    let a = &request.assignment;
    assert_eq!((seen.task, seen.slot, seen.generation), (a.task, a.slot, a.generation));
    assert_eq!((seen.service, seen.spec_hash), (a.service.clone(), a.spec_hash.clone()));
}

#[test]
fn limits() {
    let limited = |cpu_millis, memory_bytes, pids| Limits { cpu_millis, memory_bytes, pids };
    let null = serde_json::Value::Null;
    for (limits, cpus, expect) in [
        (limited(None, None, None), 2, [null.clone(), null.clone(), null.clone()]),
        (limited(Some(500), Some(1 << 26), Some(64)), 2, [500_000_000.into(), (1 << 26).into(), 64.into()]),
        (limited(Some(4_000), None, None), 2, [2_000_000_000_i64.into(), null.clone(), null.clone()]),
        (limited(Some(4_000), None, None), 0, [4_000_000_000_i64.into(), null.clone(), null.clone()]),
        (limited(Some(1), None, None), 2, [10_000_000.into(), null.clone(), null.clone()]),
        (limited(None, Some(u64::MAX), None), 2, [null.clone(), i64::MAX.into(), null.clone()]),
    ] {
        let request = request(ContainerSpec { limits: limits.clone(), ..spec() });
        let facts = Facts { cpus, ..Facts::default() };
        let keys = ["NanoCpus", "Memory", "PidsLimit"];
        assert_eq!(keys.map(|k| sent(&request, &facts, &format!("/HostConfig/{k}"))), expect, "{limits:?} on {cpus}");
    }
}

fn mounted(source: MountSource, read_only: bool) -> CreateRequest {
    let mounts = vec![Mount { source, target: "/data".to_owned(), read_only }];
    let mut request = request(ContainerSpec { mounts, ..spec() });
    request.assignment.volumes = BTreeMap::from([
        ("data".to_owned(), VolumeSpec::default()),
        ("old".to_owned(), VolumeSpec { docker_name: Some("legacy".into()), external: true, ..VolumeSpec::default() }),
    ]);
    request
}

/// A node whose paths may be mounted.
fn paths() -> Facts {
    let features = abilities::features(&[proto::needs::Permission::HostPaths].into(), "1.41");
    Facts { features, ..Facts::default() }
}

#[test]
fn mounts() {
    let volume = |name: &str| MountSource::Volume { name: name.to_owned(), nocopy: false, subpath: None };
    let bind = |path: &str, create| MountSource::Bind { path: path.to_owned(), create, propagation: None };
    let tmpfs = |size_bytes, mode| MountSource::Tmpfs { size_bytes, mode };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    for (source, read_only, expect) in [
        (volume("data"), false, r#"{"Target":"/data","Source":"shop_data","Type":"volume","ReadOnly":false}"#),
        (volume("old"), true, r#"{"Target":"/data","Source":"legacy","Type":"volume","ReadOnly":true}"#),
        (MountSource::Anonymous, false, r#"{"Target":"/data","Type":"volume","ReadOnly":false}"#),
        (bind("/h", false), true, r#"{"Target":"/data","Source":"/h","Type":"bind","ReadOnly":true,"BindOptions":{}}"#),
        (
            bind("/h:x", true),
            false,
            r#"{"Target":"/data","Source":"/h:x","Type":"bind","ReadOnly":false,"BindOptions":{}}"#,
        ),
        (tmpfs(None, None), false, r#"{"Target":"/data","Type":"tmpfs","ReadOnly":false,"TmpfsOptions":{}}"#),
        (
            tmpfs(Some(4096), Some(0o1770)),
            false,
            r#"{"Target":"/data","Type":"tmpfs","ReadOnly":false,"TmpfsOptions":{"SizeBytes":4096,"Mode":1016}}"#,
        ),
    ] {
        let request = mounted(source, read_only);
        assert_eq!(sent(&request, &paths(), "/HostConfig/Mounts/0"), json(expect));
        assert_eq!(sent(&request, &paths(), "/HostConfig/Binds"), serde_json::Value::Null);
    }
}

#[test]
fn a_directory_to_be_made_goes_the_older_way() {
    for (read_only, expect) in [(false, "/h:/data:rw"), (true, "/h:/data:ro")] {
        let request = mounted(MountSource::Bind { path: "/h".to_owned(), create: true, propagation: None }, read_only);
        assert_eq!(sent(&request, &paths(), "/HostConfig/Binds"), serde_json::json!([expect]));
        let targets = sent(&request, &paths(), "/HostConfig/Mounts/0/Target");
        assert_eq!(targets, RESOLV_CONF, "only the resolver is left");
    }
}

#[test]
fn a_volume_that_the_assignment_does_not_carry_is_refused() {
    let request = mounted(MountSource::Volume { name: "lost".to_owned(), nocopy: false, subpath: None }, false);
    let refused = create_body(&request, &Facts::default()).unwrap_err().to_string();
    assert!(refused.contains("`lost`") && refused.contains("t7"), "{refused}");
    assert!(wanted_volumes(&request.assignment).is_err());
}

#[test]
fn volumes_to_have_first() {
    let request = mounted(MountSource::Volume { name: "old".to_owned(), nocopy: false, subpath: None }, false);
    let wanted = wanted_volumes(&request.assignment).unwrap();
    assert_eq!(wanted, [WantedVolume { name: "legacy".into(), external: true, key: "old".into() }]);

    let mut request = mounted(MountSource::Volume { name: "data".to_owned(), nocopy: false, subpath: None }, false);
    let user = [("wherry.cluster", "no"), ("keep", "yes")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    request.assignment.volumes.get_mut("data").unwrap().labels = user.into_iter().collect();
    let wanted = wanted_volumes(&request.assignment).unwrap();
    let made = serde_json::to_value(volume_body(&identity(), &request.assignment, &wanted[0])).unwrap();
    let labels = serde_json::json!({"keep": "yes", "wherry.labels": "1", "wherry.cluster": "abcdef0123456789",
        "wherry.project": "shop"});
    assert_eq!(made, serde_json::json!({"Name": "shop_data", "Labels": labels}));
}

#[test]
fn files_and_resolver_are_read_only() {
    let secret = FileMount {
        kind: BlobKind::Secret,
        name: "key".to_owned(),
        digest: BlobDigest("00".to_owned()),
        target: "/run/secrets/key".to_owned(),
        uid: 0,
        gid: 0,
        mode: 0o400,
    };
    let mut request = request(ContainerSpec { files: vec![secret], ..spec() });
    let missing = create_body(&request, &Facts::default()).unwrap_err().to_string();
    assert!(missing.contains("`key`"), "{missing}");

    request.files.insert("/run/secrets/key".to_owned(), PathBuf::from("/run/w/t7/key"));
    let mount = |source: &str, target: &str| serde_json::json!({"Target": target, "Source": source, "Type": "bind", "ReadOnly": true, "BindOptions": {}});
    let expect = [mount("/run/w/t7/key", "/run/secrets/key"), mount("/run/w/resolv.conf", RESOLV_CONF)];
    assert_eq!(sent(&request, &Facts::default(), "/HostConfig/Mounts"), serde_json::json!(expect));
}

#[test]
fn the_users_own_resolver_wins() {
    let source = MountSource::Bind { path: "/mine".to_owned(), create: false, propagation: None };
    let mounts = vec![Mount { source, target: RESOLV_CONF.to_owned(), read_only: false }];
    let made = create_body(&request(ContainerSpec { mounts, ..spec() }), &paths()).unwrap();
    let mounts = made.host_config.unwrap().mounts.unwrap();
    assert_eq!(mounts.len(), 1);
    assert_eq!(mounts[0].source.as_deref(), Some("/mine"));
}

#[test]
fn the_static_address_without_aliases() {
    let made = sent(&request(spec()), &Facts::default(), "/NetworkingConfig/EndpointsConfig");
    assert_eq!(made, serde_json::json!({"wherry-abcdef": {"IPAMConfig": {"IPv4Address": "10.210.3.9"}}}));
    check(|_| (), "/HostConfig/NetworkMode", "wherry-abcdef".into());
    let mut dynamic = request(spec());
    dynamic.assignment.addresses.clear();
    let made = sent(&dynamic, &Facts::default(), "/NetworkingConfig/EndpointsConfig");
    assert_eq!(made, serde_json::json!({"wherry-abcdef": {}}));
}

#[test]
fn host_ports() {
    let port = |published, target, protocol, host_ip: Option<&str>| PortSpec {
        name: None,
        target,
        published,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        protocol,
        mode: PortMode::Host,
    };
    let mut request = request(spec());
    request.assignment.expose = vec![ExposedPort { port: 80, protocol: Protocol::Tcp }];
    request.assignment.host_ports = vec![
        port(8080, 80, Protocol::Tcp, None),
        port(8081, 80, Protocol::Tcp, Some("127.0.0.1")),
        port(0, 53, Protocol::Udp, Some("::1")),
    ];
    let expect = serde_json::json!({
        "80/tcp": [{"HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": "8081"}],
        "53/udp": [{"HostIp": "::1", "HostPort": ""}],
    });
    assert_eq!(sent(&request, &Facts::default(), "/HostConfig/PortBindings"), expect);
    assert_eq!(sent(&request, &Facts::default(), "/ExposedPorts"), serde_json::json!({"53/udp": {}, "80/tcp": {}}));
}

#[test]
fn the_nodes_network() {
    let made = serde_json::to_value(network_body(&identity(), &network())).unwrap();
    let expect = serde_json::json!({
        "Name": "wherry-abcdef",
        "Driver": "bridge",
        "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.210.3.0/24", "Gateway": "10.210.3.1"}]},
        "Options": {
            "com.docker.network.bridge.name": "wh-abcdef",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.bridge.enable_icc": "true",
        },
        "Labels": {"wherry.labels": "1", "wherry.cluster": "abcdef0123456789", "wherry.node": "0000000000000011"},
    });
    assert_eq!(made, expect);
    assert!(identity().bridge_name().len() <= 15);
}
