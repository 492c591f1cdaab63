//! Containers from their making to their removal.

use crate::lab::{Lab, PATIENCE, docker};
use agent::runtime::{ContainerRuntime, Hint, LogChunk, LogQuery, RuntimeError, SeenState};
use futures_util::{StreamExt, TryStreamExt};
use proto::id::{NodeId, TaskId};
use proto::spec::{
    BlobKind, ContainerSpec, ExposedPort, FileMount, HealthCheck, Limits, Mount, MountSource, PortMode, PortSpec,
    Probe, Protocol, VolumeSpec,
};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::time::timeout;

const SLEEP: [&str; 2] = ["sleep", "1000"];

fn exited_with(code: i32) -> impl Fn(&SeenState) -> bool {
    move |state| matches!(state, SeenState::Exited { exit_code, .. } if *exit_code == code)
}

#[tokio::test]
async fn from_making_to_removal() {
    let lab = Lab::new().await;
    let mut hints = lab.runtime.events(&lab.identity).await.unwrap();
    let id = lab.runtime.create(&lab.request(1, &SLEEP)).await.unwrap().id;
    assert_eq!(lab.runtime.inspect(&id).await.unwrap().state, SeenState::Created);

    lab.runtime.start(&id).await.unwrap();
    lab.runtime.start(&id).await.expect("starting what runs is fine");
    let seen = lab.runtime.inspect(&id).await.unwrap();
    assert!(matches!(seen.state, SeenState::Running { pid: 2.., .. }), "{seen:?}");
    assert_eq!((seen.task, seen.name.as_str()), (TaskId(1), lab.request(1, &SLEEP).name.as_str()));
    assert_eq!(lab.runtime.list(&lab.identity).await.unwrap(), [seen]);
    let elsewhere = agent::runtime::Identity { node: NodeId(0x52), ..lab.identity.clone() };
    assert_eq!(lab.runtime.list(&elsewhere).await.unwrap(), [], "another node's are not ours");

    let running = lab.runtime.remove(&id).await.unwrap_err();
    assert!(matches!(running, RuntimeError::Conflict { .. }), "{running}");
    docker(&["kill", &id]);
    let die = |hint: &Hint| hint.action == "die" && hint.container_id == id && hint.task == TaskId(1);
    let until_die = async { while !die(&hints.next().await.expect("the stream goes on").unwrap()) {} };
    timeout(PATIENCE, until_die).await.expect("the end is announced");
    lab.until(&id, exited_with(137)).await;

    lab.runtime.start(&id).await.expect("an exited container starts again");
    lab.until(&id, |state| matches!(state, SeenState::Running { .. })).await;
    lab.runtime.stop(&id, 100).await.unwrap();
    lab.runtime.remove(&id).await.unwrap();
    assert_eq!(lab.runtime.list(&lab.identity).await.unwrap(), []);
    let gone = lab.runtime.inspect(&id).await.unwrap_err();
    assert!(matches!(gone, RuntimeError::NotFound { .. }), "{gone}");
    lab.runtime.stop(&id, 100).await.expect("stopping what is gone is fine");
    lab.runtime.remove(&id).await.expect("removing what is gone is fine");
}

#[tokio::test]
async fn the_engine_and_the_image_describe_themselves() {
    let lab = Lab::new().await;
    let info = lab.runtime.info().await.unwrap();
    assert!(info.cpus > 0 && info.memory_bytes > 0 && info.os == "linux", "{info:?}");
    let image = lab.runtime.image(&lab.image).await.unwrap().expect("it was built");
    assert!(image.id.starts_with("sha256:"), "{image:?}");
    let port = |port, protocol| ExposedPort { port, protocol };
    assert_eq!(image.exposed, [port(53, Protocol::Udp), port(80, Protocol::Tcp)]);
    let argv = ["/bin/sh", "-c", "true"].map(str::to_owned).to_vec();
    let expect = HealthCheck {
        probe: Probe::Exec { argv },
        interval_ms: 5_000,
        timeout_ms: 30_000,
        retries: 4,
        start_period_ms: 0,
        start_interval_ms: 1_000,
    };
    assert_eq!(image.health, Some(expect));
    assert_eq!(lab.runtime.image("wherry-runtime-test/none:1").await.unwrap(), None);
}

#[tokio::test]
async fn the_network_is_ours_alone() {
    let lab = Lab::new().await;
    let again = lab.runtime.ensure_network(&lab.identity, &lab.network).await.unwrap();
    assert_eq!(again, lab.identity.bridge_name());
    assert!(std::path::Path::new("/sys/class/net").join(&again).exists(), "the bridge has that name");
    let other = agent::runtime::Identity { node: NodeId(0x99), ..lab.identity.clone() };
    let conflict = lab.runtime.ensure_network(&other, &lab.network).await.unwrap_err().to_string();
    assert!(conflict.contains("wherry.node") && conflict.contains("docker network rm"), "{conflict}");

    lab.runtime.remove_network(&lab.identity).await.unwrap();
    lab.runtime.remove_network(&lab.identity).await.expect("removing what is gone is fine");
    assert!(!std::path::Path::new("/sys/class/net").join(&again).exists());
}

#[tokio::test]
async fn inside_a_container() {
    let lab = Lab::with_host_paths().await;
    let secret = lab.dir.path().join("secret");
    std::fs::write(&secret, "hush").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o440)).unwrap();
    let made = lab.dir.path().join("made/here");
    let mount = |source, target: &str| Mount { source, target: target.to_owned(), read_only: false };
    let mut container = (*lab.request(2, &SLEEP).assignment.container).clone();
    container.mounts = vec![
        mount(MountSource::Tmpfs { size_bytes: Some(1 << 20), mode: Some(0o1750) }, "/scratch"),
        mount(MountSource::Volume { name: "data".to_owned(), nocopy: false, subpath: None }, "/data"),
        mount(MountSource::Anonymous, "/anonymous"),
        mount(MountSource::Bind { path: made.to_str().unwrap().to_owned(), create: true, propagation: None }, "/made"),
    ];
    container.files = vec![FileMount {
        kind: BlobKind::Secret,
        name: "key".to_owned(),
        digest: proto::id::BlobDigest("00".to_owned()),
        target: "/run/secrets/key".to_owned(),
        uid: 0,
        gid: 0,
        mode: 0o440,
    }];
    container.environment.insert("GREETING".to_owned(), "hello = world".to_owned());
    container.labels.insert("wherry.task".to_owned(), "t999".to_owned());
    container.read_only = true;
    container.init = true;
    container.user = Some("7:8".to_owned());
    container.working_dir = Some("/data".to_owned());
    container.limits = Limits { cpu_millis: Some(500_000), memory_bytes: Some(64 << 20), pids: Some(50) };
    let mut request = lab.request_for(2, container, vec![lab.address(77)]);
    request.files.insert("/run/secrets/key".to_owned(), secret);
    request.assignment.volumes.insert("data".to_owned(), VolumeSpec::default());
    let id = lab.run(&request).await;

    let address = lab.address(77).to_string();
    for (script, expect) in [
        ("hostname", "web-2"),
        ("hostname -i", address.as_str()),
        ("cat /etc/resolv.conf", "nameserver 10.213.0.53"),
        ("stat -c %a /run/secrets/key", "440"),
        ("stat -c %a /scratch", "1750"),
        ("stat -f -c %T /scratch", "tmpfs"),
        ("df -k /scratch | tail -1 | awk '{print $2}'", "1024"),
        ("echo $GREETING", "hello = world"),
        ("id -u; id -g", "7\n8"),
        ("pwd", "/data"),
        ("ls -d /anonymous /made", "/anonymous\n/made"),
        ("cat /proc/1/comm", "docker-init"),
        ("touch /etc/resolv.conf 2>&1 || echo refused", "touch: /etc/resolv.conf: Read-only file system\nrefused"),
        ("touch /x 2>&1 || echo refused", "touch: /x: Read-only file system\nrefused"),
    ] {
        assert_eq!(lab.exec(&id, script).await.1.trim(), expect, "{script}");
    }
    assert!(made.is_dir());
    let inspect = |format: &str| docker(&["inspect", "-f", format, &id]);
    let expect = format!("{}000000000 67108864 50 no false", lab.runtime.info().await.unwrap().cpus);
    let format =
        "{{with .HostConfig}}{{.NanoCpus}} {{.Memory}} {{.PidsLimit}} {{.RestartPolicy.Name}} {{.Privileged}}{{end}}";
    assert_eq!(inspect(format), expect, "more processors than there are means all of them");
    assert_eq!(inspect("{{.Config.Healthcheck.Test}}"), "[NONE]");
    assert_eq!(lab.runtime.inspect(&id).await.unwrap().task, TaskId(2), "our labels win");

    let anonymous = inspect(r#"{{range .Mounts}}{{if eq .Destination "/anonymous"}}{{.Name}}{{end}}{{end}}"#);
    assert_eq!(docker(&["volume", "inspect", "-f", "{{.Name}}", &anonymous]), anonymous);
    let label = r#"{{index .Labels "wherry.project"}}"#;
    assert_eq!(docker(&["volume", "inspect", "-f", label, "lab_data"]), "lab");
    let in_use = lab.runtime.remove_volume("lab_data").await.unwrap_err();
    assert!(matches!(in_use, RuntimeError::Conflict { .. }), "{in_use}");
    lab.runtime.stop(&id, 0).await.unwrap();
    lab.runtime.remove(&id).await.unwrap();
    assert!(docker(&["volume", "inspect", &anonymous]).to_lowercase().contains("no such volume"));
    lab.runtime.remove_volume("lab_data").await.unwrap();
    lab.runtime.remove_volume("lab_data").await.expect("removing what is gone is fine");
}

#[tokio::test]
async fn entry_points_and_commands_are_cleared() {
    let lab = Lab::new().await;
    let spec = |entrypoint: Option<&[&str]>, command: Option<&[&str]>| {
        let list = |l: &[&str]| l.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
        ContainerSpec {
            image: lab.image.clone(),
            entrypoint: entrypoint.map(list),
            command: command.map(list),
            ..ContainerSpec::default()
        }
    };
    let shown = |id: &str| docker(&["inspect", "-f", "{{.Config.Entrypoint}} {{.Config.Cmd}}", id]);
    for (slot, spec, expect) in [
        (1, spec(None, None), "[] [sleep 1000]"),
        (2, spec(Some(&[]), Some(&["ls"])), "[] [ls]"),
        (3, spec(Some(&["sh", "-c"]), Some(&["ls"])), "[sh -c] [ls]"),
        (4, spec(Some(&["ls"]), None), "[ls] []"),
    ] {
        let id = lab.runtime.create(&lab.request_for(slot, spec, Vec::new())).await.unwrap().id;
        assert_eq!(shown(&id), expect);
    }
    let none_left = lab.runtime.create(&lab.request_for(5, spec(None, Some(&[])), Vec::new())).await.unwrap_err();
    assert!(none_left.to_string().contains("No command"), "nothing is left to run: {none_left}");
}

#[tokio::test]
async fn commands_inside() {
    let lab = Lab::new().await;
    let id = lab.run(&lab.request(3, &SLEEP)).await;
    assert_eq!(lab.exec(&id, "echo out; echo err >&2").await.0, 0);
    assert_eq!(lab.exec(&id, "echo why; exit 7").await, (7, "why\n".to_owned()));
    let missing = lab.runtime.exec(&id, &["/no/such/program".to_owned()], 10_000).await.unwrap();
    assert!(missing.exit_code == 126 || missing.exit_code == 127, "{missing:?}");
    let long = lab.exec(&id, "yes | head -c 100000; echo end").await.1;
    assert!(long.len() <= 4096 && long.ends_with("y\nend\n"), "{} bytes", long.len());

    // The grandchild keeps the output open; the command itself has ended.
    assert_eq!(lab.exec(&id, "sleep 900 & echo done").await, (0, "done\n".to_owned()));
    lab.until_processes(&id, |count| count == 2).await;
    assert_eq!(lab.exec(&id, "killall -KILL sleep 2>/dev/null; true").await.0, 0);
    lab.until_processes(&id, |count| count == 1).await;

    let nobody = lab.runtime.exec("wherry-runtime-test-none", &["true".to_owned()], 1_000).await.unwrap_err();
    assert!(matches!(nobody, RuntimeError::NotFound { .. }), "{nobody}");
    lab.runtime.stop(&id, 0).await.unwrap();
    let stopped = lab.runtime.exec(&id, &["true".to_owned()], 1_000).await.unwrap_err();
    assert!(matches!(stopped, RuntimeError::Conflict { .. }), "{stopped}");
}

#[tokio::test]
async fn a_command_past_its_time_leaves_nothing_behind() {
    let lab = Lab::new().await;
    let id = lab.run(&lab.request(4, &SLEEP)).await;
    let argv = ["sh", "-c", "echo begun; sleep 800 & (sleep 801 & sleep 802); true"].map(str::to_owned);
    let late = lab.runtime.exec(&id, &argv, 500).await.unwrap_err();
    assert_eq!(late, RuntimeError::CommandTimeout { after_ms: 500, output: "begun\n".to_owned() });
    lab.until_processes(&id, |count| count == 1).await;

    // Nor does one whose caller went away.
    let (runtime, container) = (lab.runtime.clone(), id.clone());
    let caller = tokio::spawn(async move { runtime.exec(&container, &argv, 1_500).await });
    lab.until_processes(&id, |count| count >= 4).await;
    caller.abort();
    lab.until_processes(&id, |count| count == 1).await;
    assert!(matches!(lab.runtime.inspect(&id).await.unwrap().state, SeenState::Running { .. }));
}

#[tokio::test]
async fn stopping() {
    let lab = Lab::new().await;
    let deaf = ["sh", "-c", "trap '' TERM; echo up; while true; do sleep 1; done"];
    let polite = ["sh", "-c", "trap 'exit 7' TERM; echo up; while true; do sleep 0.05; done"];
    let mut own_signal = lab.request(7, &["sh", "-c", "trap 'exit 9' USR1; echo up; while true; do sleep 0.05; done"]);
    Arc::make_mut(&mut own_signal.assignment.container).stop_signal = Some("SIGUSR1".to_owned());
    for (request, grace_ms, code) in
        [(lab.request(5, &deaf), 300, 137), (lab.request(6, &polite), 30_000, 7), (own_signal, 30_000, 9)]
    {
        let id = lab.run(&request).await;
        let follow = LogQuery { follow: true, ..LogQuery::default() };
        let mut logs = lab.runtime.logs(&id, &follow).await.unwrap();
        timeout(PATIENCE, logs.next()).await.expect("its trap is set").unwrap().unwrap();
        timeout(PATIENCE, lab.runtime.stop(&id, grace_ms)).await.expect("the stop ends").unwrap();
        lab.until(&id, exited_with(code)).await;
        lab.runtime.stop(&id, grace_ms).await.expect("stopping what is stopped is fine");
    }
}

#[tokio::test]
async fn output() {
    let lab = Lab::new().await;
    let script = "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three; sleep 2; printf four";
    let id = lab.run(&lab.request(8, &["sh", "-c", script])).await;
    let follow = LogQuery { follow: true, ..LogQuery::default() };
    let chunks = lab.runtime.logs(&id, &follow).await.unwrap();
    let all: Vec<LogChunk> = timeout(PATIENCE, chunks.try_collect()).await.expect("it ends with the process").unwrap();
    let text = |chunks: &[LogChunk]| -> Vec<(bool, String)> {
        chunks.iter().map(|c| (c.stderr, String::from_utf8(c.bytes.clone()).unwrap())).collect()
    };
    let line = |stderr, text: &str| (stderr, text.to_owned());
    // Two pipes have no order between them.
    let mut sorted = text(&all);
    sorted.sort();
    let expect = [line(false, "four"), line(false, "one\n"), line(false, "three\n"), line(true, "two\n")];
    assert_eq!(sorted, expect);
    assert!(all.iter().all(|c| c.at.is_some()));

    lab.until(&id, exited_with(0)).await;
    let read = async |query: LogQuery| -> Vec<LogChunk> {
        lab.runtime.logs(&id, &query).await.unwrap().try_collect().await.unwrap()
    };
    assert_eq!(read(LogQuery::default()).await, all);
    assert_eq!(text(&read(LogQuery { tail: Some(1), ..LogQuery::default() }).await), [line(false, "four")]);
    let last = all.iter().filter_map(|c| c.at).max();
    assert_eq!(text(&read(LogQuery { since: last, ..LogQuery::default() }).await), [line(false, "four")]);
    let nobody = lab.runtime.logs("wherry-runtime-test-none", &follow).await.err().expect("no such container");
    assert!(matches!(nobody, RuntimeError::NotFound { .. }), "{nobody}");
}

#[tokio::test]
async fn what_is_taken_is_a_conflict() {
    let lab = Lab::new().await;
    let first = lab.run(&lab.request(1, &SLEEP)).await;
    let conflict = |error: RuntimeError, part: &str| match error {
        RuntimeError::Conflict { what, .. } => assert!(what.contains(part), "{what}"),
        other => panic!("{other}"),
    };
    conflict(lab.runtime.create(&lab.request(1, &SLEEP)).await.unwrap_err(), "container name");

    let spec = (*lab.request(2, &SLEEP).assignment.container).clone();
    let same_address = lab.request_for(2, spec.clone(), vec![lab.address(11)]);
    let second = lab.runtime.create(&same_address).await.unwrap().id;
    conflict(lab.runtime.start(&second).await.unwrap_err(), "address");

    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut same_port = lab.request_for(3, spec, vec![lab.address(13)]);
    same_port.assignment.host_ports = vec![PortSpec {
        name: None,
        target: 80,
        published: holder.local_addr().unwrap().port(),
        host_ip: Some("127.0.0.1".parse().unwrap()),
        protocol: Protocol::Tcp,
        mode: PortMode::Host,
    }];
    let third = lab.runtime.create(&same_port).await.unwrap().id;
    conflict(lab.runtime.start(&third).await.unwrap_err(), "host port");
    drop(holder);
    lab.runtime.start(&third).await.expect("the port is free now");

    let network = lab.runtime.remove_network(&lab.identity).await.unwrap_err();
    conflict(network, "network");
    lab.runtime.stop(&first, 0).await.unwrap();
    lab.runtime.start(&second).await.expect("the address is free now");
}

#[tokio::test]
async fn a_volume_that_another_cluster_holds_is_refused_until_it_is_free() {
    let (one, two) = (Lab::new().await, Lab::new().await);
    let shared = format!("wherry-runtime-test-shared-{}", one.identity.cluster);
    let request = |lab: &Lab| {
        let mut request = lab.request(1, &SLEEP);
        let mut spec = (*request.assignment.container).clone();
        let source = MountSource::Volume { name: "data".to_owned(), nocopy: false, subpath: None };
        spec.mounts = vec![Mount { source, target: "/data".to_owned(), read_only: false }];
        request.assignment.container = spec.into();
        let volume = VolumeSpec { docker_name: Some(shared.clone()), ..VolumeSpec::default() };
        request.assignment.volumes.insert("data".to_owned(), volume);
        request
    };
    let first = one.run(&request(&one)).await;
    one.runtime.stop(&first, 0).await.unwrap();
    let error = two.runtime.create(&request(&two)).await.expect_err("a stopped holder will start again");
    let RuntimeError::Conflict { what, cause } = &error else { panic!("{error}") };
    assert!(what.contains(&shared), "{what}");
    assert!(cause.contains(&one.identity.cluster.to_string()) && cause.contains("`name:`"), "{cause}");

    one.runtime.remove(&first).await.unwrap();
    let second = two.runtime.create(&request(&two)).await.expect("what a cluster left behind is taken over").id;
    two.runtime.remove(&second).await.unwrap();
    two.runtime.remove_volume(&shared).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let lab = Lab::with_host_paths().await;
    let error = async |change: fn(&mut ContainerSpec)| {
        let mut spec = (*lab.request(1, &SLEEP).assignment.container).clone();
        change(&mut spec);
        let mut request = lab.request_for(1, spec, Vec::new());
        let external = VolumeSpec {
            external: true,
            docker_name: Some("wherry-runtime-test-none".into()),
            ..VolumeSpec::default()
        };
        request.assignment.volumes.insert("old".to_owned(), external);
        lab.runtime.create(&request).await.unwrap_err()
    };
    let image = error(|s| s.image = "wherry-runtime-test/none:1".to_owned()).await;
    assert_eq!(image, RuntimeError::NotFound { what: "image `wherry-runtime-test/none:1`".to_owned() });
    let volume = error(|s| {
        let source = MountSource::Volume { name: "old".to_owned(), nocopy: false, subpath: None };
        s.mounts = vec![Mount { source, target: "/x".to_owned(), read_only: false }];
    });
    let volume = volume.await.to_string();
    assert!(volume.contains("docker volume create wherry-runtime-test-none"), "{volume}");
    let path = error(|s| {
        let source = MountSource::Bind { path: "/wherry/none".to_owned(), create: false, propagation: None };
        s.mounts = vec![Mount { source, target: "/x".to_owned(), read_only: false }];
    });
    let path = path.await.to_string();
    assert!(path.contains("/wherry/none") && path.contains("refused"), "{path}");
    assert!(!std::path::Path::new("/wherry/none").exists());
}

#[tokio::test]
async fn an_image_that_is_not_to_be_had() {
    let lab = Lab::new().await;
    let reference = "registry.invalid/wherry/none:1";
    let pull =
        timeout(PATIENCE, lab.runtime.pull(reference, None)).await.expect("a name that does not resolve fails soon");
    match pull.unwrap_err() {
        RuntimeError::Pull { image, cause } => {
            assert_eq!(image, reference);
            assert!(cause.contains("docker load") && !cause.contains('\n'), "{cause}");
        }
        other => panic!("{other}"),
    }
}
