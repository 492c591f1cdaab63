//! Limits: nothing a file can hold makes the reader panic, copy without end or nest without end. Bounds are shown by what stops them,
//! not by a clock.

use proptest::prelude::*;

use super::super::parse;
use super::{shown, world};

fn refusal(manifest: impl Into<Vec<u8>>) -> String {
    shown(&world().load(manifest).expect_err("out of bounds"))
}

#[test]
fn a_bomb_of_aliases_is_refused_by_its_budget() {
    let mut bomb = String::from("x-a: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("x-{n}: &a{n} [{aliases}]\n"));
    }
    assert_eq!(
        refusal(bomb),
        "compose.yaml:5:11: aliases copy more than 20000 values or 4194304 bytes\n  hint: write fewer `*aliases` of aliases\n"
    );
}

#[test]
fn a_long_text_copied_often_is_refused_by_its_budget() {
    let text = "x".repeat(500_000);
    let said = refusal(format!("x-a: &a {text}\nx-b: [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"));
    assert!(said.starts_with("compose.yaml:2:39: aliases copy more than"), "{said}");
}

#[test]
fn nesting_is_bounded_in_every_notation() {
    let flow = format!("a: {}", "[".repeat(500));
    let maps = format!("a: {}", "{a: ".repeat(500));
    let block: String = (0..500).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let items = format!("a:\n{}x", "- ".repeat(500));
    let aliases = {
        let mut text = String::from("x-0: &a0 [x]\n");
        (1..80).for_each(|n| text.push_str(&format!("x-{n}: &a{n} [*a{}]\n", n - 1)));
        text
    };
    for manifest in [flow, maps, block, items, aliases] {
        let said = refusal(manifest);
        assert!(said.contains("nested deeper than 64 levels"), "{said}");
    }
}

#[test]
fn sixty_levels_are_fine() {
    let deep = format!("x-deep: {}{}\nservices: {{web: {{image: a}}}}\n", "[".repeat(60), "]".repeat(60));
    assert!(world().load(deep).is_ok());
}

#[test]
fn a_file_beyond_the_limit_is_not_parsed() {
    let said = refusal(vec![b'a'; 10 << 20]);
    assert_eq!(
        said,
        "compose.yaml: cannot be read: it has more than 655360 bytes\n  hint: move long texts to files of their own under `configs:`\n"
    );
    let fault = parse::parse(&vec![b'a'; 10 << 20], 0).expect_err("ten megabytes");
    assert_eq!(fault.message, "the file has 10485760 bytes, at most 655360 are read");
}

#[test]
fn substitution_cannot_multiply_without_end() {
    let keys: String = (0..200).map(|n| format!("      K{n}: {}\n", "$BIG".repeat(100))).collect();
    let manifest = format!("services:\n  web:\n    image: a\n    environment:\n{keys}");
    let problems = world().env("BIG", &"x".repeat(1000)).load(manifest).expect_err("20 MB");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].message, "substituted values have more than 2621440 bytes in all");
}

#[test]
fn too_many_services_are_refused() {
    let services: String = (0..501).map(|n| format!("  s{n}: {{image: a}}\n")).collect();
    assert_eq!(
        refusal(format!("services:\n{services}")),
        "compose.yaml:1:1: 501 services in one project, at most 500 are allowed\n  hint: split it into several projects\n"
    );
}

#[test]
fn a_content_beyond_the_limit_of_blobs_is_refused() {
    let manifest = |bytes: usize| {
        let head = "services:\n  web: {image: a, configs: [big]}\nconfigs:\n  big:\n    content: ";
        format!("{head}{}\n", "x".repeat(bytes))
    };
    assert!(world().load(manifest(512_000)).is_ok());
    assert_eq!(
        refusal(manifest(512_001)),
        "compose.yaml:5:14: the config `big` has 512001 bytes, at most 512000 are allowed\n  hint: put large files into the image or on a volume\n"
    );
}

#[test]
fn a_long_circle_is_shown_by_its_ends() {
    let services: String =
        (0..100).map(|n| format!("  s{n}: {{image: a, depends_on: [s{}]}}\n", (n + 1) % 100)).collect();
    assert_eq!(
        refusal(format!("services:\n{services}")),
        "compose.yaml:101:32: `depends_on` goes in a circle: s0 -> s1 -> s2 -> s3 -> s4 -> s5 -> ... -> s94 -> s95 -> s96 -> s97 -> s98 -> s99 -> s0\n  hint: remove one of these dependencies\n"
    );
}

#[test]
fn many_mistakes_are_not_each_compared_with_every_word() {
    let keys: String = (0..20_000).map(|n| format!("    key{n}: 1\n")).collect();
    let problems = world().load(format!("services:\n  web:\n    image: a\n{keys}")).expect_err("unknown");
    assert_eq!(problems.len(), 101);
}

/// Pieces of manifests, so that random texts get past the parser.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "services:\n",
        "  web:\n",
        "    image: nginx\n",
        "    ports:\n",
        "      - ",
        "\"80:80\"",
        "80-90",
        "\n",
        "    ",
        ":",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&a ",
        "*a",
        "<<: ",
        "$",
        "${A:-",
        "}",
        "'",
        "\"",
        "#",
        "\t",
        "|\n",
        ">-\n",
        "!!str ",
        "---\n",
        "null",
        "deploy: ",
        "volumes: ",
        "networks: ",
        "healthcheck: ",
        "test: ",
        "depends_on: ",
        "environment: ",
        "build: ",
        "secrets: ",
        "restart: no\n",
        "-1",
        "99999999999999999999",
        "1h",
        "é",
        "\u{85}",
        "\u{feff}",
        "x-wherry: {health: ",
        "~/",
        "../",
        "? ",
    ];
    prop_oneof![4 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => ".{0,8}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..60)) {
        let text: String = pieces.concat();
        if let Err(problems) = world().load(text.as_str()) {
            prop_assert!(!problems.is_empty() && problems.iter().all(|p| !p.message.is_empty()));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = world().load(bytes).map_err(|problems| problems.len());
    }

    #[test]
    fn no_value_of_any_key_makes_it_panic(
        key in proptest::sample::select(vec!["image", "command", "ports", "volumes", "environment", "env_file", "healthcheck", "deploy",
            "depends_on", "networks", "configs", "secrets", "restart", "build", "expose", "labels", "x-wherry", "stop_grace_period"]),
        pieces in proptest::collection::vec(piece(), 0..12),
    ) {
        let manifest = format!("services: {{web: {{{key}: {}}}}}\nvolumes: {{a: }}\n", pieces.concat());
        let _ = world().load(manifest).map_err(|problems| problems.len());
    }

    #[test]
    fn no_env_file_makes_it_panic(text in "[A-Z=$:{}'\"#\\\\\n -]{0,80}") {
        let manifest = "services: {web: {image: a, env_file: x.env}}\n";
        let _ = world().file("x.env", text.clone()).file(".env", text).load(manifest).map_err(|problems| problems.len());
    }
}
