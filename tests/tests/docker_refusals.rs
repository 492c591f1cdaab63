//! Promise: what cannot be done is refused with its place and reason, nothing is half applied, and nothing panics.

use tests::docker::IMAGE;
use tests::docker::dev::{Dev, Said, project, service};

/// Bad manifests: what is wrong with it, the text, where, and a word of the message.
fn bad() -> Vec<(&'static str, String, &'static str, &'static str)> {
    let web = |rest: &str| format!("name: bad\nservices:\n  web:\n    image: {IMAGE}\n{rest}");
    let alias_bomb = {
        let mut text = "x-a: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let before = n - 1;
            text +=
                &format!("x-a{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}]\n");
        }
        text + &web("")
    };
    let nested = format!("x-deep: {}{}\n{}", "[".repeat(500), "]".repeat(500), web(""));
    let cycle = format!(
        "name: bad\nservices:\n  a:\n    image: {IMAGE}\n    depends_on: [b]\n  b:\n    image: {IMAGE}\n    depends_on: [a]\n"
    );
    vec![
        ("a tab", web("    environment:\n\tA: b\n"), "6:1", "tab"),
        ("an unknown key", web("    imagge: x\n"), "5:5", "imagge"),
        ("a wrong type", web("    command: {a: b}\n"), "5:14", "command"),
        ("a duplicate key", web("    image: x\n"), "5:5", "twice"),
        ("no image", "name: bad\nservices:\n  web:\n    command: [a]\n".to_owned(), "3:3", "image"),
        ("a port twice", web("    ports: [\"9999:1\", \"9999:2\"]\n"), "5:23", "9999"),
        ("a cycle", cycle, "", "depends"),
        ("an undefined network", web("    networks: [lan]\n"), "5:16", "lan"),
        ("an undefined volume", web("    volumes: [\"data:/data\"]\n"), "5:15", "data"),
        ("an undefined config", web("    configs: [words]\n"), "5:15", "words"),
        ("an undefined secret", web("    secrets: [key]\n"), "5:15", "key"),
        ("an undefined variable", web("    environment: {A: \"${NOT_SET:?say which}\"}\n"), "5:22", "say which"),
        ("a large file", format!("# {}\n{}", "x".repeat(10 << 20), web("")), "", "more than"),
        ("an alias bomb", alias_bomb, "", "alias"),
        ("500 levels", nested, "", "deep"),
    ]
}

#[test]
fn a_bad_manifest_is_refused_with_its_place_and_nothing_is_sent() {
    let mut dev = Dev::start("bad");
    dev.apply(&project("bad", &[service("old", "exec sleep 1000", "")])).expect(0);
    let (services, containers) = (dev.get("all"), dev.containers(""));
    let revision = || dev.json(&["get", "all", "-o", "json"])["revision"].clone();
    let before = revision();
    let manifests = bad();
    let said = manifests.iter().map(|(what, text, place, word)| refused(what, &dev.apply(text), place, word));
    let mut wrong: Vec<String> = said.flatten().collect();
    std::fs::write(dev.dir.join("junk.yaml"), [0_u8, 159, 146, 150, 255, 7, 0, 200]).expect("writable");
    wrong.extend(refused("binary junk", &dev.ctl(&["apply", "-f", "junk.yaml"]), "", "UTF-8"));
    wrong.extend(refused("no file", &dev.ctl(&["apply", "-f", "absent.yaml"]), "", "absent.yaml"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((dev.get("all"), dev.containers(""), revision()), (services, containers, before), "nothing was sent");
    dev.down();
}

/// Is it refused as it should be? If not, what it said.
fn refused(what: &str, said: &Said, place: &str, word: &str) -> Option<String> {
    let err = &said.err;
    let there = place.is_empty() || err.contains(&format!(".yaml:{place}: "));
    let told = err.to_lowercase().contains(&word.to_lowercase()) && err.len() < 4_000;
    let good = said.exit == 1 && there && told && !err.contains("panicked");
    (!good).then(|| format!("{what} (`{word}` at {place}): exit {}: {err:.2000}", said.exit))
}

#[test]
fn what_no_node_can_hold_is_explained_and_the_rest_runs() {
    let mut dev = Dev::start("vast");
    let more = "    deploy:\n      resources:\n        reservations: {cpus: \"900\"}\n";
    let both = [service("vast", "exec sleep 1000", more), service("small", "exec sleep 1000", "")];
    let failed = dev.apply(&project("vast", &both)).expect(1);
    assert!(failed.err.contains("900"), "{}", failed.err);
    let why = dev.ctl(&["why", "vast/vast"]).expect(0).out;
    assert!(why.contains("900") && why.contains("CPU"), "{why}");
    assert_eq!(dev.get("services")["vast/small"]["state"], "running");
    dev.apply(&project("vast", &both[1..])).expect(0);
    dev.down();
}

#[test]
fn nobody_to_talk_to_is_said() {
    let dev = Dev::prepare("nobody");
    for words in [&["get", "all"][..], &["apply", "-f", "project.yaml"], &["why", "shop/web"], &["version"]] {
        dev.write("project.yaml", &project("none", &[service("web", "exec sleep 1000", "")]));
        let said = dev.ctl(words).expect(3);
        assert!(said.err.contains("error: "), "{words:?}: {}", said.err);
    }
    let said = dev.ctl(&["dev", "--detach", "--name", &dev.name, "--docker", "unix:///nowhere/docker.sock"]).expect(1);
    assert!(said.err.contains("/nowhere/docker.sock") && said.err.contains("hint: "), "{}", said.err);
    assert!(!dev.state().join("wherry").exists(), "nothing was made");
}
