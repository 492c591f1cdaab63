//! Applies what reconcile decided, change by change: those that still hold are made, the others rejected one by one.

use proto::assignment::{Desired, Verdict};
use proto::id::{NodeId, ProjectName, ServiceKey, ServiceName, Slot, TaskId};
use proto::revision::Time;
use proto::task_state::TaskStatus;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{State, rollout};
use crate::engine::model::network::task_hosts;
use crate::engine::model::{Node, Reachability, Service, Task, Volume, VolumeKey};
use crate::engine::outcome::Outcome;
use crate::engine::placement;
use crate::engine::plan::{Change, Plan, Planned, Requires};
use crate::engine::reason::Reason;
use crate::engine::reconcile::slot_of;

/// Why a change was not made.
type Refused = &'static str;

pub(super) fn apply_plan(state: &mut State, plan: &Plan) -> Outcome {
    let mut accepted = 0;
    let mut rejected = Vec::new();
    // Preconditions are judged against what was true before this plan: its own changes do not void each other.
    let before = state.clone();
    for (index, planned) in plan.changes.iter().enumerate() {
        let held = planned.requires.iter().all(|r| holds(&before, r));
        let made = if held { make(state, planned) } else { Err("what it relied on has changed") };
        match made {
            Ok(()) => accepted += 1,
            Err(why) => rejected.push((u32::try_from(index).unwrap_or(u32::MAX), why.to_owned())),
        }
    }
    Outcome::Plan { revision: state.revision, accepted, rejected }
}

fn holds(state: &State, requires: &Requires) -> bool {
    match requires {
        Requires::Service(key, revision) => state.service(key).is_some_and(|s| s.modified == *revision),
        Requires::Task(id, revision) => state.task(*id).is_some_and(|t| t.modified == *revision),
        Requires::Node(id, revision) => state.node(*id).is_some_and(|n| n.modified == *revision),
        Requires::Project(name, revision) => state.project(name).is_some_and(|p| p.modified == *revision),
    }
}

fn make(state: &mut State, planned: &Planned) -> Result<(), Refused> {
    let reason = &planned.reason;
    match &planned.change {
        Change::CreateTask { service, slot, node } => create_task(state, service, *slot, *node, None, reason),
        Change::PrepareTask { service, slot, node, succeeds } => {
            create_task(state, service, *slot, *node, Some(*succeeds), reason)
        }
        Change::RunTask { task } => run_task(state, *task, reason),
        Change::StopTask { task, drain_ms } => stop_task(state, *task, *drain_ms, reason),
        Change::FailSlot { service, slot, task, cause } => rollout::fail_slot(state, service, *slot, *task, cause),
        Change::HoldSlot { service, slot } => rollout::hold_slot(state, service, *slot, reason),
        Change::RollBack { service } => rollout::roll_back(state, service, reason),
        Change::PauseRollout { service } => rollout::pause(state, service, reason),
        Change::FailRollout { service } => rollout::fail(state, service, reason),
        Change::FinishRollout { service } => rollout::finish(state, service, reason),
        Change::LatchGate { service, dependency } => latch_gate(state, service, dependency, reason),
        Change::MarkDown { node } => mark(state, *node, false, reason),
        Change::MarkUp { node } => mark(state, *node, true, reason),
        Change::ForgetService { service } => forget_service(state, service, reason),
        Change::ForgetProject { project } => forget_project(state, project, reason),
        Change::RemoveVolume { volume } => remove_volume(state, volume),
        Change::ForgetVolume { volume } => forget_volume(state, volume, reason),
        Change::ForgetBlob { digest } => state.blobs.remove(digest).map(drop).ok_or("it is gone already"),
        Change::JudgeStranger { node, container, verdict } => judge(state, *node, container, *verdict, reason),
    }
}

/// `succeeds`: the task whose place it takes; until that has stopped it is only prepared.
fn create_task(
    state: &mut State,
    key: &ServiceKey,
    slot: Slot,
    node: NodeId,
    succeeds: Option<TaskId>,
    reason: &Reason,
) -> Result<(), Refused> {
    let service = state.services.get(key).cloned().ok_or("its service is gone")?;
    let host = state.nodes.get(&node).cloned().ok_or("its node is gone")?;
    if service.removing {
        return Err("its service is being removed");
    }
    if state.is_global(&service) && slot_of(&host) != slot {
        return Err("the slot is another node's");
    }
    let filled = state.tasks_in(key, slot).any(|t| t.node == node && t.is_wanted() && t.spec_hash == service.spec_hash);
    if filled {
        return Err("the slot has a task already");
    }
    let before = succeeds.and_then(|id| state.tasks.get(&id));
    if succeeds.is_some() && before.is_none() {
        return Err("what it takes the place of is gone already");
    }
    if placement::fits_now(state, &service, &host, before.map(|t| &**t)).is_err() {
        return Err("the node cannot hold it any more");
    }
    let (address, last_host) = free_address(state, &host).ok_or("the node's subnet has no free address")?;
    state.resting.remove(&address);
    let subject = format!("{key}.{slot}");
    let text = format!("on {}: {reason}", host.info.hostname);
    drop(host);
    if let Some(host) = state.nodes.get_mut(&node) {
        // Copied once for a plan, however many of its tasks the node gets.
        Arc::make_mut(host).last_host = last_host;
    }
    create_volumes(state, &service, node);
    let id = TaskId(state.next_task);
    state.next_task += 1;
    let task = new_task(state, id, &service, slot, node, address);
    let desired = if succeeds.is_some() { Desired::Prepare } else { Desired::Run };
    state.insert_task(Task { desired, succeeds, ..task });
    state.record(subject, "task-created", text);
    rollout::slot_placed(state, key, slot);
    Ok(())
}

fn new_task(state: &State, id: TaskId, service: &Service, slot: Slot, node: NodeId, address: IpAddr) -> Task {
    Task {
        id,
        uid: state.uid(),
        service: service.key.clone(),
        slot,
        node,
        generation: service.generation,
        spec_hash: service.spec_hash.clone(),
        container: service.spec.container.clone(),
        volumes: service.volumes.clone(),
        host_ports: service.host_ports(),
        reservations: service.spec.reservations,
        addresses: vec![address],
        desired: Desired::Run,
        status: TaskStatus::default(),
        created_at: state.wall,
        created: state.clock,
        was_ready: false,
        modified: state.revision,
        ready_since: None,
        phase_since: if state.has_rollouts() { state.clock } else { Time::default() },
        setback: None,
        drain_ms: 0,
        succeeds: None,
        health: state.has_own_checks().then(|| service.spec.health.clone()),
    }
}

/// The next free address after the one given last, so that addresses come back as late as possible.
fn free_address(state: &State, node: &Node) -> Option<(IpAddr, u32)> {
    free_addresses(state, node, state.clock).next()
}

fn free_addresses<'a>(state: &'a State, node: &Node, now: Time) -> impl Iterator<Item = (IpAddr, u32)> + 'a {
    let hosts = task_hosts(&node.network);
    let start = if hosts.contains(&(node.last_host + 1)) { node.last_host + 1 } else { hosts.start };
    (start..hosts.end).chain(hosts.start..start).filter_map(move |host| {
        let address = IpAddr::V4(Ipv4Addr::from(host));
        let rests = state.resting.get(&address).is_some_and(|until| *until > now);
        (!rests && !state.by_address.contains_key(&address)).then_some((address, host))
    })
}

/// Is there an address for one more task at `now`, once `given` of the free ones are given away?
pub(crate) fn has_free_address(state: &State, node: &Node, given: usize, now: Time) -> bool {
    // Each task has one address: counting decides unless the subnet is nearly used up.
    let hosts = task_hosts(&node.network);
    let taken = state.usage.get(&node.info.id).map_or(0, |u| u.tasks as usize);
    given + taken + state.resting.len() < hosts.len() || free_addresses(state, node, now).nth(given).is_some()
}

/// When the first address of a node whose addresses are all taken has rested; `None`: one is free, or none rests.
pub(crate) fn address_free_at(state: &State, node: &Node, now: Time) -> Option<Time> {
    if has_free_address(state, node, 0, now) {
        return None;
    }
    let hosts = task_hosts(&node.network);
    let (first, last) = (IpAddr::V4(hosts.start.into()), IpAddr::V4((hosts.end - 1).into()));
    state.resting.range(first..=last).map(|(_, until)| *until).filter(|until| *until > now).min()
}

fn create_volumes(state: &mut State, service: &Service, node: NodeId) {
    for (name, spec) in &service.volumes {
        let key = VolumeKey { project: service.key.project.clone(), name: name.clone(), node };
        let keeps = state.volumes.get(&key).is_some_and(|v| !v.removing);
        if keeps {
            continue;
        }
        let volume = Volume {
            docker_name: spec.name_in_docker(&key.project, name),
            uid: state.uid(),
            external: spec.external,
            removing: false,
            created_at: state.wall,
            modified: state.revision,
            key: key.clone(),
        };
        state.volumes.insert(key, Arc::new(volume));
    }
}

fn run_task(state: &mut State, id: TaskId, reason: &Reason) -> Result<(), Refused> {
    let task = state.tasks.get(&id).ok_or("it is gone already")?;
    if !task.is_prepared_only() {
        return Err("it is not being prepared");
    }
    let mut task = (**task).clone();
    task.desired = Desired::Run;
    task.succeeds = None;
    task.modified = state.revision;
    state.record(format!("{}.{}", task.service, task.slot), "task-starting", reason.to_string());
    state.tasks.insert(id, Arc::new(task));
    Ok(())
}

fn stop_task(state: &mut State, id: TaskId, drain_ms: u64, reason: &Reason) -> Result<(), Refused> {
    let task = state.tasks.get(&id).ok_or("it is gone already")?;
    if !task.is_wanted() {
        return Err("it is stopping already");
    }
    let mut task = (**task).clone();
    task.desired = Desired::Stop;
    task.drain_ms = drain_ms;
    task.modified = state.revision;
    state.record(format!("{}.{}", task.service, task.slot), "task-stopping", reason.to_string());
    state.tasks.insert(id, Arc::new(task));
    Ok(())
}

fn latch_gate(state: &mut State, key: &ServiceKey, dependency: &ServiceName, reason: &Reason) -> Result<(), Refused> {
    let service = state.services.get(key).ok_or("its service is gone")?;
    if service.gates.contains_key(dependency) {
        return Err("the gate is open already");
    }
    let mut service = (**service).clone();
    service.gates.insert(dependency.clone(), state.revision);
    state.record(key.to_string(), "gate-opened", reason.to_string());
    state.services.insert(key.clone(), Arc::new(service));
    Ok(())
}

fn mark(state: &mut State, id: NodeId, up: bool, reason: &Reason) -> Result<(), Refused> {
    let node = state.nodes.get(&id).ok_or("it is gone already")?;
    if node.is_up() == up {
        return Err("it is so already");
    }
    let mut node = (**node).clone();
    node.reachability =
        if up { Reachability::Up } else { Reachability::Down { since: state.clock, since_wall: state.wall } };
    node.modified = state.revision;
    let kind = if up { "node-up" } else { "node-down" };
    state.record(node.info.hostname.clone(), kind, reason.to_string());
    state.nodes.insert(id, Arc::new(node));
    Ok(())
}

fn forget_service(state: &mut State, key: &ServiceKey, reason: &Reason) -> Result<(), Refused> {
    if state.tasks_of(key).next().is_some() {
        return Err("it has tasks");
    }
    state.services.remove(key).ok_or("it is gone already")?;
    state.record(key.to_string(), "service-removed", reason.to_string());
    Ok(())
}

fn forget_project(state: &mut State, name: &ProjectName, reason: &Reason) -> Result<(), Refused> {
    if state.services_of(name).next().is_some() {
        return Err("it has services");
    }
    state.projects.remove(name).ok_or("it is gone already")?;
    state.record(name.to_string(), "project-removed", reason.to_string());
    Ok(())
}

fn remove_volume(state: &mut State, key: &VolumeKey) -> Result<(), Refused> {
    let volume = state.volumes.get(key).ok_or("it is gone already")?;
    let used = state.tasks_on(key.node).any(|t| t.service.project == key.project && t.volumes.contains_key(&key.name));
    if used {
        return Err("a task uses it");
    }
    let mut volume = (**volume).clone();
    volume.removing = true;
    volume.modified = state.revision;
    state.volumes.insert(key.clone(), Arc::new(volume));
    Ok(())
}

fn forget_volume(state: &mut State, key: &VolumeKey, reason: &Reason) -> Result<(), Refused> {
    state.volumes.remove(key).ok_or("it is gone already")?;
    state.record(format!("{}/{}", key.project, key.name), "volume-removed", reason.to_string());
    Ok(())
}

fn judge(
    state: &mut State,
    id: NodeId,
    container: &str,
    verdict: Option<Verdict>,
    reason: &Reason,
) -> Result<(), Refused> {
    let node = state.nodes.get(&id).ok_or("its node is gone")?;
    let mut node = (**node).clone();
    match verdict {
        Some(verdict) => node.verdicts.insert(container.to_owned(), verdict),
        None => node.verdicts.remove(container),
    };
    if verdict.is_some() {
        let short = &container[..container.len().min(12)];
        state.record(node.info.hostname.clone(), "stranger-judged", format!("container {short}: {reason}"));
    }
    state.nodes.insert(id, Arc::new(node));
    Ok(())
}
