//! State for operators: objects with a state in a word and why.

use proto::assignment::Desired;
use proto::id::{NodeId, ProjectName};
use proto::revision::Wall;
use proto::spec::Reservations;
use proto::v1;
use tonic::Status;

use super::views::Views;
use crate::engine::State;
use crate::engine::explain;
use crate::engine::model::{Node, Project, Service, Task, Volume};
use crate::engine::placement::Ledger;
use crate::engine::reconcile::SlotSet;

/// Everything, or one project's part. `wall`: now, which ages are counted from however long ago the last change was.
pub(super) fn snapshot(
    state: &State,
    views: &Views,
    servers: Vec<v1::Server>,
    request: &v1::GetSnapshotRequest,
    wall: Wall,
) -> Result<v1::Snapshot, Status> {
    let project: Option<ProjectName> = match request.project.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|e| Status::invalid_argument(format!("project: {e}")))?),
    };
    let wanted = |name: &ProjectName| project.as_ref().is_none_or(|p| p == name);
    let ledger = Ledger::of(state);
    Ok(v1::Snapshot {
        revision: state.revision().0,
        at_unix_ms: wall.max(state.wall()).0,
        projects: state.projects().filter(|p| wanted(&p.name)).map(|p| project_view(state, views, p)).collect(),
        services: state
            .services()
            .filter(|s| wanted(&s.key.project))
            .map(|s| (*views.service(state, s, service_view)).clone())
            .collect(),
        tasks: tasks(state, &wanted),
        nodes: state.nodes().map(|n| node_view(n, &ledger)).collect(),
        volumes: state.volumes().filter(|v| wanted(&v.key.project)).map(|v| volume_view(state, v)).collect(),
        servers,
        events: events(state, project.as_ref(), request.events),
    })
}

fn project_view(state: &State, views: &Views, project: &Project) -> v1::Project {
    let services: Vec<_> = state.services_of(&project.name).map(|s| views.service(state, s, service_view)).collect();
    v1::Project {
        name: project.name.to_string(),
        state: explain::project::in_a_word(project, services.iter().map(|s| s.state.as_str())).to_owned(),
        release: project.release,
        applied_at_unix_ms: project.applied_at.0,
        services: u32::try_from(services.len()).unwrap_or(u32::MAX),
        uid: project.uid.to_string(),
        modified: project.modified.0,
    }
}

fn service_view(state: &State, service: &Service) -> v1::Service {
    let judged = explain::service(state, service);
    let counts = explain::counts(state, service);
    v1::Service {
        key: Some((&service.key).into()),
        state: judged.state.to_owned(),
        image: service.spec.container.image.clone(),
        replicas: SlotSet::of(state, service).count(),
        global: state.is_global(service),
        ready: counts.ready,
        current: counts.current,
        generation: service.generation,
        ports: published_ports(state, service),
        reason: judged.reason,
        uid: service.uid.to_string(),
        modified: service.modified.0,
        created_at_unix_ms: service.created_at.0,
        unplaced: explain::unplaced(state, service),
        labels: service.spec.labels.clone().into_iter().collect(),
        rollout: super::rollout::view(state, service),
    }
}

fn published_ports(state: &State, service: &Service) -> Vec<v1::PublishedPort> {
    let mut ports = Vec::new();
    for port in &service.spec.ports {
        let mut bound_somewhere = false;
        for node in state.nodes() {
            let status = node.conditions.forwards.iter().find(|f| f.service == service.key && f.port == *port);
            let Some(status) = status else { continue };
            bound_somewhere = true;
            ports.push(v1::PublishedPort {
                port: Some(port.into()),
                node: node.info.id.to_string(),
                bound: u32::from(status.bound),
                problem: status.problem.clone(),
            });
        }
        if !bound_somewhere {
            ports.push(v1::PublishedPort { port: Some(port.into()), ..v1::PublishedPort::default() });
        }
    }
    ports
}

/// In order of service, slot and id.
fn tasks(state: &State, wanted: &dyn Fn(&ProjectName) -> bool) -> Vec<v1::Task> {
    let services = state.services().filter(|s| wanted(&s.key.project));
    services.flat_map(|s| state.tasks_of(&s.key).map(|t| task_view(state, s, t))).collect()
}

fn task_view(state: &State, service: &Service, task: &Task) -> v1::Task {
    let judged = explain::task(state, task);
    v1::Task {
        id: task.id.0,
        service: Some((&task.service).into()),
        slot: task.slot.0,
        node: task.node.to_string(),
        node_name: state.node(task.node).map(|n| n.info.hostname.clone()).unwrap_or_default(),
        image: task.container.image.clone(),
        generation: task.generation,
        outdated: task.spec_hash != service.spec_hash,
        desired: match task.desired {
            Desired::Prepare => "prepare",
            Desired::Run => "run",
            Desired::Stop => "stop",
        }
        .to_owned(),
        status: Some((&task.status).into()),
        addresses: task.addresses.iter().map(ToString::to_string).collect(),
        state: judged.state.to_owned(),
        reason: judged.reason,
        created_at_unix_ms: task.created_at.0,
    }
}

fn node_view(node: &Node, ledger: &Ledger) -> v1::Node {
    let id: NodeId = node.info.id;
    let judged = explain::node::judge(node);
    let reserved: Reservations = ledger.reserved(id);
    v1::Node {
        info: Some((&node.info).into()),
        state: judged.state.to_owned(),
        subnet: format!("{}/{}", node.network.subnet, node.network.prefix),
        gateway: node.network.gateway.to_string(),
        conditions: Some((&node.conditions).into()),
        tasks: ledger.tasks(id),
        reserved: Some((&reserved).into()),
        reason: judged.reason,
        labels: node.labels.clone(),
        labels_revision: node.labelled.0,
    }
}

fn volume_view(state: &State, volume: &Volume) -> v1::Volume {
    let is_used = state
        .tasks_on(volume.key.node)
        .any(|t| t.service.project == volume.key.project && t.volumes.contains_key(&volume.key.name));
    let word = match (volume.removing, is_used) {
        (true, _) => "removing",
        (false, true) => "in-use",
        (false, false) => "idle",
    };
    v1::Volume {
        project: volume.key.project.to_string(),
        name: volume.key.name.clone(),
        node: volume.key.node.to_string(),
        docker_name: volume.docker_name.clone(),
        state: word.to_owned(),
        created_at_unix_ms: volume.created_at.0,
    }
}

/// Newest first.
fn events(state: &State, project: Option<&ProjectName>, count: u32) -> Vec<v1::Event> {
    let is_about = |subject: &str| {
        project.is_none_or(|p| {
            subject == p.as_str() || subject.strip_prefix(p.as_str()).is_some_and(|s| s.starts_with('/'))
        })
    };
    let numbers = (1..=state.events_made()).rev();
    let newest = numbers.zip(state.events().rev()).filter(|(_, e)| is_about(&e.subject)).take(count as usize);
    newest.map(|(number, event)| super::events::view(number, event)).collect()
}
