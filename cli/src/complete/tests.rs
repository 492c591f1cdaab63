//! What is offered for which words; scripts that are the shells' own are tried in `tests/completion.rs`.

use std::ffi::OsString;

use proto::v1;

use super::ask::{Known, value};
use super::names::{Want, offered};
use super::{answer, script};
use crate::args::Shell;
use crate::command::fake::{service, shop, task};
use crate::name::Scope;

/// The shop with web.1, web.2 and db.1, and another project with a web.
fn known(here: Option<&str>) -> Known {
    let services = vec![
        service("shop/web", "running", 2, 2),
        service("shop/db", "failed", 1, 0),
        service("blog/web", "running", 1, 1),
    ];
    let tasks = vec![task(1, "shop/web.1", "ready"), task(2, "shop/web.2", "ready"), task(3, "blog/web.1", "ready")];
    let mut snapshot = shop(services, tasks);
    snapshot.projects.push(v1::Project { name: "blog".into(), state: "running".into(), ..Default::default() });
    Known { snapshot, scope: Scope { asked: None, here: here.map(str::to_owned) } }
}

#[track_caller]
fn check(want: Want, typed: &str, here: Option<&str>, names: &str) {
    let got: Vec<String> = offered(want, typed, &known(here)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(got.join(" "), names, "{want:?} `{typed}` in {here:?}");
}

#[test]
fn a_service_is_offered_as_shortly_as_it_can_be_named() {
    check(Want::Services, "", None, "blog/web db shop/web");
    check(Want::Services, "", Some("shop"), "blog/web db web");
    check(Want::Services, "w", Some("shop"), "web");
    check(Want::Services, "shop/", Some("shop"), "shop/db shop/web");
    check(Want::Scaled, "d", None, "db=");
}

#[test]
fn slots_come_with_the_dot() {
    check(Want::Slots, "web", Some("shop"), "web");
    check(Want::Slots, "web.", Some("shop"), "web.1 web.2");
    check(Want::Slots, "blog/web.", Some("shop"), "blog/web.1");
    check(Want::Services, "web.", Some("shop"), "");
}

#[test]
fn what_can_be_asked_why_is_offered() {
    check(Want::Anything, "", Some("shop"), "alpha blog blog/web db shop web");
    check(Want::Nodes, "a", None, "alpha");
    check(Want::Projects, "", None, "blog shop");
}

#[test]
fn the_word_before_says_which_kind() {
    let on = |line: &str| Want::OfKind.on(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(on("ctl describe node a"), Want::Nodes);
    assert_eq!(on("ctl get svc -p shop w"), Want::Services);
    assert_eq!(on("ctl delete project node"), Want::Projects, "the second is its name");
}

#[test]
fn options_on_the_line_are_heeded() {
    let of = |line: &str| value(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), &["--project", "-p"]);
    assert_eq!(of("ctl why -p shop web").as_deref(), Some("shop"));
    assert_eq!(of("ctl why -pshop web").as_deref(), Some("shop"));
    assert_eq!(of("ctl why --project=shop web").as_deref(), Some("shop"));
    assert_eq!(of("ctl why --projects web"), None);
    assert_eq!(of("ctl why -p"), None);
}

/// What fish is told, without the descriptions.
fn fish(line: &str) -> String {
    let words = ["ctl", "--"].into_iter().chain(line.split(' ')).map(OsString::from).collect::<Vec<_>>();
    let told = String::from_utf8(answer("fish", &words, None).expect("an answer")).expect("is text");
    told.lines().map(|line| line.split('\t').next().unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

#[test]
fn commands_and_options_are_offered_but_not_words_of_other_programs() {
    assert_eq!(fish("ctl dele"), "delete");
    assert_eq!(fish("ctl rollout "), "status history undo pause resume help");
    assert_eq!(fish("ctl ru"), "", "`run` only says what else to type");
    assert_eq!(fish("ctl completion "), "bash zsh fish");
    assert_eq!(fish("ctl apply --pr"), "--project --profile --prune");
    assert!(!fish("ctl ").contains("--socket"), "{}", fish("ctl "));
    assert!(fish("ctl -").contains("--socket"), "{}", fish("ctl -"));
}

#[test]
fn a_shell_that_is_not_known_gets_no_answer() {
    answer("csh", &["ctl".into(), "--".into(), "ctl".into(), "".into()], None).expect_err("is unknown");
}

#[test]
fn a_script_calls_ctl_as_it_was_called() {
    let of = |called: &str| script(Shell::Bash, called.as_ref(), "/home/me".as_ref()).expect("a script");
    assert!(of("ctl").contains("\"ctl\" -- ") && of("ctl").contains("_clap_complete_ctl ctl\n"), "{}", of("ctl"));
    assert!(of("bin/ctl").contains("\"/home/me/bin/ctl\" -- "), "{}", of("bin/ctl"));
    assert!(of("/usr/bin/wherry").contains("_clap_complete_wherry wherry\n"), "{}", of("/usr/bin/wherry"));
}
