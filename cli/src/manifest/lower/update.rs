//! `deploy.update_config`, `deploy.rollback_config` and the parts of `x-wherry` about updates (Compose Deploy Specification).
//!
//! Never rolls anything out. Called by `deploy` and `service`.

use proto::limits::REPLICAS_MAX;
use proto::spec::{FailureAction, ServiceSpec, UpdateOrder, UpdateSpec};

use super::super::tree::Mark;
use super::context::{Context, Field, Fields};

/// How changes go, as far as a manifest says.
#[derive(Debug, Default)]
pub struct Updates {
    /// Of a change.
    pub update: UpdateSpec,
    /// Of taking one back.
    pub rollback: UpdateSpec,
    /// Where `order: start-first` is written.
    pub start_first_at: Option<Mark>,
}

/// Lowers both keys of `deploy`.
pub fn updates(cx: &mut Context<'_>, deploy: &mut Fields<'_>) -> Updates {
    let mut updates = Updates::default();
    if let Some(field) = deploy.take("update_config")
        && let Some(config) = config(cx, &field, true)
    {
        updates.update = config.spec;
        updates.start_first_at = config.order_at.filter(|_| updates.update.order == Some(UpdateOrder::StartFirst));
    }
    if let Some(field) = deploy.take("rollback_config")
        && let Some(config) = config(cx, &field, false)
    {
        updates.rollback = config.spec;
    }
    updates
}

struct Config {
    spec: UpdateSpec,
    order_at: Option<Mark>,
}

/// `may_roll_back`: a failure may take the change back; not that of taking it back.
fn config(cx: &mut Context<'_>, field: &Field<'_>, may_roll_back: bool) -> Option<Config> {
    let mut keys = cx.map(field)?;
    let mut spec = UpdateSpec::default();
    if let Some(slots) = keys.take("parallelism").and_then(|f| cx.whole(&f, 0, REPLICAS_MAX.into())) {
        spec.parallelism = u32::try_from(slots).unwrap_or(REPLICAS_MAX);
    }
    if let Some(ms) = keys.take("delay").and_then(|f| cx.duration_ms(&f)) {
        spec.delay_ms = ms;
    }
    if let Some(ms) = keys.take("monitor").and_then(|f| cx.duration_ms(&f)) {
        spec.monitor_ms = ms;
    }
    if let Some(ratio) = keys.take("max_failure_ratio") {
        spec.max_failures_per_mille = per_mille(cx, &ratio).unwrap_or_default();
    }
    if let Some(action) = keys.take("failure_action") {
        spec.on_failure = failure_action(cx, &action, may_roll_back).unwrap_or_default();
    }
    let order = keys.take("order");
    spec.order = order.as_ref().and_then(|f| self::order(cx, f));
    keys.finish(cx, &[]);
    Some(Config { spec, order_at: order.map(|f| f.at) })
}

fn per_mille(cx: &mut Context<'_>, field: &Field<'_>) -> Option<u32> {
    cx.word(field, "a number from 0 to 1", |scalar| {
        let ratio: f64 = scalar.text.parse().map_err(|_| "write a share of the slots, such as `0.25`".to_owned())?;
        if !(0.0..=1.0).contains(&ratio) {
            return Err("write a share of the slots, such as `0.25`".to_owned());
        }
        Ok((ratio * 1000.0).round() as u32)
    })
}

fn failure_action(cx: &mut Context<'_>, field: &Field<'_>, may_roll_back: bool) -> Option<FailureAction> {
    let words = if may_roll_back { "`rollback`, `pause` or `continue`" } else { "`pause` or `continue`" };
    match cx.text(field)? {
        "pause" => Some(FailureAction::Pause),
        "continue" => Some(FailureAction::Continue),
        "rollback" if may_roll_back => Some(FailureAction::Rollback),
        other => {
            let message = format!("`{}`: `{}` is no action", field.path, super::super::tree::shorten(other));
            cx.problem(field.node.at, message, &format!("write {words}"));
            None
        }
    }
}

fn order(cx: &mut Context<'_>, field: &Field<'_>) -> Option<UpdateOrder> {
    match cx.text(field)? {
        "start-first" => Some(UpdateOrder::StartFirst),
        "stop-first" => Some(UpdateOrder::StopFirst),
        other => {
            let message = format!("`{}`: `{}` is no order", field.path, super::super::tree::shorten(other));
            cx.problem(field.node.at, message, "write `start-first` or `stop-first`");
            None
        }
    }
}

/// `x-wherry: update: {deadline: 30s}`: of both directions.
pub fn own(cx: &mut Context<'_>, field: &Field<'_>, updates: &mut Updates) {
    let Some(mut keys) = cx.map(field) else { return };
    if let Some(ms) = keys.take("deadline").and_then(|f| cx.duration_ms(&f)) {
        updates.update.deadline_ms = ms;
        updates.rollback.deadline_ms = ms;
    }
    keys.finish(cx, &[]);
}

/// `order: start-first` that cannot be had is said.
pub fn say_forced(cx: &mut Context<'_>, at: Option<Mark>, spec: &ServiceSpec) {
    if let Some((at, collision)) = at.zip(spec.collision()) {
        cx.notice(at, format!("`order: start-first` cannot be had, the old container stops first: {collision}"));
    }
}
