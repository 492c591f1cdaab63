//! `depends_on`: a gate opens only when its condition is met by every replica, and no task is made before all are
//! open, unless it takes the place of a lost or failing one.

use orchestrator::engine::plan::Change;
use orchestrator::engine::{Command, Reason, State};
use proto::id::{ServiceKey, ServiceName, Slot};
use proto::limits::ESCALATE_AFTER_FAILURES;
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
                    match &planned.change {
                        Change::LatchGate { service, dependency } if !is_met(&world.state, service, dependency) => {
                            return Err(format!("the gate of {service} to {dependency} opens too early"));
                        }
                        Change::CreateTask { service, slot, .. }
                            if replaces(&planned.reason)
                                && !is_there(&world.state, service, *slot, &planned.reason) =>
                        {
                            return Err(format!("{service}.{slot} is replaced, and there is nothing to replace"));
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            Fact::Committed { before, stamped, after, .. } => {
                let Command::ApplyPlan { plan } = &stamped.command else { return Ok(()) };
                // What takes the place of a lost or failing task is not held back: its service started once before. That
                // there is such a task of the wanted spec was seen when the plan was made.
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

fn replaces(reason: &Reason) -> bool {
    matches!(reason, Reason::NodeLost { .. } | Reason::KeptFailing { .. })
}

/// A task of the wanted spec that the slot has, on the lost node or failing again and again.
fn is_there(state: &State, key: &ServiceKey, slot: Slot, reason: &Reason) -> bool {
    let Some(service) = state.service(key) else { return false };
    let mut own = state.tasks_in(key, slot).filter(|t| t.is_wanted() && t.spec_hash == service.spec_hash);
    own.any(|t| {
        let is_heard = state.node(t.node).is_some_and(|n| n.is_up());
        match reason {
            Reason::NodeLost { node } => t.node == *node && !is_heard,
            _ => is_heard && !t.is_satisfied() && t.status.failures_in_a_row >= ESCALATE_AFTER_FAILURES,
        }
    })
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
