//! An update takes at most `parallelism` slots at a time of those that serve, none while it is paused, and gives up only
//! as its policy says.

use orchestrator::engine::model::{RolloutState, Service};
use orchestrator::engine::plan::Change;
use orchestrator::engine::{Reason, State};
use proto::id::{ServiceKey, Slot};
use proto::revision::Time;
use proto::spec::FailureAction;
use std::collections::{BTreeMap, BTreeSet};

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Gradual {
    /// Slots that served when their change began, by service and generation.
    begun: BTreeMap<(ServiceKey, u64), BTreeSet<Slot>>,
}

impl Promise for Gradual {
    fn name(&self) -> &'static str {
        "gradual"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Reconciled { plan, now } = fact else { return Ok(()) };
        let state = &world.state;
        if plan.changes.is_empty() {
            return Ok(());
        }
        self.forget(state, *now);
        for planned in &plan.changes {
            match &planned.change {
                Change::CreateTask { service, slot, .. } if matches!(planned.reason, Reason::SpecChanged) => {
                    self.begins(state, service, *slot)?;
                }
                Change::PrepareTask { service, slot, .. } => self.begins(state, service, *slot)?,
                Change::FailRollout { service } | Change::PauseRollout { service } => {
                    ends_badly(state, service, &planned.change)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Gradual {
    /// Slots whose change is over, one way or another, or never came about.
    fn forget(&mut self, state: &State, now: Time) {
        self.begun.retain(|(key, generation), slots| {
            let Some(service) = state.service(key).filter(|s| s.generation == *generation) else { return false };
            slots.retain(|slot| is_in_change(state, service, *slot, now));
            !slots.is_empty()
        });
    }

    fn begins(&mut self, state: &State, key: &ServiceKey, slot: Slot) -> Result<(), String> {
        let Some(service) = state.service(key) else { return Ok(()) };
        let served = state.tasks_of(key).any(|t| {
            t.slot == slot
                && t.is_satisfied()
                && t.spec_hash != service.spec_hash
                && (t.is_complete() || state.node(t.node).is_some_and(|n| n.is_up()))
        });
        if !served {
            return Ok(());
        }
        let is_paused = |s: &RolloutState| matches!(s, RolloutState::Paused { .. });
        if service.rollout.as_ref().is_some_and(|r| is_paused(&r.state)) {
            return Err(format!("{key}.{slot} begins although its rollout is paused"));
        }
        let slots = self.begun.entry((key.clone(), service.generation)).or_default();
        slots.insert(slot);
        let parallelism = service.policy().parallelism as usize;
        if parallelism > 0 && slots.len() > parallelism {
            return Err(format!("{key} changes slots {slots:?} at once, and {parallelism} are allowed"));
        }
        Ok(())
    }
}

/// A new task is there and none has lasted, and its slot was not counted as failed. One that has lasted ends the slot's
/// change, whatever becomes of a second one that was to replace it while its node was lost.
fn is_in_change(state: &State, service: &Service, slot: Slot, now: Time) -> bool {
    let failed = service.rollout.as_ref().is_some_and(|r| r.failed.contains_key(&slot));
    let current = || {
        state.tasks_of(&service.key).filter(|t| {
            t.slot == slot
                && t.is_wanted()
                && t.spec_hash == service.spec_hash
                && state.node(t.node).is_some_and(|n| n.is_up())
        })
    };
    let monitor_ms = service.policy().monitor_ms;
    let lasts = |since: Option<Time>| since.is_some_and(|at| now.since_ms(at) >= monitor_ms);
    super::global::wanted(state, service).contains_key(&slot)
        && !failed
        && current().next().is_some()
        && !current().any(|t| t.is_satisfied() && (t.is_complete() || lasts(t.ready_since)))
}

fn ends_badly(state: &State, key: &ServiceKey, change: &Change) -> Result<(), String> {
    let Some(service) = state.service(key) else { return Ok(()) };
    let Some(rollout) = &service.rollout else { return Err(format!("{key} ends a rollout that it has not")) };
    let allowed =
        u64::from(service.policy().max_failures_per_mille) * super::global::wanted(state, service).len() as u64 / 1_000;
    // As many failures as may be are no reason to go back.
    let may_go_back = rollout.from.is_some() && rollout.back.is_none() && rollout.failed.len() as u64 > allowed;
    match (change, service.policy().on_failure) {
        (Change::FailRollout { .. }, FailureAction::Rollback) if may_go_back => {
            Err(format!("{key} gives up although there is a release to go back to"))
        }
        (Change::PauseRollout { .. }, FailureAction::Pause) | (Change::FailRollout { .. }, _) => Ok(()),
        (_, policy) => Err(format!("{key}: {change}, and its policy is {policy:?}")),
    }
}
