//! Networks: declared at the top, joined by services. Honoured as names.
//!
//! Never promises separation: one notice says so. Called by `lower` and `service`.

use std::collections::{BTreeMap, BTreeSet};

use super::super::tree::{Mark, Value, shorten};
use super::context::{Context, Field, Fields};
use super::service::is_host_name;
use super::{Declared, check_key, is_docker_name, keys};

/// Networks by name, each with a service's aliases on it.
pub type Joined = BTreeMap<String, BTreeSet<String>>;

/// The network of services that name none.
const DEFAULT: &str = "default";

/// Names of the networks declared at the top level.
pub fn declared(cx: &mut Context<'_>, section: Option<&Field<'_>>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let Some(entries) = section.and_then(|field| cx.map(field)) else { return names };
    cx.notice(entries.at, "networks are honoured as names: traffic between them is not separated yet");
    for (name, field) in entries.all() {
        if check_key(cx, "network", name, field.at) {
            names.insert(name.to_owned());
        }
        if field.node.value != Value::Null {
            declared_one(cx, &field);
        }
    }
    names
}

fn declared_one(cx: &mut Context<'_>, field: &Field<'_>) {
    let Some(mut keys) = cx.map(field) else { return };
    if let Some(name) = keys.take("name")
        && let Some(text) = cx.filled_text(&name)
    {
        if is_docker_name(text) {
            cx.notice(name.at, format!("`{}` has no effect: the network is known by its key", name.path));
        } else {
            cx.mismatch(&name, "the name of a network");
        }
    }
    if let Some(external) = keys.take("external")
        && cx.boolean(&external) == Some(true)
    {
        cx.notice(external.at, format!("`{}` has no effect: the cluster has a network of its own", external.path));
    }
    if let Some(driver) = keys.take("driver")
        && let Some(text) = cx.text(&driver)
    {
        match text {
            "bridge" | "default" => {
                cx.notice(driver.at, format!("`{}` has no effect: the cluster has a network of its own", driver.path))
            }
            _ => cx.problem(
                driver.node.at,
                format!("`{}: {}` is not supported yet", driver.path, super::super::tree::shorten(text)),
                "remove it",
            ),
        }
    }
    keys.finish(cx, keys::NETWORK);
}

/// The networks a service is on, each with the further names the service has there.
pub fn joined(cx: &mut Context<'_>, service: &mut Fields<'_>, declared: &Declared<'_>) -> Joined {
    let default = || Joined::from([(DEFAULT.to_owned(), BTreeSet::new())]);
    let Some(field) = service.take("networks") else { return default() };
    let written: Vec<(String, Mark, BTreeSet<String>)> = match field.node.value {
        Value::List(_) => {
            let names = cx.text_list(&field).unwrap_or_default().into_iter();
            names.map(|(name, at)| (name, at, BTreeSet::new())).collect()
        }
        _ => {
            let Some(entries) = cx.map_or(&field, "a list or a map") else { return default() };
            entries.all().map(|(name, field)| joined_one(cx, name, &field)).collect()
        }
    };
    let mut names = Joined::new();
    for (name, at, aliases) in written {
        if name == DEFAULT || declared.networks.contains(name.as_str()) {
            names.insert(name, aliases);
        } else {
            let known = declared.networks.iter().copied().chain([DEFAULT]);
            cx.undefined(at, "network", &name, "declare it under the top-level `networks:`", known);
        }
    }
    if names.is_empty() { default() } else { names }
}

fn joined_one(cx: &mut Context<'_>, name: &str, field: &Field<'_>) -> (String, Mark, BTreeSet<String>) {
    let mut names = BTreeSet::new();
    if field.node.value != Value::Null
        && let Some(mut keys) = cx.map(field)
    {
        if let Some(field) = keys.take("aliases") {
            names = aliases(cx, &field);
        }
        keys.finish(cx, keys::SERVICE_NETWORK);
    }
    (name.to_owned(), field.at, names)
}

/// Names of DNS, in lower case: they are asked for in any.
fn aliases(cx: &mut Context<'_>, field: &Field<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (alias, at) in cx.text_list(field).unwrap_or_default() {
        if is_host_name(&alias) {
            names.insert(alias.to_ascii_lowercase());
        } else {
            cx.problem(at, format!("`{}`: `{}` is not a host name", field.path, shorten(&alias)), "");
        }
    }
    names
}
