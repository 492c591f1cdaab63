//! `docs/compose.md` against our tables and the published schema: what the paper promises is what ctl does.

use serde_json::Value;
use std::collections::BTreeSet;

use super::super::lower::keys;

const PAPER: &str = include_str!("../../../../docs/compose.md");
const SCHEMA: &str = include_str!("../../../schema/compose-spec.json");

/// The text below a heading, up to the next heading of any level.
fn section<'a>(paper: &'a str, heading: &str) -> &'a str {
    let below = paper.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}")).1;
    below.split_once("\n#").map_or(below, |(section, _)| section)
}

/// The words in backticks of a text.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The keys that a section refuses: those of the paragraph that begins, perhaps after `prefix`, with `Refused:`.
fn refused<'a>(section: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let start = if prefix.is_empty() { "Refused: ".to_owned() } else { format!("{prefix} Refused: ") };
    let paragraph = section.split("\n\n").find_map(|p| p.trim_start().strip_prefix(&start));
    quoted(paragraph.unwrap_or_else(|| panic!("no paragraph begins with {start:?}")))
}

/// The keys in the first column of a section's table.
fn listed(section: &str) -> BTreeSet<&str> {
    let rows = section.lines().filter(|l| l.starts_with("| `"));
    rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap_or_default())).collect()
}

fn table(table: keys::NotYet) -> BTreeSet<&'static str> {
    table.iter().map(|(key, _)| *key).collect()
}

#[test]
fn what_the_paper_calls_refused_is_refused() {
    let long = "### Long forms";
    for (heading, prefix, keys) in [
        ("## Top level", "", keys::TOP),
        ("## A service", "", keys::SERVICE),
        ("### `build`", "", keys::BUILD),
        ("### `deploy`", "", keys::DEPLOY),
        ("### `deploy`", "Of `resources.reservations`.", keys::RESERVATIONS),
        ("### `x-wherry`", "", keys::X_WHERRY),
        (long, "Of a service's `networks`.", keys::SERVICE_NETWORK),
        (long, "Of a service's `volumes`.", keys::MOUNT),
        (long, "Of `bind` in it.", keys::MOUNT_BIND),
        (long, "Of `volume` in it.", keys::MOUNT_VOLUME),
        ("## `volumes`", "", keys::VOLUME),
        ("## `networks`", "", keys::NETWORK),
        ("## `configs`", "", keys::CONFIG),
        ("## `secrets`", "", keys::SECRET),
    ] {
        assert_eq!(refused(section(PAPER, heading), prefix), table(keys), "{heading} {prefix}");
    }
    assert!(keys::LIMITS.is_empty() && keys::DEPENDENCY.is_empty(), "add them to docs/compose.md and here");
}

#[test]
fn every_key_of_compose_is_in_the_paper_once() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    for (heading, place) in [
        ("## Top level", "/properties"),
        ("## A service", "/definitions/service/properties"),
        ("### `build`", "/definitions/service/properties/build/oneOf/1/properties"),
        ("### `deploy`", "/definitions/deployment/properties"),
        ("## `volumes`", "/definitions/volume/properties"),
        ("## `networks`", "/definitions/network/properties"),
        ("## `configs`", "/definitions/config/properties"),
        ("## `secrets`", "/definitions/secret/properties"),
    ] {
        let properties = schema.pointer(place).and_then(Value::as_object).unwrap_or_else(|| panic!("no {place}"));
        let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        let section = section(PAPER, heading);
        let (listed, refused) = (listed(section), refused(section, ""));
        let twice: Vec<_> = listed.intersection(&refused).collect();
        assert!(twice.is_empty(), "{heading}: honoured and refused: {twice:?}");
        let missing: Vec<_> = known.iter().filter(|k| !listed.contains(*k) && !refused.contains(*k)).collect();
        assert!(missing.is_empty(), "{heading}: not in the paper: {missing:?}");
        let invented: Vec<_> = listed.iter().filter(|k| !known.contains(*k)).collect();
        assert!(invented.is_empty(), "{heading}: Compose does not know {invented:?}");
    }
}

#[test]
fn the_paper_is_read_as_it_is_written() {
    let paper = "\n## A\n\n| key | how |\n|---|---|\n| `a`, `b` | like `z` |\n\nRefused: `c`,\n`d`.\n\nOf `x`. Refused: `e`.\n\n## B\n";
    let section = section(paper, "## A");
    assert_eq!(listed(section), BTreeSet::from(["a", "b"]));
    assert_eq!(refused(section, ""), BTreeSet::from(["c", "d"]));
    assert_eq!(refused(section, "Of `x`."), BTreeSet::from(["e"]));
}
