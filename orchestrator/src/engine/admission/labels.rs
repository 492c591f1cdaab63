//! Are these labels of a node acceptable? Limits of keys, of values and of their number.
//!
//! Of an operator's labels only: what an agent says of itself is its own matter. Never quotes a value.

use proto::limits::{NODE_LABEL_KEY_MAX_BYTES, NODE_LABEL_VALUE_MAX_BYTES, NODE_LABELS_MAX};
use std::collections::{BTreeMap, BTreeSet};

use super::problem;
use crate::engine::outcome::FieldProblem;

/// Everything that is wrong with a change of the labels that a node has; empty when it is acceptable.
pub fn admit(
    present: &BTreeMap<String, String>,
    set: &BTreeMap<String, String>,
    remove: &BTreeSet<String>,
) -> Vec<FieldProblem> {
    let gained = set.keys().filter(|key| !present.contains_key(*key)).count();
    let lost = remove.iter().filter(|key| present.contains_key(*key)).count();
    let most = (present.len() + gained).saturating_sub(lost).max(set.len()).max(remove.len());
    if most > NODE_LABELS_MAX {
        let message = format!("{most} labels, at most {NODE_LABELS_MAX} are allowed on a node");
        return vec![problem("labels", &message, "remove some that nothing asks for: `ctl node label NODE KEY-`")];
    }
    let mut problems: Vec<FieldProblem> = set.keys().chain(remove).filter_map(|key| wrong_key(key)).collect();
    problems.extend(set.iter().filter_map(|(key, value)| wrong_value(key, value)));
    for key in set.keys().filter(|key| remove.contains(*key)) {
        problems.push(problem(&field(key), "is set and removed at once", "ask for one of the two"));
    }
    problems
}

fn wrong_key(key: &str) -> Option<FieldProblem> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b'-');
    if (1..=NODE_LABEL_KEY_MAX_BYTES).contains(&key.len()) && key.bytes().all(is_allowed) {
        return None;
    }
    let message = format!("a key has 1 to {NODE_LABEL_KEY_MAX_BYTES} letters, digits, `.`, `_`, `/` and `-`");
    Some(problem(&field(key), &message, "choose another key, such as `disk` or `example.com/zone`"))
}

fn wrong_value(key: &str, value: &str) -> Option<FieldProblem> {
    if value.len() > NODE_LABEL_VALUE_MAX_BYTES {
        let message = format!("{} bytes, at most {NODE_LABEL_VALUE_MAX_BYTES} are allowed in a value", value.len());
        return Some(problem(&field(key), &message, "choose a shorter value"));
    }
    let has_control = value.chars().any(char::is_control);
    has_control.then(|| problem(&field(key), "its value has a control character", "write it on one line"))
}

/// Where a label stands; what is no key may be long, and anything.
fn field(key: &str) -> String {
    let plain = key.chars().map(|c| if c.is_control() { ' ' } else { c });
    format!("labels.{}", plain.take(NODE_LABEL_KEY_MAX_BYTES).collect::<String>())
}
