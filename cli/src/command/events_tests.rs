//! `ctl events` against a scripted server: what it asks, how it goes on after a broken stream, its forms.

use proto::v1;
use tonic::Status;

use super::fake::*;

fn event(number: u64, subject: &str) -> v1::Event {
    v1::Event {
        number,
        revision: number,
        at_unix_ms: NOW - 60_000 + number,
        subject: subject.into(),
        kind: "task-created".into(),
        message: "on alpha".into(),
    }
}

fn batch(events: Vec<v1::Event>, missed: u64, last: u64) -> Result<v1::EventBatch, Status> {
    Ok(v1::EventBatch { events, missed, last, at_unix_ms: NOW, revision: 9 })
}

fn world(streams: Vec<Vec<Result<v1::EventBatch, Status>>>) -> World {
    let world = World::new(shop(vec![service("shop/web", "running", 1, 1)], vec![]));
    world.script(|s| s.streams = streams.into());
    world
}

#[tokio::test]
async fn a_list_is_a_table_or_the_stable_form() {
    let stream = || vec![batch(vec![event(1, "shop/web.1")], 0, 1), batch(vec![event(2, "shop/web.2")], 0, 2)];
    let mut world = world(vec![stream(), stream()]);
    assert_eq!(world.ctl("events web -p shop --tail 5").await, 0, "{}", world.err.text());
    let want = "\
AGE  SUBJECT     EVENT         MESSAGE
59s  shop/web.1  task-created  on alpha
59s  shop/web.2  task-created  on alpha
";
    assert_eq!(world.out.text(), want);
    let asked = world.script(|s| s.watches.remove(0));
    assert_eq!(
        (asked.subject.as_str(), asked.project.as_str(), asked.tail, asked.once),
        ("web", "shop", Some(5), true)
    );
    assert_eq!(world.ctl("get events -o json").await, 0);
    let text = world.out.text();
    let value: serde_json::Value = serde_json::from_str(&text[want.len()..]).expect("is JSON");
    assert_eq!((&value["kind"], &value["revision"]), (&"EventList".into(), &9.into()));
    assert_eq!((&value["items"][1]["name"], &value["items"][1]["number"]), (&"shop/web.2".into(), &2.into()));
}

#[tokio::test]
async fn a_watch_goes_on_behind_what_it_told_and_says_what_it_missed() {
    let mut world = world(vec![
        vec![batch(vec![event(1, "shop/web.1")], 0, 1), batch(vec![], 0, 4)],
        vec![batch(vec![event(17, "shop/web.2")], 12, 17)],
        vec![Err(Status::invalid_argument("that is all"))],
    ]);
    assert_eq!(world.ctl("events --watch -o json").await, 1, "{}", world.err.text());
    let lines: Vec<serde_json::Value> =
        world.out.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let told: Vec<(&str, &str)> =
        lines.iter().map(|l| (l["state"].as_str().expect("has one"), l["name"].as_str().expect("has one"))).collect();
    assert_eq!(told, [("task-created", "shop/web.1"), ("missed", ""), ("task-created", "shop/web.2")]);
    assert_eq!(lines[1]["missed"], 12);
    assert!(world.err.text().contains("12 events were missed"), "{}", world.err.text());
    let asked = world.script(|s| s.watches.clone());
    let after: Vec<Option<u64>> = asked.iter().map(|a| a.after).collect();
    assert_eq!(after, [None, Some(4), Some(17)], "also what nobody asked for was looked at");
    assert_eq!((asked[0].tail, asked[1].tail), (Some(200), None));
}

#[tokio::test]
async fn a_project_that_never_was_is_a_mistake() {
    let mut world = world(vec![]);
    assert_eq!(world.ctl("events -p shpo").await, 1);
    assert!(world.err.text().contains("did you mean `shop`?"), "{}", world.err.text());
}
