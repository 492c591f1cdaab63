//! A task is judged by one check all its life: what a later release asks reaches new tasks only.

use proto::id::TaskId;
use proto::spec::HealthSpec;
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct OwnCheck {
    told: BTreeMap<TaskId, HealthSpec>,
}

impl Promise for OwnCheck {
    fn name(&self) -> &'static str {
        "own_check"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Accepted { agent } = fact else { return Ok(()) };
        let Some(set) = &world.agents[*agent].accepted else { return Ok(()) };
        for (task, assignment) in &set.tasks {
            let first = self.told.entry(*task).or_insert_with(|| assignment.health.clone());
            if *first != assignment.health {
                return Err(format!(
                    "{task} of {} is judged anew: {first:?}, then {:?}",
                    assignment.service, assignment.health
                ));
            }
        }
        Ok(())
    }
}
