//! Promise: containers that are not ours are never touched, whatever they are called and whatever happens to the cluster.

use std::collections::BTreeMap;

use tests::docker::IMAGE;
use tests::docker::dev::{Dev, project, service};
use tests::docker::engine::{attempt, docker, inspect};

/// Containers that somebody else runs; removed when dropped.
struct Strangers(Vec<String>);

impl Strangers {
    fn run(&mut self, name: &str, labels: &[&str]) {
        let mut words = vec!["run", "--detach", "--name", name, "--entrypoint", "/bin/sleep"];
        labels.iter().for_each(|label| words.extend(["--label", label]));
        words.extend([IMAGE, "1000"]);
        self.0.push(name.to_owned());
        docker(&words);
    }

    /// Id, start and state of each.
    fn look(&self) -> BTreeMap<String, (String, String, bool)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let look = |name: &String| {
            let seen = inspect(name);
            let running = seen["State"]["Running"].as_bool().unwrap_or_default();
            (name.clone(), (text(&seen["Id"]), text(&seen["State"]["StartedAt"]), running))
        };
        self.0.iter().map(look).collect()
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = attempt(&["rm", "--force", name]);
        }
    }
}

#[test]
fn strangers_are_left_alone() {
    let mut dev = Dev::start("foreign");
    let mut strangers = Strangers(Vec::new());
    let label = format!("wherry.cluster={:016x}", !u64::from_str_radix(&dev.cluster, 16).expect("hexadecimal"));
    strangers.run(&format!("{}-plain", dev.name), &[]);
    strangers.run(&format!("{}-other", dev.name), &[&label, "wherry.task=t1"]);
    let guests = format!("guests{}", dev.unique);
    let taken = format!("{guests}-web-1");
    strangers.run(&taken, &[]);
    let before = strangers.look();
    assert!(before.values().all(|(_, _, running)| *running), "{before:?}");

    dev.apply(&project(&guests, &[service("web", "exec sleep 1000", "")])).expect(0);
    let ours = dev.containers(&guests);
    let name = ours.keys().next().expect("ours runs beside the stranger of its name");
    assert!(name.starts_with(&format!("{taken}-")), "{name}");
    dev.kill_daemon();
    dev.begin();
    assert_eq!(dev.containers(&guests), ours);
    dev.ctl(&["delete", "project", &guests, "--yes"]).expect(0);
    dev.down();
    assert_eq!(strangers.look(), before);
}
