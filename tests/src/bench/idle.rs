//! Memory and processor of idle processes: a server and an agent each by itself, and both in the process of `ctl dev`.
//!
//! The programs built beside this one, in directories of their own; read from /proc; ended by their ids.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::report::{Report, Values};
use crate::docker::dev::Dev;
use crate::docker::engine::{attempt, docker};

/// The kernel counts processor time in these, on every architecture it runs on today (USER_HZ).
const TICK_MS: f64 = 10.0;

/// What one process holds and has used.
#[derive(Debug, Clone, Copy)]
struct Used {
    rss_kib: f64,
    pss_kib: f64,
    cpu_ms: f64,
}

/// Measures after so many minutes.
///
/// # Errors
/// When a program is not there or ends.
pub fn run(report: &Report, minutes: u64) -> anyhow::Result<()> {
    report.part(&format!("idle: after {minutes} minutes"));
    let scratch = tempfile::tempdir()?;
    let server = Process::start(
        "orchestrator",
        scratch.path(),
        &[
            "--data-dir",
            "server",
            "--run-dir",
            "run",
            "--seal-key",
            "keys/seal.key",
            "--bootstrap",
            "--range",
            "10.253.0.0/16",
        ],
    )?;
    wait_for(&scratch.path().join("run/agents.sock"))?;
    let agent =
        Process::start("agent", scratch.path(), &["--data-dir", "agent", "--server-socket", "run/agents.sock"])?;
    let mut dev = Dev::start("bench-idle");
    let pids = [("server", server.id()), ("agent", agent.id()), ("ctl dev (server and agent)", daemon(&dev))];
    // The start is not idleness: processor time counts from here.
    std::thread::sleep(Duration::from_secs(10));
    let begun = Instant::now();
    let before: Vec<Used> = pids.iter().map(|(_, pid)| used(*pid)).collect::<anyhow::Result<_>>()?;
    std::thread::sleep(Duration::from_secs(minutes * 60));
    let seconds = begun.elapsed().as_secs_f64();
    for ((name, pid), before) in pids.iter().zip(before) {
        let now = used(*pid)?;
        report.alone(&format!("{name}, idle: resident (RSS)"), &Values::of([now.rss_kib / 1024.0]), "MiB");
        report.alone(&format!("{name}, idle: its share (PSS)"), &Values::of([now.pss_kib / 1024.0]), "MiB");
        let share = (now.cpu_ms - before.cpu_ms) / (seconds * 10.0);
        report.alone(&format!("{name}, idle: processor"), &Values::of([share]), "% of one");
    }
    dev.down();
    drop(agent);
    drop(server);
    remove_network();
    Ok(())
}

fn daemon(dev: &Dev) -> u32 {
    dev.daemon().as_raw_nonzero().get().unsigned_abs()
}

/// The agent's bridge stays when it ends: ours is the one in the range that was chosen.
fn remove_network() {
    let ids = docker(&["network", "ls", "--quiet", "--filter", "label=wherry.cluster"]);
    for id in ids.lines() {
        let subnet = attempt(&["network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", id]);
        if subnet.is_ok_and(|subnet| subnet.starts_with("10.253.")) {
            docker(&["network", "rm", id]);
        }
    }
}

fn wait_for(path: &Path) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        ensure!(Instant::now() < end, "{} is not there after 20 s", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn used(pid: u32) -> anyhow::Result<Used> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("{path}: the process has ended"))
    };
    let rollup = read("smaps_rollup")?;
    let kib = |key: &str| -> anyhow::Result<f64> {
        let line = rollup.lines().find(|l| l.starts_with(key)).with_context(|| format!("no {key} in smaps_rollup"))?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    };
    let stat = read("stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(Used { rss_kib: kib("Rss:")?, pss_kib: kib("Pss:")?, cpu_ms: ticks * TICK_MS })
}

/// A program of ours that ends with this value.
struct Process(Child);

impl Process {
    fn start(program: &str, dir: &Path, arguments: &[&str]) -> anyhow::Result<Process> {
        let path = beside(program)?;
        let log = std::fs::File::create(dir.join(format!("{program}.log")))?;
        let mut command = Command::new(&path);
        command.args(arguments).current_dir(dir).env("RUST_LOG", "warn").env("WHERRY_LOG", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Process(command.spawn().with_context(|| format!("{}", path.display()))?))
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// A program built beside this one.
fn beside(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name(program);
    ensure!(path.is_file(), "there is no {}: run `make bench`", path.display());
    Ok(path)
}
