//! Promises about single keys of a Compose file, each on real containers: order by health, one-off services, crash loops,
//! failing checks, volumes, published ports, secrets, the stop's grace.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::docker::dev::{Dev, project, service};
use tests::docker::engine::{Events, docker, inspect, wall_ns};
use tests::docker::wire::{free_port, get, get_local, lookup};
use tests::docker::{PATIENCE, until, until_true};

const SLEEP: &str = "exec sleep 1000";

#[test]
fn dependants_start_after_what_they_need_is_healthy() {
    let mut dev = Dev::start("order");
    let healthy_after =
        "    healthcheck:\n      test: [CMD, /bin/test, -e, /up]\n      interval: 1s\n      retries: 30\n";
    let needs = "    depends_on:\n      db: {condition: service_healthy}\n";
    let db = service("db", "sleep 1.5; date +%s.%N >/up; exec sleep 1000", healthy_after);
    dev.apply(&project("order", &[service("web", SLEEP, needs), db])).expect(0);
    let began = |task: &str| {
        let seen = inspect(&dev.container(task));
        seconds(seen["State"]["StartedAt"].as_str().expect("a time"))
    };
    let (db, web) = (began("order/db.1"), began("order/web.1"));
    assert!(web >= db + 1.5, "db began at {db}, was healthy 1.5 s later at the earliest; web began at {web}");
    dev.down();
}

/// Seconds since 1970 of an engine's time, by way of `date`.
fn seconds(time: &str) -> f64 {
    let output = Command::new("date").args(["-d", time, "+%s.%N"]).output().expect("date can be started");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number of seconds")
}

#[test]
fn what_ends_well_is_complete_and_what_crashes_fails_with_its_last_words() {
    let mut dev = Dev::start("ends");
    let once = service("once", "echo done; exit 0", "    restart: \"no\"\n");
    let applied = dev.apply(&project("ends", &[once])).expect(0);
    assert_eq!(dev.get("services")["ends/once"]["state"], "complete", "{}", applied.out);
    let ran = dev.containers("ends");
    assert_eq!(ran.len(), 1);

    let failed = dev.apply(&project("loops", &[service("bad", "echo cannot open the till >&2; exit 7", "")])).expect(1);
    for part in ["loops/bad.1", "7", "cannot open the till"] {
        assert!(failed.err.contains(part), "`{part}` in {}", failed.err);
    }
    let why = dev.ctl(&["why", "loops/bad"]).expect(0).out;
    assert!(why.contains('7') && why.contains("cannot open the till"), "{why}");
    assert_eq!(dev.containers("ends"), ran, "complete is complete");
    dev.down();
}

#[test]
fn dependants_start_after_a_job_has_completed() {
    let mut dev = Dev::start("jobs");
    let job = service("job", "sleep 1; exit 0", "    restart: \"no\"\n");
    let needs = "    depends_on:\n      job: {condition: service_completed_successfully}\n";
    dev.apply(&project("jobs", &[service("web", SLEEP, needs), job])).expect(0);
    let states = dev.get("services");
    assert_eq!((&states["jobs/job"]["state"], &states["jobs/web"]["state"]), (&"complete".into(), &"running".into()));
    let moment = |task: &str, field: &str| {
        let seen = inspect(&dev.container(task));
        seconds(seen["State"][field].as_str().expect("a time"))
    };
    let (ended, began) = (moment("jobs/job.1", "FinishedAt"), moment("jobs/web.1", "StartedAt"));
    assert!(began >= ended, "the job ended at {ended}; web began at {began}");
    dev.down();
}

#[test]
fn a_global_service_has_one_task_on_the_node_and_is_updated_like_any_other() {
    let mut dev = Dev::start("global");
    let manifest = |word: &str| {
        let more = "    deploy: {mode: global, update_config: {monitor: 1s}}\n";
        project("global", &[service("web", &format!("echo {word}; exec sleep 1000"), more)])
    };
    dev.apply(&manifest("one")).expect(0);
    let first = dev.container("global/web.1");
    assert_eq!(dev.containers("global").len(), 1);
    let refused = dev.ctl(&["scale", "global/web=2"]).expect(1);
    assert!(refused.err.contains("global"), "{}", refused.err);
    dev.apply(&manifest("two")).expect(0);
    until_true("the old container is gone", || dev.containers("global").len() == 1);
    assert_ne!(dev.container("global/web.1"), first, "updated");
    assert!(dev.ctl(&["logs", "global/web"]).expect(0).out.contains("two"), "and its log, to the end of what there is");
    dev.down();
}

#[test]
fn an_unhealthy_container_leaves_the_names_and_is_restarted() {
    let mut dev = Dev::start("sick");
    let more = "    deploy: {replicas: 2}\n    healthcheck:\n      test: [CMD, /bin/test, \"!\", -e, /sick]\n      \
                interval: 200ms\n      retries: 2\n";
    dev.apply(&project("sick", &[service("web", "rm -f /sick; exec sleep 1000", more)])).expect(0);
    let resolver = dev.resolver();
    let named = || lookup(resolver, "web.sick.svc.cluster.local").addresses.into_iter().collect::<BTreeSet<_>>();
    let address: IpAddr =
        dev.get("tasks")["sick/web.1"]["addresses"][0].as_str().and_then(|a| a.parse().ok()).expect("an address");
    assert!(named().len() == 2 && named().contains(&address), "both are named: {:?}", named());

    let (container, mut events, begun) = (dev.container("sick/web.1"), Events::of(&dev.cluster), wall_ns());
    docker(&["exec", &container, "/bin/touch", "/sick"]);
    until_true("it leaves the names", || !named().contains(&address));
    events.until("die", &container, begun);
    let restarted = events.until("start", &container, begun);
    assert!(restarted.at_ns > begun);
    until_true("it is named again", || named().contains(&address));
    let task = dev.get("tasks")["sick/web.1"].clone();
    assert_eq!((&task["restarts"], &task["health"]), (&1.into(), &"healthy".into()), "{task}");
    assert_eq!(dev.container("sick/web.1"), container, "in place");
    dev.down();
}

#[test]
fn a_named_volume_keeps_its_data_over_a_replacement() {
    let mut dev = Dev::start("keeps");
    let more = "    volumes: [\"data:/data\"]\n    environment: {GENERATION: \"1\"}\n";
    let first = project("keeps", &[service("db", "echo $GENERATION >>/data/log; exec sleep 1000", more)]);
    let first = first + "volumes:\n  data: {}\n";
    dev.apply(&first).expect(0);
    let before = dev.container("keeps/db.1");
    dev.apply(&first.replace("\"1\"", "\"2\"")).expect(0);
    let after = dev.container("keeps/db.1");
    assert_ne!(before, after, "it was replaced");
    assert_eq!(docker(&["exec", &after, "/bin/cat", "/data/log"]), "1\n2");
    dev.down();
}

/// Another address of this machine than loopback.
fn outer_address() -> Ipv4Addr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    // Connecting a UDP socket sends nothing: it only chooses a route.
    let routed = socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9)).and_then(|()| socket.local_addr());
    match routed.map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) => address,
        // Without a default route, the engine's own bridge has an address.
        _ => docker(&["network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"])
            .parse()
            .expect("an address"),
    }
}

#[test]
fn ports_bind_what_was_written_and_a_taken_one_is_named() {
    let mut dev = Dev::start("ports");
    let (everywhere, local) = (free_port(), free_port());
    let script = "mkdir /w; echo hi >/w/index.html; exec httpd -f -p 8080 -h /w";
    let more = format!("    ports: [\"{everywhere}:8080\", \"127.0.0.1:{local}:8080\"]\n");
    dev.apply(&project("ports", &[service("web", script, &more)])).expect(0);
    let outer = outer_address();
    for address in [(Ipv4Addr::LOCALHOST, everywhere), (outer, everywhere), (Ipv4Addr::LOCALHOST, local)] {
        assert_eq!(get(address, "/index.html").as_deref(), Ok("hi\n"), "{address:?}");
    }
    let refused = TcpStream::connect((outer, local)).expect_err("only loopback listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let port = taken.local_addr().expect("it is bound").port();
    let wants = project("late", &[service("web", script, &format!("    ports: [\"{port}:8080\"]\n"))]);
    let failed = dev.apply(&wants).expect(1);
    assert!(failed.err.contains(&port.to_string()), "the port is named: {}", failed.err);
    drop(taken);
    dev.apply(&wants).expect(0);
    assert_eq!(get_local(port, "/index.html").as_deref(), Ok("hi\n"));
    dev.down();
}

/// A static program that answers every datagram with its text in capitals.
fn udp_echo(dir: &Path) {
    let source = dir.join("echo.rs");
    let text = r#"fn main() {
        let socket = std::net::UdpSocket::bind("0.0.0.0:5005").unwrap();
        let mut packet = [0; 2048];
        loop {
            let (size, from) = socket.recv_from(&mut packet).unwrap();
            packet[..size].make_ascii_uppercase();
            socket.send_to(&packet[..size], from).unwrap();
        }
    }"#;
    std::fs::write(&source, text).expect("a writable directory");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "target-feature=+crt-static", "-o"]).arg(dir.join("echo")).arg(&source);
    let output = rustc.output().expect("rustc can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn udp_ports_are_forwarded_both_ways() {
    let mut dev = Dev::start("udp");
    udp_echo(&dev.dir);
    let port = free_port();
    let more = format!("    ports: [\"{port}:5005/udp\"]\n    volumes: [\"{}/echo:/echo:ro\"]\n", dev.dir.display());
    dev.apply(&project("udp", &[service("echo", "exec /echo", &more)])).expect(0);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.connect((Ipv4Addr::LOCALHOST, port)).expect("a UDP socket connects at once");
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout that is not zero");
    let mut packet = [0; 64];
    let size = until("an answer", || {
        socket.send(b"ahoy").ok()?;
        socket.recv(&mut packet).ok()
    });
    assert_eq!(&packet[..size], b"AHOY");
    dev.down();
}

#[test]
fn secrets_are_files_in_memory_for_their_reader_alone() {
    let mut dev = Dev::start("secret");
    let (words, name) = (format!("sesame-{}", dev.unique), "key.txt");
    dev.write(name, &words);
    let file = project("secret", &[service("web", SLEEP, "    secrets: [key]\n")]);
    dev.apply(&format!("{file}secrets:\n  key: {{file: ./{name}}}\n")).expect(0);
    std::fs::remove_file(dev.dir.join(name)).expect("the source can go");
    let container = dev.container("secret/web.1");
    let inside = |words: &[&str]| docker(&[&["exec", &container], words].concat());
    assert_eq!(inside(&["/bin/cat", "/run/secrets/key"]), words);
    assert_eq!(inside(&["/bin/stat", "-L", "-c", "%a %u", "/run/secrets/key"]), "400 0");
    assert!(!inspect(&container).to_string().contains(&words), "not in docker inspect");

    let mounts = inspect(&container)["Mounts"].clone();
    let mount = mounts.as_array().expect("mounts").iter().find(|m| m["Destination"] == "/run/secrets/key");
    let source = mount.and_then(|m| m["Source"].as_str()).unwrap_or_else(|| panic!("no mount of it: {mounts}"));
    let kind = Command::new("stat").args(["-f", "-c", "%T", source]).output().expect("stat can be started");
    assert_eq!(String::from_utf8_lossy(&kind.stdout).trim(), "tmpfs", "{source}");
    for path in files_on_disk(&dev.state()) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(words.len()).any(|w| w == words.as_bytes()), "in the clear in {}", path.display());
    }
    let shown = dev.ctl(&["describe", "service", "secret/web"]).expect(0);
    assert!(!shown.out.contains(&words), "{}", shown.out);
    dev.down();
}

/// All files below that are on the directory's own file system.
fn files_on_disk(dir: &Path) -> Vec<std::path::PathBuf> {
    let output = Command::new("find").arg(dir).args(["-xdev", "-type", "f"]).output().expect("find can be started");
    let paths: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(Into::into).collect();
    assert!(paths.len() > 3, "the log, the store, the ledger: {paths:?}");
    paths
}

#[test]
fn a_stop_is_asked_for_and_forced_after_its_grace() {
    let mut dev = Dev::start("grace");
    let polite = service("polite", "trap 'sleep 0.5; exit 0' TERM; while :; do sleep 0.1; done", "");
    let polite = polite.replace("stop_grace_period: 1s", "stop_grace_period: 10s");
    let deaf = service("deaf", "trap '' TERM; while :; do sleep 0.1; done", "");
    dev.apply(&project("grace", &[polite, deaf])).expect(0);
    let (polite, deaf) = (dev.container("grace/polite.1"), dev.container("grace/deaf.1"));
    let (mut events, begun, clock) = (Events::of(&dev.cluster), wall_ns(), Instant::now());
    dev.ctl(&["delete", "project", "grace", "--yes"]).expect(0);
    let asked_and_gone = |events: &mut Events, id: &str| {
        let asked = events.until("kill", id, begun).at_ns;
        let gone = events.until("die", id, begun).at_ns;
        Duration::from_nanos(u64::try_from(gone - asked).expect("it was asked before"))
    };
    let polite = asked_and_gone(&mut events, &polite);
    assert!((Duration::from_millis(450)..Duration::from_secs(8)).contains(&polite), "it ended by itself: {polite:?}");
    let deaf = asked_and_gone(&mut events, &deaf);
    assert!(deaf >= Duration::from_millis(950), "it had its second: {deaf:?}");
    assert!(clock.elapsed() < PATIENCE, "it was forced");
    dev.down();
}
