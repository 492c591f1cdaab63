//! Promise: a killed container runs again in place about as fast as the engine can start one, and from 200 ms after its
//! death until it is ready again no answer of DNS names it.

use std::net::IpAddr;
use std::time::Duration;

use tests::docker::dev::{Dev, project, service};
use tests::docker::engine::{Events, create_and_start, inspect, kill, wall_ns};
use tests::docker::figures::{median, note};
use tests::docker::until_true;
use tests::docker::wire::{Answer, Probe, lookup};

/// Each is killed once.
const REPLICAS: u32 = 20;
/// How long a container sleeps before it listens: it cannot be ready earlier.
const STARTING: &str = "1";
const STARTING_NS: u128 = 1_000_000_000;
/// The kernel's count of a process's start is that coarse.
const TICK_NS: u128 = 10_000_000;
/// How long after its death a container may still be named.
const STALE_NS: u128 = 200_000_000;
const QUESTIONS_PER_SECOND: u32 = 200;
const NAME: &str = "web.again.svc.cluster.local";

/// One death and what came of it, in nanoseconds since 1970.
struct Death {
    task: String,
    container: String,
    address: IpAddr,
    killed: u128,
    died: u128,
    started: u128,
}

/// When the present process of a container began, in nanoseconds since 1970, never too late: the kernel counts from
/// before the engine says `start`.
fn process_began(container: &str) -> u128 {
    let pid = inspect(container)["State"]["Pid"].as_u64().expect("it runs");
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let stat = read(&format!("/proc/{pid}/stat"));
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks: u128 = fields.split(' ').nth(19).and_then(|field| field.parse().ok()).expect("the 22nd field");
    let uptime: f64 = read("/proc/uptime").split(' ').next().and_then(|s| s.parse().ok()).expect("seconds");
    let now = wall_ns();
    let up_ns = Duration::from_secs_f64(uptime).as_nanos();
    now - up_ns + ticks * TICK_NS - 2 * TICK_NS
}

#[test]
fn killed_tasks_run_again_and_are_not_named_while_dead() {
    let mut dev = Dev::start("again");
    let script = format!("sleep {STARTING}; exec httpd -f -p 8080");
    let more = format!(
        "    deploy: {{replicas: {REPLICAS}}}\n    x-wherry: {{health: {{tcp: {{port: 8080}}, interval: 1s, \
         start_interval: 100ms, start_period: 20s}}}}\n"
    );
    let file = project("again", &[service("web", &script, &more)]);
    dev.apply(&file).expect(0);
    let tasks = dev.get("tasks");
    let mut events = Events::of(&dev.cluster);
    let resolver = dev.resolver();
    let named = |count: u32| lookup(resolver, NAME).addresses.len() == count as usize;
    assert!(named(REPLICAS), "all are ready: {:?}", lookup(resolver, NAME));

    let probe = Probe::on(resolver, NAME, QUESTIONS_PER_SECOND);
    let (mut deaths, mut limits) = (Vec::new(), Vec::new());
    for slot in 1..=REPLICAS {
        // The engine's own figure under the same load, beside some of the kills.
        if slot % 4 == 1 {
            limits.push(create_and_start(&format!("{}-limit", dev.name)));
        }
        let task = format!("again/web.{slot}");
        let container = tasks[&task]["container_id"].as_str().expect("an id");
        let address = tasks[&task]["addresses"][0].as_str().and_then(|a| a.parse().ok()).expect("an address");
        let killed = wall_ns();
        kill(container);
        let died = events.until("die", container, killed).at_ns;
        let started = events.until("start", container, died).at_ns;
        deaths.push(Death { task, container: container.to_owned(), address, killed, died, started });
    }
    until_true("all are ready again", || named(REPLICAS));
    let (sent, answers) = probe.stop();
    assert!(answers.len() * 100 >= sent * 99, "{} of {sent} questions were answered", answers.len());
    let judged: usize = deaths.iter().map(|death| never_named_while_dead(death, &answers)).sum();
    assert!(judged > 0, "no question fell into any death");

    let again = dev.get("tasks");
    for death in &deaths {
        assert_eq!(again[&death.task]["restarts"], 1, "{}", again[&death.task]);
        assert_eq!(again[&death.task]["container_id"], tasks[&death.task]["container_id"], "restarted in place");
    }
    let took: Vec<Duration> = deaths.iter().map(|d| nanoseconds(d.started - d.killed)).collect();
    let (typical, limit) = (median(&took), median(&limits));
    note(&format!(
        "killed to running again: median {} ms of {REPLICAS}, {:.2} x create+start ({} ms, median of {}); \
         {judged} answers while dead, none stale",
        typical.as_millis(),
        typical.as_secs_f64() / limit.as_secs_f64(),
        limit.as_millis(),
        limits.len()
    ));
    assert!(typical < limit * 10, "{typical:?} is out of all proportion to {limit:?}");
    dev.down();
}

/// How many answers fell between the death, with the allowance, and the earliest moment it could be ready again.
fn never_named_while_dead(death: &Death, answers: &[Answer]) -> usize {
    let dead = death.died + STALE_NS..process_began(&death.container) + STARTING_NS;
    let while_dead: Vec<&Answer> = answers.iter().filter(|answer| dead.contains(&answer.sent_ns)).collect();
    for answer in &while_dead {
        let after = nanoseconds(answer.sent_ns - death.died);
        assert!(!answer.addresses.contains(&death.address), "{} was named {after:?} after it died", death.task);
        assert!(!answer.addresses.is_empty(), "the others were named: {answer:?}");
    }
    while_dead.len()
}

fn nanoseconds(span: u128) -> Duration {
    Duration::from_nanos(u64::try_from(span).expect("a short time"))
}
