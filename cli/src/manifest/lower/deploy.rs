//! `deploy` and `scale`: how many, with which limits, with what set aside (Compose Deploy Specification).
//!
//! Never places anything. Called by `service`.

use std::collections::BTreeMap;

use proto::limits::REPLICAS_MAX;
use proto::spec::{Limits, PlacementSpec, Reservations, RestartPolicy, ServiceMode};

use super::super::tree::Mark;
use super::super::words;
use super::context::{Context, Field, Fields};
use super::update::{self, Updates};
use super::{keys, placement, restart};

/// Docker refuses a container with less memory.
pub const MEMORY_MIN_BYTES: u64 = 6 << 20;

/// What `deploy` and `scale` say.
#[derive(Debug, Default)]
pub struct Deploy {
    /// How many.
    pub replicas: u32,
    /// So many, or one on each node.
    pub mode: ServiceMode,
    /// Upper limits.
    pub limits: Limits,
    /// What is set aside.
    pub reservations: Reservations,
    /// Where.
    pub placement: PlacementSpec,
    /// The labels of the service itself.
    pub labels: BTreeMap<String, String>,
    /// What `restart_policy` says, and where.
    pub restart: Option<(RestartPolicy, Mark)>,
    /// How changes go.
    pub updates: Updates,
}

/// Lowers both keys of a service.
pub fn deploy(cx: &mut Context<'_>, service: &mut Fields<'_>) -> Deploy {
    let mut deploy = Deploy { replicas: 1, ..Deploy::default() };
    let scale = service.take("scale");
    let scaled = scale.as_ref().and_then(|f| replicas(cx, f));
    let mut written = None;
    if let Some(field) = service.take("deploy")
        && let Some(mut keys) = cx.map(&field)
    {
        let count = keys.take("replicas");
        written = count.as_ref().and_then(|f| replicas(cx, f));
        deploy.mode = mode(cx, &mut keys);
        if deploy.mode == ServiceMode::Global {
            for field in count.iter().chain(&scale) {
                let message = format!("`{}` beside `mode: global`: there is one container on each node", field.path);
                cx.problem(field.at, message, "remove it, or write `mode: replicated`");
            }
        }
        if let Some(field) = keys.take("resources") {
            resources(cx, &field, &mut deploy);
        }
        deploy.placement =
            keys.take("placement").map(|f| placement::placement(cx, &f, deploy.mode)).unwrap_or_default();
        deploy.labels = keys.take("labels").map(|f| cx.labels(&f)).unwrap_or_default();
        deploy.restart = keys.take("restart_policy").and_then(|f| restart::policy(cx, &f));
        endpoint_mode(cx, &mut keys);
        deploy.updates = update::updates(cx, &mut keys);
        keys.finish(cx, keys::DEPLOY);
    }
    if let (Some(a), Some(b), Some(field)) = (scaled, written, &scale)
        && a != b
    {
        let message = format!("`scale` says {a} and `deploy.replicas` says {b}");
        cx.problem(field.at, message, "keep `deploy.replicas`");
    }
    deploy.replicas = written.or(scaled).unwrap_or(1);
    deploy
}

fn replicas(cx: &mut Context<'_>, field: &Field<'_>) -> Option<u32> {
    u32::try_from(cx.whole(field, 0, REPLICAS_MAX.into())?).ok()
}

fn mode(cx: &mut Context<'_>, keys: &mut Fields<'_>) -> ServiceMode {
    let Some(field) = keys.take("mode") else { return ServiceMode::Replicated };
    match cx.text(&field) {
        Some("global") => return ServiceMode::Global,
        Some("replicated") | None => {}
        Some(job @ ("global-job" | "replicated-job")) => {
            let message = format!("`{}: {job}` is not supported yet", field.path);
            cx.problem(field.at, message, "write `restart: \"no\"`: a service that ends with 0 is complete");
        }
        Some(other) => {
            let message = format!("`{}`: there is no mode `{}`", field.path, super::super::tree::shorten(other));
            cx.problem(field.at, message, "write replicated or global");
        }
    }
    ServiceMode::Replicated
}

/// Names answer the addresses of all ready tasks: Compose's `dnsrr`.
fn endpoint_mode(cx: &mut Context<'_>, keys: &mut Fields<'_>) {
    let Some(field) = keys.take("endpoint_mode") else { return };
    match cx.text(&field) {
        Some("vip") => {
            let text =
                format!("`{}: vip` is taken as dnsrr: names answer the addresses of all ready tasks", field.path);
            cx.notice(field.at, text);
        }
        Some("dnsrr") | None => {}
        Some(_) => cx.mismatch(&field, "vip or dnsrr"),
    }
}

fn resources(cx: &mut Context<'_>, field: &Field<'_>, deploy: &mut Deploy) {
    let Some(mut keys) = cx.map(field) else { return };
    if let Some(field) = keys.take("limits")
        && let Some(mut keys) = cx.map(&field)
    {
        deploy.limits.cpu_millis = keys.take("cpus").and_then(|f| cpus(cx, &f));
        deploy.limits.memory_bytes = keys.take("memory").and_then(|f| memory(cx, &f, MEMORY_MIN_BYTES));
        deploy.limits.pids = keys.take("pids").and_then(|f| pids(cx, &f));
        keys.finish(cx, keys::LIMITS);
    }
    if let Some(field) = keys.take("reservations")
        && let Some(mut keys) = cx.map(&field)
    {
        deploy.reservations.cpu_millis = keys.take("cpus").and_then(|f| cpus(cx, &f)).unwrap_or_default();
        deploy.reservations.memory_bytes = keys.take("memory").and_then(|f| memory(cx, &f, 0)).unwrap_or_default();
        keys.finish(cx, keys::RESERVATIONS);
        let exceeds = |set_aside: u64, limit: Option<u64>| limit.is_some_and(|limit| set_aside > limit);
        if exceeds(deploy.reservations.memory_bytes, deploy.limits.memory_bytes) {
            cx.problem(
                field.at,
                format!("`{}` sets aside more memory than the limit allows", field.path),
                "lower it, or raise the limit",
            );
        }
        if exceeds(deploy.reservations.cpu_millis, deploy.limits.cpu_millis) {
            cx.problem(
                field.at,
                format!("`{}` sets aside more processors than the limit allows", field.path),
                "lower it, or raise the limit",
            );
        }
    }
    keys.finish(cx, &[]);
}

/// Processors, in thousandths.
pub fn cpus(cx: &mut Context<'_>, field: &Field<'_>) -> Option<u64> {
    cx.word(field, "a number of processors", |s| words::cpu_millis(&s.text))
}

/// A number of bytes, at least `min`.
pub fn memory(cx: &mut Context<'_>, field: &Field<'_>, min: u64) -> Option<u64> {
    let bytes = cx.word(field, "a number of bytes", |s| words::bytes(&s.text))?;
    if bytes < min {
        let message = format!("`{}` is below {} MiB, the least that Docker accepts", field.path, min >> 20);
        cx.problem(field.node.at, message, "write more, such as `64m`");
        return None;
    }
    Some(bytes)
}

/// Processes and threads; -1 is Docker's word for no limit.
pub fn pids(cx: &mut Context<'_>, field: &Field<'_>) -> Option<i64> {
    let pids = cx.whole(field, -1, i64::from(u32::MAX))?;
    (pids > 0).then_some(pids)
}
