//! Servers as processes of their own, each on a host of its own: a network namespace on a bridge that is in a third one.
//!
//! They are killed, paused, cut off and without power for real; `Lab` says whether the fault happened. Everything goes when
//! it is dropped. Needs root and `ip`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::session::Link;
use proto::v1;
use proto::v1::control_client::ControlClient;
use tonic::transport::Channel;

use crate::disk::{Disk, Survivors};
use crate::site::{PATIENCE, snapshot, until};

static LABS: AtomicU32 = AtomicU32::new(0);

/// The servers and their hosts.
#[derive(Debug)]
pub struct Lab {
    /// Where the servers keep their data, if not on this host's disk. Taken away before the directory that it is in.
    disks: Vec<Disk>,
    dir: tempfile::TempDir,
    name: String,
    servers: Vec<Option<Child>>,
    programs: Vec<PathBuf>,
    channels: Vec<Channel>,
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The program under test: WHERRY_ORCHESTRATOR, else the one beside this program.
pub fn orchestrator() -> PathBuf {
    if let Some(named) = std::env::var_os("WHERRY_ORCHESTRATOR") {
        return named.into();
    }
    let own = std::env::current_exe().expect("a program");
    let dir = own.ancestors().find(|dir| dir.join("orchestrator").is_file());
    dir.expect("`cargo build --workspace` made the programs").join("orchestrator")
}

// === impl Lab ===

impl Lab {
    /// So many servers that vote.
    pub async fn of(count: usize) -> Lab {
        Lab::below(&std::env::temp_dir(), count).await
    }

    /// The same, with their data below this directory.
    pub async fn below(dir: &Path, count: usize) -> Lab {
        Lab::new(dir, orchestrator(), count, false).await
    }

    /// The same, by another program.
    pub async fn by(program: PathBuf, count: usize) -> Lab {
        Lab::new(&std::env::temp_dir(), program, count, false).await
    }

    /// The same, each with a disk of its own that can fail.
    pub async fn on_disks(count: usize) -> Lab {
        Lab::new(&std::env::temp_dir(), orchestrator(), count, true).await
    }

    async fn new(below: &Path, program: PathBuf, count: usize, has_disks: bool) -> Lab {
        let dir = tempfile::tempdir_in(below).expect("a temporary directory");
        let name = format!("wl{}x{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let programs = vec![program; count];
        let mut lab = Lab { disks: Vec::new(), dir, name, servers: Vec::new(), programs, channels: Vec::new() };
        ip(&["netns", "add", &lab.bridge()]);
        ip(&["-n", &lab.bridge(), "link", "add", "name", "hub", "type", "bridge"]);
        ip(&["-n", &lab.bridge(), "link", "set", "hub", "up"]);
        for at in 0..count {
            lab.add_host(at);
            if has_disks {
                lab.disks.push(Disk::mounted(&lab.disk_dir(at)));
            }
            lab.servers.push(None);
            lab.channels.push(Link::Unix(lab.socket(at)).channel());
            lab.start(at).await;
        }
        until("all vote", async || {
            let servers = lab.servers_seen(0).await?;
            let odd = if count.is_multiple_of(2) { count - 1 } else { count };
            (servers.iter().filter(|s| s.role != "learner" && s.state == "ready").count() == odd).then_some(())
        })
        .await;
        lab
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    fn host(&self, at: usize) -> String {
        format!("{}s{at}", self.name)
    }

    fn address(at: usize) -> String {
        format!("10.88.99.{}", 11 + at)
    }

    fn add_host(&self, at: usize) {
        let (host, bridge, port) = (self.host(at), self.bridge(), format!("p{at}"));
        ip(&["netns", "add", &host]);
        ip(&["-n", &host, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &bridge]);
        ip(&["-n", &host, "addr", "add", &format!("{}/24", Lab::address(at)), "dev", "eth0"]);
        ip(&["-n", &host, "link", "set", "eth0", "up"]);
        ip(&["-n", &host, "link", "set", "lo", "up"]);
        ip(&["-n", &bridge, "link", "set", &port, "master", "hub"]);
        ip(&["-n", &bridge, "link", "set", &port, "up"]);
    }

    fn home(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("s{at}"))
    }

    fn disk_dir(&self, at: usize) -> PathBuf {
        self.home(at).join("disk")
    }

    /// Where one keeps its log.
    pub fn data_dir(&self, at: usize) -> PathBuf {
        self.disk_dir(at).join("server")
    }

    /// The key that one seals secrets with.
    pub fn seal_key(&self, at: usize) -> PathBuf {
        self.disk_dir(at).join("keys/seal.key")
    }

    /// The disk of one.
    pub fn disk(&self, at: usize) -> &Disk {
        &self.disks[at]
    }

    /// Where agents of its host find one.
    pub fn agents_socket(&self, at: usize) -> PathBuf {
        self.home(at).join("run/agents.sock")
    }

    fn socket(&self, at: usize) -> PathBuf {
        self.home(at).join("run/api.sock")
    }

    /// What it has written.
    pub fn log(&self, at: usize) -> String {
        std::fs::read_to_string(self.home(at).join("log")).unwrap_or_default()
    }

    /// Starts one, with the line that it is always started with, and waits until its door is open.
    pub async fn start(&mut self, at: usize) {
        self.spawn(at).await;
        assert!(self.opens(at).await, "it does not start: {}", self.log(at));
    }

    /// Starts one, and does not wait.
    pub async fn spawn(&mut self, at: usize) {
        let home = self.home(at);
        std::fs::create_dir_all(&home).expect("a directory");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(home.join("log")).expect("a log");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.host(at))).arg(&self.programs[at]);
        command.arg("--data-dir").arg(self.data_dir(at)).arg("--run-dir").arg(home.join("run"));
        command.arg("--seal-key").arg(self.seal_key(at)).args(["--listen", &Lab::address(at)]);
        if at == 0 {
            // Its hosts have no routes but this one.
            // As many nodes as a bench has clients.
            command.args(["--bootstrap", "--range", "172.24.0.0/14"]);
        } else {
            let token = home.join("token");
            if !token.exists() {
                std::fs::write(&token, self.token().await).expect("writes");
            }
            command.args(["--join", &format!("{}:7421", Lab::address(0)), "--token-file"]).arg(token);
        }
        let child = command.env("WHERRY_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.servers[at] = Some(child.expect("nsenter is installed"));
    }

    /// By which program one starts from now on.
    pub fn set_program(&mut self, at: usize, program: PathBuf) {
        self.programs[at] = program;
    }

    /// Whether the door of one is open.
    pub async fn is_open(&self, at: usize) -> bool {
        tokio::net::UnixStream::connect(self.socket(at)).await.is_ok()
    }

    /// Waits until one that was just started opens its door, or ends; which of them.
    pub async fn opens(&mut self, at: usize) -> bool {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            if self.is_open(at).await {
                return true;
            }
            if !self.runs(at) {
                self.servers[at] = None;
                return false;
            }
            assert!(tokio::time::Instant::now() < end, "neither: {}", self.log(at));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until one has ended by itself, and says whether in order.
    pub async fn ended(&mut self, at: usize) -> bool {
        let mut child = self.servers[at].take().expect("it was started");
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status.success();
            }
            if tokio::time::Instant::now() > end {
                self.servers[at] = Some(child);
                panic!("it goes on: {}", self.log(at));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether one runs.
    pub fn runs(&mut self, at: usize) -> bool {
        self.servers[at].as_mut().is_some_and(|child| child.try_wait().expect("a child").is_none())
    }

    async fn token(&self) -> String {
        let asked = v1::CreateTokenRequest { kind: "server".into(), uses: 1, valid_ms: 600_000, ..Default::default() };
        until("a token", async || self.control(0).create_token(asked.clone()).await.ok()).await.into_inner().token
    }

    /// The operators' door of one.
    pub fn control(&self, at: usize) -> ControlClient<Channel> {
        ControlClient::new(self.channels[at].clone())
    }

    /// The same by a connection of its own.
    pub fn connection(&self, at: usize) -> ControlClient<Channel> {
        ControlClient::new(Link::Unix(self.socket(at)).channel())
    }

    /// The processes that run.
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().flatten().map(Child::id).collect()
    }

    /// The servers, asked of one.
    pub async fn servers_seen(&self, at: usize) -> Option<Vec<v1::Server>> {
        Some(snapshot(self.control(at), v1::GetSnapshotRequest::default()).await?.servers)
    }

    /// What one knows itself, be it old.
    pub async fn stale(&self, at: usize) -> Option<v1::Snapshot> {
        let mut asked = tonic::Request::new(v1::GetSnapshotRequest::default());
        asked.metadata_mut().insert(proto::STALE, tonic::metadata::MetadataValue::from_static("1"));
        snapshot(self.control(at), asked).await
    }

    /// The one that leads, once all of these say the same and all that vote are there.
    pub async fn leader(&self, of: &[usize]) -> usize {
        until("one leads, and all are there", async || {
            let mut found = None;
            for at in of {
                let servers = self.servers_seen(*at).await?;
                let whole = servers.iter().filter(|s| s.state == "ready").count() >= of.len();
                let leader = servers.into_iter().find(|s| s.role == "leader").filter(|_| whole)?;
                if found.get_or_insert(leader.id.clone()) != &leader.id {
                    return None;
                }
            }
            let id = found?;
            of.iter().copied().find(|at| self.id(*at) == id)
        })
        .await
    }

    /// The id of one, as its directory says it.
    pub fn id(&self, at: usize) -> String {
        let text = std::fs::read_to_string(self.data_dir(at).join("server-id")).unwrap_or_default();
        text.trim().to_owned()
    }

    fn process(&self, at: usize) -> rustix::process::Pid {
        let child = self.servers[at].as_ref().expect("it runs");
        rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a process id")).expect("a process id")
    }

    fn signal(&self, at: usize, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.process(at), signal).expect("it is there");
    }

    /// Kills one; it is gone when this returns.
    pub fn kill(&mut self, at: usize) {
        self.signal(at, rustix::process::Signal::KILL);
        let status = self.servers[at].take().expect("it runs").wait().expect("it ends");
        assert!(!status.success(), "it was killed");
    }

    /// The power of these goes at once: each disk keeps what was synced, and of the rest what survives.
    pub fn cut_power(&mut self, of: &[usize], survivors: Survivors) {
        of.iter().for_each(|at| self.disks[*at].cut());
        for at in of {
            self.kill(*at);
        }
        of.iter().for_each(|at| self.disks[*at].power_on(survivors));
    }

    /// Ends one in order.
    pub fn stop(&mut self, at: usize) {
        self.signal(at, rustix::process::Signal::TERM);
        let status = self.servers[at].take().expect("it runs").wait().expect("it ends");
        assert!(status.success(), "it ended in order: {status}\n{}", self.log(at));
    }

    /// Stops one in its tracks.
    pub fn pause(&self, at: usize) {
        self.signal(at, rustix::process::Signal::STOP);
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", self.process(at).as_raw_nonzero()));
        let is_stopped = || stat().is_ok_and(|text| text.rsplit(')').next().is_some_and(|s| s.trim().starts_with('T')));
        while !is_stopped() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it go on.
    pub fn resume(&self, at: usize) {
        self.signal(at, rustix::process::Signal::CONT);
    }

    /// Cuts its host off.
    pub fn cut(&self, at: usize) {
        ip(&["-n", &self.bridge(), "link", "set", &format!("p{at}"), "down"]);
    }

    /// Mends the cut.
    pub fn heal(&self, at: usize) {
        ip(&["-n", &self.bridge(), "link", "set", &format!("p{at}"), "up"]);
    }

    /// The term that one knows of.
    pub async fn term(&self, at: usize) -> u64 {
        let id = self.id(at);
        until("it tells its term", async || {
            self.servers_seen(at).await?.into_iter().map(|s| s.term).max().filter(|_| !id.is_empty())
        })
        .await
    }

    /// Where everything is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in self.servers.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for at in 0..self.servers.len() {
            let _ = Command::new("ip").args(["netns", "del", &self.host(at)]).output();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.bridge()]).output();
    }
}
