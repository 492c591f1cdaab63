//! How far a service's containers are kept apart from their host: privileges, capabilities, devices, namespaces (Compose
//! Specification, section 05).
//!
//! Never judges whether a node allows it: the node does. Called by `service`.

use std::collections::BTreeSet;

use proto::spec::{Device, Isolation, Namespace};

use super::super::ReadError;
use super::super::project::host_path;
use super::super::tree::{Value, shorten};
use super::context::{Context, Field, Fields};

/// Bytes of a seccomp profile: Docker's own has 12 000.
const PROFILE_MAX_BYTES: usize = 64 << 10;

/// The kernel's capabilities, without `CAP_`.
const CAPABILITIES: [&str; 42] = [
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Lowers the keys of isolation.
pub fn isolation(cx: &mut Context<'_>, keys: &mut Fields<'_>) -> Isolation {
    let text = |cx: &mut Context<'_>, field: &Field<'_>| cx.filled_text(field).map(str::to_owned);
    let namespaces = |cx: &mut Context<'_>, keys: &mut Fields<'_>, key, choices| {
        keys.take(key).and_then(|f| namespace(cx, &f, choices)).unwrap_or_default()
    };
    Isolation {
        privileged: keys.take("privileged").and_then(|f| cx.boolean(&f)).unwrap_or_default(),
        cap_add: keys.take("cap_add").map(|f| capabilities(cx, &f)).unwrap_or_default(),
        cap_drop: keys.take("cap_drop").map(|f| capabilities(cx, &f)).unwrap_or_default(),
        security_opt: keys.take("security_opt").map(|f| security_opt(cx, &f)).unwrap_or_default(),
        devices: keys.take("devices").map(|f| devices(cx, &f)).unwrap_or_default(),
        device_cgroup_rules: keys.take("device_cgroup_rules").map(|f| device_rules(cx, &f)).unwrap_or_default(),
        group_add: keys.take("group_add").map(|f| groups(cx, &f)).unwrap_or_default(),
        pid: namespaces(cx, keys, "pid", &[("host", Namespace::Host)]),
        ipc: namespaces(
            cx,
            keys,
            "ipc",
            &[
                ("host", Namespace::Host),
                ("private", Namespace::Private),
                ("shareable", Namespace::Shareable),
                ("none", Namespace::Absent),
            ],
        ),
        uts: namespaces(cx, keys, "uts", &[("host", Namespace::Host)]),
        userns: namespaces(cx, keys, "userns_mode", &[("host", Namespace::Host)]),
        cgroup: namespaces(cx, keys, "cgroup", &[("host", Namespace::Host), ("private", Namespace::Private)]),
        cgroup_parent: keys.take("cgroup_parent").and_then(|f| text(cx, &f)),
        no_network: network_mode(cx, keys),
        runtime: keys.take("runtime").and_then(|f| text(cx, &f)),
    }
}

fn capabilities(cx: &mut Context<'_>, field: &Field<'_>) -> BTreeSet<String> {
    let mut capabilities = BTreeSet::new();
    for (written, at) in cx.text_list(field).unwrap_or_default() {
        let upper = written.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if CAPABILITIES.contains(&name) {
            capabilities.insert(name.to_owned());
        } else {
            cx.undefined(at, "capability", name, "see `man capabilities`", CAPABILITIES);
        }
    }
    capabilities
}

/// Options in the one form `KEY=VALUE`; a seccomp profile is read here, because nodes do not have the file.
fn security_opt(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<String> {
    let items = cx.list(field).unwrap_or_default();
    items.iter().filter_map(|item| security_option(cx, item)).collect()
}

fn security_option(cx: &mut Context<'_>, item: &Field<'_>) -> Option<String> {
    let text = cx.filled_text(item)?;
    let (key, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
    match (key, value) {
        ("no-new-privileges", "" | "true") => Some("no-new-privileges=true".to_owned()),
        // Docker's default.
        ("no-new-privileges", "false") => None,
        ("seccomp", "unconfined" | "builtin") => Some(format!("seccomp={value}")),
        ("seccomp", path) if !path.is_empty() => seccomp(cx, item, path),
        ("apparmor" | "label", value) if !value.is_empty() => Some(format!("{key}={value}")),
        ("systempaths", "unconfined") => Some("systempaths=unconfined".to_owned()),
        ("credentialspec", _) => {
            cx.problem(item.node.at, format!("`{}`: it is for Windows containers", item.path), "remove it");
            None
        }
        _ => {
            let message = format!("`{}`: `{}` is no security option", item.path, shorten(text));
            let hint =
                "write no-new-privileges:true, seccomp=FILE, apparmor=PROFILE, label=... or systempaths=unconfined";
            cx.problem(item.node.at, message, hint);
            None
        }
    }
}

fn seccomp(cx: &mut Context<'_>, item: &Field<'_>, written: &str) -> Option<String> {
    let path = match host_path(cx, item.node.at, written) {
        Ok(path) => path,
        Err(why) => {
            cx.problem(item.node.at, format!("`{}`: {why}", item.path), "");
            return None;
        }
    };
    let read = cx.sources.read(&path, PROFILE_MAX_BYTES);
    let profile = read.map_err(|e| (e == ReadError::NotFound, e.to_string())).and_then(|bytes| {
        serde_json::from_slice::<serde_json::Value>(&bytes).map_err(|e| (false, format!("is not JSON: {e}")))
    });
    match profile {
        Ok(profile) if profile.is_object() => Some(format!("seccomp={profile}")),
        Ok(_) => {
            cx.problem(item.node.at, format!("seccomp profile `{}` is not a JSON object", shorten(written)), "");
            None
        }
        Err((absent, why)) => {
            let hint = if absent { "write the file, or `seccomp=unconfined`" } else { "" };
            cx.problem(item.node.at, format!("seccomp profile `{}`: {why}", shorten(written)), hint);
            None
        }
    }
}

fn devices(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<Device> {
    let items = cx.list(field).unwrap_or_default();
    items.iter().filter_map(|item| device(cx, item)).collect()
}

/// `SOURCE[:TARGET[:PERMISSIONS]]`, or a map of these.
fn device(cx: &mut Context<'_>, item: &Field<'_>) -> Option<Device> {
    let (source, target, permissions) = match item.node.value {
        Value::Map(_) => {
            let mut keys = cx.map(item)?;
            let (source, target, permissions) = (keys.take("source"), keys.take("target"), keys.take("permissions"));
            keys.finish(cx, &[]);
            let Some(source) = source else {
                cx.problem(item.at, format!("`{}` has no `source`", item.path), "name the device on the host");
                return None;
            };
            let mut text = |field: Option<Field<'_>>| field.and_then(|f| cx.filled_text(&f).map(str::to_owned));
            (text(Some(source))?, text(target), text(permissions))
        }
        _ => {
            let text = cx.filled_text(item)?;
            let mut parts = text.split(':').map(str::to_owned);
            match (parts.next()?, parts.next(), parts.next(), parts.next()) {
                (source, Some(permissions), None, None) if is_permissions(&permissions) => {
                    (source, None, Some(permissions))
                }
                (source, target, permissions, None) => (source, target, permissions),
                _ => {
                    cx.mismatch(item, "a device, SOURCE[:TARGET[:PERMISSIONS]]");
                    return None;
                }
            }
        }
    };
    let target = target.unwrap_or_else(|| source.clone());
    let permissions = permissions.unwrap_or_else(|| "rwm".to_owned());
    if !source.starts_with('/') || !target.starts_with('/') || !is_permissions(&permissions) {
        let message = format!("`{}`: `{}` is no device of the host", item.path, shorten(&source));
        cx.problem(item.at, message, "write absolute paths and letters of rwm, such as `/dev/fuse:/dev/fuse:rwm`");
        return None;
    }
    Some(Device { source, target, permissions })
}

fn is_permissions(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.chars().all(|c| "rwm".contains(c))
}

fn device_rules(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<String> {
    let mut rules = Vec::new();
    for (rule, at) in cx.text_list(field).unwrap_or_default() {
        let is_number = |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        let is_good = match rule.split(' ').collect::<Vec<_>>().as_slice() {
            ["a" | "b" | "c", numbers, permissions] => {
                is_permissions(permissions)
                    && numbers.split_once(':').is_some_and(|(a, b)| is_number(a) && is_number(b))
            }
            _ => false,
        };
        if is_good {
            rules.push(rule);
        } else {
            let message = format!("`{}`: `{}` is no rule of the device cgroup", field.path, shorten(&rule));
            cx.problem(at, message, "write such as `c 1:3 mr`");
        }
    }
    rules
}

fn groups(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<String> {
    let items = cx.list(field).unwrap_or_default();
    let group = |item: &Field<'_>| {
        cx.word(item, "a group's name or number", |s| match s.text.contains(char::is_whitespace) || s.text.is_empty() {
            true => Err(String::new()),
            false => Ok(s.text.clone()),
        })
    };
    items.iter().filter_map(group).collect()
}

fn namespace(cx: &mut Context<'_>, field: &Field<'_>, choices: &[(&str, Namespace)]) -> Option<Namespace> {
    let text = cx.filled_text(field)?;
    if let Some((_, namespace)) = choices.iter().find(|(word, _)| *word == text) {
        return Some(*namespace);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let hint = format!("write {}, or remove it", words.join(", "));
    if text.starts_with("service:") || text.starts_with("container:") {
        let message =
            format!("`{}: {}` is not supported: the two may be on different nodes", field.path, shorten(text));
        cx.problem(field.node.at, message, &hint);
    } else {
        cx.problem(field.node.at, format!("`{}`: there is no `{}`", field.path, shorten(text)), &hint);
    }
    None
}

/// Whether there is no network. Sharing somebody else's is refused, each with its reason.
fn network_mode(cx: &mut Context<'_>, keys: &mut Fields<'_>) -> bool {
    let Some(field) = keys.take("network_mode") else { return false };
    if keys.has("networks") {
        let message = format!("`{}` and `networks` exclude each other", field.path);
        cx.problem(field.at, message, "keep one of them");
    }
    let Some(text) = cx.filled_text(&field) else { return false };
    let (message, hint) = match text {
        "none" => {
            for key in ["ports", "expose"] {
                if keys.has(key) {
                    cx.problem(
                        field.at,
                        format!("`{}: none` leaves nothing for `{key}`", field.path),
                        "keep one of them",
                    );
                }
            }
            return true;
        }
        "bridge" | "default" => {
            let message = format!("`{}: {text}` has no effect: every container is on the node's bridge", field.path);
            cx.notice(field.at, message);
            return false;
        }
        "host" => (
            "names and published ports lead to a task's own address, and there it has none",
            "remove it; to bind a port of the host, write it in `ports` with `mode: host`",
        ),
        other if other.starts_with("service:") || other.starts_with("container:") => {
            ("the two may be on different nodes", "remove it: services reach each other by name")
        }
        _ => ("there is no such mode", "write none, or remove it"),
    };
    cx.problem(field.node.at, format!("`{}: {}` is not supported: {message}", field.path, shorten(text)), hint);
    false
}
