//! Kernel, isolation, names and logging in the engine's fields, and what a node that does not allow it answers.

use super::*;
use proto::needs::{Ability, Permission};
use proto::spec::{
    BlockIo, CpuTuning, Device, DeviceRate, HostEntry, Isolation, Kernel, Logging, MemoryTuning, Namespace, Naming,
    Ulimit,
};
use serde_json::{Value, json};

/// A node that allows everything and has a new engine.
fn open() -> Facts {
    let features = abilities::features(&Permission::ALL.into(), "1.99");
    Facts { features, ..Facts::default() }
}

/// The fields of the host part that a container sets beyond those that every container sets.
fn set(container: ContainerSpec) -> Value {
    let of = |container| sent(&request(container), &open(), "/HostConfig");
    let (plain, mut set) = (of(spec()), of(container));
    if let (Some(plain), Some(set)) = (plain.as_object(), set.as_object_mut()) {
        set.retain(|key, value| plain.get(key) != Some(value));
    }
    set
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn memory_and_processors() {
    let memory = MemoryTuning {
        soft_limit_bytes: Some(1 << 25),
        with_swap_bytes: Some(-1),
        swappiness: Some(0),
        shm_bytes: Some(1 << 20),
        oom_kill_disable: true,
        oom_score_adj: -5,
    };
    let cpu = CpuTuning {
        shares: Some(512),
        period_us: Some(50_000),
        quota_us: Some(25_000),
        realtime_period_us: Some(9),
        realtime_runtime_us: Some(8),
        set: Some("0-1".to_owned()),
    };
    let kernel = Kernel { memory, cpu, ..Kernel::default() };
    let expect = json!({
        "MemoryReservation": 33554432, "MemorySwap": -1, "MemorySwappiness": 0, "ShmSize": 1048576, "OomKillDisable": true,
        "OomScoreAdj": -5, "CpuShares": 512, "CpuPeriod": 50000, "CpuQuota": 25000, "CpuRealtimePeriod": 9,
        "CpuRealtimeRuntime": 8, "CpusetCpus": "0-1",
    });
    assert_eq!(set(ContainerSpec { kernel, ..spec() }), expect);
}

#[test]
fn limits_of_processes_and_of_block_devices() {
    let rate = |path: &str| vec![DeviceRate { path: path.to_owned(), rate: 100 }];
    let block_io = BlockIo {
        weight: Some(300),
        weight_device: rate("/dev/a"),
        read_bps: rate("/dev/b"),
        write_bps: rate("/dev/c"),
        read_iops: rate("/dev/d"),
        write_iops: rate("/dev/e"),
    };
    let ulimits = BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 1024, hard: -1 })]);
    let (sysctls, storage_opt) = (map(&[("net.core.somaxconn", "1024")]), map(&[("size", "1g")]));
    let kernel = Kernel { block_io, ulimits, sysctls, storage_opt, ..Kernel::default() };
    let throttle = |path: &str| json!([{"Path": path, "Rate": 100}]);
    let expect = json!({
        "BlkioWeight": 300, "BlkioWeightDevice": [{"Path": "/dev/a", "Weight": 100}],
        "BlkioDeviceReadBps": throttle("/dev/b"), "BlkioDeviceWriteBps": throttle("/dev/c"),
        "BlkioDeviceReadIOps": throttle("/dev/d"), "BlkioDeviceWriteIOps": throttle("/dev/e"),
        "Ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": -1}], "Sysctls": {"net.core.somaxconn": "1024"},
        "StorageOpt": {"size": "1g"},
    });
    assert_eq!(set(ContainerSpec { kernel, ..spec() }), expect);
}

fn isolated(change: impl FnOnce(&mut Isolation)) -> ContainerSpec {
    let mut container = spec();
    change(&mut container.isolation);
    container
}

#[test]
fn isolation() {
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let container = isolated(|i| {
        i.cap_add.extend(strings(&["NET_ADMIN"]));
        i.cap_drop.extend(strings(&["ALL"]));
        i.security_opt = strings(&["no-new-privileges=true", "systempaths=unconfined"]);
        i.devices =
            vec![Device { source: "/dev/a".to_owned(), target: "/dev/b".to_owned(), permissions: "r".to_owned() }];
        i.device_cgroup_rules = strings(&["c 1:3 mr"]);
        i.group_add = strings(&["29"]);
        (i.pid, i.ipc, i.uts) = (Namespace::Host, Namespace::Shareable, Namespace::Host);
        (i.userns, i.cgroup) = (Namespace::Host, Namespace::Private);
        (i.cgroup_parent, i.runtime) = (Some("/apps".to_owned()), Some("runc".to_owned()));
    });
    let expect = json!({
        "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges=true"], "MaskedPaths": [],
        "ReadonlyPaths": [], "Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"}],
        "DeviceCgroupRules": ["c 1:3 mr"], "GroupAdd": ["29"], "PidMode": "host", "IpcMode": "shareable", "UTSMode": "host",
        "UsernsMode": "host", "CgroupnsMode": "private", "CgroupParent": "/apps", "Runtime": "runc",
    });
    assert_eq!(set(container), expect);
    assert_eq!(set(isolated(|i| i.privileged = true)), json!({"Privileged": true}));
    let hosts_own = isolated(|i| i.uts = Namespace::Host);
    assert_eq!(sent(&request(hosts_own), &open(), "/Hostname"), Value::Null, "the engine refuses both together");
}

#[test]
fn what_every_container_is_kept_from_unless_it_says_otherwise() {
    let of = |container: ContainerSpec, facts: &Facts| {
        let host = create_body(&request(container), facts).unwrap().host_config.unwrap();
        (host.cap_drop.unwrap_or_default(), host.security_opt.unwrap_or_default())
    };
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let closed = Facts::default();
    let expect = |drop: &[&str], options: &[&str]| (strings(drop), strings(options));
    assert_eq!(of(spec(), &closed), expect(&["NET_RAW"], &["no-new-privileges"]));
    // Beside what it says itself.
    let facts = open();
    let own = isolated(|i| {
        i.cap_drop.extend(strings(&["CHOWN"]));
        i.security_opt = strings(&["label=level:s0"]);
    });
    assert_eq!(of(own, &facts), expect(&["CHOWN", "NET_RAW"], &["label=level:s0", "no-new-privileges"]));
    for said in ["no-new-privileges:false", "no-new-privileges=true", "no-new-privileges"] {
        let own = isolated(|i| i.security_opt = strings(&[said]));
        assert_eq!(of(own, &facts), expect(&["NET_RAW"], &[said]), "once");
    }
    for named in ["NET_RAW", "ALL"] {
        let added = isolated(|i| i.cap_add.extend(strings(&[named])));
        assert_eq!(of(added, &facts), expect(&[], &["no-new-privileges"]), "{named} is given");
        let dropped = isolated(|i| i.cap_drop.extend(strings(&[named])));
        assert_eq!(of(dropped, &facts), expect(&[named], &["no-new-privileges"]), "{named} is dropped once");
    }
    assert_eq!(of(isolated(|i| i.privileged = true), &facts), expect(&[], &[]), "it has all there is");
}

#[test]
fn what_the_node_does_not_allow_is_not_asked_of_the_engine() {
    let container = isolated(|i| i.privileged = true);
    let features = abilities::features(&Default::default(), "1.41");
    let closed = Facts { features: features.clone(), ..Facts::default() };
    let denied = create_body(&request(container), &closed).unwrap_err().to_string();
    assert!(denied.starts_with("it asks for privileged, which the node does not allow"), "{denied}");

    let source = MountSource::Bind { path: "/srv/engine.sock".to_owned(), create: true, propagation: None };
    let own = mounted(source, true);
    let denied = create_body(&own, &closed).unwrap_err().to_string();
    assert!(
        denied.starts_with("it asks for the host path /srv/engine.sock, which the node does not allow"),
        "{denied}"
    );
    let paths = paths();
    assert!(create_body(&own, &paths).is_ok());
    let there = Facts { engine_socket: "/srv/engine.sock".to_owned(), ..paths };
    assert!(matches!(create_body(&own, &there), Err(RuntimeError::Lacking { .. })), "the engine's own socket");
    assert!(features.contains(Ability::ContainerKeys.feature()));
}

#[test]
fn names_and_output() {
    let address = |text: &str| Some(text.parse().unwrap());
    let hosts = vec![
        HostEntry { name: "db".to_owned(), address: address("192.0.2.1") },
        HostEntry { name: "six".to_owned(), address: address("2001:db8::1") },
        HostEntry { name: "host".to_owned(), address: None },
    ];
    let naming = Naming { hosts, domain: Some("example.com".to_owned()), ..Naming::default() };
    let logging = Logging { driver: Some("json-file".to_owned()), options: map(&[("max-size", "1m")]) };
    let named = ContainerSpec { naming, logging, tty: true, stdin_open: true, ..spec() };
    for (pointer, expect) in [
        ("/Domainname", json!("example.com")),
        ("/Tty", json!(true)),
        ("/OpenStdin", json!(true)),
        ("/HostConfig/ExtraHosts", json!(["db:192.0.2.1", "six:2001:db8::1", "host:10.210.3.1"])),
        ("/HostConfig/LogConfig", json!({"Type": "json-file", "Config": {"max-size": "1m"}})),
    ] {
        assert_eq!(sent(&request(named.clone()), &open(), pointer), expect, "{pointer}");
    }
}

#[test]
fn memory_file_systems_and_annotations() {
    let container = ContainerSpec { tmpfs: map(&[("/run", "size=1m")]), annotations: map(&[("a", "b")]), ..spec() };
    assert_eq!(set(container), json!({"Tmpfs": {"/run": "size=1m"}, "Annotations": {"a": "b"}}));
}

#[test]
fn without_a_network_there_is_no_address() {
    let alone = isolated(|i| i.no_network = true);
    assert_eq!(set(alone.clone()), json!({"NetworkMode": "none"}));
    assert_eq!(sent(&request(alone), &open(), "/NetworkingConfig"), Value::Null);
}

#[test]
fn parts_of_volumes_and_what_is_mounted_below() {
    let part = MountSource::Volume { name: "data".to_owned(), nocopy: true, subpath: Some("a/b".to_owned()) };
    let options = sent(&mounted(part, false), &open(), "/HostConfig/Mounts/0/VolumeOptions");
    assert_eq!(options, json!({"NoCopy": true, "Subpath": "a/b"}));
    let bind = |create| MountSource::Bind { path: "/h".to_owned(), create, propagation: Some("rslave".to_owned()) };
    let made = sent(&mounted(bind(true), true), &open(), "/HostConfig/Binds");
    assert_eq!(made, json!(["/h:/data:ro,rslave"]));
    let there = sent(&mounted(bind(false), false), &open(), "/HostConfig/Mounts/0/BindOptions");
    assert_eq!(there, json!({"Propagation": "rslave"}));
}

#[test]
fn an_image_for_another_platform_is_not_the_one_that_was_asked_for() {
    for (image, asked, is_for) in [
        ("linux/amd64", None, true),
        ("linux/amd64", Some("linux/amd64"), true),
        ("linux/amd64", Some("linux/x86_64"), true),
        ("linux/amd64", Some("linux"), true),
        ("linux/arm64/v8", Some("linux/arm64"), true),
        ("linux/arm64", Some("linux/aarch64/v8"), true),
        ("linux/arm/v6", Some("linux/arm/v7"), false),
        ("linux/amd64", Some("linux/arm64"), false),
        ("windows/amd64", Some("linux/amd64"), false),
        ("", Some("linux/arm64"), true),
    ] {
        assert_eq!(image::is_for(image, asked), is_for, "{image} for {asked:?}");
    }
}
