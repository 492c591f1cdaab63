//! Promise: a dev cluster killed with SIGKILL right after an acknowledged apply, and started again, has the entry and the
//! same containers with the same start times; `ctl get all` tells the same.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tests::docker::dev::{Dev, gone, project, service};
use tests::docker::{engine, until_true};

const ROUNDS: u64 = 5;

/// The items of `ctl get all` by kind and name, without what may differ: ages and times of observation are not listed,
/// so only the list's own revision is left out.
fn all(dev: &Dev) -> BTreeMap<String, Value> {
    let list = dev.json(&["get", "all", "-o", "json"]);
    let items = list["items"].as_array().expect("items").iter();
    items.map(|item| (format!("{} {}", item["kind"], item["name"]), item.clone())).collect()
}

/// `base` twice, and so many more services that each round adds one to.
fn manifest(rounds: u64) -> String {
    let mut services = vec![service("base", "exec sleep 1000", "    deploy: {replicas: 2}\n")];
    services.extend((0..rounds).map(|n| service(&format!("more{n}"), "exec sleep 1000", "")));
    project("nine", &services)
}

#[test]
fn what_was_acknowledged_is_there_after_sigkill() {
    let mut dev = Dev::start("nine");
    dev.apply(&manifest(0)).expect(0);
    for round in 1..=ROUNDS {
        let (before, containers) = (all(&dev), dev.containers("nine"));
        assert_eq!(containers.len() as u64, round + 1);
        let file = dev.write("project.yaml", &manifest(round));
        dev.ctl(&["apply", "--no-wait", "-f", &file]).expect(0);
        // The first at once, the others somewhere within the making of the container.
        std::thread::sleep(Duration::from_micros((round - 1) * (100_000 + (engine::wall_ns() % 100_000) as u64)));
        let killed = dev.kill_daemon();
        if round % 2 == 0 {
            // In the other rounds it is started again while the old process still ends.
            until_true("the killed daemon is gone", || gone(killed));
            dev.ctl(&["get", "all"]).expect(3);
        }
        assert!(containers.iter().all(|(name, c)| dev.containers("nine").get(name) == Some(c)), "nothing was stopped");

        dev.begin();
        assert_ne!(dev.daemon(), killed, "another process runs it");
        let added = format!("nine/more{}", round - 1);
        assert!(dev.get("services").contains_key(&added), "round {round}: {added} was acknowledged");
        until_true("what was added runs", || dev.get("services")[&added]["state"] == "running");
        let now = dev.containers("nine");
        for (name, container) in &containers {
            assert_eq!(now.get(name), Some(container), "round {round}: {name}");
        }
        let after = all(&dev);
        let project_item = format!("{} {}", Value::from("Project"), Value::from("nine"));
        for (name, item) in before.iter().filter(|(name, _)| **name != project_item) {
            assert_eq!(after.get(name), Some(item), "round {round}: {name}");
        }
    }

    let (before, containers) = (all(&dev), dev.containers("nine"));
    let killed = dev.kill_daemon();
    dev.begin();
    assert_ne!(dev.daemon(), killed);
    assert_eq!(all(&dev), before, "nothing was asked, nothing differs");
    assert_eq!(dev.containers("nine"), containers);
    dev.down();
}
