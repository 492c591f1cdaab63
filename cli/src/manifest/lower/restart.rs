//! `restart` of a service and `deploy.restart_policy`, which wins over it (Compose Specification, section 05, and its Deploy part).
//!
//! Never decides what a service without either does: its default is that of the spec, and `across` tells it. Called by `service`.

use proto::spec::RestartPolicy;

use super::super::tree::{Mark, Value};
use super::context::{Context, Field, Fields};

const HINT: &str = "write \"no\", always, unless-stopped, on-failure or on-failure:N";

/// The policy that is written, and where. `by_deploy`: what `deploy.restart_policy` said.
pub fn restart(
    cx: &mut Context<'_>,
    service: &mut Fields<'_>,
    by_deploy: Option<(RestartPolicy, Mark)>,
) -> Option<(RestartPolicy, Mark)> {
    let written = service.take("restart");
    let own = written.as_ref().map(|field| (short(cx, field).unwrap_or_default(), field.at));
    if let (Some(field), Some((by_deploy, _)), Some((own, _))) = (&written, &by_deploy, &own)
        && by_deploy != own
    {
        cx.notice(field.at, format!("`{}` has no effect beside `deploy.restart_policy`", field.path));
    }
    by_deploy.or(own)
}

fn short(cx: &mut Context<'_>, field: &Field<'_>) -> Option<RestartPolicy> {
    let Value::Scalar(scalar) = &field.node.value else {
        cx.mismatch(field, "a string");
        return None;
    };
    let (word, max) = scalar.text.split_once(':').map_or((scalar.text.as_str(), None), |(w, m)| (w, Some(m)));
    match (word, max) {
        ("no", None) => Some(RestartPolicy::No),
        ("always", None) => Some(RestartPolicy::Always),
        ("unless-stopped", None) => {
            cx.notice(
                field.at,
                "`restart: unless-stopped` is taken as `always`: a service is stopped by `ctl scale` or `ctl delete`",
            );
            Some(RestartPolicy::Always)
        }
        ("on-failure", None) => Some(RestartPolicy::OnFailure { max: 0 }),
        ("on-failure", Some(max)) if max.parse::<u32>().is_ok() => {
            Some(RestartPolicy::OnFailure { max: max.parse().ok()? })
        }
        _ => {
            let message = format!("`{}`: expected a restart policy, found {}", field.path, field.node.describe());
            cx.problem(field.node.at, message, HINT);
            None
        }
    }
}

/// Lowers `deploy.restart_policy`. Its condition is `any` by default.
pub fn policy(cx: &mut Context<'_>, field: &Field<'_>) -> Option<(RestartPolicy, Mark)> {
    let mut keys = cx.map(field)?;
    let condition = keys.take("condition");
    let attempts = keys.take("max_attempts");
    for (key, text) in [
        ("delay", "the first restart is at once, later ones back off from 100 ms to 60 s"),
        ("window", "failures count until a task was ready for a while"),
    ] {
        if let Some(field) = keys.take(key)
            && cx.duration_ms(&field).is_some()
        {
            cx.notice(field.at, format!("`{}` has no effect: {text}", field.path));
        }
    }
    keys.finish(cx, &[]);
    let max = attempts.as_ref().and_then(|f| cx.whole(f, 0, u32::MAX.into())).and_then(|n| u32::try_from(n).ok());
    let condition = match &condition {
        None => "any",
        Some(condition) => cx.text(condition)?,
    };
    let policy = match condition {
        "none" | "no" => RestartPolicy::No,
        "on-failure" => return Some((RestartPolicy::OnFailure { max: max.unwrap_or(0) }, field.at)),
        "any" | "always" | "unless-stopped" => RestartPolicy::Always,
        _ => {
            let message = format!("`{}.condition`: expected none, on-failure or any", field.path);
            cx.problem(field.at, message, "write one of them");
            return None;
        }
    };
    if let (Some(attempts), RestartPolicy::Always) = (&attempts, policy) {
        let text =
            format!("`{}` has no effect without `condition: on-failure`: restarts go on, ever slower", attempts.path);
        cx.notice(attempts.at, text);
    }
    Some((policy, field.at))
}
