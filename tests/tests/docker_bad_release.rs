//! Promise: a release that crashes, that never gets healthy or that hangs as it starts is taken back, its reason is told, and
//! the release before it answers every request meanwhile.

use tests::docker::IMAGE;
use tests::docker::dev::{Dev, Said};
use tests::docker::load::{Clients, Way};
use tests::docker::wire::free_port;

const CHECK: &str =
    "    healthcheck: {test: [CMD, /shop, check], interval: 1s, timeout: 5s, retries: 5, start_interval: 200ms}\n";

/// Two replicas of the greeter; `keys` are what the releases differ in.
fn manifest(project: &str, port: u16, keys: &str) -> String {
    format!(
        "name: {project}
services:
  web:
    image: {IMAGE}
    ports: [\"{port}:8080\"]
    deploy: {{replicas: 2, update_config: {{monitor: 1s}}}}
    x-wherry: {{update: {{deadline: 8s}}}}
{keys}"
    )
}

/// Applies a bad release under load: what `ctl apply` said of it.
fn refused(what: &str, bad: &str) -> Said {
    let mut dev = Dev::start(what);
    let (port, project) = (free_port(), format!("{what}-{}", dev.unique));
    let apply = |dev: &Dev, keys: &str| {
        let path = dev.write("web.yaml", &manifest(&project, port, keys));
        dev.ctl(&["apply", "--timeout", "40s", "-f", &path])
    };
    apply(&dev, &format!("    command: [hello]\n    environment: {{GREETING: good}}\n{CHECK}")).expect(0);
    let before = dev.containers(&project);
    let name = format!("web.{project}.svc.cluster.local");
    let clients = Clients::on(&[Way::Port(port), Way::Name { resolver: dev.resolver(), name, port: 8080 }]);
    let said = apply(&dev, bad).expect(5);
    let tally = clients.stop();
    tally.assert_spotless();
    let releases: Vec<&String> = tally.releases.keys().collect();
    assert_eq!(releases, ["good"], "nothing else answered");
    let why = dev.ctl(&["why", &format!("{project}/web")]).expect(0);
    println!("{}\n{}", said.err, why.out);
    let after = dev.containers(&project);
    for (name, container) in &before {
        assert_eq!(after.get(name), Some(container), "{name} was left as it is");
    }
    dev.down();
    said
}

#[test]
fn a_release_that_crashes_is_taken_back() {
    let said = refused(
        "crash",
        &format!("    entrypoint: [/bin/sh, -c, 'echo the ledger is locked; sleep 0.3; exit 7']\n{CHECK}"),
    );
    assert!(said.err.contains("exit code 7"), "the cause is told: {}", said.err);
    assert!(said.err.contains("the ledger is locked"), "its last words are told: {}", said.err);
}

#[test]
fn a_release_whose_check_fails_is_taken_back() {
    let check = "    healthcheck: {test: [CMD-SHELL, 'echo no database; exit 1'], interval: 300ms, timeout: 5s, \
                 retries: 2, start_interval: 300ms}\n";
    let said = refused("sick", &format!("    command: [hello]\n    environment: {{GREETING: bad}}\n{check}"));
    assert!(said.err.contains("no database"), "the check's words are told: {}", said.err);
}

#[test]
fn a_release_that_hangs_as_it_starts_is_taken_back() {
    let check = "    healthcheck: {test: [CMD, /shop, check], interval: 1s, timeout: 2s, retries: 100, \
                 start_interval: 500ms}\n";
    let hangs =
        "    entrypoint: [/bin/sh, -c, 'echo waiting for the database; exec sleep 1000']\n    stop_grace_period: 1s\n";
    let said = refused("hang", &format!("{hangs}{check}"));
    assert!(said.err.contains("not ready"), "the cause is told: {}", said.err);
    assert!(said.err.contains("waiting for the database"), "its last words are told: {}", said.err);
}

/// The check alone changes: what serves is judged by its own, also while the new task is still forgiven.
#[test]
fn a_check_alone_that_fails_is_taken_back() {
    let check = "    healthcheck: {test: [CMD-SHELL, 'echo no such page; exit 1'], interval: 200ms, timeout: 5s, retries: 3, \
                 start_period: 3s, start_interval: 200ms}\n";
    let said = refused("probe", &format!("    command: [hello]\n    environment: {{GREETING: good}}\n{check}"));
    assert!(said.err.contains("no such page"), "the check's words are told: {}", said.err);
}
