//! Absence never removes: a task leaves State only after its own node confirmed a stop that was asked for.

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
pub(super) struct Absence;

impl Promise for Absence {
    fn name(&self) -> &'static str {
        "absence"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { before, stamped, after, .. } = fact else { return Ok(()) };
        if before.task_count() == 0 {
            return Ok(());
        }
        let confirmed: BTreeSet<TaskId> = match &stamped.command {
            Command::ReportStatuses { node, reports } => reports
                .iter()
                .filter(|(id, s)| s.phase == Phase::Stopped && before.task(*id).is_some_and(|t| t.node == *node))
                .map(|(id, _)| *id)
                .collect(),
            _ => BTreeSet::new(),
        };
        for task in before.tasks() {
            let still = after.task(task.id).is_some();
            let may_go = task.desired == Desired::Stop && confirmed.contains(&task.id);
            if !still && !may_go {
                return Err(format!("{} left State without a confirmed stop", task.id));
            }
        }
        Ok(())
    }
}
