//! Keys of a container on the real engine: what the kernel says inside, not what was asked for.

use crate::lab::{Lab, docker};
use agent::runtime::docker::{DEFAULT_ENDPOINT, DockerRuntime};
use agent::runtime::{ContainerRuntime, RuntimeError};
use proto::needs::Permission;
use proto::spec::{
    BlockIo, ContainerSpec, CpuTuning, Device, HostEntry, Isolation, Kernel, Limits, Logging, MemoryTuning, Mount,
    MountSource, Namespace, Naming, Ulimit,
};
use std::collections::{BTreeMap, BTreeSet};

const SLEEP: [&str; 2] = ["sleep", "1000"];

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

/// A kernel's figure, where the first or the second generation of control groups has it.
fn group(first: &str, second: &str) -> String {
    format!("cat /sys/fs/cgroup/{first} 2>/dev/null || cat /sys/fs/cgroup/{second}")
}

#[tokio::test]
async fn the_kernel_and_the_engine_do_what_was_asked() {
    let lab = Lab::new().await;
    let container = ContainerSpec {
        limits: Limits { cpu_millis: None, memory_bytes: Some(64 << 20), pids: Some(50) },
        tty: true,
        tmpfs: map(&[("/memory", "size=64k,mode=1750")]),
        kernel: Kernel {
            memory: MemoryTuning {
                soft_limit_bytes: Some(32 << 20),
                with_swap_bytes: Some(96 << 20),
                shm_bytes: Some(1 << 20),
                oom_score_adj: 100,
                ..MemoryTuning::default()
            },
            cpu: CpuTuning {
                period_us: Some(50_000),
                quota_us: Some(25_000),
                set: Some("0".to_owned()),
                ..CpuTuning::default()
            },
            // Not `nofile`: runc loses its soft limit now and then (opencontainers/runc#4195).
            ulimits: BTreeMap::from([("core".to_owned(), Ulimit { soft: 123, hard: 456 })]),
            sysctls: map(&[("net.core.somaxconn", "999")]),
            ..Kernel::default()
        },
        isolation: Isolation {
            cap_add: words(&["CHOWN"]).into_iter().collect(),
            cap_drop: words(&["ALL"]).into_iter().collect(),
            security_opt: words(&["no-new-privileges=true"]),
            group_add: words(&["29"]),
            ipc: Namespace::Private,
            ..Isolation::default()
        },
        naming: Naming {
            domain: Some("example.com".to_owned()),
            hosts: vec![
                HostEntry { name: "db".to_owned(), address: Some("192.0.2.1".parse().unwrap()) },
                HostEntry { name: "node".to_owned(), address: None },
            ],
            ..Naming::default()
        },
        logging: Logging { driver: Some("json-file".to_owned()), options: map(&[("max-size", "1m")]) },
        ..(*lab.request(3, &SLEEP).assignment.container).clone()
    };
    let id = lab.run(&lab.request_for(3, container, vec![lab.address(33)])).await;
    let gateway = lab.network.gateway.to_string();
    for (script, expect) in [
        (group("memory/memory.limit_in_bytes", "memory.max"), "67108864"),
        (group("memory/memory.soft_limit_in_bytes", "memory.low"), "33554432"),
        (group("cpu/cpu.cfs_quota_us", "cpu.max | cut -d' ' -f1"), "25000"),
        (group("cpu/cpu.cfs_period_us", "cpu.max | cut -d' ' -f2"), "50000"),
        (group("cpuset/cpuset.cpus", "cpuset.cpus"), "0"),
        (group("pids/pids.max", "pids.max"), "50"),
        ("cat /proc/1/oom_score_adj".to_owned(), "100"),
        ("awk '/^CapBnd/ {print $2}' /proc/1/status".to_owned(), "0000000000000001"),
        ("awk '/^NoNewPrivs/ {print $2}' /proc/1/status".to_owned(), "1"),
        ("awk '/^Groups/ {print $3}' /proc/1/status".to_owned(), "29"),
        ("awk '/^Max core file size/ {print $5, $6}' /proc/1/limits".to_owned(), "123 456"),
        ("cat /proc/sys/net/core/somaxconn".to_owned(), "999"),
        ("df -k /dev/shm /memory | awk 'NR > 1 {print $2}'".to_owned(), "1024\n64"),
        ("stat -c %a /memory".to_owned(), "1750"),
        ("awk '$2 == \"db\" {print $1}' /etc/hosts".to_owned(), "192.0.2.1"),
        ("awk '$2 == \"node\" {print $1}' /etc/hosts".to_owned(), gateway.as_str()),
        ("readlink /proc/1/fd/0 | cut -c1-8".to_owned(), "/dev/pts"),
    ] {
        assert_eq!(lab.exec(&id, &script).await.1.trim(), expect, "{script}");
    }
    let inspect = |format: &str| docker(&["inspect", "-f", format, &id]);
    assert_eq!(inspect("{{.HostConfig.MemorySwap}} {{.Config.Domainname}}"), "100663296 example.com");
    let log = r#"{{with .HostConfig.LogConfig}}{{.Type}} {{index .Config "max-size"}}{{end}}"#;
    assert_eq!(inspect(log), "json-file 1m");
    assert_eq!(inspect("{{.HostConfig.IpcMode}}"), "private");
}

#[tokio::test]
async fn what_opens_the_host_needs_the_nodes_permission() {
    let lab = Lab::new().await;
    let open = DockerRuntime::allowing(DEFAULT_ENDPOINT, Permission::ALL.into());
    let socket = MountSource::Bind { path: "/var/run/docker.sock".to_owned(), create: false, propagation: None };
    let mut container = (*lab.request(4, &SLEEP).assignment.container).clone();
    container.mounts = vec![Mount { source: socket, target: "/engine.sock".to_owned(), read_only: true }];
    container.isolation = Isolation {
        cap_add: words(&["NET_ADMIN", "NET_RAW"]).into_iter().collect(),
        security_opt: words(&["seccomp=unconfined", "systempaths=unconfined"]),
        devices: vec![Device { source: "/dev/null".into(), target: "/dev/void".into(), permissions: "rw".into() }],
        device_cgroup_rules: words(&["c 1:5 r"]),
        pid: Namespace::Host,
        uts: Namespace::Host,
        ..Isolation::default()
    };
    let request = lab.request_for(4, container, vec![lab.address(44)]);
    let denied = lab.runtime.create(&request).await.unwrap_err();
    assert!(matches!(denied, RuntimeError::Lacking { .. }), "{denied}");
    let words = "--allow devices,capabilities,net-raw,security-opt,engine-socket,host-pid,host-uts";
    assert!(denied.to_string().ends_with(words), "{denied}");

    let id = open.create(&request).await.unwrap().id;
    open.start(&id).await.unwrap();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let uts = std::fs::read_link("/proc/self/ns/uts").unwrap().to_string_lossy().into_owned();
    for (script, expect) in [
        ("readlink /proc/self/ns/uts", uts.as_str()),
        ("hostname", host.trim()),
        ("awk '/^Seccomp:/ {print $2}' /proc/self/status", "0"),
        ("awk '/^CapEff/ {print $2}' /proc/self/status", "00000000a80435fb"),
        ("echo x > /dev/void && stat -c '%t %T' /dev/void", "1 3"),
        ("test -S /engine.sock && echo a socket", "a socket"),
        ("mount | grep -c ' on /proc/sys '", "0"),
        ("test -d /proc/2 && echo others", "others"),
    ] {
        assert_eq!(lab.exec(&id, script).await.1.trim(), expect, "{script}");
    }
}

/// As the kernel tells it: the thirteen capabilities, and nothing to be gained by a program of root's.
#[tokio::test]
async fn an_ordinary_container_has_less_than_dockers_own() {
    let lab = Lab::new().await;
    let id = lab.run(&lab.request(12, &SLEEP)).await;
    let plain = docker(&["run", "--rm", &lab.image, "awk", "/^CapBnd/ {print $2}", "/proc/self/status"]);
    assert_eq!(plain, "00000000a80425fb", "Docker's own set is what it was");
    for (script, expect) in [
        ("awk '/^CapBnd/ {print $2}' /proc/1/status", "00000000a80405fb"),
        ("awk '/^NoNewPrivs/ {print $2}' /proc/1/status", "1"),
    ] {
        assert_eq!(lab.exec(&id, script).await.1.trim(), expect, "{script}");
    }
    let mut container = (*lab.request(13, &SLEEP).assignment.container).clone();
    container.isolation.security_opt = words(&["no-new-privileges:false"]);
    let id = lab.run(&lab.request_for(13, container.clone(), vec![lab.address(93)])).await;
    assert_eq!(lab.exec(&id, "awk '/^NoNewPrivs/ {print $2}' /proc/1/status").await.1.trim(), "0");
    let dir = lab.dir.path().join("of-the-host");
    let path = dir.display().to_string();
    let source = MountSource::Bind { path: path.clone(), create: true, propagation: None };
    container.mounts = vec![Mount { source, target: "/host".to_owned(), read_only: true }];
    let denied = lab.runtime.create(&lab.request_for(14, container, vec![lab.address(94)])).await.unwrap_err();
    assert!(denied.to_string().contains(&format!("the host path {path}, which the node does not allow")), "{denied}");
    assert!(!dir.exists(), "the engine was not asked");
}

#[tokio::test]
async fn a_privileged_container_has_all_capabilities() {
    let lab = Lab::new().await;
    let open = DockerRuntime::allowing(DEFAULT_ENDPOINT, BTreeSet::from([Permission::Privileged]));
    let mut container = (*lab.request(5, &SLEEP).assignment.container).clone();
    container.isolation.privileged = true;
    let request = lab.request_for(5, container, vec![lab.address(55)]);
    assert!(matches!(lab.runtime.create(&request).await, Err(RuntimeError::Lacking { .. })));
    let id = open.create(&request).await.unwrap().id;
    assert_eq!(docker(&["inspect", "-f", "{{.HostConfig.Privileged}}", &id]), "true");
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse::<u32>().unwrap();
    let all = (2_u64 << last) - 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of_host = status.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap().trim().to_owned();
    let started = open.start(&id).await;
    if u64::from_str_radix(&of_host, 16) == Ok(all) {
        started.unwrap();
        let effective = lab.exec(&id, "awk '/^CapEff/ {print $2}' /proc/self/status").await.1;
        assert_eq!(u64::from_str_radix(effective.trim(), 16), Ok(all), "{effective}");
    } else {
        // A host that has not all of them itself, because it is a container or a confined virtual machine.
        let refused = started.unwrap_err().to_string();
        assert!(refused.contains("caps"), "{refused}");
    }
}

#[tokio::test]
async fn without_a_network_there_is_only_the_loopback() {
    let lab = Lab::new().await;
    let mut container = (*lab.request(6, &SLEEP).assignment.container).clone();
    container.isolation.no_network = true;
    let id = lab.run(&lab.request_for(6, container, vec![lab.address(66)])).await;
    assert_eq!(lab.exec(&id, "ls /sys/class/net").await.1.trim(), "lo");
}

/// The engine makes the container and says what it left out: that must not be lost.
#[tokio::test]
async fn what_the_engine_could_not_do_is_told() {
    let lab = Lab::new().await;
    let mut container = (*lab.request(7, &SLEEP).assignment.container).clone();
    container.kernel.block_io = BlockIo { weight: Some(300), ..BlockIo::default() };
    let created = lab.runtime.create(&lab.request_for(7, container, vec![lab.address(70)])).await.unwrap();
    // Kernels with a scheduler that weighs do it; the others are why this test is here.
    let done = docker(&["inspect", "-f", "{{.HostConfig.BlkioWeight}}", &created.id]);
    match created.warnings.as_slice() {
        [] => assert_eq!(done, "300"),
        [warning] => assert!(warning.contains("Weight discarded") && done == "0", "{warning} {done}"),
        more => panic!("{more:?}"),
    }
    let plain = lab.runtime.create(&lab.request(8, &SLEEP)).await.unwrap();
    assert_eq!(plain.warnings, [""; 0], "nothing was asked for");
}

#[tokio::test]
async fn an_image_is_taken_for_the_platform_that_was_asked_for() {
    let lab = Lab::new().await;
    let info = lab.runtime.image(&lab.image).await.unwrap().unwrap();
    let mut container = (*lab.request(9, &SLEEP).assignment.container).clone();
    container.platform = Some(info.platform.clone());
    lab.run(&lab.request_for(9, container.clone(), vec![lab.address(90)])).await;
    assert!(info.platform.starts_with("linux/"), "{}", info.platform);
    container.platform = Some("linux/s390x".to_owned());
    let other = lab.runtime.create(&lab.request_for(10, container, vec![lab.address(91)])).await.unwrap_err();
    assert!(other.to_string().contains("platform") || matches!(other, RuntimeError::NotFound { .. }), "{other}");
}
