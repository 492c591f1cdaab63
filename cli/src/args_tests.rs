//! The command line itself: consistent, listed as promised, its help as in the transcripts.

use super::args::*;
use clap::{CommandFactory, Parser};

/// Every command whose help is shown, with the words that lead to it.
const SHOWN: [&str; 43] = [
    "",
    "dev",
    "dev down",
    "apply",
    "check",
    "plan",
    "get",
    "ps",
    "describe",
    "why",
    "events",
    "logs",
    "scale",
    "delete",
    "rollout",
    "rollout status",
    "rollout history",
    "rollout undo",
    "rollout pause",
    "rollout resume",
    "token",
    "token create",
    "token list",
    "token revoke",
    "operator",
    "operator list",
    "operator revoke",
    "node",
    "node label",
    "node revoke",
    "cluster",
    "cluster init",
    "cluster join",
    "cluster rotate-key",
    "context",
    "context add",
    "context use",
    "context list",
    "context remove",
    "dns",
    "dns lookup",
    "completion",
    "version",
];

fn help(words: &str) -> String {
    let line = std::iter::once("ctl").chain(words.split_whitespace()).chain(["--help"]);
    let command = Args::command().term_width(80);
    let shown = command.try_get_matches_from(line).expect_err("help is not a match");
    let text = shown.render().to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

#[test]
fn the_command_line_is_consistent() {
    Args::command().debug_assert();
}

/// Golden: `WHERRY_UPDATE_EXPECT=1 cargo test -p cli help` writes them anew.
#[test]
fn help_reads_as_it_should() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts/help");
    for words in SHOWN {
        let name = if words.is_empty() { "ctl".to_owned() } else { words.replace(' ', "-") };
        let path = dir.join(format!("{name}.txt"));
        let got = help(words);
        if std::env::var_os("WHERRY_UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &got).expect("writes");
        }
        let want = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(got, want, "{}", path.display());
        assert!(got.lines().all(|line| line.chars().count() <= 80), "{name} is too wide");
    }
}

#[test]
fn only_what_works_is_listed() {
    let listed: Vec<String> =
        Args::command().get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned()).collect();
    let want = [
        "dev",
        "apply",
        "check",
        "plan",
        "get",
        "ps",
        "describe",
        "why",
        "events",
        "logs",
        "scale",
        "rollout",
        "delete",
        "token",
        "operator",
        "node",
        "server",
        "cluster",
        "context",
        "dns",
        "completion",
        "version",
    ];
    assert_eq!(listed, want);
}

#[test]
fn a_word_mistyped_is_answered_with_the_one_meant() {
    let error = Args::try_parse_from(["ctl", "aply"]).expect_err("is no command");
    assert!(error.render().to_string().contains("'apply'"), "{error}");
    assert_eq!(error.exit_code(), 2);
    let error = Args::try_parse_from(["ctl", "get", "servcies"]).expect_err("is no kind");
    assert!(error.render().to_string().contains("'services'"), "{error}");
}

#[test]
fn delete_takes_a_thing_or_a_file() {
    for good in ["delete project shop", "delete svc shop/web --yes", "delete -f compose.yaml --volumes"] {
        Args::try_parse_from(format!("ctl {good}").split(' ')).expect(good);
    }
    for bad in ["delete", "delete project", "delete project shop -f compose.yaml", "delete pod x"] {
        Args::try_parse_from(format!("ctl {bad}").split(' ')).expect_err(bad);
    }
}

#[test]
fn dev_takes_a_file_or_down() {
    for good in ["dev", "dev compose.yaml --detach", "dev down --volumes --name b", "dev --foreground-daemon --name b"]
    {
        Args::try_parse_from(format!("ctl {good}").split(' ')).expect(good);
    }
    for bad in ["dev --foreground-daemon --detach", "dev a b"] {
        Args::try_parse_from(format!("ctl {bad}").split(' ')).expect_err(bad);
    }
}
