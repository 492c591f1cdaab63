//! One dev cluster for one test: started by `ctl dev --detach` in a state directory of its own, removed when dropped,
//! also on panic, and then checked for leftovers.
//!
//! Drives the `ctl` that was built beside the test. Never touches another cluster, and stops no process but its own daemon.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::private_engine::PrivateEngine;
use super::{IMAGE, engine, traces, until_true};

/// Longest time one call of `ctl` may take.
const DEADLINE: Duration = Duration::from_secs(100);

/// How a call of `ctl` ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code.
    pub exit: i32,
    /// Its standard output.
    pub out: String,
    /// Its error output.
    pub err: String,
}

/// A running dev cluster, or one that was killed.
#[derive(Debug)]
pub struct Dev {
    /// Its name.
    pub name: String,
    /// Six letters and digits that no other test has, for names that all share: projects, containers.
    pub unique: String,
    /// Id of the cluster, as labels bear it; empty until it has run.
    pub cluster: String,
    /// Address of its resolver.
    pub gateway: Option<IpAddr>,
    /// Directory of the test's manifests.
    pub dir: PathBuf,
    /// The `ctl` to call: that beside the test, unless another build is on trial.
    pub program: PathBuf,
    temporary: tempfile::TempDir,
    down: bool,
    within: Option<Within>,
}

/// A private engine that it uses instead of the machine's.
#[derive(Debug, Clone)]
struct Within {
    /// How `nsenter` gets to its network namespace.
    nsenter: String,
    /// The socket to use: the engine's, or a proxy's before it.
    docker_host: String,
    /// The engine's own.
    engine: String,
}

// === impl Said ===

impl Said {
    /// Its standard output, if it ended with `exit`.
    ///
    /// # Panics
    /// When it ended otherwise.
    #[track_caller]
    pub fn expect(self, exit: i32) -> Said {
        assert_eq!(self.exit, exit, "exit code; out:\n{}\nerr:\n{}", self.out, self.err);
        self
    }
}

// === impl Dev ===

impl Dev {
    /// Starts a cluster. `what` makes its name readable.
    ///
    /// # Panics
    /// When it does not start, or the machine lacks something.
    #[track_caller]
    pub fn start(what: &str) -> Dev {
        let mut dev = Dev::prepare(what);
        dev.begin();
        dev
    }

    /// The directories of a cluster that does not run yet.
    #[track_caller]
    pub fn prepare(what: &str) -> Dev {
        engine::require();
        let temporary = tempfile::Builder::new().prefix("wherry-test-").tempdir().expect("a temporary directory");
        let unique = temporary.path().file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let unique = unique.trim_start_matches("wherry-test-").to_lowercase();
        let dir = temporary.path().join("files");
        std::fs::create_dir(&dir).expect("a directory");
        let name = format!("t-{what}-{unique}");
        let program = program();
        Dev { name, unique, cluster: String::new(), gateway: None, dir, program, temporary, down: true, within: None }
    }

    /// A cluster that does not run yet, on a private engine; `docker_host` is its socket or that of a proxy before it.
    #[track_caller]
    pub fn within(what: &str, engine: &PrivateEngine, docker_host: &str) -> Dev {
        let mut dev = Dev::prepare(what);
        let (nsenter, docker_host, engine) = (engine.nsenter(), docker_host.to_owned(), engine.host());
        dev.within = Some(Within { nsenter, docker_host, engine });
        dev
    }

    /// Starts it, for the first time or again, and learns what it is called.
    #[track_caller]
    pub fn begin(&mut self) {
        self.begin_with(&[]);
    }

    /// As `begin`, with more arguments: a manifest, a range.
    #[track_caller]
    pub fn begin_with(&mut self, arguments: &[&str]) -> Said {
        self.down = false;
        let mut words = vec!["dev", "--detach", "--name", &self.name];
        words.extend(arguments);
        let said = self.ctl(&words).expect(0);
        let version = self.json(&["version", "-o", "json"]);
        self.cluster = version["server"]["cluster"].as_str().expect("a cluster has an id").to_owned();
        let nodes = self.json(&["get", "nodes", "-o", "json"]);
        let gateway = nodes["items"][0]["gateway"].as_str().expect("its node has a gateway");
        self.gateway = Some(gateway.parse().expect("an address"));
        said
    }

    /// Address of its resolver.
    #[track_caller]
    pub fn resolver(&self) -> IpAddr {
        self.gateway.expect("it has run")
    }

    /// Where `ctl` keeps what it must remember.
    pub fn state(&self) -> PathBuf {
        self.temporary.path().join("state")
    }

    /// Calls `ctl`.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> Said {
        self.ctl_with(arguments, &[])
    }

    /// Calls `ctl` with more variables.
    #[track_caller]
    pub fn ctl_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = match &self.within {
            None => Command::new(&self.program),
            Some(within) => {
                let mut command = Command::new("nsenter");
                command.arg(&within.nsenter).arg(&self.program).env("DOCKER_HOST", &within.docker_host);
                command
            }
        };
        command.args(arguments).envs(variables.iter().copied()).current_dir(&self.dir);
        command.env("XDG_STATE_HOME", self.state()).env("WHERRY_DEV", &self.name).env("NO_COLOR", "1");
        command.env_remove("WHERRY_SOCKET").env("WHERRY_LOG", "info,openraft=warn");
        let scratch = tempfile::tempdir_in(self.temporary.path()).expect("a temporary directory");
        run(command, scratch.path(), arguments)
    }

    /// Standard output of a call that must succeed, as JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.ctl(arguments).expect(0);
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.out))
    }

    /// The items of `ctl get KIND -o json` by their names.
    #[track_caller]
    pub fn get(&self, kind: &str) -> BTreeMap<String, Value> {
        let list = self.json(&["get", kind, "-o", "json"]);
        let items = list["items"].as_array().expect("a list has items").iter();
        items.map(|item| (item["name"].as_str().expect("a name").to_owned(), item.clone())).collect()
    }

    /// A file beside what ctl and the cluster keep.
    #[track_caller]
    pub fn temporary_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.temporary.path().join(name);
        std::fs::write(&path, text).expect("a writable directory");
        path
    }

    /// Writes a manifest; returns its path.
    #[track_caller]
    pub fn write(&self, file: &str, text: &str) -> String {
        let path = self.dir.join(file);
        std::fs::write(&path, text).expect("a writable directory");
        path.display().to_string()
    }

    /// Applies a manifest and waits.
    #[track_caller]
    pub fn apply(&self, text: &str) -> Said {
        let path = self.write("project.yaml", text);
        self.ctl(&["apply", "--timeout", "30s", "-f", &path])
    }

    /// The cluster's containers of one project by their names.
    #[track_caller]
    pub fn containers(&self, project: &str) -> BTreeMap<String, engine::Container> {
        let host = self.within.as_ref().map(|within| within.engine.as_str());
        engine::containers_at(host, &self.cluster, project)
    }

    /// Id of a task's container, `shop/web.1`: its name may be another's.
    #[track_caller]
    pub fn container(&self, task: &str) -> String {
        let tasks = self.get("tasks");
        tasks[task]["container_id"].as_str().expect("a task that runs has a container").to_owned()
    }

    /// Process id of the daemon.
    #[track_caller]
    pub fn daemon(&self) -> Pid {
        let path = self.state().join(format!("wherry/dev-{}/pid", self.name));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim().parse().ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("no process id: {text:?}"))
    }

    /// Kills the daemon with SIGKILL and goes on at once, as one who has just lost it does.
    ///
    /// # Panics
    /// When it was not there to be killed: a kill counts only if it happened.
    #[track_caller]
    pub fn kill_daemon(&self) -> Pid {
        let pid = self.daemon();
        kill_process(pid, Signal::KILL).expect("the daemon runs until it is killed");
        pid
    }

    /// All it has on this machine.
    pub fn traces(&self) -> Vec<String> {
        let gateway = self.gateway.map(|g| g.to_string()).unwrap_or_default();
        traces::of(&self.cluster, &gateway, &self.state())
    }

    /// Removes it with its volumes, and looks whether all is gone.
    ///
    /// # Panics
    /// When `ctl` fails, or something is left.
    #[track_caller]
    pub fn down(&mut self) {
        let pid = self.daemon();
        self.ctl(&["dev", "down", "--volumes", "--name", &self.name]).expect(0);
        self.down = true;
        until_true("the daemon has ended", || gone(pid));
        assert_eq!(self.traces(), [] as [String; 0], "left after `ctl dev down --volumes`");
    }

    /// It was removed by other means: nothing is to be done when it is dropped.
    pub fn forget(mut self) {
        self.down = true;
    }

    /// What `down` could not do, by force: a test that fails must not disturb the next.
    fn scour(&self) {
        if let Ok(text) = std::fs::read_to_string(self.state().join(format!("wherry/dev-{}/pid", self.name)))
            && let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw)
        {
            // The id is believed only while that process is a ctl of ours.
            let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&self.name) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let state = self.state().display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| point.starts_with(&state))
        {
            let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
        }
        if self.cluster.is_empty() {
            return;
        }
        for trace in traces::labelled(&self.cluster) {
            let removed = match trace.split_once(' ') {
                Some(("container", name)) => engine::attempt(&["rm", "--force", "--volumes", name]),
                Some((kind, name)) => engine::attempt(&[kind, "rm", name]),
                None => continue,
            };
            eprintln!("left, now removed by force: {trace} ({removed:?})");
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if self.down {
            return;
        }
        if !std::thread::panicking() {
            return self.down();
        }
        let log = self.state().join(format!("wherry/dev-{}/log", self.name));
        eprintln!("the daemon's log:\n{}", std::fs::read_to_string(log).unwrap_or_default());
        let said = self.ctl(&["dev", "down", "--volumes", "--name", &self.name]);
        if said.exit != 0 {
            eprintln!("ctl dev down failed: {said:?}");
        }
        self.scour();
    }
}

/// Has that process ended, with all its threads? They close its files and sockets, later than its first thread ends.
pub fn gone(pid: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let threads = threads.map_or(0, Iterator::count);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let zombie = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'));
    threads == 0 || (zombie && threads == 1)
}

/// The `ctl` of the running test's profile: target/PROFILE/ctl.
#[track_caller]
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own program");
    // Tests are in PROFILE/deps, programs in PROFILE.
    let profile = own.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).expect("it is in a directory");
    let ctl = profile.join("ctl");
    assert!(ctl.is_file(), "there is no {}: run `cargo build -p cli`", ctl.display());
    ctl
}

/// Runs a command to its end. Its output goes through files, so that no daemon it leaves can keep a pipe open.
#[track_caller]
fn run(mut command: Command, scratch: &Path, arguments: &[&str]) -> Said {
    let (out, err) = (scratch.join("out"), scratch.join("err"));
    let open = |path: &Path| File::create(path).expect("a writable directory");
    command.stdin(Stdio::null()).stdout(open(&out)).stderr(open(&err));
    let mut child = command.spawn().expect("ctl can be started");
    let end = Instant::now() + DEADLINE;
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            panic!("ctl {} did not end:\n{}\n{}", arguments.join(" "), read(&out), read(&err));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Said { exit: status.code().unwrap_or(-1), out: read(&out), err: read(&err) }
}

/// A service of the tests' image that runs a script of busybox's shell; `more` are further keys, indented by four.
pub fn service(name: &str, script: &str, more: &str) -> String {
    let script = serde_json::to_string(&script.replace('$', "$$")).expect("a string");
    let text = format!("  {name}:\n    image: {IMAGE}\n    entrypoint: [\"/bin/sh\", \"-c\", {script}]\n");
    text + "    stop_grace_period: 1s\n" + more
}

/// A manifest of one project.
pub fn project(name: &str, services: &[String]) -> String {
    format!("name: {name}\nservices:\n{}", services.concat())
}
