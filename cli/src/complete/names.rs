//! Which names to offer for what is typed so far. Pure.
//!
//! A service is offered as shortly as it can be named: without its project where that is settled or there is no other of
//! its name. Slots are offered once a dot is typed, so that they do not bury the services.

use proto::v1;

use super::ask::Known;
use crate::name::full;

/// What an argument is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// A service.
    Services,
    /// A service, as `SERVICE=`.
    Scaled,
    /// A service or one of its slots.
    Slots,
    /// A service, a slot, a project or a node.
    Anything,
    /// A project.
    Projects,
    /// A node.
    Nodes,
    /// Whatever the word before it says: `ctl describe node`.
    OfKind,
    /// A server.
    Servers,
    /// A volume.
    Volumes,
    /// A dev cluster of this user.
    DevClusters,
}

// === impl Want ===

impl Want {
    /// What it comes to on this line.
    pub fn on(self, line: &[String]) -> Want {
        if self != Want::OfKind {
            return self;
        }
        let kinds = line.iter().filter_map(|word| match word.as_str() {
            "project" | "projects" | "proj" => Some(Want::Projects),
            "service" | "services" | "svc" => Some(Want::Services),
            "task" | "tasks" | "all" => Some(Want::Slots),
            "node" | "nodes" | "no" => Some(Want::Nodes),
            "server" | "servers" => Some(Want::Servers),
            "volume" | "volumes" | "vol" => Some(Want::Volumes),
            "event" | "events" | "ev" => Some(Want::Anything),
            _ => None,
        });
        kinds.take(1).next().unwrap_or(Want::Services)
    }
}

/// Names that begin as typed, in order, each with its state in a word.
pub fn offered(want: Want, typed: &str, known: &Known) -> Vec<(String, String)> {
    let snapshot = &known.snapshot;
    let mut names = match want {
        Want::Services => services(typed, known),
        Want::Scaled => services(typed, known).into_iter().map(|(name, state)| (format!("{name}="), state)).collect(),
        Want::Slots => [services(typed, known), slots(typed, known)].concat(),
        Want::Anything => [services(typed, known), slots(typed, known), projects(snapshot), nodes(snapshot)].concat(),
        Want::Projects => projects(snapshot),
        Want::Nodes => nodes(snapshot),
        Want::Servers => snapshot.servers.iter().map(|s| (s.id.clone(), s.role.clone())).collect(),
        Want::Volumes => {
            snapshot.volumes.iter().map(|v| (format!("{}/{}", v.project, v.name), v.state.clone())).collect()
        }
        Want::OfKind | Want::DevClusters => Vec::new(),
    };
    names.retain(|(name, _)| name.starts_with(typed));
    names.sort();
    names.dedup_by(|a, b| a.0 == b.0);
    names
}

/// Of these those that begin as typed.
pub fn among(typed: &str, names: Vec<String>) -> Vec<(String, String)> {
    names.into_iter().filter(|name| name.starts_with(typed)).map(|name| (name, String::new())).collect()
}

fn projects(snapshot: &v1::Snapshot) -> Vec<(String, String)> {
    snapshot.projects.iter().map(|p| (p.name.clone(), format!("project, {}", p.state))).collect()
}

fn nodes(snapshot: &v1::Snapshot) -> Vec<(String, String)> {
    let named = |n: &v1::Node| Some((n.info.as_ref()?.hostname.clone(), format!("node, {}", n.state)));
    snapshot.nodes.iter().filter_map(named).collect()
}

fn services(typed: &str, known: &Known) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for service in &known.snapshot.services {
        let Some(key) = &service.key else { continue };
        names.extend(ways(key, typed, known).into_iter().map(|name| (name, service.state.clone())));
    }
    names
}

fn slots(typed: &str, known: &Known) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for task in known.snapshot.tasks.iter().filter(|_| typed.contains('.')) {
        let Some(key) = &task.service else { continue };
        let of_slot = |name: String| (format!("{name}.{}", task.slot), task.state.clone());
        names.extend(ways(key, typed, known).into_iter().map(of_slot));
    }
    names
}

/// How a service is named: shortly if that is enough, in full if it is not or a project is being typed.
fn ways(key: &v1::ServiceKey, typed: &str, known: &Known) -> Vec<String> {
    let alike = || known.snapshot.services.iter().filter_map(|s| s.key.as_ref()).filter(|k| k.service == key.service);
    let is_enough = match known.scope.project() {
        Some(project) => project == key.project,
        None => alike().count() == 1,
    };
    match (is_enough, typed.is_empty()) {
        (true, true) => vec![key.service.clone()],
        (true, false) => vec![key.service.clone(), full(key)],
        (false, _) => vec![full(key)],
    }
}
