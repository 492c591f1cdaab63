//! A plan never takes away the last ready task of a slot that is to go on: on an update the old one serves until the
//! new one is ready, or, where both want the same volume or host port, prepared. What is not to be where it is may go.

use orchestrator::engine::Command;
use orchestrator::engine::State;
use orchestrator::engine::model::{Service, Task};
use orchestrator::engine::plan::Change;
use proto::id::{ServiceKey, Slot};
use std::collections::BTreeSet;

use super::Promise;
use super::handover::prepared_for;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Serving;

impl Promise for Serving {
    fn name(&self) -> &'static str {
        "serving"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { before, stamped, after, .. } = fact else { return Ok(()) };
        let Command::ApplyPlan { plan } = &stamped.command else { return Ok(()) };
        let stops: BTreeSet<_> = plan
            .changes
            .iter()
            .filter_map(|p| match &p.change {
                Change::StopTask { task, .. } => Some(*task),
                _ => None,
            })
            .filter(|id| after.task(*id).is_none_or(|t| !t.is_wanted()))
            .collect();
        for id in &stops {
            let Some(task) = before.task(*id).filter(|t| t.is_satisfied()) else { continue };
            let Some(service) = before.service(&task.service) else { continue };
            let goes = service.removing
                || prepared_for(before, service, task.slot).next().is_some()
                || !is_wanted_there(before, service, task);
            if goes || serves(before, &task.service, task.slot, &stops) {
                continue;
            }
            return Err(format!("{}.{} loses its last ready task {id}", task.service, task.slot));
        }
        Ok(())
    }
}

/// Its slot is to have a task, there.
fn is_wanted_there(state: &State, service: &Service, task: &Task) -> bool {
    let wanted = super::global::wanted(state, service);
    wanted.get(&task.slot).is_some_and(|home| home.is_none_or(|node| node == task.node))
}

fn serves(state: &State, key: &ServiceKey, slot: Slot, but: &BTreeSet<proto::id::TaskId>) -> bool {
    state.tasks_of(key).any(|t| {
        t.slot == slot && t.is_satisfied() && !but.contains(&t.id) && state.node(t.node).is_some_and(|n| n.is_up())
    })
}
