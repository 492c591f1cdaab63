//! Promise: a new build takes the place of the one that runs the cluster, and no container is restarted for it.
//!
//! Here the earlier build is a copy of today's; `make upgrade-check` names one of an earlier commit in `WHERRY_OLD_CTL`.

use std::path::PathBuf;

use tests::docker::dev::{Dev, gone};
use tests::docker::until_true;
use tests::docker::wire::{free_port, get_local};

/// The shop in a directory, and so a project, of its own.
fn shop(dev: &Dev) -> (String, String) {
    let project = format!("shop-{}", dev.unique);
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/shop");
    let to = dev.dir.join(&project);
    std::fs::create_dir(&to).expect("a directory");
    for file in ["compose.yaml", "catalogue.json", "payment_key.txt"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    }
    (project, to.join("compose.yaml").display().to_string())
}

#[test]
fn another_build_takes_over_and_no_container_is_restarted() {
    let mut dev = Dev::prepare("upgrade");
    let (today, port) = (dev.program.clone(), free_port().to_string());
    let variables = [("SHOP_PORT", port.as_str())];
    let (project, manifest) = shop(&dev);
    dev.program = match std::env::var_os("WHERRY_OLD_CTL") {
        Some(old) => old.into(),
        None => {
            let copy = dev.dir.join("ctl-before");
            std::fs::copy(&today, &copy).expect("ctl can be copied");
            copy
        }
    };
    dev.begin();
    dev.ctl_with(&["apply", "--timeout", "40s", "-f", &manifest], &variables).expect(0);
    let (before, daemon) = (dev.containers(&project), dev.daemon());
    assert_eq!(before.len(), 6, "front, user, two of product, cart, payment: {before:?}");

    dev.program = today;
    let upgrade = ["dev", "--detach", "--upgrade", "--name", &dev.name.clone(), &manifest];
    let said = dev.ctl_with(&upgrade, &variables).expect(0);
    assert!(gone(daemon), "the earlier process ended, or nothing was tried");
    assert!(said.err.contains("taking its place"), "{}", said.err);
    assert_eq!(dev.containers(&project), before, "same containers, same start times");
    let page = port.parse().expect("a port");
    until_true("the page is there", || get_local(page, "/").is_ok());
    let tasks = dev.get("tasks");
    assert!(tasks.values().all(|task| task["state"] == "ready"), "{tasks:?}");
    assert_eq!(dev.containers(&project), before, "same containers, same start times");

    // Once more: it is ours already, and is left alone.
    let daemon = dev.daemon();
    dev.ctl_with(&upgrade, &variables).expect(0);
    assert_eq!(dev.daemon(), daemon, "the same build goes on");
    assert_eq!(dev.containers(&project), before);
    dev.down();
}
