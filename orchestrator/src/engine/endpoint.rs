//! Projection: what discovery may answer.

use proto::assignment::Desired;
use proto::endpoint::{Endpoint, EndpointState, EndpointTable, NamedPort, ServiceEndpoints};
use proto::task_state::Phase;
use std::collections::{BTreeMap, BTreeSet};

use super::model::{Service, Task};
use super::state::State;

/// Every service with its endpoints; a service without any is in it too, because its name exists.
pub fn endpoints(state: &State) -> EndpointTable {
    let mut services = BTreeMap::new();
    for service in state.services() {
        let endpoints = state.tasks_of(&service.key).filter_map(|t| endpoint(state, t)).collect();
        services.insert(
            service.key.clone(),
            ServiceEndpoints { ports: named_ports(service), endpoints, aliases: aliases(service) },
        );
    }
    EndpointTable { epoch: state.epoch(), revision: state.revision(), services }
}

fn endpoint(state: &State, task: &Task) -> Option<Endpoint> {
    let is_heard = state.node(task.node).is_some_and(|n| n.is_up());
    // What is only prepared has nobody at its address, under no name.
    // Without a network nobody can reach its address.
    let is_reachable = !task.container.isolation.no_network;
    if !is_heard || !is_reachable || task.status.phase == Phase::Stopped || task.desired == Desired::Prepare {
        return None;
    }
    let state = match task.desired {
        Desired::Stop => EndpointState::Draining,
        Desired::Run if task.status.is_ready() => EndpointState::Ready,
        Desired::Prepare | Desired::Run => EndpointState::Starting,
    };
    Some(Endpoint {
        task: task.id,
        slot: task.slot,
        node: task.node,
        addresses: task.addresses.clone(),
        state,
        incarnation: task.status.incarnation,
        sequence: task.status.sequence,
    })
}

/// Of all its networks: traffic between them is not separated, and neither are names.
fn aliases(service: &Service) -> BTreeSet<String> {
    service.spec.aliases.values().flatten().cloned().collect()
}

fn named_ports(service: &Service) -> Vec<NamedPort> {
    let published = service.spec.ports.iter().map(|p| NamedPort {
        name: p.name.clone().unwrap_or_else(|| p.target.to_string()),
        port: p.target,
        protocol: p.protocol,
    });
    let exposed =
        service.spec.expose.iter().map(|e| NamedPort { name: e.port.to_string(), port: e.port, protocol: e.protocol });
    let all: BTreeSet<NamedPort> = published.chain(exposed).collect();
    all.into_iter().collect()
}
