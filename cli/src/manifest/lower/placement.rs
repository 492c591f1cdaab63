//! `deploy.placement`: where tasks may be, and where they rather are (Compose Deploy Specification).
//!
//! Never knows a node: which attributes there are is the engine's vocabulary. Called by `deploy`.

use proto::limits::REPLICAS_MAX;
use proto::spec::{Constraint, PlacementSpec, ServiceMode};

use super::super::tree::{Mark, shorten};
use super::context::{Context, Field};

/// Attributes that nodes have, besides labels.
const ATTRIBUTES: [&str; 4] = ["node.id", "node.hostname", "node.platform.os", "node.platform.arch"];
const LABEL: &str = "node.labels.";
const KNOWN: &str = "write node.labels.KEY, node.hostname, node.id, node.platform.os or node.platform.arch";
const FORM: &str = "write ATTRIBUTE==VALUE or ATTRIBUTE!=VALUE, such as node.labels.zone==a";

/// Lowers `placement`.
pub fn placement(cx: &mut Context<'_>, field: &Field<'_>, mode: ServiceMode) -> PlacementSpec {
    let mut placement = PlacementSpec::default();
    let Some(mut keys) = cx.map(field) else { return placement };
    if let Some(field) = keys.take("constraints") {
        for item in cx.list(&field).unwrap_or_default() {
            let Some(text) = cx.filled_text(&item) else { continue };
            placement.constraints.extend(constraint(cx, &item, text));
        }
    }
    if let Some(field) = keys.take("preferences") {
        for item in cx.list(&field).unwrap_or_default() {
            placement.spread.extend(preference(cx, &item));
        }
        if mode == ServiceMode::Global && !placement.spread.is_empty() {
            cx.notice(field.at, format!("`{}` has no effect with `mode: global`: it is on each node", field.path));
            placement.spread.clear();
        }
    }
    let most = keys.take("max_replicas_per_node");
    if let Some(field) = most.as_ref().filter(|_| mode == ServiceMode::Global) {
        let message = format!("`{}` beside `mode: global`: there is one container on each node", field.path);
        cx.problem(field.at, message, "remove it, or write `mode: replicated`");
    }
    let most = most.and_then(|f| cx.whole(&f, 0, REPLICAS_MAX.into()));
    placement.max_per_node = most.and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    keys.finish(cx, &[]);
    placement
}

fn constraint(cx: &mut Context<'_>, item: &Field<'_>, text: &str) -> Option<Constraint> {
    let split = |operator: &str, equal: bool| text.split_once(operator).map(|(a, v)| (a.trim(), equal, v.trim()));
    let Some((attribute, equal, value)) = split("==", true).or_else(|| split("!=", false)) else {
        let message = format!("`{}`: `{}` is not a constraint", item.path, shorten(text));
        cx.problem(item.node.at, message, FORM);
        return None;
    };
    if value.is_empty() {
        cx.problem(item.node.at, format!("`{}` compares `{}` with nothing", item.path, shorten(attribute)), FORM);
        return None;
    }
    if attribute == "node.role" {
        role(cx, item, equal, value);
        return None;
    }
    is_attribute(cx, &item.path, item.node.at, attribute).then(|| Constraint {
        attribute: attribute.to_owned(),
        equal,
        value: value.to_owned(),
    })
}

/// Swarm's roles: here servers run no tasks, so that every node is what Swarm calls a worker.
fn role(cx: &mut Context<'_>, item: &Field<'_>, equal: bool, value: &str) {
    match (value, equal) {
        ("worker", true) | ("manager", false) => {
            cx.notice(item.at, format!("`{}` has no effect: every node is a worker, servers run no tasks", item.path));
        }
        ("worker", false) | ("manager", true) => {
            let message = format!("`{}`: no node is a manager: servers run no tasks", item.path);
            cx.problem(
                item.node.at,
                message,
                "label the nodes that are meant (`ctl node label`), and write node.labels.KEY==VALUE",
            );
        }
        _ => {
            let message = format!("`{}`: there is no role `{}`", item.path, shorten(value));
            cx.problem(item.node.at, message, "remove it: every node runs tasks");
        }
    }
}

fn preference(cx: &mut Context<'_>, item: &Field<'_>) -> Option<String> {
    let mut keys = cx.map(item)?;
    let spread = keys.take("spread");
    keys.finish(cx, &[]);
    let Some(spread) = spread else {
        cx.problem(item.at, format!("`{}` has no `spread`", item.path), "write `spread: node.labels.KEY`");
        return None;
    };
    let text = cx.filled_text(&spread)?.trim();
    is_attribute(cx, &spread.path, spread.node.at, text).then(|| text.to_owned())
}

/// Whether nodes have it; what is wrong is reported.
fn is_attribute(cx: &mut Context<'_>, path: &str, at: Mark, attribute: &str) -> bool {
    if ATTRIBUTES.contains(&attribute) || attribute.strip_prefix(LABEL).is_some_and(|key| !key.is_empty()) {
        return true;
    }
    let hint = match attribute.strip_prefix("engine.labels.") {
        Some(key) => {
            let key = shorten(key);
            let engines = "labels of the Docker Engine are not looked at";
            format!("{engines}: label the node (`ctl node label`), and write {LABEL}{key}")
        }
        None => KNOWN.to_owned(),
    };
    cx.problem(at, format!("`{path}`: nodes have no `{}`", shorten(attribute)), &hint);
    false
}
