//! `healthcheck`, and `x-wherry: health:` for the checks Compose has no word for.
//!
//! Never runs a check. Called by `service`.

use proto::spec::{HealthCheck, HealthSpec, Probe};

use super::super::tree::{Value, shorten};
use super::context::{Context, Field, Fields};

const INTERVAL_DEFAULT_MS: u64 = 30_000;
const TIMEOUT_DEFAULT_MS: u64 = 30_000;
const RETRIES_DEFAULT: u32 = 3;
/// Ours; Docker's is 5 s. A service is found ready soon after it is.
const START_INTERVAL_DEFAULT_MS: u64 = 1_000;
const TIMES: [&str; 5] = ["interval", "timeout", "retries", "start_period", "start_interval"];
const FORMS: &str = "write [\"CMD\", program, ...], [\"CMD-SHELL\", command] or [\"NONE\"]";

/// How a service's health is judged. Both keys at once are refused.
/// `own`: the field `health` of `x-wherry`.
pub fn health(cx: &mut Context<'_>, service: &mut Fields<'_>, own: Option<Field<'_>>) -> HealthSpec {
    let compose = service.take("healthcheck");
    if let (Some(compose), Some(own)) = (&compose, &own) {
        let message = format!("`{}` and `{}` exclude each other", compose.path, own.path);
        cx.problem(own.at, message, "keep one of them");
    }
    let own = own.and_then(|f| own_check(cx, &f));
    let compose = compose.and_then(|f| compose_check(cx, &f));
    own.or(compose).unwrap_or_default()
}

fn compose_check(cx: &mut Context<'_>, field: &Field<'_>) -> Option<HealthSpec> {
    let mut keys = cx.map(field)?;
    let is_disabled = keys.take("disable").and_then(|f| cx.boolean(&f)).unwrap_or_default();
    let test = keys.take("test");
    let changed = TIMES.iter().copied().find(|key| keys.has(key));
    let check = check(cx, &mut keys, Probe::Exec { argv: Vec::new() });
    keys.finish(cx, &[]);
    if is_disabled {
        return Some(HealthSpec::Disabled);
    }
    let Some(test) = test else {
        if changed.is_some() {
            let message = format!(
                "`{}` without `test` would change the image's own check, which is not supported yet",
                field.path
            );
            cx.problem(field.at, message, "write `test`");
        }
        return None;
    };
    Some(match argv(cx, &test)? {
        None => HealthSpec::Disabled,
        Some(argv) => HealthSpec::Check(HealthCheck { probe: Probe::Exec { argv }, ..check }),
    })
}

/// Program and arguments; inner `None`: no check at all.
fn argv(cx: &mut Context<'_>, field: &Field<'_>) -> Option<Option<Vec<String>>> {
    let shell = |command: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()];
    if let Value::Scalar(_) = field.node.value {
        return Some(Some(shell(cx.filled_text(field)?)));
    }
    if !matches!(field.node.value, Value::List(_)) {
        cx.mismatch(field, "a string or a list");
        return None;
    }
    let items: Vec<String> = cx.text_list(field)?.into_iter().map(|(text, _)| text).collect();
    match items.first().map(String::as_str) {
        Some("NONE") if items.len() == 1 => Some(None),
        Some("CMD") if items.len() > 1 => Some(Some(items[1..].to_vec())),
        Some("CMD-SHELL") if items.len() == 2 => Some(Some(shell(&items[1]))),
        Some("NONE" | "CMD" | "CMD-SHELL") => {
            cx.problem(field.node.at, format!("`{}` has the wrong number of items", field.path), FORMS);
            None
        }
        _ => {
            cx.problem(field.node.at, format!("`{}` must begin with CMD, CMD-SHELL or NONE", field.path), FORMS);
            None
        }
    }
}

fn own_check(cx: &mut Context<'_>, field: &Field<'_>) -> Option<HealthSpec> {
    let mut keys = cx.map(field)?;
    let (http, tcp) = (keys.take("http"), keys.take("tcp"));
    let check = check(cx, &mut keys, Probe::Tcp { port: 0 });
    keys.finish(cx, &[("exec", "write Compose's `healthcheck`"), ("grpc", "write `tcp`")]);
    let probe = match (http, tcp) {
        (Some(http), None) => http_probe(cx, &http)?,
        (None, Some(tcp)) => tcp_probe(cx, &tcp)?,
        _ => {
            let message = format!("`{}` needs either `http` or `tcp`", field.path);
            cx.problem(field.at, message, "write `http: {port: 8080, path: /healthz}` or `tcp: {port: 8080}`");
            return None;
        }
    };
    Some(HealthSpec::Check(HealthCheck { probe, ..check }))
}

fn http_probe(cx: &mut Context<'_>, field: &Field<'_>) -> Option<Probe> {
    let mut keys = cx.map(field)?;
    let port = port(cx, &mut keys, field);
    let path = keys.take("path");
    keys.finish(cx, &[]);
    let path = match &path {
        None => "/".to_owned(),
        Some(path) => {
            let text = cx.filled_text(path)?;
            if !text.starts_with('/') || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
                cx.problem(
                    path.node.at,
                    format!("`{}`: `{}` is not a path", path.path, shorten(text)),
                    "begin it with `/`",
                );
            }
            text.to_owned()
        }
    };
    Some(Probe::Http { port: port?, path })
}

fn tcp_probe(cx: &mut Context<'_>, field: &Field<'_>) -> Option<Probe> {
    let mut keys = cx.map(field)?;
    let port = port(cx, &mut keys, field);
    keys.finish(cx, &[]);
    Some(Probe::Tcp { port: port? })
}

fn port(cx: &mut Context<'_>, keys: &mut Fields<'_>, around: &Field<'_>) -> Option<u16> {
    let Some(field) = keys.take("port") else {
        cx.problem(
            around.at,
            format!("`{}` has no `port`", around.path),
            "write `port: 8080`, the port inside the container",
        );
        return None;
    };
    u16::try_from(cx.whole(&field, 1, i64::from(u16::MAX))?).ok()
}

/// The times of a check around a probe. Zero means the default, as in Docker.
fn check(cx: &mut Context<'_>, keys: &mut Fields<'_>, probe: Probe) -> HealthCheck {
    let mut time = |key, default| {
        let written: Option<u64> = keys.take(key).and_then(|f| cx.duration_ms(&f));
        written.filter(|ms| *ms > 0).unwrap_or(default)
    };
    let interval_ms = time("interval", INTERVAL_DEFAULT_MS);
    let timeout_ms = time("timeout", TIMEOUT_DEFAULT_MS);
    let start_period_ms = time("start_period", 0);
    let start_interval_ms = time("start_interval", START_INTERVAL_DEFAULT_MS);
    let retries = keys.take("retries").and_then(|f| cx.whole(&f, 0, 1000)).and_then(|n| u32::try_from(n).ok());
    let retries = retries.filter(|n| *n > 0).unwrap_or(RETRIES_DEFAULT);
    HealthCheck { probe, interval_ms, timeout_ms, retries, start_period_ms, start_interval_ms }
}
