//! A service in a script: `web image=app:1 replicas=2 needs=db:healthy`.

use proto::spec::{
    Constraint, ContainerSpec, Dependency, DependencyCondition, FailureAction, HealthCheck, HealthSpec, Mount,
    MountSource, PortMode, PortSpec, Probe, Protocol, RestartPolicy, ServiceMode, ServiceSpec, UpdateOrder,
};
use std::sync::Arc;

use super::{pairs, parse};

pub(super) fn service(options: &[&str]) -> Result<ServiceSpec, String> {
    let mut container = ContainerSpec { image: "app:1".to_owned(), stop_grace_ms: 10_000, ..ContainerSpec::default() };
    let mut spec = ServiceSpec::default();
    for (option, value) in pairs(options)? {
        match option {
            "image" => container.image = value.to_owned(),
            "replicas" => spec.replicas = parse(value)?,
            "mode" if value == "global" => spec.mode = ServiceMode::Global,
            "cpu" => spec.reservations.cpu_millis = parse(value)?,
            "memory" => spec.reservations.memory_bytes = parse::<u64>(value)? << 20,
            "port" => spec.ports.push(port(value, PortMode::Ingress)?),
            "host-port" => spec.ports.push(port(value, PortMode::Host)?),
            "alias" => {
                spec.aliases.entry("default".to_owned()).or_default().insert(value.to_owned());
            }
            "order" if value == "stop-first" => spec.update.order = Some(UpdateOrder::StopFirst),
            "parallelism" => spec.update.parallelism = parse(value)?,
            "delay" => spec.update.delay_ms = ms(value)?,
            "monitor" => spec.update.monitor_ms = ms(value)?,
            "deadline" => spec.update.deadline_ms = ms(value)?,
            "on-failure" if value == "pause" => spec.update.on_failure = FailureAction::Pause,
            "on-failure" if value == "continue" => spec.update.on_failure = FailureAction::Continue,
            "may-fail" => spec.update.max_failures_per_mille = parse(value)?,
            "back-parallelism" => spec.rollback.parallelism = parse(value)?,
            "back-monitor" => spec.rollback.monitor_ms = ms(value)?,
            "back-delay" => spec.rollback.delay_ms = ms(value)?,
            "back-on-failure" if value == "pause" => spec.rollback.on_failure = FailureAction::Pause,
            "back-order" if value == "stop-first" => spec.rollback.order = Some(UpdateOrder::StopFirst),
            "drain" => spec.drain_ms = ms(value)?,
            "check" => spec.health = HealthSpec::Check(check(ms(value)?)),
            "privileged" => container.isolation.privileged = parse(value)?,
            "cap-add" => container.isolation.cap_add.extend([value.to_owned()]),
            "platform" => container.platform = Some(value.to_owned()),
            "constraint" => spec.placement.constraints.push(constraint(value)?),
            "spread" => spec.placement.spread.push(value.to_owned()),
            "max-per-node" => spec.placement.max_per_node = parse(value)?,
            "restart" if value == "no" => spec.restart = RestartPolicy::No,
            "volume" => container.mounts.push(Mount {
                source: MountSource::Volume { name: value.to_owned(), nocopy: false, subpath: None },
                target: "/data".to_owned(),
                read_only: false,
            }),
            "needs" => {
                let (value, required) = value.strip_suffix(":optional").map_or((value, true), |v| (v, false));
                let (name, condition) = value.split_once(':').ok_or("needs=SERVICE:CONDITION[:optional]")?;
                let condition = match condition {
                    "started" => DependencyCondition::Started,
                    "healthy" => DependencyCondition::Healthy,
                    "completed" => DependencyCondition::Completed,
                    other => return Err(format!("no condition `{other}`")),
                };
                spec.depends_on.insert(parse(name)?, Dependency { condition, required });
            }
            other => return Err(format!("no option `{other}`")),
        }
    }
    spec.container = Arc::new(container);
    Ok(spec)
}

/// A check whose failures do not count for so long after the start.
fn check(start_period_ms: u64) -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp { port: 80 },
        interval_ms: 10_000,
        timeout_ms: 1_000,
        retries: 3,
        start_period_ms,
        start_interval_ms: 1_000,
    }
}

pub(super) fn ms(span: &str) -> Result<u64, String> {
    match span.strip_suffix("ms") {
        Some(ms) => parse(ms),
        None => Ok(parse::<u64>(span.strip_suffix('s').ok_or("a span ends in ms or s")?)? * 1_000),
    }
}

fn constraint(text: &str) -> Result<Constraint, String> {
    let (equal, parts) = match text.split_once("==") {
        Some(parts) => (true, parts),
        None => (false, text.split_once("!=").ok_or("constraint=ATTRIBUTE==VALUE or ATTRIBUTE!=VALUE")?),
    };
    Ok(Constraint { attribute: parts.0.to_owned(), equal, value: parts.1.to_owned() })
}

pub(super) fn port(value: &str, mode: PortMode) -> Result<PortSpec, String> {
    let (published, target) = value.split_once(':').ok_or("PUBLISHED:TARGET")?;
    let (published, target) = (parse(published)?, parse(target)?);
    Ok(PortSpec { name: None, target, published, host_ip: None, protocol: Protocol::Tcp, mode })
}
