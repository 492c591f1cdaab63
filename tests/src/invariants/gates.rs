//! `depends_on`: a gate opens only when its condition is met by every replica, and no task is made before all are
//! open, unless it takes the place of a lost or failing one.

use orchestrator::engine::plan::Change;
use orchestrator::engine::{Command, Reason, State};
use proto::id::{ServiceKey, ServiceName};
use proto::spec::DependencyCondition;
use proto::task_state::Phase;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Gates;

impl Promise for Gates {
    fn name(&self) -> &'static str {
        "gates"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            // A gate is judged by what the leader saw when it decided.
            Fact::Reconciled { plan, .. } => {
                for planned in &plan.changes {
                    if let Change::LatchGate { service, dependency } = &planned.change
                        && !is_met(&world.state, service, dependency)
                    {
                        return Err(format!("the gate of {service} to {dependency} opens too early"));
                    }
                }
                Ok(())
            }
            Fact::Committed { before, stamped, after, .. } => {
                let Command::ApplyPlan { plan } = &stamped.command else { return Ok(()) };
                // What takes the place of a lost or failing task is not held back: its service started once before.
                let replaces = |r: &Reason| matches!(r, Reason::NodeLost { .. } | Reason::KeptFailing { .. });
                let made = plan.changes.iter().filter(|p| !replaces(&p.reason)).filter_map(|p| match &p.change {
                    Change::CreateTask { service, .. } => Some(service),
                    _ => None,
                });
                for key in made {
                    // A task that was made belongs to the service as it is after the plan.
                    let created = after.tasks_of(key).any(|t| before.task(t.id).is_none());
                    let Some(service) = after.service(key).filter(|_| created) else { continue };
                    let shut = service.spec.depends_on.keys().find(|d| !service.gates.contains_key(*d));
                    if let Some(shut) = shut {
                        return Err(format!("{key} gets a task although its gate to {shut} is shut"));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn is_met(state: &State, key: &ServiceKey, dependency: &ServiceName) -> bool {
    let Some(how) = state.service(key).and_then(|s| s.spec.depends_on.get(dependency)) else { return false };
    let target = ServiceKey { project: key.project.clone(), service: dependency.clone() };
    let Some(target) = state.service(&target).filter(|t| !t.removing) else { return !how.required };
    let wanted = super::global::wanted(state, target);
    let is_somewhere = !super::global::is_global(target) || !wanted.is_empty();
    is_somewhere
        && wanted.iter().all(|(slot, node)| {
            state.tasks_of(&target.key).any(|t| {
                t.slot == *slot
                    && node.is_none_or(|node| t.node == node)
                    && t.is_wanted()
                    && match how.condition {
                        DependencyCondition::Started => t.status.phase == Phase::Running || t.is_complete(),
                        DependencyCondition::Healthy => t.status.is_ready(),
                        DependencyCondition::Completed => t.is_complete(),
                    }
            })
        })
}
