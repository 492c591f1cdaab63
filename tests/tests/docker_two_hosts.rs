//! Promise: from the tarball alone, two fresh hosts are a cluster after three lines, and the next version takes over on both
//! without touching a container.
//!
//! Hosts are network namespaces with an engine each, joined by a wire. The tarball has the layout of `make dist`; WHERRY_TARBALL
//! names a real one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::docker::dev::{program, project, service};
use tests::docker::private_engine::{Options, PrivateEngine};
use tests::docker::until;

/// Longest time a line may take.
const LINE_MAX: Duration = Duration::from_secs(120);

/// A host: an engine, a namespace, and a directory where its lines are typed.
struct Host {
    engine: PrivateEngine,
    home: PathBuf,
}

impl Host {
    fn new() -> Host {
        let engine = PrivateEngine::start(Options { data_mb: 384, ..Options::default() });
        let home = engine.beside().join("home");
        std::fs::create_dir(&home).expect("a directory");
        Host { engine, home }
    }

    /// Types a line in a shell there; what it said. Output goes through files: what it starts outlives it.
    #[track_caller]
    fn line(&self, line: &str) -> (String, String) {
        let at = |name: &str| self.engine.beside().join(name);
        let file = |name: &str| std::fs::File::create(at(name)).expect("a writable directory");
        let mut shell = Command::new("nsenter");
        shell.arg(self.engine.nsenter()).args(["/bin/sh", "-c", line]).current_dir(&self.home).env_clear();
        shell
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DOCKER_HOST", self.engine.host())
            .env("HOME", &self.home);
        let mut child = shell.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn().expect("a shell");
        let begun = Instant::now();
        let status = until_ended(&mut child, begun);
        let read = |name: &str| std::fs::read_to_string(at(name)).unwrap_or_default();
        let (out, err) = (read("out"), read("err"));
        assert!(status.is_some_and(|s| s.success()), "`{line}` ended with {status:?}:\n{out}\n{err}\n{}", self.logs());
        eprintln!("{:?}: {line}\n{out}{err}", begun.elapsed());
        (out, err)
    }

    fn logs(&self) -> String {
        let log = |name: &str| std::fs::read_to_string(self.home.join("w").join(name)).unwrap_or_default();
        format!("server:\n{}\nagent:\n{}", log("orchestrator.log"), log("agent.log"))
    }

    /// Its containers: id and moment of start.
    fn containers(&self) -> Vec<String> {
        let ids = self.engine.docker(&["ps", "-q", "--no-trunc", "--filter", "label=wherry.cluster"]);
        let started = |id: &str| self.engine.docker(&["inspect", "-f", "{{.Id}} {{.State.StartedAt}}", id]);
        let mut all: Vec<String> = ids.lines().map(started).collect();
        all.sort();
        all
    }

    /// The process of one of its programs.
    fn process(&self, program: &str) -> String {
        std::fs::read_to_string(self.home.join(format!("w/run/{program}.pid")))
            .expect("it was started")
            .trim()
            .to_owned()
    }
}

fn until_ended(child: &mut std::process::Child, begun: Instant) -> Option<std::process::ExitStatus> {
    while begun.elapsed() < LINE_MAX {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    None
}

/// A wire between both, with an address at each end.
fn join(hosts: [&Host; 2], addresses: [&str; 2]) {
    let names = hosts.map(|host| host.engine.nsenter().trim_start_matches("--net=/run/netns/").to_owned());
    let ip = |words: &[&str]| {
        let output = Command::new("ip").args(words).output().expect("iproute2");
        assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    ip(&["-n", &names[0], "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &names[1]]);
    for (name, address) in names.iter().zip(addresses) {
        ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "wire"]);
        ip(&["-n", name, "link", "set", "wire", "up"]);
    }
}

/// What `make dist` packs, of the programs beside this test.
fn tarball(dir: &Path) -> PathBuf {
    if let Some(real) = std::env::var_os("WHERRY_TARBALL") {
        return real.into();
    }
    let stage = dir.join("wherry-0");
    std::fs::create_dir(&stage).expect("a directory");
    let built = program().with_file_name("wherry");
    assert!(built.is_file(), "there is no {}: run `cargo build -p cli`", built.display());
    std::fs::copy(built, stage.join("wherry")).expect("a copy");
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    for name in ["install", "wherry-server.service", "wherry-agent.service", "README.md"] {
        std::fs::copy(packaging.join(name), stage.join(name)).expect("a copy");
    }
    let packed = dir.join("wherry.tar");
    let tar = Command::new("tar").arg("-cf").arg(&packed).arg("-C").arg(dir).arg("wherry-0").status();
    assert!(tar.is_ok_and(|status| status.success()), "tar packs");
    packed
}

fn nodes(first: &Host) -> Vec<Value> {
    let (out, _) = first.line("./wherry-*/wherry get nodes --socket w/run/api.sock -o json");
    let all: Value = serde_json::from_str(&out).expect("JSON");
    all["items"].as_array().cloned().unwrap_or_default()
}

#[test]
fn three_lines_from_the_tarball_and_the_next_version_touches_no_container() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tarball = tarball(dir.path()).display().to_string();
    let (first, second) = (Host::new(), Host::new());
    join([&first, &second], ["10.88.77.11", "10.88.77.12"]);

    // The three lines.
    let (pasted, _) =
        first.line(&format!("tar -xf {tarball} && ./wherry-*/wherry cluster init --listen 10.88.77.11 --dir w"));
    assert_eq!(pasted.lines().count(), 1, "only what the next host pastes: {pasted}");
    second.line(&format!("tar -xf {tarball}"));
    let begun = Instant::now();
    second.line(&pasted);
    let ready = until("both are ready", || {
        let nodes = nodes(&first);
        (nodes.len() == 2 && nodes.iter().all(|node| node["state"] == "ready")).then_some(nodes)
    });
    eprintln!("both ready {:?} after the third line: {ready:?}", begun.elapsed());
    let command = |host: &Host, program: &str| {
        std::fs::read(format!("/proc/{}/cmdline", host.process(program))).expect("it runs")
    };
    let token = pasted.split_once('=').and_then(|(_, rest)| rest.split(' ').next()).expect("a token");
    for (host, program) in [(&first, "orchestrator"), (&first, "agent"), (&second, "agent")] {
        let line = String::from_utf8_lossy(&command(host, program)).into_owned();
        assert!(!line.contains(token), "`ps` shows no token: {line}");
    }

    // Something runs on each.
    let web = service("web", "exec sleep 1000", "    pull_policy: never\n    deploy: {mode: global}\n");
    let manifest = project("both", &[web]);
    std::fs::write(first.home.join("compose.yaml"), manifest).expect("writes");
    first.line("./wherry-*/wherry apply --socket w/run/api.sock");
    let before = [first.containers(), second.containers()];
    assert!(before.iter().all(|containers| containers.len() == 1), "one on each: {before:?}");

    // The next version: unpacked over the earlier one, and the same lines again; the token is used up and not needed.
    let processes = || [first.process("orchestrator"), first.process("agent"), second.process("agent")];
    let earlier = processes();
    first.line(&format!("tar -xf {tarball} && ./wherry-*/wherry cluster init --listen 10.88.77.11 --dir w"));
    let again = pasted.split_once(' ').map(|(_, line)| line).expect("the line without the token");
    second.line(&format!("tar -xf {tarball} && {again}"));
    let later = processes();
    assert!(earlier.iter().zip(&later).all(|(a, b)| a != b), "each was replaced: {earlier:?} {later:?}");
    until("both are ready again", || nodes(&first).iter().all(|node| node["state"] == "ready").then_some(()));
    assert_eq!([first.containers(), second.containers()], before, "no container was touched");
    // The same line once more changes nothing.
    first.line("./wherry-*/wherry cluster init --listen 10.88.77.11 --dir w");
    assert_eq!(processes(), later, "what runs is left alone");

    first.line("./wherry-*/wherry delete project both --yes --socket w/run/api.sock");
    until("all is gone", || (first.containers().is_empty() && second.containers().is_empty()).then_some(()));
}
