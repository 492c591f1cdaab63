//! A global service has a task only on nodes where it may be, in the slot that is the node's own, and what is elsewhere
//! goes. Restates from the manifest's side which nodes those are; that each of them has one in the end is `end`'s.

use orchestrator::engine::model::{Node, Service};
use orchestrator::engine::plan::Change;
use orchestrator::engine::{Command, State};
use proto::id::{NodeId, Slot, TaskId};
use proto::spec::ServiceMode;
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// Time for a leader to end what may not be where it is, in milliseconds: two plans, with a slow disk.
const STOPPED_WITHIN_MS: u64 = 6_000;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Global {
    /// Tasks where none may be, and since when they are seen there.
    misplaced: BTreeMap<TaskId, u64>,
}

impl Promise for Global {
    fn name(&self) -> &'static str {
        "global"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Elected { .. } => self.misplaced.clear(),
            Fact::Committed { before, stamped, after, .. } => {
                if let Command::ApplyPlan { plan } = &stamped.command {
                    let made = plan.changes.iter().filter_map(|p| match &p.change {
                        Change::CreateTask { service, .. } | Change::PrepareTask { service, .. } => Some(service),
                        _ => None,
                    });
                    for service in made.filter_map(|key| after.service(key)).filter(|s| is_global(s)) {
                        places(before, after, service)?;
                    }
                }
            }
            Fact::Lapsed => {}
            _ => return Ok(()),
        }
        self.lingers(world)
    }
}

impl Global {
    fn lingers(&mut self, world: &World) -> Result<(), String> {
        if !world.leader.leads || world.now < world.leader.resumed + STOPPED_WITHIN_MS {
            self.misplaced.clear();
            return Ok(());
        }
        let state = &world.state;
        let strays: Vec<TaskId> = state
            .services()
            .filter(|s| is_global(s) && !s.removing)
            .flat_map(|s| state.tasks_of(&s.key).filter(|t| t.is_wanted()).map(move |t| (s, t)))
            .filter(|(s, t)| state.node(t.node).is_some_and(|n| n.is_up() && !may_be(s, n)))
            .map(|(_, t)| t.id)
            .collect();
        self.misplaced.retain(|id, _| strays.contains(id));
        for id in strays {
            let since = *self.misplaced.entry(id).or_insert(world.now);
            if world.now - since > STOPPED_WITHIN_MS {
                return Err(format!("{id} is on a node where its service may not be since {since} ms"));
            }
        }
        Ok(())
    }
}

/// Those that a plan made are each on a node where the service may be, in that node's slot.
fn places(before: &State, after: &State, service: &Service) -> Result<(), String> {
    for task in after.tasks_of(&service.key).filter(|t| before.task(t.id).is_none()) {
        let Some(node) = after.node(task.node) else { return Err(format!("{} is on no node", task.id)) };
        if !may_be(service, node) {
            return Err(format!("{} of {} is made on {}, where it may not be", task.id, service.key, task.node));
        }
        if slot_on(node) != task.slot {
            return Err(format!("{} of {} has slot {}, which is another node's", task.id, service.key, task.slot));
        }
        let here = after.tasks_of(&service.key).filter(|t| t.node == task.node && t.slot == task.slot);
        let twins = here.filter(|t| t.is_wanted() && t.spec_hash == task.spec_hash).count();
        if twins > 1 {
            return Err(format!("{} has {twins} tasks of one spec in the slot of {}", service.key, task.node));
        }
    }
    Ok(())
}

/// The manifest says so.
pub(crate) fn is_global(service: &Service) -> bool {
    service.spec.mode == ServiceMode::Global
}

/// The node's slot in any global service.
fn slot_on(node: &Node) -> Slot {
    Slot(node.subnet_index + 1)
}

/// Do all constraints hold of the node? In this world they are all about labels.
pub(crate) fn may_be(service: &Service, node: &Node) -> bool {
    service.spec.placement.constraints.iter().all(|c| {
        let label = c.attribute.strip_prefix("node.labels.").and_then(|key| node.label(key));
        (label.is_some_and(|l| l == c.value)) == c.equal
    })
}

/// The slots that a service is to have; for a global one with the node of each.
pub(crate) fn wanted(state: &State, service: &Service) -> BTreeMap<Slot, Option<NodeId>> {
    if !is_global(service) {
        return (1..=service.spec.replicas).map(|n| (Slot(n), None)).collect();
    }
    let nodes = state.nodes().filter(|n| n.is_up() && may_be(service, n));
    nodes.map(|n| (slot_on(n), Some(n.info.id))).collect()
}
