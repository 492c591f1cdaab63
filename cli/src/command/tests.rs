//! Whole commands against a scripted server: what they send, what they print, how they end.

use proto::v1;
use tonic::Status;

use super::fake::*;
use crate::exit::Exit;

const COMPOSE: &str = "\
name: shop
services:
  web:
    image: img:1
    deploy: {replicas: 2}
";

fn running() -> v1::Snapshot {
    let web = v1::Service {
        ports: vec![v1::PublishedPort {
            port: Some(v1::PortSpec { target: 80, published: 8080, ..Default::default() }),
            bound: 8080,
            ..Default::default()
        }],
        ..service("shop/web", "running", 2, 2)
    };
    shop(vec![web], vec![task(11, "shop/web.1", "ready"), task(12, "shop/web.2", "ready")])
}

fn applied(changes: &[(&str, &str)]) -> v1::ApplyProjectResponse {
    let change = |(service, change): &(&str, &str)| v1::ServiceChange {
        service: service.to_string(),
        change: change.to_string(),
    };
    let changed = changes.iter().any(|(_, change)| *change != "unchanged");
    v1::ApplyProjectResponse {
        revision: 2,
        release: 1,
        changed,
        services: changes.iter().map(change).collect(),
        notices: vec![],
    }
}

/// A server that has nothing yet and runs `web` once it is applied.
fn empty_world() -> World {
    let world = World::new(v1::Snapshot { revision: 1, ..shop(vec![], vec![]) });
    world.compose(COMPOSE);
    world.script(|s| {
        s.applied = applied(&[("web", "created")]);
        s.afterwards = Some(running());
    });
    world
}

#[tokio::test]
async fn apply_waits_and_ends_with_what_runs_and_the_next_command() {
    let mut world = empty_world();
    assert_eq!(world.ctl("apply").await, 0, "{}", world.err.text());
    let want = "\
shop release 1
  web  created

NAME        STATE  NODE   RESTARTS  AGE
shop/web.1  ready  alpha  0         1m25s
shop/web.2  ready  alpha  0         1m25s

  web  http://localhost:8080
";
    assert_eq!(world.out.text(), want);
    assert!(world.err.text().ends_with("\nnext: ctl logs -f shop/web\n"), "{}", world.err.text());
    let sent = world.script(|s| s.applies.clone());
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1.services["web"].replicas, 2);
}

#[tokio::test]
async fn apply_of_the_same_changes_nothing_and_still_looks_whether_it_runs() {
    let mut world = World::new(running());
    world.compose(COMPOSE);
    world.script(|s| s.applied = applied(&[("web", "unchanged")]));
    assert_eq!(world.ctl("apply").await, 0, "{}", world.err.text());
    assert!(world.out.text().starts_with("shop release 1: no change\n"), "{}", world.out.text());
}

#[tokio::test]
async fn a_manifest_with_problems_is_not_sent() {
    let mut world = empty_world();
    world.compose("name: shop\nservices:\n  web:\n    imagee: img:1\n");
    assert_eq!(world.ctl("apply").await, 1);
    assert!(world.err.text().contains("\ncompose.yaml:4:5: "), "{}", world.err.text());
    assert!(world.err.text().contains("nothing was sent"), "{}", world.err.text());
    assert!(world.script(|s| s.applies.is_empty()));
}

#[tokio::test]
async fn without_a_manifest_the_command_line_is_wrong() {
    let mut world = World::new(running());
    assert_eq!(world.ctl("apply").await, 2);
    assert!(world.err.text().contains("there is no Compose file in this directory"), "{}", world.err.text());
}

#[tokio::test]
async fn a_refusal_is_shown_at_its_place_in_the_file() {
    let mut world = empty_world();
    world.script(|s| s.refusals.push_back(refusal("services.web.deploy", "too many replicas", "at most 1")));
    assert_eq!(world.ctl("apply").await, 1);
    let want = "\
compose.yaml:5:5: services.web.deploy: too many replicas
  hint: at most 1
error: the project was refused
";
    assert!(world.err.text().ends_with(want), "{}", world.err.text());
}

#[tokio::test]
async fn a_change_is_resent_under_its_request_id() {
    let mut world = empty_world();
    world.script(|s| s.refusals.extend([Status::unavailable("no leader"), Status::unavailable("no leader")]));
    assert_eq!(world.ctl("apply").await, 0, "{}", world.err.text());
    let ids: Vec<v1::RequestId> = world.script(|s| s.applies.iter().map(|(id, _)| *id).collect());
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0] && id.client != 0));
}

#[tokio::test]
async fn an_unknown_outcome_is_its_own_exit_code() {
    let mut world = empty_world();
    world.script(|s| s.refusals.push_back(Status::deadline_exceeded("unknown outcome")));
    assert_eq!(world.ctl("apply").await, Exit::TimedOut.code());
    assert!(world.err.text().contains("doing it again is safe"), "{}", world.err.text());
}

#[tokio::test]
async fn not_running_in_time_is_a_timeout_that_says_what_is_missing() {
    let mut world = empty_world();
    let web = v1::Service { reason: "waits for db".into(), ..service("shop/web", "waiting", 2, 0) };
    world.script(|s| s.afterwards = Some(shop(vec![web], vec![])));
    assert_eq!(world.ctl("apply --timeout 300ms").await, 4);
    assert!(world.err.text().contains("  web: waiting 0/2: waits for db\n"), "{}", world.err.text());
}

#[tokio::test]
async fn a_failed_pull_ends_apply_with_the_reason_and_the_next_command() {
    let mut world = empty_world();
    let mut failed = task(13, "shop/web.1", "failed");
    failed.reason = "image `img:1` cannot be pulled: manifest unknown".into();
    failed.status.as_mut().expect("has one").phase = v1::Phase::Failed.into();
    let mut old = task(9, "shop/web.1", "ready");
    old.outdated = true;
    world.script(|s| s.afterwards = Some(shop(vec![service("shop/web", "updating", 2, 1)], vec![failed, old])));
    assert_eq!(world.ctl("apply").await, 1);
    let want = "\
error: shop/web.1: image `img:1` cannot be pulled: manifest unknown
  1 container of the earlier version still serves
hint: ctl why shop/web.1
";
    assert!(world.err.text().ends_with(want), "{}", world.err.text());
}

#[tokio::test]
async fn services_that_left_the_file_stay_with_a_notice_or_are_pruned() {
    let mut world = empty_world();
    let notice = "service `old` is not in the file any more and stays; `ctl apply --prune` removes it";
    world.script(|s| s.applied.notices = vec![notice.to_owned()]);
    assert_eq!(world.ctl("apply").await, 0);
    assert!(world.err.text().contains(&format!("note: {notice}\n")), "{}", world.err.text());

    let mut world = empty_world();
    world.script(|s| s.applied = applied(&[("old", "removed"), ("web", "created")]));
    assert_eq!(world.ctl("apply --prune").await, 0, "{}", world.err.text());
    assert!(world.out.text().starts_with("shop release 1\n  old  removed\n  web  created\n"), "{}", world.out.text());
    assert_eq!(world.script(|s| s.prunes.clone()), [true]);
}

#[tokio::test]
async fn no_wait_returns_at_once() {
    let mut world = empty_world();
    world.script(|s| s.afterwards = None);
    assert_eq!(world.ctl("apply --no-wait").await, 0);
    assert_eq!(world.out.text(), "shop release 1\n  web  created\n");
}

#[tokio::test]
async fn images_are_built_on_a_dev_cluster_only() {
    let mut world = empty_world();
    world.compose("name: shop\nservices:\n  web:\n    build: .\n");
    assert_eq!(world.ctl("apply").await, 1);
    assert!(world.err.text().contains("images must come from a registry"), "{}", world.err.text());
    assert!(world.script(|s| s.applies.is_empty()));
}

#[tokio::test]
async fn lists_as_table_names_and_json() {
    let mut world = World::new(running());
    assert_eq!(world.ctl("get svc").await, 0);
    let want = "\
NAME      STATE    READY  IMAGE  PORTS     AGE
shop/web  running  2/2    img:1  8080->80  1m30s
";
    assert_eq!(world.out.text(), want);

    let mut world = World::new(running());
    assert_eq!(world.ctl("get tasks web.2 -o name").await, 0);
    assert_eq!(world.out.text(), "shop/web.2\n");

    let mut world = World::new(running());
    assert_eq!(world.ctl("get nodes -o json").await, 0);
    let json: serde_json::Value = serde_json::from_str(&world.out.text()).expect("is JSON");
    assert_eq!(json["kind"], "NodeList");
    assert_eq!(json["items"][0]["name"], "alpha");
    assert_eq!(json["items"][0]["state"], "ready");
}

#[tokio::test]
async fn the_json_of_a_task_is_stable() {
    let mut world = World::new(shop(vec![service("shop/web", "running", 1, 1)], vec![task(11, "shop/web.1", "ready")]));
    assert_eq!(world.ctl("ps -o json").await, 0);
    let want = r#"{
  "kind": "TaskList",
  "revision": 2,
  "items": [
    {
      "name": "shop/web.1",
      "state": "ready",
      "id": "t11",
      "project": "shop",
      "service": "web",
      "slot": 1,
      "node": "alpha",
      "node_id": "00000000000000ff",
      "image": "img:1",
      "generation": 1,
      "outdated": false,
      "desired": "run",
      "phase": "running",
      "health": "none",
      "restarts": 0,
      "failures_in_a_row": 0,
      "oom_killed": false,
      "addresses": [
        "10.210.0.11"
      ],
      "container_id": "0123456789abcdef",
      "reason": "",
      "created_at": "2023-11-14T22:13:35.000Z",
      "started_at": "2023-11-14T22:13:40.000Z"
    }
  ]
}
"#;
    assert_eq!(world.out.text(), want);
}

#[tokio::test]
async fn yaml_says_the_same_as_json() {
    let mut world = World::new(running());
    assert_eq!(world.ctl("get projects -o yaml").await, 0);
    let want = "\
kind: ProjectList
revision: 2
items:
- name: shop
  state: running
  release: 1
  services: 1
  applied_at: 2023-11-14T22:13:30.000Z
  uid: 1-5
";
    // Quoting of scalars is the writer's business; what is said is ours.
    assert_eq!(world.out.text().replace(['"', '\''], "").replace("\n  - ", "\n- ").replace("\n    ", "\n  "), want);
}

#[tokio::test]
async fn ps_shows_the_directorys_project_else_all() {
    let mut both = running();
    both.services.push(service("blog/web", "running", 1, 1));
    both.tasks.push(task(21, "blog/web.1", "ready"));
    both.projects.push(v1::Project { name: "blog".into(), ..Default::default() });
    let mut world = World::new(both.clone());
    assert_eq!(world.ctl("ps -o name").await, 0);
    assert_eq!(world.out.text(), "shop/web.1\nshop/web.2\nblog/web.1\n");

    let mut world = World::new(both.clone());
    world.compose("name: blog\nservices: {web: {image: x}}\n");
    assert_eq!(world.ctl("ps -o name").await, 0);
    assert_eq!(world.out.text(), "blog/web.1\n");

    let mut world = World::new(both);
    world.compose("name: blog\nservices: {web: {image: x}}\n");
    assert_eq!(world.ctl("ps --all -o name").await, 0);
    assert_eq!(world.out.text().lines().count(), 3);
}

#[tokio::test]
async fn what_is_not_there_is_a_failure_with_a_suggestion() {
    let mut world = World::new(running());
    assert_eq!(world.ctl("get services wbe").await, 1);
    assert!(world.err.text().contains("did you mean `web`?"), "{}", world.err.text());
    assert_eq!(world.ctl("get nodes alhpa").await, 1);
    assert!(world.err.text().contains("did you mean `alpha`?"), "{}", world.err.text());
    assert_eq!(world.ctl("get tasks -p shpo").await, 1);
    assert!(world.err.text().contains("did you mean `shop`?"), "{}", world.err.text());
    assert_eq!(world.out.text(), "");
}

#[tokio::test]
async fn scale_resolves_all_names_before_it_changes_anything() {
    let mut world = World::new(running());
    assert_eq!(world.ctl("scale web=3 wbe=1").await, 1);
    assert!(world.script(|s| s.scales.is_empty()));

    let three = vec![task(11, "shop/web.1", "ready"), task(12, "shop/web.2", "ready"), task(13, "shop/web.3", "ready")];
    world.script(|s| s.afterwards = Some(shop(vec![service("shop/web", "running", 3, 3)], three)));
    assert_eq!(world.ctl("scale web=3").await, 0, "{}", world.err.text());
    assert_eq!(world.script(|s| s.scales[0].replicas), 3);
    assert_eq!(world.out.text(), "shop/web 2 to 3\n");
}

#[tokio::test]
async fn delete_waits_until_it_is_gone_and_prints_what_it_kept() {
    let mut snapshot = running();
    snapshot.volumes.push(v1::Volume {
        project: "shop".into(),
        name: "data".into(),
        docker_name: "shop_data".into(),
        ..Default::default()
    });
    let mut world = World::new(snapshot);
    let gone = v1::Snapshot { projects: vec![], ..shop(vec![], vec![]) };
    world.script(|s| s.afterwards = Some(gone));
    assert_eq!(world.ctl("delete project shop").await, 0, "{}", world.err.text());
    assert_eq!(world.out.text(), "project shop deleted\n");
    assert!(world.err.text().contains("kept volume: shop_data\n"), "{}", world.err.text());
    assert!(world.script(|s| !s.deletes[0].volumes));
}

#[tokio::test]
async fn delete_of_what_does_not_go_is_a_timeout() {
    let mut world = World::new(running());
    assert_eq!(world.ctl("delete project shop --timeout 300ms").await, 4);
    assert!(world.err.text().contains("web: stopping 2 left"), "{}", world.err.text());
}

#[tokio::test]
async fn why_is_three_lines_and_detail() {
    let mut world = World::new(running());
    assert_eq!(world.ctl("why web.2").await, 0);
    let want = "\
shop/web.2
  now  backing off (slot 2)
cause  exited with code 1
 next  starts again in 2s

  last output:
    no database
";
    assert_eq!(world.out.text(), want);
    assert!(world.err.text().ends_with("more: ctl logs --tail 50 shop/web.2\n"));
}

#[tokio::test]
async fn logs_of_several_containers_are_told_apart() {
    let mut world = World::new(running());
    let chunk =
        |source: &str, text: &str| v1::LogChunk { source: source.into(), data: text.into(), ..Default::default() };
    world.script(|s| s.logs = vec![chunk("shop/web.1", "one\n"), chunk("shop/web.2", "two\n")]);
    assert_eq!(world.ctl("logs web").await, 0, "{}", world.err.text());
    assert_eq!(world.out.text(), "web.1 | one\nweb.2 | two\n");
}

#[tokio::test]
async fn describe_shows_fields_tables_and_events() {
    let mut snapshot = running();
    let event = |revision, subject: &str, kind: &str| v1::Event {
        number: revision,
        revision,
        at_unix_ms: NOW - 5_000,
        subject: subject.into(),
        kind: kind.into(),
        message: "because".into(),
    };
    snapshot.events =
        vec![event(3, "shop/web.1", "task-ready"), event(2, "shop/web.1", "task-created"), event(1, "blog", "applied")];
    let mut world = World::new(snapshot);
    assert_eq!(world.ctl("describe service web").await, 0, "{}", world.err.text());
    let text = world.out.text();
    assert!(text.contains("State       running\n"), "{text}");
    assert!(text.contains("Replicas    2 wanted, 2 ready, 2 current\n"), "{text}");
    let events = "\
Events
AGE  SUBJECT     EVENT         MESSAGE
5s   shop/web.1  task-created  because
5s   shop/web.1  task-ready    because
";
    assert!(text.ends_with(events), "{text}");
    for line in ["describe node alpha", "describe task web.1", "describe project shop", "describe task t11"] {
        assert_eq!(world.ctl(line).await, 0, "{line}: {}", world.err.text());
    }
    assert_eq!(world.ctl("describe task web").await, 2);
    assert_eq!(world.ctl("describe volume nope").await, 1);
}

#[tokio::test]
async fn version_says_who_answers() {
    let mut world = World::new(running());
    assert_eq!(world.ctl("version").await, 0);
    let version = env!("CARGO_PKG_VERSION");
    let want = format!(
        "client  {version}\nserver  {version} (leader)\ncluster 0000000000000007\nranges  10.210.0.0/16 containers, 10.211.0.0/16 services\n"
    );
    assert_eq!(world.out.text(), want);
}

#[tokio::test]
async fn nobody_there_is_unreachable_with_the_remedy() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for socket in [None, Some(dir.path().join("no.sock"))] {
        let (mut session, out, _) = session(dir.path().to_owned(), socket);
        let args = <crate::args::Args as clap::Parser>::try_parse_from(["ctl", "ps"]).expect("is a command line");
        let failure = crate::run(&mut session, &args.command).await.expect_err("nobody listens");
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.hints[0].contains("ctl dev"), "{:?}", failure.hints);
        assert_eq!(out.text(), "");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_timeout() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let socket = dir.path().join("api.sock");
    // It accepts and never says a word.
    let _listener = tokio::net::UnixListener::bind(&socket).expect("can listen");
    let mut client = crate::client::Client::connect(&socket).await.expect("connects");
    client.read_deadline = std::time::Duration::from_millis(100);
    client.change_deadline = std::time::Duration::from_millis(100);
    let read = crate::exit::Failure::from(client.snapshot("", 0).await.expect_err("no answer"));
    assert_eq!(read.exit, Exit::TimedOut);
    let change = crate::exit::Failure::from(client.delete_project("shop", false).await.expect_err("no answer"));
    assert_eq!(change.exit, Exit::TimedOut);
    assert!(change.message.contains("the outcome is unknown"), "{}", change.message);
}

#[tokio::test]
async fn words_of_other_programs_lead_to_ours() {
    let mut world = World::new(running());
    for (line, ours) in [
        ("up -d", "ctl apply"),
        ("down -v", "ctl delete"),
        ("run -it x sh", "ctl apply"),
        ("exec web sh", "docker exec"),
        ("ls", "ctl get projects"),
    ] {
        assert_eq!(world.ctl(line).await, 2, "{line}");
        assert!(world.err.text().contains(ours), "{line}: {}", world.err.text());
    }
}

#[tokio::test]
async fn labels_of_a_service_are_shown() {
    let labels = [("tier".to_owned(), "front".to_owned()), ("a".to_owned(), "b".to_owned())];
    let web = v1::Service { labels: labels.into(), ..service("shop/web", "running", 1, 1) };
    let mut world = World::new(shop(vec![web], vec![]));
    assert_eq!(world.ctl("describe service shop/web").await, 0, "{}", world.err.text());
    assert!(world.out.text().contains("a=b\n"), "{}", world.out.text());
    assert_eq!(world.ctl("get services -o json").await, 0, "{}", world.err.text());
    let json = world.out.text();
    assert!(json.contains("\"labels\"") && json.contains("\"tier\": \"front\""), "{json}");
}
