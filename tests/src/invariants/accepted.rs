//! The set and the table an agent goes by never get older, also not over a restart of the agent.

use proto::revision::{Epoch, Revision};
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    newest: BTreeMap<usize, (Epoch, Revision)>,
    table: BTreeMap<usize, (Epoch, Revision)>,
}

impl Promise for Accepted {
    fn name(&self) -> &'static str {
        "accepted"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let (agent, before, now) = match fact {
            Fact::Accepted { agent } => {
                let Some(set) = &world.agents[*agent].accepted else { return Ok(()) };
                let now = (set.epoch, set.revision);
                (agent, self.newest.insert(*agent, now), now)
            }
            Fact::Named { agent } => {
                let table = &world.agents[*agent].table;
                let now = (table.epoch, table.revision);
                (agent, self.table.insert(*agent, now), now)
            }
            _ => return Ok(()),
        };
        match before {
            Some(before) if before > now => Err(format!("agent {agent} went back from {before:?} to {now:?}")),
            _ => Ok(()),
        }
    }
}
