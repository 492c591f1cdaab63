//! A task that is asked to stop has left its node's discovery for as long as its assignment says before its signal.

use proto::id::TaskId;
use proto::revision::Time;
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::{Fact, Why};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// By agent and task: the agent's process, and since when the task is not answered there; `None`: it is.
    answered: BTreeMap<(usize, TaskId), (u64, Option<Time>)>,
}

impl Promise for Drained {
    fn name(&self) -> &'static str {
        "drained"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Named { agent } => {
                self.named(world, *agent);
                Ok(())
            }
            Fact::Touched { host, task, was_running: true, why: Why::AskedToStop, .. } => {
                self.signalled(world, *host, *task)
            }
            _ => Ok(()),
        }
    }
}

impl Drained {
    fn named(&mut self, world: &World, agent: usize) {
        let body = &world.agents[agent];
        let now = body.now(world.now);
        let tasks = body.accepted.iter().flat_map(|set| set.tasks.keys());
        for task in tasks.filter(|t| body.answers(**t)) {
            self.answered.insert((agent, *task), (body.process, None));
        }
        for ((_, task), (_, since)) in self.answered.iter_mut().filter(|((of, _), _)| *of == agent) {
            if since.is_none() && !body.answers(*task) {
                // What failed left discovery for that: nobody drains the dead.
                let is_well = body.memory.task(*task).is_some_and(|t| t.status.is_ready() && !t.suspect);
                *since = Some(if is_well { now } else { Time(0) });
            }
        }
    }

    fn signalled(&mut self, world: &World, agent: usize, task: TaskId) -> Result<(), String> {
        let body = &world.agents[agent];
        // An agent that begins anew has not answered anybody since.
        let Some((_, since)) = self.answered.get(&(agent, task)).filter(|(p, _)| *p == body.process) else {
            return Ok(());
        };
        let drain_ms = body.accepted.as_ref().and_then(|set| set.tasks.get(&task)).map_or(0, |a| a.drain_ms);
        match since {
            None => Err(format!("{task} is stopped while agent {agent} answers it")),
            Some(since) if body.now(world.now).since_ms(*since) < drain_ms => {
                Err(format!("{task} is stopped {} ms after it left discovery", body.now(world.now).since_ms(*since)))
            }
            Some(_) => Ok(()),
        }
    }
}
