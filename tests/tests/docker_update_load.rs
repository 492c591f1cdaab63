//! Promise: a service of four replicas is updated under load, again and again, and no request fails: through a published
//! port and through its name, with a connection for each request and with kept ones.
//!
//! Short by default; `make update-load` sets `WHERRY_UPDATES` and `WHERRY_REQUESTS` for the long form.

use std::time::{Duration, Instant};

use tests::docker::dev::Dev;
use tests::docker::load::{Clients, Way};
use tests::docker::wire::free_port;
use tests::docker::{IMAGE, figures, until_true};

const REPLICAS: usize = 4;

fn manifest(project: &str, port: u16, release: usize) -> String {
    format!(
        "name: {project}
services:
  web:
    image: {IMAGE}
    command: [\"hello\"]
    environment: {{GREETING: release-{release}}}
    ports: [\"{port}:8080\"]
    healthcheck: {{test: [CMD, /shop, check], interval: 2s, timeout: 5s, retries: 5, start_interval: 200ms}}
    deploy: {{replicas: {REPLICAS}, update_config: {{monitor: 1s}}}}
"
    )
}

/// A number from the environment, or the short form's.
fn wanted(variable: &str, short: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(short, |text| text.parse().unwrap_or_else(|e| panic!("{variable}={text}: {e}")))
}

#[test]
fn no_request_fails_while_four_replicas_are_updated() {
    let (updates, requests) = (wanted("WHERRY_UPDATES", 2), wanted("WHERRY_REQUESTS", 20_000));
    let mut dev = Dev::start("load");
    let (port, project) = (free_port(), format!("load-{}", dev.unique));
    let apply = |dev: &Dev, release: u64| {
        let path = dev.write("load.yaml", &manifest(&project, port, release as usize));
        let begun = Instant::now();
        dev.ctl(&["apply", "--timeout", "90s", "-f", &path]).expect(0);
        begun.elapsed()
    };
    apply(&dev, 0);
    let name = format!("web.{project}.svc.cluster.local");
    let ways = [Way::Port(port), Way::Name { resolver: dev.resolver(), name, port: 8080 }];
    let clients = Clients::on(&ways);
    let begun = Instant::now();
    let mut took = Vec::new();
    for release in 1..=updates {
        let before = dev.containers(&project);
        took.push(apply(&dev, release));
        // The last one drains a little longer than its successor is waited for.
        until_true("all were replaced", || {
            let after = dev.containers(&project);
            after.len() == REPLICAS && after.values().all(|c| before.values().all(|b| b.id != c.id))
        });
        // The load is spread evenly over the updates.
        while clients.answered() < requests * release / updates {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let lasted = begun.elapsed();
    let tally = clients.stop();
    let (total, failed) = (tally.total(), tally.failed.len());
    let median = figures::median(&took);
    figures::note(&format!(
        "update under load: {updates} updates of {REPLICAS} replicas, {failed} failed of {total} requests in \
         {lasted:.1?} ({:?}), one update {median:.1?} in the median",
        tally.answered
    ));
    tally.assert_spotless();
    for release in 0..=updates {
        assert!(tally.releases.contains_key(&format!("release-{release}")), "{:?}", tally.releases);
    }
    dev.down();
}
