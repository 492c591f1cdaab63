//! An address rests after its task has gone, and no two processes of one host have the same.

use orchestrator::engine::{Command, State};
use proto::id::TaskId;
use proto::limits::ADDRESS_REST_MS;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Who had it, and until when on the cluster's clock, once the task has gone.
    last: BTreeMap<IpAddr, (TaskId, Option<u64>)>,
}

impl Promise for Addresses {
    fn name(&self) -> &'static str {
        "addresses"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Committed { stamped, after, .. } => match &stamped.command {
                Command::ApplyPlan { .. } => self.given(after),
                Command::ReportStatuses { .. } => {
                    self.left(after);
                    Ok(())
                }
                _ => Ok(()),
            },
            Fact::Started { host, container, .. } => {
                let docker = &world.hosts[*host];
                match docker.conflict(container) {
                    Some(conflict) => Err(format!("{container} runs beside another: {conflict}")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl Addresses {
    fn left(&mut self, state: &State) {
        let now = state.clock().0;
        for (task, until) in self.last.values_mut() {
            if until.is_none() && state.task(*task).is_none() {
                *until = Some(now);
            }
        }
    }

    fn given(&mut self, state: &State) -> Result<(), String> {
        let now = state.clock().0;
        for task in state.tasks() {
            for address in &task.addresses {
                if let Some((before, left)) = self.last.get(address)
                    && *before != task.id
                {
                    let rested = left.map_or(0, |left| now - left);
                    if rested < ADDRESS_REST_MS {
                        return Err(format!("{address} of {before} was given to {} after {rested} ms", task.id));
                    }
                }
                self.last.insert(*address, (task.id, None));
            }
        }
        Ok(())
    }
}
