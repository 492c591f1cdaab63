//! A health check's failures count: so many in a row as `retries` says, outside the start period, make a container
//! unhealthy; fewer do not. An unhealthy one is ended, unless its service is not to be restarted.

use agent::engine::health::{Effective, effective};
use proto::id::TaskId;
use proto::spec::RestartPolicy;
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
    /// Since when an unhealthy container runs on, by agent, task, process of the agent and incarnation.
    unhealthy: BTreeMap<(usize, TaskId, u64, u32), u64>,
}

/// Time for an agent to have an unhealthy container ended, in milliseconds: its grace, and an engine that hesitates.
const ENDED_WITHIN_MS: u64 = 60_000;

impl Promise for Checks {
    fn name(&self) -> &'static str {
        "checks"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        if matches!(fact, Fact::Lapsed) {
            return self.lapsed(world);
        }
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

impl Checks {
    fn lapsed(&mut self, world: &World) -> Result<(), String> {
        let mut still = BTreeMap::new();
        for (agent, body) in world.agents.iter().enumerate().filter(|(_, body)| body.alive) {
            let away = world.hosts[agent].away_until > world.now || body.suspended_until > world.now;
            let Some(set) = body.accepted.as_ref().filter(|_| !away) else { continue };
            for (id, task) in &body.memory.tasks {
                let restarts = set.tasks.get(id).is_some_and(|a| a.restart != RestartPolicy::No);
                let runs = task.status.phase == Phase::Running && task.status.health == Health::Unhealthy;
                if runs && restarts && task.busy.is_none() {
                    let key = (agent, *id, body.process, task.status.incarnation);
                    let since = self.unhealthy.get(&key).copied().unwrap_or(world.now);
                    still.insert(key, since);
                }
            }
        }
        self.unhealthy = still;
        match self.unhealthy.iter().find(|(_, since)| world.now - **since > ENDED_WITHIN_MS) {
            Some(((agent, task, ..), since)) => {
                Err(format!("agent {agent} lets {task} run unhealthy since {since} ms"))
            }
            None => Ok(()),
        }
    }
}
