//! No process is started for a task whose stop was confirmed.

use orchestrator::engine::Command;
use proto::assignment::Desired;
use proto::id::TaskId;
use proto::task_state::Phase;
use std::collections::BTreeSet;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Stopped {
    confirmed: BTreeSet<TaskId>,
}

impl Promise for Stopped {
    fn name(&self) -> &'static str {
        "stopped"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Committed { before, stamped, .. } => {
                if let Command::ReportStatuses { node, reports } = &stamped.command {
                    for (id, status) in reports.iter().filter(|(_, s)| s.phase == Phase::Stopped) {
                        let asked = before.task(*id).is_some_and(|t| t.node == *node && t.desired == Desired::Stop);
                        if asked && status.phase == Phase::Stopped {
                            self.confirmed.insert(*id);
                        }
                    }
                }
                Ok(())
            }
            Fact::Started { task, container, .. } if self.confirmed.contains(task) => {
                Err(format!("{container} of {task} runs although its stop was confirmed"))
            }
            _ => Ok(()),
        }
    }
}
