//! 30 replicas from the call to all running, against the engine alone making the like of them, in alternating pairs.
//!
//! Both sides: the same image and process, a static address on a bridge network of its own, the same read-only file
//! mounted. Ours ends at the last container's event `start`; the engine's at the return of its last start.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use super::report::{Report, Values};
use crate::docker::dev::{Dev, project, service};
use crate::docker::engine::{Events, docker, post, wall_ns};
use crate::docker::{IMAGE, until_true};

const REPLICAS: usize = 30;
const PAIRS: usize = 5;
/// How many containers the engine alone is asked for at once: each was tried, the best is what we are measured by.
const WIDTHS: [usize; 4] = [2, 4, 8, 16];

/// Measures.
pub fn run(report: &Report) {
    report.part("replicas: 30 from the call to running");
    let mut dev = Dev::start("bench-replicas");
    let engine = Alone::new(&dev.unique);
    // Once each without counting: caches are as warm for one as for the other.
    engine.make(4);
    ours(&dev, 0);
    let mut by_width: Vec<(usize, Vec<Duration>)> = WIDTHS.iter().map(|w| (*w, Vec::new())).collect();
    for _ in 0..3 {
        for (width, took) in &mut by_width {
            took.push(engine.make(*width));
        }
    }
    for (width, took) in &by_width {
        report.alone(&format!("{REPLICAS} by the engine alone, {width} at once"), &Values::ms(took), "ms");
    }
    let best = by_width.iter().min_by(|a, b| Values::ms(&a.1).median().total_cmp(&Values::ms(&b.1).median()));
    let width = best.expect("there are widths").0;
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for pair in 1..=PAIRS {
        mine.push(ours(&dev, pair));
        theirs.push(engine.make(width));
    }
    let beside = format!("the engine alone, {width} at once");
    let (started, returned): (Vec<_>, Vec<_>) = mine.into_iter().unzip();
    report.against(
        &format!("{REPLICAS} replicas, call to running"),
        &Values::ms(&started),
        &beside,
        &Values::ms(&theirs),
        "ms",
    );
    report.against("the same to the return of ctl apply", &Values::ms(&returned), &beside, &Values::ms(&theirs), "ms");
    drop(engine);
    dev.down();
}

/// From the call of `ctl apply` to the last `start`, and to its return.
fn ours(dev: &Dev, round: usize) -> (Duration, Duration) {
    let name = format!("r{round}-{}", dev.unique);
    let file =
        project(&name, &[service("web", "exec sleep 1000000", &format!("    deploy: {{replicas: {REPLICAS}}}\n"))]);
    let mut events = Events::of(&dev.cluster);
    let begun = wall_ns();
    dev.apply(&file).expect(0);
    let returned = wall_ns();
    let containers: BTreeSet<String> = dev.containers(&name).into_values().map(|c| c.id).collect();
    assert_eq!(containers.len(), REPLICAS, "all were made");
    let last = containers.iter().map(|id| events.until("start", id, begun).at_ns).max().expect("there are some");
    dev.ctl(&["delete", "project", &name, "--yes"]).expect(0);
    until_true("its containers are gone", || dev.containers(&name).is_empty());
    let span = |until: u128| Duration::from_nanos(u64::try_from(until - begun).expect("a short time"));
    (span(last), span(returned))
}

/// The engine alone, with a network and a file of its own.
struct Alone {
    network: String,
    file: tempfile::NamedTempFile,
}

impl Alone {
    fn new(unique: &str) -> Alone {
        let network = format!("bench-{unique}");
        docker(&["network", "create", "--subnet", "10.254.77.0/24", &network]);
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::io::Write::write_all(&mut file, b"nameserver 10.254.77.1\n").expect("it can be written");
        Alone { network, file }
    }

    /// Creates and starts, so many at once; then removes them. The time until the last has started.
    fn make(&self, width: usize) -> Duration {
        let left = Mutex::new((0..REPLICAS).rev().collect::<Vec<usize>>());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..width {
                scope.spawn(|| {
                    loop {
                        let next = left.lock().expect("nobody panics holding it").pop();
                        let Some(number) = next else { break };
                        self.one(number);
                    }
                });
            }
        });
        let took = begun.elapsed();
        self.remove();
        took
    }

    fn one(&self, number: usize) {
        let address = format!("10.254.77.{}", number + 10);
        let mount = format!("{}:/etc/resolv.conf:ro", self.file.path().display());
        let body = json!({
            "Image": IMAGE,
            "Hostname": format!("web-{number}"),
            "Entrypoint": ["/bin/sh", "-c", "exec sleep 1000000"],
            "Labels": { "bench": self.network },
            "HostConfig": { "NetworkMode": self.network, "Binds": [mount] },
            "NetworkingConfig": { "EndpointsConfig": { &self.network: { "IPAMConfig": { "IPv4Address": address } } } },
        });
        let name = format!("{}-{number}", self.network);
        let made: serde_json::Value =
            serde_json::from_str(&post(&format!("/containers/create?name={name}"), &body.to_string())).expect("JSON");
        let id = made["Id"].as_str().expect("an id");
        post(&format!("/containers/{id}/start"), "");
    }

    fn remove(&self) {
        let label = format!("label=bench={}", self.network);
        let listed = docker(&["ps", "--all", "--quiet", "--filter", &label]);
        let mut arguments = vec!["rm", "--force"];
        arguments.extend(listed.lines());
        if arguments.len() > 2 {
            docker(&arguments);
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.remove();
        docker(&["network", "rm", &self.network]);
    }
}
