//! What is only prepared does not run; and what takes the place of a task does not run beside it.

use orchestrator::engine::Command;
use proto::assignment::Desired;
use proto::id::TaskId;
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Whose place prepared tasks take.
    succeeds: BTreeMap<TaskId, TaskId>,
}

impl Promise for Prepared {
    fn name(&self) -> &'static str {
        "prepared"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Committed { stamped, after, .. } if matches!(stamped.command, Command::ApplyPlan { .. }) => {
                let prepared = after.tasks().filter(|t| t.is_prepared_only());
                self.succeeds.extend(prepared.filter_map(|t| Some((t.id, t.succeeds?))));
                // One whose node was lost when its successor was let start may come back and run for a while.
                self.succeeds.retain(|id, before| {
                    let waits = after.task(*id).is_some_and(|t| t.is_prepared_only());
                    let is_lost = after.task(*before).is_some_and(|t| after.node(t.node).is_none_or(|n| !n.is_up()));
                    waits || !is_lost
                });
                Ok(())
            }
            Fact::Started { host, task, .. } => {
                let set = world.agents[*host].accepted.as_ref();
                let desired = set.and_then(|s| s.tasks.get(task)).map(|a| a.desired);
                if desired == Some(Desired::Prepare) {
                    return Err(format!("{task} runs although it is only to be prepared"));
                }
                let Some(before) = self.succeeds.get(task) else { return Ok(()) };
                // One whose node is lost may run there for a while.
                let beside = world.hosts.iter().enumerate().any(|(at, docker)| {
                    let is_up = world.state.node(world.agents[at].info.id).is_some_and(|n| n.is_up());
                    is_up && docker.running_of(*before).next().is_some()
                });
                if beside { Err(format!("{task} runs beside {before}, whose place it takes")) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}
