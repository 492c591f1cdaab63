//! Promise: a container that somebody removes by hand is made anew, and one that ignores SIGTERM is killed after its grace
//! and not before; neither disturbs its neighbour.

use std::time::{Duration, Instant};

use tests::docker::dev::{Dev, project, service};
use tests::docker::engine::docker;
use tests::docker::until_true;

const STAYS: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
const DEAF: &str = "trap '' TERM; while :; do sleep 0.1; done";

#[test]
fn a_container_removed_by_hand_is_made_anew_and_its_cause_told() {
    let mut dev = Dev::start("rm");
    let name = format!("rm-{}", dev.unique);
    dev.apply(&project(&name, &[service("web", STAYS, ""), service("calm", STAYS, "")])).expect(0);
    let (task, calm) = (format!("{name}/web.1"), dev.container(&format!("{name}/calm.1")));
    let before = dev.container(&task);
    docker(&["rm", "--force", &before]);
    until_true("it is made anew", || {
        let task = &dev.get("tasks")[&task];
        task["state"] == "ready" && task["container_id"] != before.as_str()
    });
    let why = dev.ctl(&["why", &task]).expect(0).out;
    assert!(why.contains("removed from outside") || why.contains("start 2"), "{why}");
    assert_eq!(dev.container(&format!("{name}/calm.1")), calm, "its neighbour is left alone");
    dev.down();
}

#[test]
fn one_that_ignores_its_stop_signal_is_killed_after_its_grace_and_not_before() {
    let mut dev = Dev::start("deaf");
    let name = format!("deaf-{}", dev.unique);
    let deaf = service("deaf", DEAF, "").replace("stop_grace_period: 1s", "stop_grace_period: 3s");
    dev.apply(&project(&name, &[deaf, service("calm", STAYS, "")])).expect(0);
    let (container, calm) = (dev.container(&format!("{name}/deaf.1")), dev.container(&format!("{name}/calm.1")));
    let begun = Instant::now();
    dev.ctl(&["scale", &format!("{name}/deaf=0")]).expect(0);
    until_true("it is gone", || docker(&["ps", "-aq", "--no-trunc"]).lines().all(|id| id != container));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3), "it had its grace: {took:?}");
    assert_eq!(dev.container(&format!("{name}/calm.1")), calm, "its neighbour is left alone");
    dev.down();
}
