//! Every sentence that must always hold of State. Checked after each apply in debug builds and by the simulator.

use proto::assignment::Desired;
use proto::id::NodeId;
use proto::limits::{EVENTS_KEPT, NODE_LABELS_MAX, RELEASES_KEPT};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::State;
use crate::engine::model::Usage;

/// What does not hold, in words; empty when all is well.
pub fn violations(state: &State) -> Vec<String> {
    let mut found = Vec::new();
    tasks_belong(state, &mut found);
    slots_hold_at_most_one_task_of_a_spec(state, &mut found);
    addresses_are_unique_and_of_the_node(state, &mut found);
    indexes_match(state, &mut found);
    host_ports_are_unique(state, &mut found);
    services_belong(state, &mut found);
    histories_are_bounded(state, &mut found);
    nothing_is_from_the_future(state, &mut found);
    rollouts_are_sound(state, &mut found);
    what_is_sealed_opens(state, &mut found);
    labels_are_within_limits(state, &mut found);
    found.extend(state.audit.violations());
    found
}

fn tasks_belong(state: &State, found: &mut Vec<String>) {
    for task in state.tasks() {
        if state.node(task.node).is_none() {
            found.push(format!("{} is on unknown node {}", task.id, task.node));
        }
        if state.service(&task.service).is_none() {
            found.push(format!("{} belongs to unknown service {}", task.id, task.service));
        }
        if task.id >= state.next_task() {
            found.push(format!("{} has a number that was not given yet", task.id));
        }
    }
}

fn slots_hold_at_most_one_task_of_a_spec(state: &State, found: &mut Vec<String>) {
    let mut seen = BTreeMap::new();
    for task in state.tasks().filter(|t| t.is_wanted()) {
        // A replacement of a lost task shares its slot and spec, but not its node.
        let key = (&task.service, task.slot, &task.spec_hash, task.node);
        if let Some(other) = seen.insert(key, task.id) {
            found.push(format!("{other} and {} fill the same slot {}.{}", task.id, task.service, task.slot));
        }
    }
}

fn addresses_are_unique_and_of_the_node(state: &State, found: &mut Vec<String>) {
    let mut seen = BTreeMap::new();
    for task in state.tasks() {
        for address in &task.addresses {
            if let Some(other) = seen.insert(*address, task.id) {
                found.push(format!("{other} and {} share {address}", task.id));
            }
            let inside = state.node(task.node).is_some_and(|node| match address {
                IpAddr::V4(v4) => crate::engine::model::network::task_hosts(&node.network).contains(&u32::from(*v4)),
                IpAddr::V6(_) => true,
            });
            if !inside {
                found.push(format!("{} has {address}, which is not of its node's subnet", task.id));
            }
        }
    }
}

fn indexes_match(state: &State, found: &mut Vec<String>) {
    let by_service = state.tasks().all(|t| state.by_service.contains_key(&(t.service.clone(), t.slot, t.id)));
    let by_node = state.tasks().all(|t| state.by_node.contains_key(&(t.node, t.id)));
    let addresses: usize = state.tasks().map(|t| t.addresses.len()).sum();
    let sizes = state.by_service.len() == state.tasks.len()
        && state.by_node.len() == state.tasks.len()
        && state.by_address.len() == addresses;
    let mut usage: BTreeMap<NodeId, Usage> = BTreeMap::new();
    for task in state.tasks() {
        usage.entry(task.node).or_default().hold(&task.reservations, &task.host_ports);
    }
    let is_held = |(node, held): (&NodeId, &Usage)| match usage.get(node) {
        Some(counted) => counted == held,
        None => *held == Usage::default(),
    };
    let usage_fits = usage.keys().all(|node| state.usage.contains_key(node)) && state.usage.iter().all(is_held);
    if !(by_service && by_node && sizes && usage_fits) {
        found.push("an index does not match the table of tasks".to_owned());
    }
}

fn host_ports_are_unique(state: &State, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    // One that is only prepared, or was when it was asked to stop, binds nothing.
    for task in state.tasks().filter(|t| t.succeeds.is_none()) {
        for port in task.host_ports.iter().filter(|p| p.published != 0) {
            if !seen.insert((task.node, port.host_ip, port.protocol, port.published)) {
                found.push(format!("{} shares host port {} on {}", task.id, port.published, task.node));
            }
        }
    }
}

fn services_belong(state: &State, found: &mut Vec<String>) {
    for service in state.services() {
        if state.project(&service.key.project).is_none() {
            found.push(format!("{} has no project", service.key));
        }
        for gate in service.gates.keys() {
            if !service.spec.depends_on.contains_key(gate) {
                found.push(format!("{} has a gate to {gate}, on which it does not depend", service.key));
            }
        }
    }
}

fn histories_are_bounded(state: &State, found: &mut Vec<String>) {
    if state.events.len() > EVENTS_KEPT {
        found.push(format!("{} events are kept", state.events.len()));
    }
    for project in state.projects() {
        let last = project.releases.last().map(|r| r.number);
        if project.releases.len() > RELEASES_KEPT || last != Some(project.release) {
            found.push(format!("project {} has a wrong history", project.name));
        }
    }
}

fn nothing_is_from_the_future(state: &State, found: &mut Vec<String>) {
    let newest = [
        state.projects().map(|p| p.modified).max(),
        state.services().map(|s| s.modified).max(),
        state.tasks().map(|t| t.modified).max(),
        state.nodes().map(|n| n.modified).max(),
    ];
    if newest.into_iter().flatten().any(|modified| modified > state.revision()) {
        found.push("an object was modified after the present revision".to_owned());
    }
}

/// As far as ids tell: nothing is sealed with a key that the servers were told to forget.
fn what_is_sealed_opens(state: &State, found: &mut Vec<String>) {
    for key in &state.sealing.retired {
        if let Some(part) = state.sealed_with(key).next() {
            found.push(format!("{part:?} is sealed with key {key}, which is retired"));
        }
    }
    let digest_key = state.sealing.digest_key.as_ref().and_then(|sealed| sealed.key_id());
    if digest_key.is_some() && digest_key != state.key_in_use() {
        found.push("the digest key is not sealed with the key in use".to_owned());
    }
    if let Some(rotation) = &state.sealing.rotation
        && (state.sealing.is_retired(&rotation.from) || state.sealing.is_retired(&rotation.to))
    {
        found.push(format!("a key of the rotation to {} is retired", rotation.to));
    }
}

fn labels_are_within_limits(state: &State, found: &mut Vec<String>) {
    for node in state.nodes() {
        if node.labels.len() > NODE_LABELS_MAX {
            found.push(format!("node {} has {} labels", node.info.id, node.labels.len()));
        }
        if node.labelled > node.modified || node.labelled.0 == 0 && !node.labels.is_empty() {
            found.push(format!("the labels of node {} are not dated", node.info.id));
        }
    }
}

fn rollouts_are_sound(state: &State, found: &mut Vec<String>) {
    for task in state.tasks() {
        if task.is_prepared_only() != task.succeeds.is_some() && task.is_wanted() {
            found.push(format!("{} is prepared for the place of nobody, or runs in that of somebody", task.id));
        }
        if task.ready_since.is_some() && !task.status.is_ready() {
            found.push(format!("{} is dated ready and is not", task.id));
        }
        if task.drain_ms > 0 && task.desired != Desired::Stop {
            found.push(format!("{} drains and is not to stop", task.id));
        }
    }
    for service in state.services() {
        let Some(rollout) = &service.rollout else { continue };
        let of_project = state.project(&service.key.project).map_or(0, |p| p.release);
        if rollout.to != service.generation || rollout.release > of_project {
            found.push(format!("the rollout of {} is of another generation or release", service.key));
        }
        if rollout.is_done() && !rollout.failed.is_empty() {
            found.push(format!("the rollout of {} is done and has failed slots", service.key));
        }
    }
}
