//! Killed to running again, against the engine's own create+start, in turns.
//!
//! Times are the engine's: from the kill's answer being asked for to its event `start`.

use std::time::Duration;

use super::report::{Report, Values};
use crate::docker::dev::{Dev, project, service};
use crate::docker::engine::{Events, create_and_start, kill, wall_ns};

const REPLICAS: u32 = 20;

/// Measures.
pub fn run(report: &Report) {
    report.part("restart: a container killed to running again");
    let mut dev = Dev::start("bench-restart");
    let file =
        project("again", &[service("web", "exec sleep 1000000", &format!("    deploy: {{replicas: {REPLICAS}}}\n"))]);
    dev.apply(&file).expect(0);
    let tasks = dev.get("tasks");
    let mut events = Events::of(&dev.cluster);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for slot in 1..=REPLICAS {
        let container = tasks[&format!("again/web.{slot}")]["container_id"].as_str().expect("it runs").to_owned();
        let killed = wall_ns();
        kill(&container);
        let died = events.until("die", &container, killed).at_ns;
        let started = events.until("start", &container, died).at_ns;
        ours.push(Duration::from_nanos(u64::try_from(started - killed).expect("a short time")));
        theirs.push(create_and_start(&format!("{}-limit", dev.name)));
    }
    let beside = "create+start through the Engine API";
    report.against("container killed to running again", &Values::ms(&ours), beside, &Values::ms(&theirs), "ms");
    dev.down();
}
