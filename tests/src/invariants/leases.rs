//! A node is lost only after its lease ran out: it was silent that long, and the leader was there to hear it.

use orchestrator::engine::plan::Change;
use proto::limits::LEASE_MS;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Leases;

impl Promise for Leases {
    fn name(&self) -> &'static str {
        "leases"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Reconciled { plan, .. } = fact else { return Ok(()) };
        for planned in &plan.changes {
            let Change::MarkDown { node } = &planned.change else { continue };
            let Some(agent) = world.agents.iter().position(|a| a.info.id == *node) else { continue };
            let heard = world.leader.beats.get(&agent).copied().unwrap_or(0);
            let resumed = Some(world.leader.resumed).filter(|at| *at <= world.now).unwrap_or(0);
            let from = heard.max(resumed).max(world.leader.began);
            if world.now < from + LEASE_MS {
                return Err(format!("{node} is marked down {} ms after it could be heard", world.now - from));
            }
        }
        Ok(())
    }
}
