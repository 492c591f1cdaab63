//! In an update a task that serves is stopped only when its successor has stayed ready, in one incarnation, for as long as
//! `monitor` says, or, when the service stops first, is prepared; it drains when another takes over. A task of the wanted spec that
//! serves is never stopped for an update or a rollback: nothing restarts what is already right.

use orchestrator::engine::model::{Service, Task};
use orchestrator::engine::plan::Change;
use orchestrator::engine::{Command, Reason, State};
use proto::id::{NodeId, Slot, TaskId};
use proto::revision::{Time, Wall};
use proto::task_state::{Phase, TaskStatus};
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Handover {
    /// Ready tasks: their incarnation and process, and since when on the cluster's clock.
    ready: BTreeMap<TaskId, (u32, Option<Process>, Time)>,
}

/// Container and start: the same process also for an agent that lost its memory and counts on.
type Process = (String, Wall);

fn process(status: &TaskStatus) -> Option<Process> {
    let start = status.started_at.filter(|_| !status.container_id.is_empty())?;
    Some((status.container_id.clone(), start))
}

impl Promise for Handover {
    fn name(&self) -> &'static str {
        "handover"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Committed { stamped, after, .. } if matches!(stamped.command, Command::ReportStatuses { .. }) => {
                self.reported(after);
                Ok(())
            }
            // A plan is judged by what the leader saw when it made it.
            Fact::Reconciled { plan, now } => {
                let state = &world.state;
                for planned in &plan.changes {
                    let Change::StopTask { task, drain_ms } = &planned.change else { continue };
                    let Some(task) = state.task(*task).filter(|t| t.is_satisfied()) else { continue };
                    let Some(service) = state.service(&task.service) else { continue };
                    let is_heard = state.node(task.node).is_some_and(|n| n.is_up());
                    let wanted = super::global::wanted(state, service);
                    let is_at_home = |home: &Option<NodeId>| home.is_none_or(|node| node == task.node);
                    if !is_heard || service.removing || !wanted.get(&task.slot).is_some_and(is_at_home) {
                        continue;
                    }
                    self.stops(state, service, task, *now)?;
                    let takes_over = matches!(planned.reason, Reason::Superseded { .. });
                    if takes_over && task.status.is_ready() && *drain_ms != service.spec.drain_ms {
                        return Err(format!("{} serves, and is to drain for {drain_ms} ms", task.id));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A task of the wanted spec that is prepared for the slot, which therefore stops first. It does so too when the service has
/// ceased to stop first meanwhile: that goes on as it began, for the other way would be to begin again. All agents of this
/// world know how to prepare, so nothing stops first without.
///
/// There may be two: one on a node that was lost for a while, and one made elsewhere meanwhile.
pub(super) fn prepared_for<'a>(
    state: &'a State,
    service: &'a Service,
    slot: Slot,
) -> impl Iterator<Item = &'a Task> + use<'a> {
    let own = state.tasks_in(&service.key, slot).filter(|t| t.spec_hash == service.spec_hash);
    own.filter(|t| t.is_prepared_only()).map(|t| &**t)
}

impl Handover {
    fn reported(&mut self, state: &State) {
        self.ready.retain(|id, _| state.task(*id).is_some());
        for task in state.tasks() {
            let (incarnation, process) = (task.status.incarnation, process(&task.status));
            let goes_on = |(n, known, _): &(u32, Option<Process>, Time)| {
                *n == incarnation || process.is_some() && *known == process
            };
            if !task.status.is_ready() {
                self.ready.remove(&task.id);
            } else if !self.ready.get(&task.id).is_some_and(goes_on) {
                self.ready.insert(task.id, (incarnation, process, state.clock()));
            }
        }
    }

    /// May this task, which serves, be stopped?
    fn stops(&self, state: &State, service: &Service, task: &Task, now: Time) -> Result<(), String> {
        let others = || {
            let same_slot = state.tasks_of(&service.key).filter(|t| t.slot == task.slot && t.id != task.id);
            same_slot.filter(|t| t.is_satisfied() && state.node(t.node).is_some_and(|n| n.is_up()))
        };
        let is_current = task.spec_hash == service.spec_hash;
        if is_current {
            let twin = others().any(|t| t.spec_hash == service.spec_hash);
            return if twin { Ok(()) } else { Err(format!("{} is as wanted, serves, and is stopped", task.id)) };
        }
        let monitor_ms = service.policy().monitor_ms;
        let lasts = |t: &Task| {
            let since = self.ready.get(&t.id).map(|(_, _, since)| *since);
            t.is_complete() || since.is_some_and(|since| now.since_ms(since) >= monitor_ms)
        };
        let successor = others().any(|t| t.spec_hash == service.spec_hash && lasts(t));
        // Two outdated ones: the other goes on serving.
        let companion = others().any(|t| t.spec_hash != service.spec_hash);
        // Its image and its files are there.
        let is_fetched = prepared_for(state, service, task.slot).any(|t| t.status.phase == Phase::Prepared);
        if successor || companion || is_fetched {
            return Ok(());
        }
        Err(format!(
            "{} of {}.{} is stopped before a successor lasted {monitor_ms} ms",
            task.id, task.service, task.slot
        ))
    }
}
