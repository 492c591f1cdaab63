//! Promise: after `ctl delete project` and `ctl dev down --volumes` containers, networks, volumes, interfaces, rules,
//! routes, listeners, mounts, sockets and files are as before.

use std::collections::BTreeSet;

use tests::docker::dev::{Dev, project, service};
use tests::docker::until_true;
use tests::docker::wire::{free_port, get_local};

fn kinds(traces: &[String]) -> BTreeSet<&str> {
    traces.iter().filter_map(|trace| trace.split(' ').next()).collect()
}

fn manifest(name: &str, port: u16) -> String {
    let more =
        format!("    ports: [\"{port}:8080\"]\n    volumes: [\"data:/w\"]\n    configs: [words]\n    secrets: [key]\n");
    project(name, &[service("web", "echo hi >/w/index.html; exec httpd -f -p 8080 -h /w", &more)])
        + "volumes:\n  data: {}\nconfigs:\n  words: {content: hello}\nsecrets:\n  key: {file: ./key}\n"
}

#[test]
fn everything_that_was_made_is_removed() {
    let mut dev = Dev::start("tidy");
    let port = free_port();
    dev.write("key", "open sesame");
    dev.apply(&manifest("tidy", port)).expect(0);
    assert_eq!(get_local(port, "/index.html").expect("it serves"), "hi\n");
    let there = dev.traces();
    let expected = ["container", "file", "interface", "listener", "mount", "network", "route", "socket", "volume"];
    for kind in expected {
        assert!(kinds(&there).contains(kind), "the look for `{kind}` finds what is there: {there:#?}");
    }

    dev.ctl(&["delete", "project", "tidy", "--yes"]).expect(0);
    let left = dev.traces();
    assert!(!kinds(&left).contains("container"), "{left:#?}");
    assert!(kinds(&left).contains("volume"), "a named volume stays unless it is asked for: {left:#?}");
    until_true("the published port is closed", || get_local(port, "/").is_err());
    assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_ok(), "the port is free");
    assert_eq!(dev.get("all").len(), 1, "only the volume is listed: {:?}", dev.get("all"));

    // Looks for all kinds once more, after the end.
    dev.down();
}

#[test]
fn a_killed_cluster_can_be_removed_too() {
    let dev = Dev::start("tidy-killed");
    dev.write("key", "open sesame");
    dev.apply(&manifest("tidy-killed", free_port())).expect(0);
    dev.kill_daemon();
    dev.ctl(&["dev", "down", "--volumes", "--name", &dev.name]).expect(0);
    assert_eq!(dev.traces(), [] as [String; 0]);
    dev.forget();
}
