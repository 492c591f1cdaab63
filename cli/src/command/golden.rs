//! The screens people judge us by, byte for byte: fixed snapshots in, `transcripts/*.txt` out.
//!
//! `WHERRY_UPDATE_EXPECT=1 cargo test -p cli golden` writes them anew. The words of `ctl why` are the server's own: they are
//! taken from the transcripts of `tests/scenarios`, so that the two cannot drift apart.

use std::path::{Path, PathBuf};

use proto::v1;

use super::fake::*;
use crate::output::{Buffer, Terminal};

/// Columns of a terminal of the usual size.
const COLUMNS: usize = 80;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the lines one after the other, as seen on one screen, and compares that with the transcript.
async fn check(name: &str, mut world: World, lines: &[&str]) {
    let screen = Buffer::default();
    world.session.terminal = Terminal::on(screen.clone(), screen.clone());
    world.session.terminal.width = Some(COLUMNS);
    let mut text = String::new();
    for line in lines {
        let before = screen.text().len();
        let exit = world.ctl(line).await;
        let status = if exit == 0 { String::new() } else { format!("[exit code {exit}]\n") };
        text += &format!("$ ctl {line}\n{}{status}", &screen.text()[before..]);
    }
    let text =
        text.replace(&format!("{}/", root().display()), "").replace(&world.session.dir.display().to_string(), ".");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(format!("{name}.txt"));
    if std::env::var_os("WHERRY_UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &text).expect("writes");
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
}

/// The answer to the `nth` (from 0) `why` of a scenario.
fn answer(scenario: &str, nth: usize) -> v1::WhyResponse {
    let path = root().join("tests/scenarios").join(format!("{scenario}.expected"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let block = text.split("\n> why ").nth(nth + 1).unwrap_or_else(|| panic!("{scenario} has no why number {nth}"));
    let field = |head: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(head));
        line.unwrap_or_else(|| panic!("{scenario}: no `{head}` in {block}")).trim().to_owned()
    };
    let detail = block.lines().skip(1).filter_map(|line| line.strip_prefix("       "));
    v1::WhyResponse {
        now: field("now:"),
        cause: field("cause:"),
        next: field("next:"),
        detail: detail.map(str::to_owned).collect(),
    }
}

fn image(mut task: v1::Task) -> v1::Task {
    task.image = "wherry/shop:dev".into();
    task
}

/// The shop of the examples, running.
fn the_shop() -> v1::Snapshot {
    let mut services = Vec::new();
    let mut tasks = Vec::new();
    for (name, replicas) in [("cart", 1), ("front", 1), ("payment", 1), ("product", 2), ("user", 1)] {
        let name = format!("shop/{name}");
        services.push(v1::Service { image: "wherry/shop:dev".into(), ..service(&name, "running", replicas, replicas) });
        for slot in 1..=replicas {
            tasks.push(image(task(tasks.len() as u64 + 1, &format!("{name}.{slot}"), "ready")));
        }
    }
    services[1].ports = vec![v1::PublishedPort {
        port: Some(v1::PortSpec { target: 8080, published: 8080, ..Default::default() }),
        bound: 8080,
        ..Default::default()
    }];
    shop(services, tasks)
}

#[tokio::test]
async fn golden_end_of_the_quickstart() {
    let world = World::new(v1::Snapshot { revision: 1, ..shop(vec![], vec![]) });
    let change = |service: &str| v1::ServiceChange { service: service.to_owned(), change: "created".to_owned() };
    world.script(|s| {
        s.applied = v1::ApplyProjectResponse {
            revision: 2,
            release: 1,
            changed: true,
            services: ["cart", "front", "payment", "product", "user"].map(change).to_vec(),
            notices: vec![],
        };
        s.afterwards = Some(the_shop());
    });
    let file = root().join("examples/shop/compose.yaml");
    check("quickstart-end", world, &[&format!("apply -f {}", file.display())]).await;
}

#[tokio::test]
async fn golden_ps() {
    let mut snapshot = the_shop();
    let crash = &mut snapshot.tasks[2];
    crash.state = "backing-off".into();
    crash.reason = "exit code 1: cannot reach the bank at https://bank.example.com:8443".into();
    crash.status.as_mut().expect("has one").incarnation = 4;
    check("ps", World::new(snapshot), &["ps", "ps -o wide", "get services"]).await;
}

#[tokio::test]
async fn golden_why_after_a_kill() {
    let world = World::new(shop(vec![service("shop/web", "running", 2, 2)], vec![]));
    let last_log = vec!["log | web listening on 0.0.0.0:8080".to_owned()];
    world.script(|s| s.why = Some(v1::WhyResponse { detail: last_log, ..answer("why_killed", 3) }));
    check("why-killed", world, &["why web.1"]).await;
}

#[tokio::test]
async fn golden_why_for_an_unplaceable_service() {
    let world = World::new(shop(vec![service("shop/big", "failed", 1, 0)], vec![]));
    world.script(|s| s.why = Some(answer("unplaceable", 0)));
    check("why-unplaceable", world, &["why big"]).await;
}

#[tokio::test]
async fn golden_why_for_a_failed_pull() {
    let world = World::new(shop(vec![service("shop/web", "updating", 2, 2)], vec![]));
    world.script(|s| s.why = Some(answer("bad_image", 0)));
    check("why-failed-pull", world, &["why web"]).await;
}

#[tokio::test]
async fn golden_refused_key() {
    let world = World::new(the_shop());
    world.compose("services:\n  web:\n    image: img:1\n    gpus: all\n    port:\n      - \"8080:80\"\n");
    check("refused-key", world, &["apply"]).await;
}

/// The shop's front, whose second release failed and was taken back.
fn a_release_taken_back() -> v1::Snapshot {
    let mut snapshot = the_shop();
    snapshot.projects[0].release = 3;
    let slot = |slot| v1::RolloutSlot { slot, state: "done".into(), ..Default::default() };
    snapshot.services[1].rollout = Some(v1::Rollout {
        state: "rolled-back".into(),
        cause: "front.1: exit code 1: no such template: index.html".into(),
        release: 3,
        from_release: 1,
        began_at_unix_ms: NOW - 4_000,
        ended_at_unix_ms: Some(NOW - 1_000),
        slots: vec![slot(1)],
        failed_release: 2,
        restored_release: 1,
        log: vec!["front: loading templates".into(), "front: no such template: index.html".into()],
        ..Default::default()
    });
    snapshot
}

#[tokio::test]
async fn golden_apply_that_was_rolled_back() {
    let world = World::new(v1::Snapshot { revision: 1, ..the_shop() });
    let change = |service: &str| v1::ServiceChange {
        service: service.to_owned(),
        change: if service == "front" { "replaced" } else { "unchanged" }.to_owned(),
    };
    let release = |number: u64, what: &str, image: &str, outcome: &str, cause: &str| v1::Release {
        number,
        at_unix_ms: NOW - 10_000 + number * 1_000,
        what: what.into(),
        image: image.into(),
        replicas: 1,
        global: false,
        outcome: outcome.into(),
        cause: cause.into(),
    };
    world.script(|s| {
        s.applied = v1::ApplyProjectResponse {
            revision: 2,
            release: 2,
            changed: true,
            services: ["cart", "front", "payment", "product", "user"].map(change).to_vec(),
            notices: vec![],
        };
        s.afterwards = Some(a_release_taken_back());
        s.releases = vec![
            release(1, "applied", "wherry/shop:dev", "done", ""),
            release(2, "applied", "wherry/shop:next", "rolled-back", "front.1: exit code 1: no such template"),
            release(3, "release 2 rolled back to 1", "wherry/shop:dev", "rolled-back", "front.1: exit code 1"),
        ];
    });
    let file = root().join("examples/shop/compose.yaml");
    let lines = [&*format!("apply -f {}", file.display()), "rollout status front", "rollout history front"];
    check("rolled-back", world, &lines).await;
}
