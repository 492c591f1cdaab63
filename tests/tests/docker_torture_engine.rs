//! Promise: whatever becomes of the Docker Engine's process, nothing that runs is touched for it, people are told, and
//! once an engine answers again everything gets to where it should be.
//!
//! Each test has an engine of its own.

use std::time::Duration;

use tests::docker::dev::{Dev, project};
use tests::docker::private_engine::{Options, PrivateEngine, until_said};
use tests::docker::{IMAGE, until_true};

/// Longest time until an engine that does not answer is spoken of: a list every 10 s, and 10 s for its answer.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
const PORT: u16 = 18_080;

fn web() -> String {
    let web = format!(
        "  web:
    image: {IMAGE}
    command: [hello]
    ports: [\"{PORT}:8080\"]
    deploy: {{replicas: 2}}
    stop_grace_period: 1s
"
    );
    project("tort", &[web])
}

fn serves(engine: &PrivateEngine) -> bool {
    engine.get(PORT).is_ok_and(|body| body.starts_with("Hello"))
}

fn running(options: Options) -> (PrivateEngine, Dev) {
    let engine = PrivateEngine::start(options);
    let mut dev = Dev::within("tort", &engine, &engine.host());
    dev.begin();
    dev.apply(&web()).expect(0);
    until_true("it serves", || serves(&engine));
    (engine, dev)
}

/// What `ctl why` and the list of nodes say.
fn told(dev: &Dev) -> String {
    let why = dev.ctl(&["why", "tort/web"]);
    let nodes = dev.ctl(&["get", "nodes", "-o", "json"]);
    format!("{}{}{}", why.out, why.err, nodes.out)
}

fn until_told_of_the_engine(dev: &Dev) {
    until_said(
        "`ctl why` names the engine",
        TOLD_WITHIN,
        || dev.ctl(&["why", "tort/web"]).out,
        |why| why.contains("Docker Engine"),
    );
}

fn until_all_ready(dev: &Dev) {
    until_said(
        "all is ready again",
        TOLD_WITHIN,
        || told(dev),
        |_| {
            let tasks = dev.get("tasks");
            tasks.len() == 2 && tasks.values().all(|task| task["state"] == "ready")
        },
    );
}

#[test]
fn a_paused_engine_is_waited_for_and_what_runs_serves_on() {
    let (engine, mut dev) = running(Options::default());
    let before = dev.containers("tort");
    engine.pause();
    assert!(serves(&engine), "the engine is not needed to serve");
    until_told_of_the_engine(&dev);
    assert!(serves(&engine), "the engine is not needed to serve");
    engine.resume();
    until_all_ready(&dev);
    assert_eq!(dev.containers("tort"), before, "nothing was touched");
    dev.down();
}

#[test]
fn a_killed_engine_leaves_containers_that_are_adopted_as_they_are() {
    let (mut engine, mut dev) = running(Options { live_restore: true, ..Options::default() });
    let before = dev.containers("tort");
    engine.kill();
    assert!(serves(&engine), "the engine is not needed to serve");
    until_told_of_the_engine(&dev);
    engine.begin();
    until_all_ready(&dev);
    assert!(serves(&engine));
    assert_eq!(dev.containers("tort"), before, "nothing was touched");
    dev.down();
}

/// Its containers end with the engine and begin with it, in place.
fn ended_with_its_engine(end: impl FnOnce(&mut PrivateEngine)) {
    let (mut engine, mut dev) = running(Options::default());
    let before = dev.containers("tort");
    end(&mut engine);
    until_told_of_the_engine(&dev);
    engine.begin();
    until_all_ready(&dev);
    until_true("it serves again", || serves(&engine));
    let after = dev.containers("tort");
    for (name, container) in &before {
        assert_eq!(after[name].id, container.id, "{name} is the same container");
        assert_ne!(after[name].started_at, container.started_at, "the fault counts only if its process ended");
    }
    dev.down();
}

#[test]
fn what_a_killed_engine_ended_is_started_again_in_place() {
    ended_with_its_engine(PrivateEngine::kill);
}

#[test]
fn what_a_stopped_engine_ended_is_started_again_in_place() {
    ended_with_its_engine(PrivateEngine::stop);
}
