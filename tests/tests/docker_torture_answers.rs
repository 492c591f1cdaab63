//! Promise: an engine whose answers hang in the middle, or that announces nothing, costs time and nothing else.
//!
//! A proxy before an engine of the test's own makes the faults, and counts them.

use std::time::Duration;

use tests::docker::dev::{Dev, project, service};
use tests::docker::private_engine::{Options, PrivateEngine, until_said};
use tests::docker::proxy::Proxy;
use tests::docker::until_true;

/// A list every 10 s, 10 s for its answer, and as much again for another one.
const WITHIN: Duration = Duration::from_secs(40);

fn running() -> (PrivateEngine, Proxy, Dev) {
    let engine = PrivateEngine::start(Options::default());
    let proxy = Proxy::between(&engine.beside().join("proxy.sock"), &engine.socket());
    let mut dev = Dev::within("answers", &engine, &proxy.host());
    dev.begin();
    let web = project("ans", &[service("web", "trap 'exit 0' TERM; while :; do sleep 0.1; done", "")]);
    dev.apply(&web).expect(0);
    (engine, proxy, dev)
}

#[test]
fn answers_that_hang_in_the_middle_touch_nothing_and_are_told() {
    let (_engine, proxy, mut dev) = running();
    let before = dev.containers("ans");
    proxy.hang(true);
    until_true("an answer hangs", || proxy.hung() > 0);
    let why = || dev.ctl(&["why", "ans/web"]).out;
    until_said("`ctl why` names the engine", WITHIN, why, |why| why.contains("Docker Engine"));
    assert_eq!(dev.containers("ans"), before, "nothing was touched");
    proxy.hang(false);
    until_said(
        "it is ready again",
        WITHIN,
        || dev.get("tasks")["ans/web.1"].to_string(),
        |task| task.contains("\"state\":\"ready\""),
    );
    assert_eq!(dev.containers("ans"), before, "nothing was touched");
    dev.down();
}

#[test]
fn a_death_that_is_not_announced_is_noticed_by_the_next_list() {
    let (engine, proxy, mut dev) = running();
    let before = dev.containers("ans");
    proxy.drop_events(true);
    let container = dev.container("ans/web.1");
    engine.docker(&["kill", &container]);
    until_true("the announcement is swallowed", || proxy.swallowed() > 0);
    until_said(
        "it runs again",
        WITHIN,
        || dev.get("tasks")["ans/web.1"].to_string(),
        |task| task.contains("\"state\":\"ready\"") && task.contains("\"restarts\":1"),
    );
    let after = dev.containers("ans");
    let same = before.values().all(|b| after.values().any(|a| a.id == b.id && a.started_at != b.started_at));
    assert!(same, "started again in place: {before:?} {after:?}");
    dev.down();
}
