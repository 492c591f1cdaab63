//! How a service's containers find others by name, and where their output goes: `dns`, `extra_hosts`, `domainname`,
//! `logging` (Compose Specification, section 05).
//!
//! Never takes the cluster's own names away: what is written here comes after them. Called by `service`.

use std::net::IpAddr;

use proto::spec::{HostEntry, Logging, Naming};

use super::super::tree::{Mark, Value, shorten};
use super::context::{Context, Field, Fields};
use super::service::{checked, is_host_name};

/// The word for the node's own address.
const HOST_GATEWAY: &str = "host-gateway";

/// Lowers the keys of names.
pub fn naming(cx: &mut Context<'_>, keys: &mut Fields<'_>) -> Naming {
    Naming {
        servers: keys.take("dns").map(|f| servers(cx, &f)).unwrap_or_default(),
        search: keys.take("dns_search").map(|f| search(cx, &f)).unwrap_or_default(),
        options: keys.take("dns_opt").map(|f| options(cx, &f)).unwrap_or_default(),
        domain: keys.take("domainname").and_then(|f| checked(cx, &f, "a domain name", is_host_name)),
        hosts: keys.take("extra_hosts").map(|f| hosts(cx, &f)).unwrap_or_default(),
    }
}

/// A string, or a list of them, each with its place.
pub fn text_or_list(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<(String, Mark)> {
    match field.node.value {
        Value::List(_) => cx.text_list(field).unwrap_or_default(),
        Value::Scalar(_) => cx.text(field).map(|text| (text.to_owned(), field.node.at)).into_iter().collect(),
        _ => {
            cx.mismatch(field, "a string or a list");
            Vec::new()
        }
    }
}

fn servers(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for (text, at) in text_or_list(cx, field) {
        match text.parse() {
            Ok(address) => servers.push(address),
            Err(_) => {
                let message = format!("`{}`: `{}` is not an IP address", field.path, shorten(&text));
                cx.problem(at, message, "write such as `192.0.2.53`");
            }
        }
    }
    servers
}

/// `.` is Docker's word for none.
fn search(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<String> {
    let mut domains = Vec::new();
    for (text, at) in text_or_list(cx, field) {
        let domain = text.trim_end_matches('.');
        if text == "." {
            continue;
        }
        if is_host_name(domain) {
            domains.push(domain.to_owned());
        } else {
            cx.problem(at, format!("`{}`: `{}` is not a domain name", field.path, shorten(&text)), "");
        }
    }
    domains
}

fn options(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<String> {
    let mut options = Vec::new();
    for (text, at) in cx.text_list(field).unwrap_or_default() {
        let is_good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_:".contains(c));
        if is_good {
            options.push(text);
        } else {
            let message = format!("`{}`: `{}` is no option of a resolver", field.path, shorten(&text));
            cx.problem(at, message, "see `man resolv.conf`");
        }
    }
    options
}

/// A map of names to one or several addresses, or a list of `NAME:ADDRESS` and `NAME=ADDRESS`.
fn hosts(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<HostEntry> {
    let mut hosts = Vec::new();
    if let Value::List(_) = field.node.value {
        for (text, at) in cx.text_list(field).unwrap_or_default() {
            let Some((name, address)) = text.split_once(['=', ':']) else {
                let message = format!("`{}`: `{}` names no address", field.path, shorten(&text));
                cx.problem(at, message, "write NAME:ADDRESS");
                continue;
            };
            hosts.extend(host(cx, field, name, address, at));
        }
        return hosts;
    }
    let Some(entries) = cx.map_or(field, "a map or a list") else { return hosts };
    for (name, entry) in entries.all() {
        for (address, at) in text_or_list(cx, &entry) {
            hosts.extend(host(cx, field, name, &address, at));
        }
    }
    hosts
}

fn host(cx: &mut Context<'_>, field: &Field<'_>, name: &str, address: &str, at: Mark) -> Option<HostEntry> {
    if !is_host_name(name) {
        cx.problem(at, format!("`{}`: `{}` is not a host name", field.path, shorten(name)), "");
        return None;
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if bare == HOST_GATEWAY {
        return Some(HostEntry { name: name.to_owned(), address: None });
    }
    match bare.parse() {
        Ok(address) => Some(HostEntry { name: name.to_owned(), address: Some(address) }),
        Err(_) => {
            let message = format!("`{}`: `{}` is not an IP address", field.path, shorten(address));
            cx.problem(at, message, "write an address, or `host-gateway` for the node's own");
            None
        }
    }
}

/// `logging`. A driver that keeps nothing leaves nothing to `ctl logs`.
pub fn logging(cx: &mut Context<'_>, keys: &mut Fields<'_>) -> Logging {
    let mut logging = Logging::default();
    let Some(field) = keys.take("logging") else { return logging };
    let Some(mut below) = cx.map(&field) else { return logging };
    if let Some(driver) = below.take("driver")
        && let Some(text) = cx.filled_text(&driver)
    {
        if text == "none" {
            let message =
                format!("`{}: none` keeps no output: `ctl logs` and `ctl why` have none to show", driver.path);
            cx.notice(driver.at, message);
        }
        logging.driver = Some(text.to_owned());
    }
    if let Some(options) = below.take("options")
        && let Some(entries) = cx.map(&options)
    {
        for (name, option) in entries.all() {
            if option.node.value != Value::Null
                && let Some(value) = cx.scalar(&option, "a string or a number")
            {
                logging.options.insert(name.to_owned(), value.text.clone());
            }
        }
    }
    below.finish(cx, &[]);
    logging
}
