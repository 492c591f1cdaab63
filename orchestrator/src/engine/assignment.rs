//! Projection: what one node should run.

use proto::assignment::{Assignment, AssignmentSet, Forward};
use proto::id::{ClusterId, NodeId, SessionId};
use proto::spec::PortMode;

use super::model::{Node, Task};
use super::state::State;

/// What the node should run, those to stop included; `None` when State does not know it.
pub fn assignments(state: &State, node: NodeId, session: SessionId) -> Option<AssignmentSet> {
    let host = state.node(node)?;
    Some(AssignmentSet {
        cluster: state.cluster().unwrap_or(ClusterId(0)),
        epoch: state.epoch(),
        node,
        session,
        revision: state.revision(),
        network: host.network,
        tasks: state.tasks_on(node).map(|t| (t.id, assignment(state, t))).collect(),
        forwards: forwards(state),
        verdicts: host.verdicts.clone(),
        remove_volumes: volumes_to_remove(state, host),
    })
}

fn assignment(state: &State, task: &Task) -> Assignment {
    let service = state.service(&task.service);
    Assignment {
        task: task.id,
        service: task.service.clone(),
        slot: task.slot,
        generation: task.generation,
        desired: task.desired,
        addresses: task.addresses.clone(),
        container: task.container.clone(),
        spec_hash: task.spec_hash.clone(),
        restart: service.map(|s| s.spec.restart).unwrap_or_default(),
        health: task.health.clone().or_else(|| Some(service?.spec.health.clone())).unwrap_or_default(),
        host_ports: task.host_ports.clone(),
        expose: service.map(|s| s.spec.expose.clone()).unwrap_or_default(),
        volumes: task.volumes.clone(),
        drain_ms: task.drain_ms,
    }
}

/// Every node forwards every published port: clients may ask any of them.
fn forwards(state: &State) -> Vec<Forward> {
    let mut forwards = Vec::new();
    for service in state.services().filter(|s| !s.removing) {
        for port in service.spec.ports.iter().filter(|p| p.mode == PortMode::Ingress) {
            forwards.push(Forward { service: service.key.clone(), port: port.clone() });
        }
    }
    forwards
}

fn volumes_to_remove(state: &State, node: &Node) -> Vec<String> {
    let mine = state.volumes().filter(|v| v.key.node == node.info.id && v.removing);
    mine.map(|v| v.docker_name.clone()).collect()
}
