//! Answers of DNS per second, asked from a container: ours, Docker's own resolver, and knot, in turns, with the load on
//! the same processors.
//!
//! Needs dnsperf and knot (Debian packages of these names) and nsenter. Knot runs in this process's care on the same
//! address at another port, with the same names; everything made here is removed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::report::{Report, Values};
use crate::docker::IMAGE;
use crate::docker::dev::{Dev, project, service};
use crate::docker::engine::{docker, inspect};

const ROUNDS: usize = 5;
const SECONDS: &str = "4";
const KNOT_PORT: u16 = 5_300;
const NETWORK_ADDRESS: &str = "10.254.78.0/24";
const REPLICAS: usize = 3;

/// Measures.
///
/// # Errors
/// When a tool fails.
pub fn run(report: &mut Report) -> anyhow::Result<()> {
    report.part("names: DNS answers per second, asked from a container");
    for (tool, package) in [("dnsperf", "dnsperf"), ("knotd", "knot"), ("nsenter", "util-linux")] {
        if !on_path(tool) {
            report.leave_out(
                "names",
                &format!("there is no {tool}; install it: apt-get install --no-install-recommends {package}"),
            );
            return Ok(());
        }
    }
    let scratch = tempfile::tempdir()?;
    let mut dev = Dev::start("bench-names");
    let name = format!("names-{}", dev.unique);
    let web = service("web", "exec sleep 1000000", &format!("    deploy: {{replicas: {REPLICAS}}}\n"));
    dev.apply(&project(&name, &[web, service("asker", "exec sleep 1000000", "")])).expect(0);
    let pid = pid_of(&dev.container(&format!("{name}/asker.1")));
    let gateway = dev.resolver().to_string();
    let beside = Beside::new(&dev.unique)?;
    let queries = scratch.path().join("queries");
    std::fs::write(&queries, format!("web.{name}.svc.cluster.local A\n"))?;
    let short = scratch.path().join("short");
    std::fs::write(&short, format!("{} A\n", beside.name))?;
    let knot = Knot::start(scratch.path(), &gateway, &name)?;
    let (mut ours, mut docker_own, mut knots) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(ask(pid, &gateway, 53, &queries)?);
        knots.push(ask(pid, &gateway, KNOT_PORT, &queries)?);
        docker_own.push(ask(beside.pid, "127.0.0.11", 53, &short)?);
    }
    let (ours, knots, docker_own) = (Values::of(ours), Values::of(knots), Values::of(docker_own));
    report.against("DNS answers per second, asked from a container", &ours, "knot", &knots, "/s");
    report.against("the same", &ours, "Docker's own resolver", &docker_own, "/s");
    drop(knot);
    drop(beside);
    dev.down();
    Ok(())
}

fn on_path(tool: &str) -> bool {
    let places = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    places.split(':').any(|dir| Path::new(dir).join(tool).is_file())
}

fn pid_of(container: &str) -> u64 {
    inspect(container)["State"]["Pid"].as_u64().expect("it runs")
}

/// Answers per second, by dnsperf in a container's network.
fn ask(pid: u64, server: &str, port: u16, queries: &Path) -> anyhow::Result<f64> {
    let output = Command::new("nsenter")
        .args(["-t", &pid.to_string(), "-n", "dnsperf", "-s", server, "-p", &port.to_string(), "-d"])
        .arg(queries)
        .args(["-l", SECONDS, "-c", "8", "-T", "1", "-q", "100"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let number = |key: &str| said.lines().find_map(|l| l.trim().strip_prefix(key).map(str::trim).map(str::to_owned));
    let codes = number("Response codes:").context("dnsperf did not finish")?;
    ensure!(codes.starts_with("NOERROR") && !codes.contains(','), "{server}:{port} answers {codes}");
    let rate = number("Queries per second:").context("dnsperf says no rate")?;
    Ok(rate.parse()?)
}

/// Two containers on a network of Docker's own, one asking for the other by its name.
struct Beside {
    network: String,
    name: String,
    asker: String,
    pid: u64,
}

impl Beside {
    fn new(unique: &str) -> anyhow::Result<Beside> {
        let network = format!("bench-names-{unique}");
        let (name, asker) = (format!("web-{unique}"), format!("asker-{unique}"));
        docker(&["network", "create", "--subnet", NETWORK_ADDRESS, &network]);
        for container in [&name, &asker] {
            docker(&[
                "run",
                "--detach",
                "--network",
                &network,
                "--name",
                container,
                "--entrypoint",
                "/bin/sleep",
                IMAGE,
                "1000000",
            ]);
        }
        let pid = pid_of(&asker);
        Ok(Beside { network, name, asker, pid })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        docker(&["rm", "--force", &self.name, &self.asker]);
        docker(&["network", "rm", &self.network]);
    }
}

/// Knot with one zone, that of the project's names.
struct Knot(Child);

impl Knot {
    fn start(dir: &Path, address: &str, project: &str) -> anyhow::Result<Knot> {
        let zone = "svc.cluster.local";
        let mut records = "$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 10.0.0.1\n".to_owned();
        for slot in 1..=REPLICAS {
            records += &format!("web.{project} A 10.0.1.{slot}\n");
        }
        std::fs::write(dir.join("zone"), records)?;
        let database = dir.join("knot");
        std::fs::create_dir_all(&database)?;
        let at = dir.display();
        let text = format!(
            "server:\n  rundir: {at}/knot\n  listen: {address}@{KNOT_PORT}\ndatabase:\n  storage: {at}/knot\n\
             zone:\n  - domain: {zone}\n    file: {at}/zone\n    zonefile-sync: -1\n    journal-content: none\n"
        );
        let config = dir.join("knot.conf");
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(dir.join("knot.log"))?;
        let mut command = Command::new("knotd");
        command.arg("-c").arg(&config).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("knotd")?;
        let mut knot = Knot(child);
        let end = Instant::now() + Duration::from_secs(10);
        while !listens(address) {
            if let Some(status) = knot.0.try_wait()? {
                bail!("knotd ended ({status}): {}", std::fs::read_to_string(dir.join("knot.log")).unwrap_or_default());
            }
            ensure!(Instant::now() < end, "knotd does not listen after 10 s");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(knot)
    }
}

fn listens(address: &str) -> bool {
    std::net::TcpStream::connect((address, KNOT_PORT)).is_ok()
}

impl Drop for Knot {
    fn drop(&mut self) {
        // It may have ended by itself.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}
