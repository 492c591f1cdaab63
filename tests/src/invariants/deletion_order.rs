//! Dependants stop before what they depend on: no task of a service that goes is asked to stop while a dependant that
//! goes has tasks.

use orchestrator::engine::Command;
use orchestrator::engine::plan::Change;
use proto::id::ServiceKey;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct DeletionOrder;

impl Promise for DeletionOrder {
    fn name(&self) -> &'static str {
        "deletion_order"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { before, stamped, after, .. } = fact else { return Ok(()) };
        let Command::ApplyPlan { plan } = &stamped.command else { return Ok(()) };
        for planned in &plan.changes {
            let Change::StopTask { task, .. } = &planned.change else { continue };
            let Some(task) = before.task(*task).filter(|t| t.is_wanted()) else { continue };
            // Changes that no longer held were not made.
            if after.task(task.id).is_some_and(|t| t.is_wanted()) {
                continue;
            }
            let Some(service) = before.service(&task.service).filter(|s| s.removing) else { continue };
            for other in before.services_of(&service.key.project).filter(|s| s.removing && s.key != service.key) {
                let waits = other.spec.depends_on.contains_key(&service.key.service);
                let key: &ServiceKey = &other.key;
                if waits && before.tasks_of(key).next().is_some() {
                    return Err(format!("{} of {} is stopped before {key}", task.id, service.key));
                }
            }
        }
        Ok(())
    }
}
