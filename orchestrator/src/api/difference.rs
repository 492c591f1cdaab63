//! What of a service's spec changes, by the manifest's words.
//!
//! Walks the spec as it is written out, so that a field added tomorrow shows up without a line here: by its own name until
//! it has the manifest's. Values that may be secrets are not told. Called by `plan`.

use proto::spec::{PlacementSpec, UpdateSpec};
use proto::v1;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::engine::explain::span;
use crate::engine::model::Service;

/// The spec's path up to a dot or its end, and the manifest's.
const WORDS: [(&str, &str); 32] = [
    ("container.image_id", "image (content)"),
    ("container.pull", "pull_policy"),
    ("container.stop_grace_ms", "stop_grace_period"),
    ("container.limits.cpu_millis", "deploy.resources.limits.cpus"),
    ("container.limits.memory_bytes", "deploy.resources.limits.memory"),
    ("container.limits.pids", "deploy.resources.limits.pids"),
    ("container.mounts", "volumes"),
    ("container", ""),
    ("reservations.cpu_millis", "deploy.resources.reservations.cpus"),
    ("reservations.memory_bytes", "deploy.resources.reservations.memory"),
    ("replicas", "deploy.replicas"),
    ("mode", "deploy.mode"),
    ("labels", "deploy.labels"),
    ("update.delay_ms", "deploy.update_config.delay"),
    ("update.monitor_ms", "deploy.update_config.monitor"),
    ("update.on_failure", "deploy.update_config.failure_action"),
    ("update.max_failures_per_mille", "deploy.update_config.max_failure_ratio"),
    ("update.deadline_ms", "x-wherry.update.deadline"),
    ("update", "deploy.update_config"),
    ("rollback.delay_ms", "deploy.rollback_config.delay"),
    ("rollback.monitor_ms", "deploy.rollback_config.monitor"),
    ("rollback.on_failure", "deploy.rollback_config.failure_action"),
    ("rollback.max_failures_per_mille", "deploy.rollback_config.max_failure_ratio"),
    ("rollback", "deploy.rollback_config"),
    ("placement.max_per_node", "deploy.placement.max_replicas_per_node"),
    ("placement.spread", "deploy.placement.preferences"),
    ("placement", "deploy.placement"),
    ("health.check.probe", "healthcheck.test"),
    ("health.check", "healthcheck"),
    ("health", "healthcheck"),
    ("drain_ms", "x-wherry.drain"),
    ("named_volumes", "volumes"),
];

/// Parts of a variable's name that say its value is nobody's business.
const SECRET_WORDS: [&str; 10] =
    ["PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "PRIVATE", "AUTH", "SALT", "DSN", "COOKIE"];

/// What differs, in order of the manifest's words. No `before`: all that the new one sets.
pub(super) fn between(before: Option<&Service>, after: &Service) -> Vec<v1::FieldChange> {
    let old = before.map(fields).unwrap_or_default();
    let new = fields(after);
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names.into_iter().filter_map(|name| change(name, old.get(name), new.get(name))).collect()
}

fn change(name: &str, old: Option<&Value>, new: Option<&Value>) -> Option<v1::FieldChange> {
    if old == new {
        return None;
    }
    let (field, (before, after)) = (in_manifest(name), texts(name, old, new));
    let hidden = is_secret(name, before.as_deref(), after.as_deref());
    let shown = |text: Option<String>| text.filter(|_| !hidden);
    Some(v1::FieldChange { field, before: shown(before), after: shown(after), hidden })
}

/// The leaves of a spec by their paths; what is as if it were not written is left out.
fn fields(service: &Service) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut spec = written(&*service.spec);
    // A block that is not written out has its defaults: the one setting that changes is to be told, not all of them.
    for (name, default) in [
        ("update", written(&UpdateSpec::default())),
        ("rollback", written(&UpdateSpec::default())),
        ("placement", written(&PlacementSpec::default())),
    ] {
        spec.entry(name).or_insert(Value::Object(default));
    }
    if let Some(Value::Object(container)) = spec.get_mut("container")
        && let Some(Value::Array(files)) = container.remove("files")
    {
        files.into_iter().for_each(|file| insert_file(file, &mut all));
    }
    flatten("", Value::Object(spec), &mut all);
    for (name, volume) in &service.volumes {
        flatten(&format!("named_volumes.{name}"), Value::Object(written(volume)), &mut all);
    }
    all
}

fn written(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// `configs.NAME` or `secrets.NAME`, with the digest apart: it stands for a content that is not to be told.
fn insert_file(file: Value, all: &mut BTreeMap<String, Value>) {
    let Value::Object(mut file) = file else { return };
    let mut text = |key: &str| file.remove(key).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let (kind, name, target) = (text("kind"), text("name"), text("target"));
    let path = format!("{kind}s.{name} at {target}");
    if let Some(digest) = file.remove("digest") {
        all.insert(format!("{path}.content"), digest);
    }
    all.insert(path, Value::Object(file));
}

fn flatten(path: &str, value: Value, all: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !is_leaf(path) => {
            for (key, below) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{key}"), below, all);
            }
        }
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        other => {
            all.insert(path.to_owned(), other);
        }
    }
}

/// What is shown whole.
fn is_leaf(path: &str) -> bool {
    matches!(path, "health.check.probe" | "restart") || path.starts_with("depends_on.")
}

/// The manifest's word for a path: that of the longest beginning that has one.
fn in_manifest(path: &str) -> String {
    let rest_of = |from: &str| path.strip_prefix(from).filter(|rest| rest.is_empty() || rest.starts_with('.'));
    let known = WORDS.iter().filter_map(|(from, to)| Some((from.len(), to, rest_of(from)?)));
    let Some((_, to, rest)) = known.max_by_key(|(length, ..)| *length) else { return plain(path) };
    plain(format!("{to}{rest}").trim_start_matches('.'))
}

/// Our units belong to our values, not to the manifest's words.
fn plain(path: &str) -> String {
    path.strip_suffix("_ms").or(path.strip_suffix("_millis")).or(path.strip_suffix("_bytes")).unwrap_or(path).to_owned()
}

/// Both values in words; of two lists only what differs.
fn texts(path: &str, old: Option<&Value>, new: Option<&Value>) -> (Option<String>, Option<String>) {
    let is_ordered = path.ends_with(".command") || path.ends_with(".entrypoint");
    if let (Some(Value::Array(old)), Some(Value::Array(new))) = (old, new)
        && !is_ordered
    {
        let only = |of: &[Value], other: &[Value]| {
            let items: Vec<String> = of.iter().filter(|v| !other.contains(v)).map(|v| text(path, v)).collect();
            (!items.is_empty()).then(|| items.join(", "))
        };
        let (gone, come) = (only(old, new), only(new, old));
        if gone.is_some() || come.is_some() {
            return (gone, come);
        }
    }
    (old.map(|v| text(path, v)), new.map(|v| text(path, v)))
}

fn text(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => in_unit(path, number.as_u64()).unwrap_or_else(|| number.to_string()),
        Value::Array(items) => {
            let separator = if path.ends_with("command") || path.ends_with("entrypoint") { " " } else { ", " };
            items.iter().map(|item| text(path, item)).collect::<Vec<_>>().join(separator)
        }
        Value::Object(map) => object(path, map),
        other => other.to_string(),
    }
}

fn in_unit(path: &str, number: Option<u64>) -> Option<String> {
    let number = number?;
    if path.ends_with("_ms") {
        return Some(span(number));
    }
    if path.ends_with("_millis") {
        return Some(if number % 1000 == 0 {
            (number / 1000).to_string()
        } else {
            format!("{}", number as f64 / 1000.0)
        });
    }
    if path.ends_with("_bytes") {
        let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let exact = units.iter().find(|(_, size)| number >= *size && number % size == 0);
        return Some(
            exact.map_or_else(|| format!("{number} bytes"), |(unit, size)| format!("{} {unit}", number / size)),
        );
    }
    None
}

/// `8080:80/tcp`, `data:/data`, or each setting with its name.
fn object(path: &str, map: &Map<String, Value>) -> String {
    let get = |key: &str| map.get(key).filter(|v| !v.is_null()).map(|v| text(key, v));
    match path {
        "ports" => {
            let host = get("host_ip").map(|ip| format!("{ip}:")).unwrap_or_default();
            let part = |key: &str| get(key).unwrap_or_default();
            let mode = if part("mode") == "host" { " (host)" } else { "" };
            let published = if part("published") == "0" { "any".to_owned() } else { part("published") };
            format!("{host}{published}:{}/{}{mode}", part("target"), part("protocol"))
        }
        "container.mounts" => {
            let mode = if map.get("read_only") == Some(&Value::Bool(true)) { ":ro" } else { "" };
            format!("{}:{}{mode}", source(map.get("source")), get("target").unwrap_or_default())
        }
        _ => {
            let set = map.iter().filter(|(_, v)| !v.is_null());
            set.map(|(k, v)| format!("{}={}", plain(k), text(k, v))).collect::<Vec<_>>().join(" ")
        }
    }
}

/// `{"volume": {"name": "data"}}` is `data`, `"anonymous"` itself.
fn source(value: Option<&Value>) -> String {
    match value {
        Some(Value::Object(map)) => {
            let named = map.values().find_map(|v| v.get("name").or(v.get("path"))).and_then(Value::as_str);
            named.map_or_else(|| map.keys().cloned().collect(), str::to_owned)
        }
        Some(other) => text("", other),
        None => String::new(),
    }
}

/// May the value be a secret, by what it is, how its variable is called, or what it looks like?
fn is_secret(path: &str, before: Option<&str>, after: Option<&str>) -> bool {
    let is_content = path.ends_with(".content") && (path.starts_with("secrets.") || path.starts_with("configs."));
    let name = path.strip_prefix("container.environment.").map(str::to_ascii_uppercase);
    let by_name = name.is_some_and(|name| SECRET_WORDS.iter().any(|word| name.contains(word)));
    is_content || by_name || [before, after].into_iter().flatten().any(has_credentials)
}

/// `postgres://user:password@host`.
fn has_credentials(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', ' ', '"']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

#[cfg(test)]
mod tests;
