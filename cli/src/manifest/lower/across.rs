//! What must hold between services: no port twice, no circle of waiting, no name twice; and the defaults that depend on others.
//!
//! Never looks at the tree. Called by `lower` once all services are there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proto::id::ServiceName;
use proto::spec::{DependencyCondition, HealthSpec, PortSpec, Protocol, RestartPolicy};

use super::super::tree::Mark;
use super::context::Context;
use super::service::Service;

/// Services shown of a circle of dependencies; of a larger one the middle is left out.
const CIRCLE_SHOWN: usize = 12;

/// Runs all checks over the services in the order of the file.
pub fn check(cx: &mut Context<'_>, services: &mut [Service]) {
    ports(cx, services);
    container_names(cx, services);
    cycles(cx, services);
    waits(cx, services);
    restarts(cx, services);
}

/// A host port that is taken.
struct Claim<'s> {
    ip: Option<IpAddr>,
    service: &'s ServiceName,
    at: Mark,
}

fn ports(cx: &mut Context<'_>, services: &[Service]) {
    let mut taken: BTreeMap<(u16, Protocol), Vec<Claim<'_>>> = BTreeMap::new();
    for service in services {
        for (port, at) in service.ports.iter().filter(|(port, _)| port.published != 0) {
            let same = taken.entry((port.published, port.protocol)).or_default();
            match same.iter().find(|claim| overlaps(claim.ip, port.host_ip)) {
                Some(claim) => port_twice(cx, port, *at, claim),
                None => same.push(Claim { ip: port.host_ip, service: &service.name, at: *at }),
            }
        }
    }
}

/// Whether a connection could be meant for both: no address is every address, 0.0.0.0 every one of IPv4, `::` every one of IPv6.
fn overlaps(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return true };
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}

fn port_twice(cx: &mut Context<'_>, port: &PortSpec, at: Mark, claim: &Claim<'_>) {
    let shown = |ip: Option<IpAddr>| match ip {
        None => String::new(),
        Some(IpAddr::V4(ip)) => format!("{ip}:"),
        Some(IpAddr::V6(ip)) => format!("[{ip}]:"),
    };
    let number = format!("{}/{}", port.published, port.protocol.as_str());
    let before = if claim.ip == port.host_ip { String::new() } else { format!(" as {}{number}", shown(claim.ip)) };
    let address = shown(port.host_ip);
    let (other, place) = (claim.service, cx.elsewhere(claim.at, at));
    let message = format!("host port {address}{number} is already published{before} by `{other}` {place}");
    cx.problem(at, message, "publish another port, or on another address");
}

fn container_names(cx: &mut Context<'_>, services: &[Service]) {
    let mut taken: BTreeMap<&str, (&ServiceName, Mark)> = BTreeMap::new();
    for service in services {
        let (Some(name), Some(at)) = (&service.spec.container.container_name, service.container_name_at) else {
            continue;
        };
        if service.spec.replicas > 1 {
            let message = format!(
                "`{}` has {} replicas, which cannot all be called `{name}`",
                service.name, service.spec.replicas
            );
            cx.problem(at, message, "remove `container_name`, or write one replica");
        }
        if let Some((other, first)) = taken.insert(name, (&service.name, at)) {
            let place = cx.elsewhere(first, at);
            let message = format!("the container name `{name}` is already taken by `{other}` {place}");
            cx.problem(at, message, "write another `container_name`, or none");
        }
    }
}

/// Depth first over the dependencies, without recursion: the first circle found through each service is reported once.
fn cycles(cx: &mut Context<'_>, services: &[Service]) {
    let by_name: BTreeMap<&ServiceName, &Service> = services.iter().map(|s| (&s.name, s)).collect();
    let mut done: BTreeMap<&ServiceName, bool> = BTreeMap::new();
    for start in services {
        if done.contains_key(&start.name) {
            continue;
        }
        done.insert(&start.name, false);
        let mut path = vec![(start, start.dependencies.iter())];
        while let Some((service, rest)) = path.last_mut() {
            let service = *service;
            match rest.next() {
                None => {
                    done.insert(&service.name, true);
                    path.pop();
                }
                Some((name, at)) => match (done.get(name), by_name.get(name)) {
                    (Some(false), _) => circle(cx, path.iter().map(|(s, _)| &s.name), name, *at),
                    (None, Some(next)) => {
                        done.insert(&next.name, false);
                        path.push((next, next.dependencies.iter()));
                    }
                    _ => {}
                },
            }
        }
    }
}

fn circle<'s>(cx: &mut Context<'_>, path: impl Iterator<Item = &'s ServiceName>, back_to: &ServiceName, at: Mark) {
    if cx.is_full() {
        return;
    }
    let mut names: Vec<&str> = path.skip_while(|name| *name != back_to).map(ServiceName::as_str).collect();
    if names.len() > CIRCLE_SHOWN {
        names.splice(CIRCLE_SHOWN / 2..names.len() - CIRCLE_SHOWN / 2, ["..."]);
    }
    names.push(back_to.as_str());
    cx.problem(
        at,
        format!("`depends_on` goes in a circle: {}", names.join(" -> ")),
        "remove one of these dependencies",
    );
}

/// Conditions that can never be met, and the restart policy of services that others wait for to complete.
fn waits(cx: &mut Context<'_>, services: &mut [Service]) {
    let mut completed: BTreeSet<ServiceName> = BTreeSet::new();
    let by_name: BTreeMap<&ServiceName, &Service> = services.iter().map(|s| (&s.name, s)).collect();
    for service in services.iter() {
        for (name, at) in &service.dependencies {
            let Some(dependency) = service.spec.depends_on.get(name) else { continue };
            let Some(other) = by_name.get(name) else { continue };
            match dependency.condition {
                DependencyCondition::Healthy if other.spec.health == HealthSpec::Disabled => {
                    let message =
                        format!("`{}` waits for `{name}` to be healthy, whose health check is disabled", service.name);
                    cx.problem(*at, message, "write `condition: service_started`, or a health check");
                }
                DependencyCondition::Completed
                    if other.restart_at.is_some() && other.spec.restart == RestartPolicy::Always =>
                {
                    let message = format!("`{}` waits for `{name}` to complete, which restarts always", service.name);
                    cx.problem(*at, message, &format!("write `restart: \"no\"` or `restart: on-failure` in `{name}`"));
                }
                DependencyCondition::Completed => {
                    completed.insert(name.clone());
                }
                _ => {}
            }
        }
    }
    for other in services.iter_mut().filter(|s| s.restart_at.is_none() && completed.contains(&s.name)) {
        other.spec.restart = RestartPolicy::No;
        other.restart_at = Some(other.at);
        cx.remark(
            other.at,
            format!("`{}` runs once: others wait for it to complete, and it has no `restart`", other.name),
        );
    }
}

fn restarts(cx: &mut Context<'_>, services: &[Service]) {
    let silent: Vec<&Service> = services.iter().filter(|s| s.restart_at.is_none()).collect();
    let Some(first) = silent.first() else { return };
    let names: Vec<&str> = silent.iter().map(|s| s.name.as_str()).collect();
    cx.remark(first.at, format!("restart always unless `restart: \"no\"` is written: {}", names.join(", ")));
}
