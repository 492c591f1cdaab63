//! `ctl check` as a user sees it: without a server, byte for byte.

use super::fake::session;
use crate::output::Buffer;
use crate::session::Session;

struct Desk {
    dir: tempfile::TempDir,
    session: Session,
    out: Buffer,
    err: Buffer,
}

/// A directory with files, and no server anywhere.
fn desk(files: &[(&str, &str)]) -> Desk {
    let dir = tempfile::tempdir().expect("temporary directory");
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the directory")).expect("writable");
        std::fs::write(path, text).expect("writable");
    }
    let (session, out, err) = session(dir.path().to_owned(), None);
    Desk { dir, session, out, err }
}

impl Desk {
    /// Exit code, and what stood on stdout.
    async fn ctl(&mut self, line: &str) -> (u8, String) {
        let before = self.out.text().len();
        let words = std::iter::once("ctl").chain(line.split_whitespace());
        let args = <crate::args::Args as clap::Parser>::try_parse_from(words).expect("is a command line");
        let ended = crate::run(&mut self.session, &args.command).await;
        let exit = ended.unwrap_or_else(|failure| {
            crate::report(&mut self.session.terminal, &failure);
            failure.exit
        });
        (exit.code(), self.out.text()[before..].to_owned())
    }
}

const MIXED: &str = "\
version: \"3\"
name: shop
x-any: &any {restart: unless-stopped}
services:
  web:
    <<: *any
    image: nginx
    enviroment: {A: b}
    environment: {A: \"$NOPE\"}
    ports:
      - \"80:80\"
      - target: 81
        published: x
  other:
    image: nginx
    ports: [\"80:80\"]
    credential_spec: {file: a}
  none: {}
  debug: {image: b, profiles: [debug], privilegd: true}
";

#[tokio::test]
async fn every_key_has_its_line_and_the_end_says_what_follows() {
    let mut desk = desk(&[("compose.yaml", MIXED)]);
    let want = "\
compose.yaml:1:1    translated  version
                      `version` has no meaning any more and can be removed
compose.yaml:2:1    honoured    name
compose.yaml:3:1    honoured    x-any
compose.yaml:3:14   translated  services.web.restart
                      `restart: unless-stopped` is taken as `always`: a service is stopped by `ctl scale` or `ctl delete`
compose.yaml:4:1    honoured    services
compose.yaml:7:5    honoured    services.web.image
compose.yaml:8:5    refused     services.web.enviroment
                      unknown key `services.web.enviroment`
                      hint: did you mean `environment`?
compose.yaml:9:5    honoured    services.web.environment
                      the variable `NOPE` is not set: taken as empty
compose.yaml:10:5   honoured    services.web.ports
compose.yaml:12:9   honoured    services.web.ports[1].target
compose.yaml:13:9   refused     services.web.ports[1].published
                      `services.web.ports[1].published`: expected a port, found the string `x`
                      hint: write [[IP:]PUBLISHED:]TARGET[/udp], such as \"8080:80\"
compose.yaml:15:5   honoured    services.other.image
compose.yaml:16:5   refused     services.other.ports
                      host port 80/tcp is already published by `web` on line 11
                      hint: publish another port, or on another address
compose.yaml:17:5   refused     services.other.credential_spec
                      `services.other.credential_spec` is not supported yet
                      hint: it is for Windows containers: remove it
compose.yaml:18:3   refused     services.none
                      the service `none` has neither `image` nor `build`
                      hint: write `image: NAME:TAG`
compose.yaml:19:3   honoured    services.debug
                      left out with all its keys: its profile `debug` is not active
compose.yaml:19:21  honoured    services.debug.profiles
note: compose.yaml:14:3: restart always unless `restart: \"no\"` is written: other, none
shop: 17 keys, 10 honoured, 2 translated, 5 refused: cannot be applied
";
    let (exit, out) = desk.ctl("check").await;
    assert_eq!(out, want);
    assert_eq!((exit, desk.err.text().as_str()), (1, ""));
    let (exit, out) = desk.ctl("check compose.yaml --quiet").await;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows = |text: &str| text.lines().filter(|l| l.starts_with("compose.yaml")).map(words).collect::<Vec<_>>();
    let quiet: Vec<_> = rows(want).into_iter().filter(|words| words[1] != "honoured").collect();
    let got = rows(&out);
    assert_eq!((exit, got), (1, quiet));
}

#[tokio::test]
async fn a_file_that_can_be_applied_ends_with_0() {
    let mut desk = desk(&[("compose.yaml", "name: shop\nservices:\n  web: {image: a, restart: always}\n")]);
    let (exit, out) = desk.ctl("check").await;
    assert_eq!((exit, out.lines().last()), (0, Some("shop: 4 keys, 4 honoured: can be applied")), "{out}");
    assert_eq!(desk.ctl("check -o name").await.1, "name\nservices\nservices.web.image\nservices.web.restart\n");
    assert_eq!(desk.ctl("check --quiet").await, (0, "shop: 4 keys, 4 honoured: can be applied\n".to_owned()));
}

#[tokio::test]
async fn json_is_stable() {
    let mut desk = desk(&[("a.yaml", "services:\n  web: {image: a, credential_spec: {}}\n")]);
    let (exit, out) = desk.ctl("check a.yaml -p shop -o json").await;
    let got: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let key = |name: &str, state: &str, line: u32, col: u32, messages: serde_json::Value| serde_json::json!({"name": name, "state": state, "file": "a.yaml", "line": line, "col": col, "messages": messages});
    let message = serde_json::json!([{"text": "`services.web.credential_spec` is not supported yet", "hint": "it is for Windows containers: remove it"}]);
    let want = serde_json::json!({
        "kind": "KeyList", "project": "shop", "applyable": false, "honoured": 2, "translated": 0, "refused": 1,
        "items": [key("services", "honoured", 1, 1, serde_json::json!([])), key("services.web.image", "honoured", 2, 9, serde_json::json!([])), key("services.web.credential_spec", "refused", 2, 19, message)],
        "remarks": [{"file": "a.yaml", "line": 2, "col": 3, "text": "restart always unless `restart: \"no\"` is written: web"}],
    });
    assert_eq!((exit, got), (1, want));
}

#[tokio::test]
async fn several_files_are_judged_as_one_manifest() {
    let mut desk = desk(&[
        (
            "compose.yaml",
            "include: [parts/db.yaml]\nservices:\n  web:\n    extends: {service: db}\n    image: a\n    env_file: web.env\n",
        ),
        ("compose.override.yaml", "services:\n  web: {image: b, command: !reset x}\n"),
        ("parts/db.yaml", "services:\n  db: {image: c, restart: always, imagee: d}\n"),
        ("web.env", "=\n"),
    ]);
    let want = "\
compose.yaml:1:1            honoured    include
compose.yaml:2:1            honoured    services
compose.yaml:4:5            honoured    services.web.extends
compose.yaml:4:15           honoured    services.web.extends.service
compose.yaml:5:5            honoured    services.web.image
                              replaced by compose.override.yaml:2:9
compose.yaml:6:5            honoured    services.web.env_file
compose.override.yaml:2:9   honoured    services.web.image
compose.override.yaml:2:19  honoured    services.web.command
                              `!reset` has nothing to take away: no file before this one has `services.web.command`
parts/db.yaml:1:1           honoured    services
parts/db.yaml:2:8           honoured    services.db.image
parts/db.yaml:2:8           honoured    services.web.image
                              replaced by compose.yaml:5:5
parts/db.yaml:2:18          honoured    services.db.restart
parts/db.yaml:2:18          honoured    services.web.restart
parts/db.yaml:2:35          refused     services.db.imagee
                              unknown key `services.db.imagee`
                              hint: did you mean `image`?
parts/db.yaml:2:35          refused     services.web.imagee
                              unknown key `services.web.imagee`
                              hint: did you mean `image`?
web.env:1:1                 refused
                              a variable has no name
                              hint: write `KEY=value`
";
    let (exit, out) = desk.ctl("check").await;
    assert_eq!((exit, out.lines().count()), (1, want.lines().count() + 1), "{out}");
    assert!(out.starts_with(want), "{out}");
    drop(desk.dir);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_as_one_line() {
    let mut desk = desk(&[("compose.yaml", "services:\n  web: {image: a\n")]);
    let (exit, out) = desk.ctl("check -p shop").await;
    let want = "compose.yaml:2:8  refused\n                    this is not YAML: a `{` is not closed\n1 key, 1 refused: cannot be applied\n";
    assert_eq!((exit, out.as_str()), (1, want));
    let (exit, out) = desk.ctl("check gone.yaml").await;
    assert_eq!((exit, out.lines().next()), (1, Some("gone.yaml  refused")), "{out}");
    std::fs::remove_file(desk.dir.path().join("compose.yaml")).expect("is there");
    assert_eq!(desk.ctl("check").await, (2, String::new()));
    assert!(desk.err.text().contains("there is no Compose file in this directory"), "{}", desk.err.text());
}

/// Stacks as people publish them: `fixtures/published/NAME` with `check.txt`, what is not honoured as written.
/// `WHERRY_UPDATE_EXPECT=1 cargo test -p cli published` writes what is so now.
#[tokio::test]
async fn what_is_said_about_published_files() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/published");
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root).expect("the fixtures are there") {
        let dir = entry.expect("readable").path();
        let (mut session, out, _) = session(dir.clone(), None);
        session.env.insert("HOME".to_owned(), "/home/me".to_owned());
        let args = <crate::args::Args as clap::Parser>::try_parse_from(["ctl", "check", "--quiet"]).expect("is good");
        let exit = crate::run(&mut session, &args.command).await.expect("is judged");
        let got = format!("{}[exit code {}]\n", out.text(), exit.code());
        let path = dir.join("check.txt");
        if std::env::var_os("WHERRY_UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &got).expect("writable");
        }
        if got != std::fs::read_to_string(&path).unwrap_or_default() {
            wrong.push(format!("{}\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Work is counted, not time: each key is judged once, and what is wrong is sought at its place, not among all.
#[tokio::test]
async fn a_large_file_is_judged_key_by_key() {
    let service = |n: usize| {
        format!(
            "  s{n}:\n    image: a\n    restart: always\n    environment: {{A: 1, B: 2}}\n    labels: [a=b]\n    deploy: {{replicas: 2}}\n    wrong{n}: 1\n"
        )
    };
    let text = format!("name: big\nservices:\n{}", (0..500).map(service).collect::<String>());
    let mut desk = desk(&[("compose.yaml", text.as_str())]);
    let (exit, out) = desk.ctl("check -q").await;
    assert_eq!(exit, 1);
    assert_eq!(out.lines().last(), Some("big: 3502 keys, 3002 honoured, 500 refused: cannot be applied"));
    assert_eq!(out.lines().filter(|line| line.contains("unknown key")).count(), 500);
}

#[tokio::test]
async fn a_manifest_wrong_all_over_is_told_up_to_a_bound() {
    let unknown = |count: usize| {
        let keys: String = (0..count).map(|n| format!("    key{n}: 1\n")).collect();
        format!("name: shop\nservices:\n  web:\n    image: a\n{keys}")
    };
    let mut desk = desk(&[("compose.yaml", &unknown(1_000)), ("more.yaml", &unknown(1_001))]);
    let (exit, out) = desk.ctl("check").await;
    assert_eq!(exit, 1);
    assert!(out.contains("services.web.key999\n"), "each has its path");
    assert!(out.ends_with("shop: 1003 keys, 3 honoured, 1000 refused: cannot be applied\n"), "{out}");
    let (exit, out) = desk.ctl("check more.yaml").await;
    assert_eq!(exit, 1);
    assert!(out.contains("more.yaml:1004:5"), "the last that is kept: {out}");
    assert!(out.contains("1 more problem is not shown\n"), "{out}");
    assert!(!out.contains("honoured"), "nothing is called good that was not judged: {out}");
}
