//! The set an agent goes by never gets older, also not over a restart of the agent.

use proto::revision::{Epoch, Revision};
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    newest: BTreeMap<usize, (Epoch, Revision)>,
}

impl Promise for Accepted {
    fn name(&self) -> &'static str {
        "accepted"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Accepted { agent } = fact else { return Ok(()) };
        let Some(set) = &world.agents[*agent].accepted else { return Ok(()) };
        let now = (set.epoch, set.revision);
        match self.newest.insert(*agent, now) {
            Some(before) if before > now => Err(format!("agent {agent} went back from {before:?} to {now:?}")),
            _ => Ok(()),
        }
    }
}
