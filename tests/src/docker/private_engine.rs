//! A Docker Engine of a test's own, to be stopped, paused, killed and filled up: in a network namespace of its own, its
//! data in memory.
//!
//! Never touches the machine's engine but to copy the image from it. All it made is gone when it is dropped, also when the
//! test failed: containers, the engine's processes, mounts, the namespace. Called by the torture tests.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{IMAGE, engine, until_true};

/// How it differs from the usual.
#[derive(Debug, Clone)]
pub struct Options {
    /// Containers outlive the engine's process.
    pub live_restore: bool,
    /// Megabytes of its data.
    pub data_mb: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { live_restore: false, data_mb: 512 }
    }
}

/// The engine, running or not.
#[derive(Debug)]
pub struct PrivateEngine {
    options: Options,
    name: String,
    dir: tempfile::TempDir,
    child: Option<Child>,
    companions: Vec<Child>,
}

// === impl PrivateEngine ===

impl PrivateEngine {
    /// Starts one that has the tests' image.
    ///
    /// # Panics
    /// When the machine does not give what it needs: root, dockerd, namespaces. Nothing is skipped.
    #[track_caller]
    pub fn start(options: Options) -> PrivateEngine {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        engine::require();
        let name = format!("wt{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix("wherry-engine-").tempdir().expect("a temporary directory");
        let mut private = PrivateEngine { options, name, dir, child: None, companions: Vec::new() };
        std::fs::create_dir(private.data()).expect("a directory");
        let size = format!("size={}m,mode=711", private.options.data_mb);
        let data = private.data().display().to_string();
        sh(&["mount", "-t", "tmpfs", "-o", &size, "wherry-test", &data]);
        sh(&["ip", "netns", "add", &private.name]);
        sh(&["ip", "-n", &private.name, "link", "set", "lo", "up"]);
        private.begin();
        private.load_image();
        private
    }

    /// Starts its process, again, and waits until it answers.
    #[track_caller]
    pub fn begin(&mut self) {
        let dir = self.dir.path().to_owned();
        let at = |part: &str| dir.join(part).display().to_string();
        let log = File::options().create(true).append(true).open(at("log")).expect("a writable directory");
        let mut command = Command::new("nsenter");
        command.arg(self.nsenter()).arg("dockerd");
        command.args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")]);
        command.args(["--host", &self.host(), "--bridge", "none"]);
        command.arg(format!("--live-restore={}", self.options.live_restore));
        // The machine's own settings are not for it, but that which its file systems are made for.
        std::fs::write(at("daemon.json"), "{}").expect("a writable directory");
        let driver = engine::docker(&["info", "--format", "{{.Driver}}"]);
        command.args(["--config-file", &at("daemon.json"), "--storage-driver", &driver]);
        // On machines whose containerd is a service, it is shared, but nothing in it is.
        command.args(["--containerd-namespace", &self.name]);
        command.args(["--containerd-plugins-namespace", &format!("{}-plugins", self.name)]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        // A DOCKER_HOST of whoever runs the tests is not ours.
        command.env_remove("DOCKER_HOST");
        self.child = Some(command.spawn().expect("nsenter and dockerd are needed: packaging/test installs them"));
        let begun = Instant::now();
        while self.attempt(&["version"]).is_err() {
            let log = || std::fs::read_to_string(at("log")).unwrap_or_default();
            let ended = self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
            assert!(!ended && begun.elapsed().as_secs() < 40, "the private engine does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn load_image(&self) {
        let mut save = Command::new("docker").args(["save", IMAGE]).stdout(Stdio::piped()).spawn().expect("docker");
        let image = save.stdout.take().expect("it is piped");
        let loaded = Command::new("docker").args(["-H", &self.host(), "load", "-q"]).stdin(image).output();
        assert!(loaded.is_ok_and(|l| l.status.success()), "the private engine takes the image");
        assert!(save.wait().is_ok_and(|s| s.success()), "the machine's engine gives the image");
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// Its socket as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// A directory for what a test puts beside it.
    pub fn beside(&self) -> &Path {
        self.dir.path()
    }

    /// What `nsenter` needs to go where its containers' networks are.
    pub fn nsenter(&self) -> String {
        format!("--net=/run/netns/{}", self.name)
    }

    /// What `docker ARGUMENTS` prints, asked of it.
    ///
    /// # Errors
    /// What the client wrote to its error output.
    pub fn attempt(&self, arguments: &[&str]) -> Result<String, String> {
        let host = self.host();
        engine::attempt(&[&["-H", host.as_str()], arguments].concat())
    }

    /// The same for what must succeed.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        self.attempt(arguments).unwrap_or_else(|why| panic!("docker {}: {why}", arguments.join(" ")))
    }

    /// Runs a program where its containers' networks are; standard output when it succeeds.
    ///
    /// # Errors
    /// Its standard error.
    pub fn inside(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("nsenter").arg(self.nsenter()).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|e| e.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Lets connections to a port of the namespace be taken by the kernel, and nobody say a word on them.
    #[track_caller]
    pub fn listen_in_silence(&mut self, port: u16) {
        let mut command = Command::new("nsenter");
        command.arg(self.nsenter()).args(["/bin/busybox", "nc", "-l", "-p", &port.to_string()]);
        let child = command.stdin(Stdio::null()).spawn().expect("busybox can be started");
        let pid = Pid::from_child(&child);
        self.companions.push(child);
        let listens = || self.inside(&["/bin/busybox", "netstat", "-ltn"]).unwrap_or_default();
        until_true("somebody listens", || listens().contains(&format!(":{port} ")));
        kill_process(pid, Signal::STOP).expect("it runs");
    }

    /// Body of `GET /` at a port of the namespace's loopback address.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(&self, port: u16) -> Result<String, String> {
        let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | /bin/busybox nc -w 5 127.0.0.1 {port}");
        let answer = self.inside(&["/bin/sh", "-c", &ask])?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
            _ => Err(format!("{answer:?}")),
        }
    }

    /// Its process.
    #[track_caller]
    pub fn process(&self) -> Pid {
        let text = std::fs::read_to_string(self.dir.path().join("pid")).expect("it runs");
        text.trim().parse().ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// Asks it to stop, and waits until it has.
    #[track_caller]
    pub fn stop(&mut self) {
        kill_process(self.process(), Signal::TERM).expect("it runs until it is stopped");
        self.wait();
    }

    /// Kills it, and waits until it is gone.
    #[track_caller]
    pub fn kill(&mut self) {
        kill_process(self.process(), Signal::KILL).expect("it runs until it is killed");
        self.wait();
        // Its containerd dies with it. Where nobody collects the dead, the next engine would take that for one that lives.
        let left = self.dir.path().join("exec/containerd/containerd.pid");
        let of = |text: String| text.trim().parse().ok().and_then(Pid::from_raw);
        if let Some(pid) = std::fs::read_to_string(&left).ok().and_then(of) {
            until_true("its containerd is gone", || matches!(process_state(pid), None | Some('Z')));
            let _ = std::fs::remove_file(left);
        }
        assert!(self.attempt(&["version"]).is_err(), "a kill counts only if it happened");
    }

    fn wait(&mut self) {
        let mut child = self.child.take().expect("it was started");
        until_true("the engine has ended", || child.try_wait().is_ok_and(|ended| ended.is_some()));
    }

    /// Stops its process in its tracks: connections are taken by the kernel, and nobody answers.
    #[track_caller]
    pub fn pause(&self) {
        let pid = self.process();
        kill_process(pid, Signal::STOP).expect("it runs");
        until_true("the engine is paused", || process_state(pid) == Some('T'));
    }

    /// Lets it go on.
    #[track_caller]
    pub fn resume(&self) {
        kill_process(self.process(), Signal::CONT).expect("it is there");
    }

    /// Fills its disk to the last byte; the file to remove for space.
    #[track_caller]
    pub fn fill(&self) -> PathBuf {
        let path = self.data().join("filler");
        let mut file = File::create(&path).expect("there is space for a name");
        let filled = std::io::copy(&mut std::io::repeat(1), &mut file);
        let full = filled.is_err_and(|e| e.kind() == std::io::ErrorKind::StorageFull);
        assert!(full, "a full disk counts only if it is full");
        path
    }

    /// By force, when nothing else is sure to work: its containers, its processes, its mounts.
    fn scour(&mut self) {
        if let Ok(text) = std::fs::read_to_string(self.dir.path().join("pid"))
            && let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw)
            && self.child.is_some()
        {
            let _ = kill_process(pid, Signal::CONT);
            let ids = self.attempt(&["ps", "-aq"]).unwrap_or_default();
            for id in ids.lines() {
                let _ = self.attempt(&["rm", "--force", "--volumes", id]);
            }
            let _ = kill_process(pid, Signal::TERM);
        }
        if let Some(child) = self.child.as_mut() {
            let begun = Instant::now();
            while child.try_wait().is_ok_and(|ended| ended.is_none()) && begun.elapsed().as_secs() < 15 {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        for companion in &mut self.companions {
            let _ = companion.kill();
            let _ = companion.wait();
        }
        // Whatever names our directory on its command line is ours: containerd, shims; and what those run.
        let ours = self.processes();
        for pid in ours.iter().copied().chain(ours.iter().flat_map(|shim| children(*shim))) {
            let _ = kill_process(pid, Signal::KILL);
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        until_true("the private engine's processes are gone", || self.processes().is_empty());
        for mount in self.mounts().iter().rev() {
            let _ = Command::new("umount").args(["--lazy", mount]).status();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }

    fn processes(&self) -> Vec<Pid> {
        let dir = self.dir.path().display().to_string();
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let names_it = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&dir)
        };
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        pids.filter(|pid| *pid != me && names_it(pid)).filter_map(Pid::from_raw).collect()
    }

    fn mounts(&self) -> Vec<String> {
        let dir = self.dir.path().display().to_string();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|p| p.starts_with(&dir));
        points.map(str::to_owned).collect()
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the private engine's last words, last first:\n{}", tail.join("\n"));
        }
        self.scour();
    }
}

/// The letter of a process's state.
fn process_state(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn children(pid: Pid) -> Vec<Pid> {
    let path = format!("/proc/{0}/task/{0}/children", pid.as_raw_nonzero());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok().and_then(Pid::from_raw)).collect()
}

#[track_caller]
fn sh(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", words[0]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}; these tests need root", words.join(" "));
}

/// Waits until `ask` holds of what is said, and returns it; for texts that people read.
///
/// # Panics
/// When it does not in time: with what was said last.
#[track_caller]
pub fn until_said(what: &str, within: Duration, mut say: impl FnMut() -> String, ask: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let said = say();
        if ask(&said) {
            return said;
        }
        assert!(begun.elapsed() < within, "not within {within:?}: {what}; said last:\n{said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
