//! Is this spec acceptable now? Limits, names, references and ports that two services want.
//!
//! Never asks whether a node can hold it: that is placement's, and the answer of `ctl why`.

pub mod labels;

use proto::id::{ProjectName, ServiceName};
use proto::limits::{REPLICAS_MAX, SERVICES_PER_PROJECT_MAX};
use proto::spec::{MountSource, PortMode, PortSpec, ProjectSpec, Protocol, ServiceMode, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};

use super::outcome::FieldProblem;
use super::placement::constraint::{ATTRIBUTES, LABEL_PREFIX, is_attribute};
use super::state::State;

/// Everything that is wrong with it; empty when it is acceptable.
pub fn admit(state: &State, spec: &ProjectSpec) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    if spec.services.is_empty() {
        problems.push(problem("services", "a project needs at least one service", "add one under `services:`"));
    }
    if spec.services.len() > SERVICES_PER_PROJECT_MAX {
        let message = format!("{} services, at most {SERVICES_PER_PROJECT_MAX} are allowed", spec.services.len());
        problems.push(problem("services", &message, "split the project"));
    }
    for (name, service) in &spec.services {
        admit_service(state, spec, name, service, &mut problems);
    }
    cycles(spec, &mut problems);
    aliases(spec, &mut problems);
    ports(state, spec, &mut problems);
    problems
}

fn problem(field: &str, message: &str, hint: &str) -> FieldProblem {
    FieldProblem { field: field.to_owned(), message: message.to_owned(), hint: hint.to_owned() }
}

fn admit_service(
    state: &State,
    spec: &ProjectSpec,
    name: &ServiceName,
    service: &ServiceSpec,
    problems: &mut Vec<FieldProblem>,
) {
    let at = |field: &str| format!("services.{name}.{field}");
    if service.container.image.is_empty() {
        problems.push(problem(&at("image"), "no image", "write `image:`"));
    }
    if service.replicas > REPLICAS_MAX {
        let message = format!("{} replicas are asked for, at most {REPLICAS_MAX} are allowed", service.replicas);
        problems.push(problem(&at("deploy.replicas"), &message, "ask for fewer"));
    }
    for mount in &service.container.mounts {
        if !mount.target.starts_with('/') {
            let message = format!("mount target `{}` is not an absolute path", mount.target);
            problems.push(problem(&at("volumes"), &message, "begin it with `/`"));
        }
        if let MountSource::Volume { name: volume, .. } = &mount.source
            && !spec.volumes.contains_key(volume)
        {
            let message = format!("volume `{volume}` is not defined");
            problems.push(problem(&at("volumes"), &message, "add it under the top level `volumes:`"));
        }
    }
    for file in &service.container.files {
        if state.blob(&file.digest).is_none() {
            let message = format!("the content of `{}` has not been uploaded", file.name);
            problems.push(problem(&at("files"), &message, "apply the file again; the content is sent with it"));
        }
    }
    admit_placement(&at("deploy.placement"), service, problems);
    for (dependency, how) in &service.depends_on {
        if how.required && !spec.services.contains_key(dependency) {
            let message = format!("depends on `{dependency}`, which is not a service of this project");
            problems.push(problem(&at("depends_on"), &message, "name a service, or write `required: false`"));
        }
    }
}

fn admit_placement(at: &str, service: &ServiceSpec, problems: &mut Vec<FieldProblem>) {
    let placement = &service.placement;
    if service.mode == ServiceMode::Global && placement.max_per_node > 0 {
        let message = "a global service has one task on each node anyway";
        problems.push(problem(&format!("{at}.max_replicas_per_node"), message, "remove it"));
    }
    let constraints = placement.constraints.iter().map(|c| ("constraints", &c.attribute));
    let spread = placement.spread.iter().map(|attribute| ("preferences", attribute));
    for (field, attribute) in constraints.chain(spread) {
        if !is_attribute(attribute) {
            let message = format!("nodes have no `{attribute}`");
            let hint = format!("one of {}, or {LABEL_PREFIX}KEY", ATTRIBUTES.join(", "));
            problems.push(problem(&format!("{at}.{field}"), &message, &hint));
        }
    }
}

fn cycles(spec: &ProjectSpec, problems: &mut Vec<FieldProblem>) {
    let mut done = BTreeSet::new();
    for start in spec.services.keys() {
        let mut path = Vec::new();
        if let Some(cycle) = find_cycle(spec, start, &mut path, &mut done) {
            let words: Vec<&str> = cycle.iter().map(|n| n.as_str()).collect();
            let message = format!("services wait for each other: {}", words.join(" -> "));
            problems.push(problem(
                &format!("services.{start}.depends_on"),
                &message,
                "remove one of these dependencies",
            ));
            return;
        }
    }
}

/// A further name is one service's, and no other's own name: whoever asks for a service must not get another one.
fn aliases(spec: &ProjectSpec, problems: &mut Vec<FieldProblem>) {
    let mut owners: BTreeMap<&str, &ServiceName> = BTreeMap::new();
    for (name, service) in &spec.services {
        for (network, aliases) in &service.aliases {
            let field = format!("services.{name}.networks.{network}.aliases");
            for alias in aliases {
                if spec.services.keys().any(|other| other.as_str() == alias && other != name) {
                    let message = format!("alias `{alias}` is the name of another service");
                    problems.push(problem(&field, &message, "choose another alias"));
                }
                if let Some(owner) = owners.insert(alias, name).filter(|owner| *owner != name) {
                    let message = format!("alias `{alias}` is an alias of `{owner}`, too");
                    problems.push(problem(&field, &message, "an alias is one service's: choose another one"));
                }
            }
        }
    }
}

/// Depth-first; the path is at most as deep as there are services, which admission bounds.
fn find_cycle(
    spec: &ProjectSpec,
    at: &ServiceName,
    path: &mut Vec<ServiceName>,
    done: &mut BTreeSet<ServiceName>,
) -> Option<Vec<ServiceName>> {
    if let Some(begin) = path.iter().position(|n| n == at) {
        let mut cycle = path[begin..].to_vec();
        cycle.push(at.clone());
        return Some(cycle);
    }
    if done.contains(at) || path.len() > SERVICES_PER_PROJECT_MAX {
        return None;
    }
    path.push(at.clone());
    for next in spec.services.get(at).into_iter().flat_map(|s| s.depends_on.keys()) {
        if let Some(cycle) = find_cycle(spec, next, path, done) {
            return Some(cycle);
        }
    }
    path.pop();
    done.insert(at.clone());
    None
}

/// Who publishes a port, and how.
type Owner = (ProjectName, ServiceName, PortSpec);

/// A port of the cluster belongs to one service.
fn ports(state: &State, spec: &ProjectSpec, problems: &mut Vec<FieldProblem>) {
    let mut wanted: BTreeMap<(Protocol, u16), Vec<Owner>> = BTreeMap::new();
    for service in state.services().filter(|s| s.key.project != spec.name && !s.removing) {
        for port in published(&service.spec) {
            let owner = (service.key.project.clone(), service.key.service.clone(), port.clone());
            wanted.entry((port.protocol, port.published)).or_default().push(owner);
        }
    }
    for (name, service) in &spec.services {
        for (index, port) in service.ports.iter().enumerate() {
            if port.target == 0 {
                let field = format!("services.{name}.ports[{index}]");
                problems.push(problem(&field, "port 0 cannot be a target", "name the port inside the container"));
            }
            if port.published == 0 {
                continue;
            }
            let owners = wanted.entry((port.protocol, port.published)).or_default();
            let overlapping = owners.iter().find(|(_, _, other)| {
                other.host_ip.is_none() || port.host_ip.is_none() || other.host_ip == port.host_ip
            });
            if let Some((project, owner, _)) = overlapping {
                let message =
                    format!("port {}/{} is published by `{project}/{owner}`", port.published, port.protocol.as_str());
                problems.push(problem(
                    &format!("services.{name}.ports[{index}]"),
                    &message,
                    "choose another published port",
                ));
            }
            owners.push((spec.name.clone(), name.clone(), port.clone()));
        }
    }
}

fn published(spec: &ServiceSpec) -> impl Iterator<Item = &PortSpec> {
    spec.ports.iter().filter(|p| p.published != 0 && matches!(p.mode, PortMode::Ingress | PortMode::Host))
}
