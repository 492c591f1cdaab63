//! Promise: a full disk, an image that is gone, a registry that refuses and one that is silent hold up what needs them and
//! nothing else; `ctl why` names the cause; and it goes on by itself once the cause is gone.
//!
//! Each test has an engine of its own.

use std::time::Duration;

use tests::docker::dev::{Dev, project, service};
use tests::docker::private_engine::{Options, PrivateEngine, until_said};
use tests::docker::{IMAGE, until_true};

/// A pull may be silent for a minute before it is given up.
const WITHIN: Duration = Duration::from_secs(90);
const STAYS: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

fn running(options: Options) -> (PrivateEngine, Dev) {
    let engine = PrivateEngine::start(options);
    let mut dev = Dev::within("res", &engine, &engine.host());
    dev.begin();
    dev.apply(&project("calm", &[service("web", STAYS, "")])).expect(0);
    (engine, dev)
}

/// Applies without waiting: it will not get ready.
fn apply(dev: &Dev, text: &str) {
    let path = dev.write("sick.yaml", text);
    dev.ctl(&["apply", "--no-wait", "-f", &path]).expect(0);
}

fn why(dev: &Dev, name: &str) -> String {
    dev.ctl(&["why", name]).out
}

fn until_ready(dev: &Dev, task: &str) {
    until_said(
        &format!("{task} is ready"),
        WITHIN,
        || format!("{:?}", dev.get("tasks").get(task)),
        |said| said.contains("\"state\": String(\"ready\")"),
    );
}

#[test]
fn a_full_disk_is_told_and_what_waits_for_space_starts_once_there_is_some() {
    let (engine, mut dev) = running(Options { data_mb: 64, ..Options::default() });
    let before = dev.containers("calm");
    let filler = engine.fill();
    apply(&dev, &project("sick", &[service("web", STAYS, "")]));
    until_said("`ctl why` names the disk", WITHIN, || why(&dev, "sick/web"), |why| why.contains("no space left"));
    assert_eq!(dev.containers("calm"), before, "nothing was touched");
    std::fs::remove_file(filler).expect("the file is there");
    until_ready(&dev, "sick/web.1");
    assert_eq!(dev.containers("calm"), before, "nothing was touched");
    dev.down();
}

#[test]
fn an_image_that_is_gone_and_registries_that_refuse_or_are_silent_are_told() {
    let (mut engine, mut dev) = running(Options::default());
    let before = dev.containers("calm");
    // Nobody listens at the first port; at the second somebody who never says a word.
    let (refusing, silent) = ("127.0.0.1:5001/shop:1", "127.0.0.1:5002/shop:1");
    engine.listen_in_silence(5_002);
    let of = |image: &str| service("web", STAYS, "").replace(IMAGE, image);
    apply(&dev, &project("refused", &[of(refusing)]));
    until_said(
        "the refusal is told",
        WITHIN,
        || why(&dev, "refused/web"),
        |why| why.contains(refusing) && why.contains("refused"),
    );
    let path = dev.write("silent.yaml", &project("silent", &[of(silent)]));
    dev.ctl(&["apply", "--no-wait", "-f", &path]).expect(0);
    let connections = || engine.inside(&["/bin/busybox", "netstat", "-tn"]).unwrap_or_default();
    until_true("the silent registry is asked", || connections().contains(":5002 "));
    until_said(
        "the silence is told",
        WITHIN,
        || why(&dev, "silent/web"),
        |why| why.contains(silent) && why.contains("pull"),
    );
    apply(&dev, &project("calm2", &[service("web", STAYS, "")]));
    until_ready(&dev, "calm2/web.1");
    // What nobody could pull comes by another way.
    engine.docker(&["tag", IMAGE, refusing]);
    engine.docker(&["tag", IMAGE, silent]);
    until_ready(&dev, "refused/web.1");
    until_ready(&dev, "silent/web.1");
    assert_eq!(dev.containers("calm"), before, "nothing was touched");
    dev.down();
}

#[test]
fn an_image_removed_under_a_container_matters_only_to_the_next_one() {
    let (engine, mut dev) = running(Options::default());
    let before = dev.containers("calm");
    engine.docker(&["rmi", "--force", IMAGE]);
    assert!(engine.attempt(&["image", "inspect", IMAGE]).is_err(), "the fault counts only if the image is gone");
    let container = dev.container("calm/web.1");
    engine.docker(&["kill", &container]);
    until_true("started again in place", || {
        let after = dev.containers("calm");
        before.values().all(|b| after.values().any(|a| a.id == b.id && a.started_at != b.started_at))
    });
    until_ready(&dev, "calm/web.1");
    dev.down();
}
