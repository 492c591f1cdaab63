//! A running container is stopped only when its task was asked to stop, a verdict says so, its health check failed as
//! often as it may, or it is a second one of its task: never because an agent or a leader began anew. What no set mentions
//! is not even removed without a verdict.

use proto::assignment::Desired;
use proto::id::TaskId;
use std::collections::BTreeSet;

use super::Promise;
use crate::sim::World;
use crate::sim::event::{Fact, Why};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Untouched {
    /// Tasks that State ever asked to stop.
    asked: BTreeSet<TaskId>,
}

impl Promise for Untouched {
    fn name(&self) -> &'static str {
        "untouched"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Committed { after, .. } => {
                self.asked.extend(after.tasks().filter(|t| t.desired == Desired::Stop).map(|t| t.id));
                Ok(())
            }
            Fact::Touched { container, task, why: Why::Unjudged, .. } => {
                Err(format!("{container} of {task} is ended, no set mentions it, and there is no verdict"))
            }
            Fact::Touched { container, task, was_running: true, why, host, .. } => {
                let justified = match why {
                    Why::AskedToStop | Why::Judged => self.asked.contains(task),
                    Why::Unhealthy => true,
                    Why::Duplicate => world.hosts[*host].running_of(*task).count() > 1,
                    Why::NotRunning | Why::Unjudged | Why::NoReason => false,
                };
                if justified { Ok(()) } else { Err(format!("{container} of {task} runs and is ended: {why:?}")) }
            }
            _ => Ok(()),
        }
    }
}
