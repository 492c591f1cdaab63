//! `ctl plan` against a scripted server: what it sends, how it ends, its stable form.

use proto::v1;

use super::fake::*;

fn planned() -> v1::PlanProjectResponse {
    let applied = v1::ApplyProjectResponse {
        revision: 3,
        release: 2,
        changed: true,
        services: vec![v1::ServiceChange { service: "web".into(), change: "replaced".into() }],
        notices: vec!["service `old` is not in the file any more and stays".into()],
    };
    let field = |field: &str, before: &str, after: &str| v1::FieldChange {
        field: field.into(),
        before: Some(before.into()),
        after: Some(after.into()),
        hidden: false,
    };
    let secret = v1::FieldChange { field: "environment.TOKEN".into(), hidden: true, ..Default::default() };
    let fields = vec![secret, field("image", "img:0", "img:1")];
    let step = |step: u32, change: &str| v1::PlannedChange {
        change: change.into(),
        kind: "spec-changed".into(),
        reason: "because".into(),
        step,
        elsewhere: false,
    };
    v1::PlanProjectResponse {
        apply: Some(applied),
        changes: vec![
            step(1, "create shop/web.1 on alpha"),
            v1::PlannedChange { elsewhere: true, ..step(1, "create blog/web.1 on alpha") },
        ],
        unplaced: vec![],
        present_release: 1,
        revision: 2,
        differences: vec![v1::ServiceDifference { service: "web".into(), fields }],
        foreseen: vec![step(2, "stop shop/web.1 (t1) on alpha")],
        cut: false,
    }
}

fn world(planned: v1::PlanProjectResponse) -> World {
    let world = World::new(shop(vec![service("shop/web", "running", 1, 1)], vec![]));
    world.compose("name: shop\nservices:\n  web:\n    image: img:1\n");
    world.script(|s| s.planned = planned);
    world
}

const PAGE: &str = "\
shop: release 1 -> 2
  ~ web  replaced: new containers
      environment.TOKEN  changes; the value is not shown
      image              img:0 -> img:1

at once:
   1  create shop/web.1 on alpha     because

then, as each step succeeds:
   2  stop shop/web.1 (t1) on alpha  because

due at once whatever is applied:
      create blog/web.1 on alpha  because
";

#[tokio::test]
async fn a_plan_shows_what_changes_and_how_it_is_done() {
    let mut world = world(planned());
    assert_eq!(world.ctl("plan").await, 0, "{}", world.err.text());
    assert_eq!(world.out.text(), PAGE);
    let said = world.err.text();
    assert!(said.contains("note: service `old` is not in the file any more and stays"), "{said}");
    assert!(said.ends_with("\nnext: ctl apply --expect-release 1\n"), "{said}");
    assert!(world.script(|s| s.applies.is_empty()), "a plan changes nothing");
    assert_eq!(world.ctl("apply --dry-run").await, 0);
    assert_eq!(world.out.text(), PAGE.repeat(2));
}

#[tokio::test]
async fn scripts_are_told_by_the_exit_code_if_they_ask() {
    let mut changing = world(planned());
    assert_eq!(changing.ctl("plan --exit-code").await, 1);
    let applied = v1::ApplyProjectResponse { release: 1, ..Default::default() };
    let nothing = v1::PlanProjectResponse { apply: Some(applied), present_release: 1, ..Default::default() };
    let mut calm = world(nothing);
    assert_eq!(calm.ctl("plan --exit-code").await, 0, "{}", calm.err.text());
    assert_eq!(calm.out.text(), "shop release 1: no change\n");
    assert!(!calm.err.text().contains("next:"), "{}", calm.err.text());
}

#[tokio::test]
async fn the_stable_form_names_items_and_steps() {
    let mut world = world(planned());
    assert_eq!(world.ctl("plan -o json").await, 0, "{}", world.err.text());
    let value: serde_json::Value = serde_json::from_str(&world.out.text()).expect("is JSON");
    assert_eq!((&value["kind"], &value["release"], &value["present_release"]), (&"Plan".into(), &2.into(), &1.into()));
    let item = &value["items"][0];
    assert_eq!((&item["name"], &item["state"]), (&"shop/web".into(), &"replaced".into()));
    assert_eq!(item["fields"][0], serde_json::json!({"name": "environment.TOKEN", "hidden": true}));
    assert_eq!(value["steps"][2]["at_once"], false);
    assert_eq!(world.ctl("plan -o name").await, 0);
    assert!(world.out.text().ends_with("}\nshop/web\n"), "{}", world.out.text());
}

#[tokio::test]
async fn apply_says_which_release_it_expects() {
    let mut world = world(planned());
    world.script(|s| s.refusals.push_back(tonic::Status::aborted("project `shop` is at release 2, not 1 as expected")));
    assert_eq!(world.ctl("apply --expect-release 1").await, 1);
    assert!(world.err.text().contains("is at release 2, not 1 as expected"), "{}", world.err.text());
    assert_eq!(world.script(|s| s.expected.clone()), [Some(1)]);
}
