//! Specs to the wire and back: projects, services and their parts but containers.
//!
//! Never fills in a default: what the sender did not say and must say is an error. Fields that came after the first
//! version are the exception: their absence means what it meant before they were there.

use std::sync::Arc;

use super::{
    ConvertError, enumerated, list_from, list_to, map_from, map_to, parsed, port, port_or_zero, required, texts,
};
use crate::limits::DRAIN_DEFAULT_MS;
use crate::spec::{
    Constraint, Dependency, DependencyCondition, ExposedPort, FailureAction, HealthCheck, HealthSpec, PlacementSpec,
    PortMode, PortSpec, Probe, ProjectSpec, Protocol, Reservations, RestartPolicy, ServiceMode, ServiceSpec,
    UpdateOrder, UpdateSpec, VolumeSpec,
};
use crate::v1;

enumeration!(Protocol { Tcp, Udp });
enumeration!(PortMode { Ingress, Host });
enumeration!(ServiceMode { Replicated, Global });
enumeration!(UpdateOrder { StartFirst, StopFirst });
enumeration!(FailureAction { Rollback, Pause, Continue });
enumeration!(DependencyCondition { Started, Healthy, Completed });

impl From<&ProjectSpec> for v1::ProjectSpec {
    fn from(p: &ProjectSpec) -> Self {
        v1::ProjectSpec {
            name: p.name.to_string(),
            services: map_to(&p.services),
            volumes: map_to(&p.volumes),
            networks: texts(&p.networks),
        }
    }
}

impl TryFrom<v1::ProjectSpec> for ProjectSpec {
    type Error = ConvertError;
    fn try_from(w: v1::ProjectSpec) -> Result<Self, ConvertError> {
        Ok(ProjectSpec {
            name: parsed("name", &w.name)?,
            services: map_from("services", w.services)?,
            volumes: map_from("volumes", w.volumes)?,
            networks: w.networks.into_iter().collect(),
        })
    }
}

impl From<&ServiceSpec> for v1::ServiceSpec {
    fn from(s: &ServiceSpec) -> Self {
        v1::ServiceSpec {
            container: Some(s.container.as_ref().into()),
            replicas: s.replicas,
            restart: Some((&s.restart).into()),
            health: Some((&s.health).into()),
            ports: list_to(&s.ports),
            expose: list_to(&s.expose),
            depends_on: map_to(&s.depends_on),
            reservations: Some((&s.reservations).into()),
            networks: texts(&s.networks),
            mode: s.mode.into(),
            update: Some((&s.update).into()),
            rollback: Some((&s.rollback).into()),
            placement: Some((&s.placement).into()),
            aliases: s.aliases.iter().map(|(k, v)| (k.clone(), v1::StringList { items: texts(v) })).collect(),
            labels: s.labels.clone(),
            drain_ms: Some(s.drain_ms),
        }
    }
}

impl TryFrom<v1::ServiceSpec> for ServiceSpec {
    type Error = ConvertError;
    fn try_from(w: v1::ServiceSpec) -> Result<Self, ConvertError> {
        Ok(ServiceSpec {
            container: Arc::new(required("container", w.container)?),
            replicas: w.replicas,
            restart: required("restart", w.restart)?,
            health: required("health", w.health)?,
            ports: list_from("ports", w.ports)?,
            expose: list_from("expose", w.expose)?,
            depends_on: map_from("depends_on", w.depends_on)?,
            reservations: required("reservations", w.reservations)?,
            networks: w.networks.into_iter().collect(),
            mode: number_or_default("mode", w.mode)?,
            update: or_default("update", w.update)?,
            rollback: or_default("rollback", w.rollback)?,
            placement: or_default("placement", w.placement)?,
            aliases: w.aliases.into_iter().map(|(k, v)| (k, v.items.into_iter().collect())).collect(),
            labels: w.labels,
            drain_ms: w.drain_ms.unwrap_or(DRAIN_DEFAULT_MS),
        })
    }
}

/// An enumeration that the first version did not have: not said is the default.
pub(super) fn number_or_default<T: Default + TryFrom<i32, Error = ConvertError>>(
    field: &str,
    number: i32,
) -> Result<T, ConvertError> {
    if number == 0 { Ok(T::default()) } else { enumerated(field, number) }
}

/// A message that the first version did not have: not said is the default.
pub(super) fn or_default<W, T: Default + TryFrom<W, Error = ConvertError>>(
    field: &str,
    wire: Option<W>,
) -> Result<T, ConvertError> {
    wire.map_or_else(|| Ok(T::default()), |wire| T::try_from(wire).map_err(|e| e.under(field)))
}

impl From<&UpdateSpec> for v1::UpdateSpec {
    fn from(u: &UpdateSpec) -> Self {
        v1::UpdateSpec {
            parallelism: u.parallelism,
            delay_ms: u.delay_ms,
            order: u.order.map(Into::into),
            monitor_ms: u.monitor_ms,
            on_failure: u.on_failure.into(),
            max_failures_per_mille: u.max_failures_per_mille,
            deadline_ms: u.deadline_ms,
        }
    }
}

impl TryFrom<v1::UpdateSpec> for UpdateSpec {
    type Error = ConvertError;
    fn try_from(w: v1::UpdateSpec) -> Result<Self, ConvertError> {
        Ok(UpdateSpec {
            parallelism: w.parallelism,
            delay_ms: w.delay_ms,
            order: w.order.map(|order| enumerated("order", order)).transpose()?,
            monitor_ms: w.monitor_ms,
            on_failure: enumerated("on_failure", w.on_failure)?,
            max_failures_per_mille: w.max_failures_per_mille,
            deadline_ms: w.deadline_ms,
        })
    }
}

impl From<&PlacementSpec> for v1::PlacementSpec {
    fn from(p: &PlacementSpec) -> Self {
        v1::PlacementSpec {
            constraints: list_to(&p.constraints),
            spread: p.spread.clone(),
            max_per_node: p.max_per_node,
        }
    }
}

impl TryFrom<v1::PlacementSpec> for PlacementSpec {
    type Error = ConvertError;
    fn try_from(w: v1::PlacementSpec) -> Result<Self, ConvertError> {
        Ok(PlacementSpec {
            constraints: list_from("constraints", w.constraints)?,
            spread: w.spread,
            max_per_node: w.max_per_node,
        })
    }
}

impl From<&Constraint> for v1::Constraint {
    fn from(c: &Constraint) -> Self {
        v1::Constraint { attribute: c.attribute.clone(), equal: c.equal, value: c.value.clone() }
    }
}

impl TryFrom<v1::Constraint> for Constraint {
    type Error = ConvertError;
    fn try_from(w: v1::Constraint) -> Result<Self, ConvertError> {
        Ok(Constraint { attribute: w.attribute, equal: w.equal, value: w.value })
    }
}

impl From<&Reservations> for v1::Reservations {
    fn from(r: &Reservations) -> Self {
        v1::Reservations { cpu_millis: r.cpu_millis, memory_bytes: r.memory_bytes }
    }
}

impl TryFrom<v1::Reservations> for Reservations {
    type Error = ConvertError;
    fn try_from(w: v1::Reservations) -> Result<Self, ConvertError> {
        Ok(Reservations { cpu_millis: w.cpu_millis, memory_bytes: w.memory_bytes })
    }
}

impl From<&RestartPolicy> for v1::RestartPolicy {
    fn from(r: &RestartPolicy) -> Self {
        use v1::restart_policy::{Always, No, OnFailure, Policy};
        let policy = match *r {
            RestartPolicy::Always => Policy::Always(Always {}),
            RestartPolicy::OnFailure { max } => Policy::OnFailure(OnFailure { max }),
            RestartPolicy::No => Policy::No(No {}),
        };
        v1::RestartPolicy { policy: Some(policy) }
    }
}

impl TryFrom<v1::RestartPolicy> for RestartPolicy {
    type Error = ConvertError;
    fn try_from(w: v1::RestartPolicy) -> Result<Self, ConvertError> {
        use v1::restart_policy::Policy;
        match w.policy {
            Some(Policy::Always(_)) => Ok(RestartPolicy::Always),
            Some(Policy::OnFailure(on_failure)) => Ok(RestartPolicy::OnFailure { max: on_failure.max }),
            Some(Policy::No(_)) => Ok(RestartPolicy::No),
            None => Err(ConvertError::new("is missing").under("policy")),
        }
    }
}

impl From<&HealthSpec> for v1::HealthSpec {
    fn from(h: &HealthSpec) -> Self {
        use v1::health_spec::{Disabled, FromImage, Source};
        let source = match h {
            HealthSpec::FromImage => Source::FromImage(FromImage {}),
            HealthSpec::Disabled => Source::Disabled(Disabled {}),
            HealthSpec::Check(check) => Source::Check(check.into()),
        };
        v1::HealthSpec { source: Some(source) }
    }
}

impl TryFrom<v1::HealthSpec> for HealthSpec {
    type Error = ConvertError;
    fn try_from(w: v1::HealthSpec) -> Result<Self, ConvertError> {
        use v1::health_spec::Source;
        match w.source {
            Some(Source::FromImage(_)) => Ok(HealthSpec::FromImage),
            Some(Source::Disabled(_)) => Ok(HealthSpec::Disabled),
            Some(Source::Check(check)) => Ok(HealthSpec::Check(required("check", Some(check))?)),
            None => Err(ConvertError::new("is missing").under("source")),
        }
    }
}

impl From<&HealthCheck> for v1::HealthCheck {
    fn from(c: &HealthCheck) -> Self {
        use v1::health_check::{self as wire, Http, Tcp};
        let probe = match &c.probe {
            Probe::Exec { argv } => wire::Probe::Exec(v1::StringList { items: argv.clone() }),
            Probe::Http { port, path } => wire::Probe::Http(Http { port: (*port).into(), path: path.clone() }),
            Probe::Tcp { port } => wire::Probe::Tcp(Tcp { port: (*port).into() }),
        };
        v1::HealthCheck {
            probe: Some(probe),
            interval_ms: c.interval_ms,
            timeout_ms: c.timeout_ms,
            retries: c.retries,
            start_period_ms: c.start_period_ms,
            start_interval_ms: c.start_interval_ms,
        }
    }
}

impl TryFrom<v1::HealthCheck> for HealthCheck {
    type Error = ConvertError;
    fn try_from(w: v1::HealthCheck) -> Result<Self, ConvertError> {
        use v1::health_check as wire;
        let probe = match w.probe {
            Some(wire::Probe::Exec(list)) => Probe::Exec { argv: list.items },
            Some(wire::Probe::Http(http)) => Probe::Http { port: port("http.port", http.port)?, path: http.path },
            Some(wire::Probe::Tcp(tcp)) => Probe::Tcp { port: port("tcp.port", tcp.port)? },
            None => return Err(ConvertError::new("is missing").under("probe")),
        };
        Ok(HealthCheck {
            probe,
            interval_ms: w.interval_ms,
            timeout_ms: w.timeout_ms,
            retries: w.retries,
            start_period_ms: w.start_period_ms,
            start_interval_ms: w.start_interval_ms,
        })
    }
}

impl From<&PortSpec> for v1::PortSpec {
    fn from(p: &PortSpec) -> Self {
        v1::PortSpec {
            name: p.name.clone(),
            target: p.target.into(),
            published: p.published.into(),
            host_ip: p.host_ip.map(|ip| ip.to_string()),
            protocol: p.protocol.into(),
            mode: p.mode.into(),
        }
    }
}

impl TryFrom<v1::PortSpec> for PortSpec {
    type Error = ConvertError;
    fn try_from(w: v1::PortSpec) -> Result<Self, ConvertError> {
        Ok(PortSpec {
            name: w.name,
            target: port("target", w.target)?,
            published: port_or_zero("published", w.published)?,
            host_ip: w.host_ip.map(|ip| parsed("host_ip", &ip)).transpose()?,
            protocol: enumerated("protocol", w.protocol)?,
            mode: enumerated("mode", w.mode)?,
        })
    }
}

impl From<&ExposedPort> for v1::ExposedPort {
    fn from(p: &ExposedPort) -> Self {
        v1::ExposedPort { port: p.port.into(), protocol: p.protocol.into() }
    }
}

impl TryFrom<v1::ExposedPort> for ExposedPort {
    type Error = ConvertError;
    fn try_from(w: v1::ExposedPort) -> Result<Self, ConvertError> {
        Ok(ExposedPort { port: port("port", w.port)?, protocol: enumerated("protocol", w.protocol)? })
    }
}

impl From<&Dependency> for v1::Dependency {
    fn from(d: &Dependency) -> Self {
        v1::Dependency { condition: d.condition.into(), required: d.required }
    }
}

impl TryFrom<v1::Dependency> for Dependency {
    type Error = ConvertError;
    fn try_from(w: v1::Dependency) -> Result<Self, ConvertError> {
        Ok(Dependency { condition: enumerated("condition", w.condition)?, required: w.required })
    }
}

impl From<&VolumeSpec> for v1::VolumeSpec {
    fn from(v: &VolumeSpec) -> Self {
        v1::VolumeSpec { docker_name: v.docker_name.clone(), external: v.external, labels: v.labels.clone() }
    }
}

impl TryFrom<v1::VolumeSpec> for VolumeSpec {
    type Error = ConvertError;
    fn try_from(w: v1::VolumeSpec) -> Result<Self, ConvertError> {
        Ok(VolumeSpec { docker_name: w.docker_name, external: w.external, labels: w.labels })
    }
}
