//! One service: its simple keys here, the rest in the files beside.
//!
//! Never looks at other services: `across` does. Called by `lower`.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::id::ServiceName;
use proto::limits::{DRAIN_DEFAULT_MS, STOP_GRACE_DEFAULT_MS};
use proto::spec::{ContainerSpec, PortSpec, ServiceSpec};

use super::super::Build;
use super::super::tree::{Mark, Node, Value};
use super::super::words::split_command;
use super::context::{Context, Field, Fields};
use super::{
    Declared, blobs, depends, deploy, environment, extension, health, images, is_docker_name, isolation, kernel, keys,
    naming, networks, ports, restart, update, volumes,
};

/// A service with what the checks between services need to know.
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Where it begins.
    pub at: Mark,
    /// It, without its ports and dependencies, which are filled in by `across`.
    pub spec: ServiceSpec,
    /// How its image is made.
    pub build: Option<Build>,
    /// Its published ports with their places.
    pub ports: Vec<(PortSpec, Mark)>,
    /// Where each dependency is written.
    pub dependencies: BTreeMap<ServiceName, Mark>,
    /// Where `restart` is written.
    pub restart_at: Option<Mark>,
    /// Where `container_name` is written.
    pub container_name_at: Option<Mark>,
}

/// Lowers one service. `None`: it has no usable name or is no map; the problems are in the context.
pub fn service(cx: &mut Context<'_>, name: &str, field: &Field<'_>, declared: &Declared<'_>) -> Option<Service> {
    let name = checked_name(cx, name, field.at)?;
    let empty = Node::new(field.at, Value::Map(Vec::new()));
    let node = if field.node.value == Value::Null { &empty } else { field.node };
    let mut keys = cx.map(&Field { path: field.path.clone(), at: field.at, node })?;
    for (key, text) in [
        ("links", "`links` is not needed: services reach each other by name; names after a `:` in it are not made"),
        ("attach", "`attach` has no meaning on a cluster: use `ctl logs -f`"),
        ("develop", "`develop` is read by Compose only: files are not watched"),
    ] {
        if let Some(field) = keys.take(key) {
            cx.notice(field.at, text);
        }
    }
    let (image, build) = images::image(cx, &mut keys, &name, declared);
    let container = container(cx, &mut keys, image, declared);
    let mut deploy = deploy::deploy(cx, &mut keys);
    let kernel = kernel::kernel(cx, &mut keys, &mut deploy);
    let own = extension::extension(cx, &mut keys);
    if let Some(field) = &own.update {
        update::own(cx, field, &mut deploy.updates);
    }
    let drain_ms = own.drain.and_then(|f| cx.duration_ms(&f)).unwrap_or(DRAIN_DEFAULT_MS);
    let depends_on = depends::depends_on(cx, &mut keys, declared);
    let restart = restart::restart(cx, &mut keys, deploy.restart);
    let container_name_at = keys.take("container_name").map(|f| f.at);
    let ports = ports::ports(cx, &mut keys);
    let joined = networks::joined(cx, &mut keys, declared);
    let spec = ServiceSpec {
        container: Arc::new(ContainerSpec { limits: deploy.limits, kernel, ..container }),
        replicas: deploy.replicas,
        mode: deploy.mode,
        restart: restart.map(|(policy, _)| policy).unwrap_or_default(),
        health: health::health(cx, &mut keys, own.health),
        ports: ports.iter().map(|(port, _)| port.clone()).collect(),
        expose: ports::expose(cx, &mut keys),
        depends_on: depends_on.iter().map(|(name, (dependency, _))| (name.clone(), *dependency)).collect(),
        reservations: deploy.reservations,
        placement: deploy.placement,
        labels: deploy.labels,
        update: deploy.updates.update,
        rollback: deploy.updates.rollback,
        drain_ms,
        networks: joined.keys().cloned().collect(),
        aliases: joined.into_iter().filter(|(_, aliases)| !aliases.is_empty()).collect(),
    };
    update::say_forced(cx, deploy.updates.start_first_at, &spec);
    keys.finish(cx, keys::SERVICE);
    let dependencies = depends_on.into_iter().map(|(name, (_, at))| (name, at)).collect();
    let restart_at = restart.map(|(_, at)| at);
    Some(Service { name, at: field.at, spec, build, ports, dependencies, restart_at, container_name_at })
}

fn checked_name(cx: &mut Context<'_>, name: &str, at: Mark) -> Option<ServiceName> {
    match name.parse() {
        Ok(name) => Some(name),
        Err(e) => {
            let fitting: String = name
                .to_lowercase()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
                .collect();
            let hint = match fitting.parse::<ServiceName>() {
                Ok(fitting) => format!("write `{fitting}`"),
                Err(_) => String::new(),
            };
            cx.problem(at, e.to_string(), &hint);
            None
        }
    }
}

fn container(cx: &mut Context<'_>, keys: &mut Fields<'_>, image: String, declared: &Declared<'_>) -> ContainerSpec {
    let mounts = volumes::mounts(cx, keys, declared);
    let user =
        keys.take("user").and_then(|f| checked(cx, &f, "UID, UID:GID or names", |t| !t.contains(char::is_whitespace)));
    let files = blobs::files(cx, keys, declared, &mounts, user.as_deref());
    ContainerSpec {
        image,
        image_id: String::new(),
        pull: images::pull_policy(cx, keys),
        platform: keys.take("platform").and_then(|f| images::platform(cx, &f)),
        command: keys.take("command").and_then(|f| command(cx, &f)),
        entrypoint: keys.take("entrypoint").and_then(|f| command(cx, &f)),
        environment: environment::environment(cx, keys),
        labels: environment::labels(cx, keys),
        hostname: keys.take("hostname").and_then(|f| checked(cx, &f, "a host name", is_host_name)),
        container_name: keys.take("container_name").and_then(|f| checked(cx, &f, "a container's name", is_docker_name)),
        user,
        working_dir: keys.take("working_dir").and_then(|f| checked(cx, &f, "an absolute path", |t| t.starts_with('/'))),
        stop_grace_ms: keys.take("stop_grace_period").and_then(|f| cx.duration_ms(&f)).unwrap_or(STOP_GRACE_DEFAULT_MS),
        stop_signal: keys.take("stop_signal").and_then(|f| checked(cx, &f, "a signal such as SIGTERM", is_signal)),
        init: keys.take("init").and_then(|f| cx.boolean(&f)).unwrap_or_default(),
        read_only: keys.take("read_only").and_then(|f| cx.boolean(&f)).unwrap_or_default(),
        tmpfs: volumes::memory(cx, keys, &mounts),
        mounts: mounts.into_iter().map(|(mount, _)| mount).collect(),
        files,
        tty: keys.take("tty").and_then(|f| cx.boolean(&f)).unwrap_or_default(),
        stdin_open: keys.take("stdin_open").and_then(|f| cx.boolean(&f)).unwrap_or_default(),
        isolation: isolation::isolation(cx, keys),
        naming: naming::naming(cx, keys),
        logging: naming::logging(cx, keys),
        annotations: keys.take("annotations").map(|f| cx.labels(&f)).unwrap_or_default(),
        ..ContainerSpec::default()
    }
}

/// A string of a certain form; `expected` says which.
pub fn checked(
    cx: &mut Context<'_>,
    field: &Field<'_>,
    expected: &str,
    is_good: impl Fn(&str) -> bool,
) -> Option<String> {
    let text = cx.filled_text(field)?;
    if !is_good(text) {
        cx.mismatch(field, expected);
        return None;
    }
    Some(text.to_owned())
}

/// A name of DNS, letters, digits, `-` and `_` between dots.
pub fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && label.chars().all(allowed)
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_signal(text: &str) -> bool {
    let is_number = text.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n));
    let name = text.strip_prefix("SIG").unwrap_or(text);
    is_number || (!name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || "12+-".contains(c)))
}

/// `command` or `entrypoint`: a list as it is, a string split as a shell would split it.
fn command(cx: &mut Context<'_>, field: &Field<'_>) -> Option<Vec<String>> {
    if let Value::List(_) = field.node.value {
        return Some(cx.text_list(field)?.into_iter().map(|(text, _)| text).collect());
    }
    let Value::Scalar(_) = field.node.value else {
        cx.mismatch(field, "a string or a list");
        return None;
    };
    let text = cx.text(field)?;
    match split_command(text) {
        Ok(split) => {
            if let Some(character) = split.shell_character {
                let message = format!(
                    "`{}` is not read by a shell: `{character}` is passed on as it is; for a shell write [\"sh\", \"-c\", \"...\"]",
                    field.path
                );
                cx.remark(field.node.at, message);
            }
            Some(split.words)
        }
        Err(why) => {
            cx.problem(field.node.at, format!("`{}` {why}", field.path), "close the quote, or write a list");
            None
        }
    }
}
