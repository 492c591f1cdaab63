//! A health check's failures count: so many in a row as `retries` says, outside the start period, make a container
//! unhealthy; fewer do not.

use agent::engine::health::{Effective, effective};
use proto::id::TaskId;
use proto::task_state::{Health, Phase};
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// By agent and task: whose checks were counted (process, incarnation), failures in a row, one has passed.
    counted: BTreeMap<(usize, TaskId), (u64, u32, u32, bool)>,
}

impl Promise for Checks {
    fn name(&self) -> &'static str {
        "checks"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Sampled { agent, task, incarnation, passed } = fact else { return Ok(()) };
        let body = &world.agents[*agent];
        let assignment = body.accepted.as_ref().and_then(|set| set.tasks.get(task));
        let (Some(assignment), Some(memory)) = (assignment, body.memory.task(*task)) else { return Ok(()) };
        let Effective::Check(check) = effective(&assignment.health, memory.image_check.as_ref()) else { return Ok(()) };
        if memory.status.incarnation != *incarnation || memory.status.phase != Phase::Running {
            return Ok(());
        }
        let key = (*agent, *task);
        let same = self.counted.get(&key).filter(|c| (c.0, c.1) == (body.process, *incarnation));
        let Some((_, _, before, ever)) = same.copied() else {
            // What an earlier process of the agent counted is in its memory, or lost.
            let first = (body.process, *incarnation, memory.history.failures, memory.history.ever_passed);
            self.counted.insert(key, first);
            return Ok(());
        };
        let began = memory.started.unwrap_or_default();
        let forgiven = !ever && body.now(world.now).since_ms(began) < check.start_period_ms;
        let failures = if *passed { 0 } else { before + u32::from(!forgiven) };
        self.counted.insert(key, (body.process, *incarnation, failures, ever || *passed));
        let is_unhealthy = memory.history.health == Health::Unhealthy;
        let must = failures >= check.retries.max(1);
        if is_unhealthy == must {
            return Ok(());
        }
        Err(format!("after {failures} failures of {} {task} is {}", check.retries, memory.history.health.as_str()))
    }
}
