//! What tasks set aside on a node is never more than the node has; what is only prepared takes the room of what it
//! takes the place of.

use orchestrator::engine::Command;
use proto::assignment::Desired;
use proto::id::TaskId;
use std::collections::BTreeSet;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Capacity {
    /// Tasks that were asked to run at some time.
    asked: BTreeSet<TaskId>,
}

impl Promise for Capacity {
    fn name(&self) -> &'static str {
        "capacity"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { stamped, after, .. } = fact else { return Ok(()) };
        self.asked.extend(after.tasks().filter(|t| t.desired == Desired::Run).map(|t| t.id));
        if !matches!(stamped.command, Command::ApplyPlan { .. }) {
            return Ok(());
        }
        for node in after.nodes() {
            // Asked to stop before it was ever to run, it takes no room either.
            let held = || after.tasks_on(node.info.id).filter(|t| self.asked.contains(&t.id));
            let cpu: u64 = held().map(|t| t.reservations.cpu_millis).sum();
            let memory: u64 = held().map(|t| t.reservations.memory_bytes).sum();
            if cpu > node.info.cpu_millis || memory > node.info.memory_bytes {
                return Err(format!("{} holds tasks for {cpu} thousandths and {memory} bytes", node.info.hostname));
            }
        }
        Ok(())
    }
}
