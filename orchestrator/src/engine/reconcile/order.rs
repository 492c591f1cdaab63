//! Gates of `depends_on`: a gate opens once its condition is met, and stays open for the generation.

use proto::id::{ServiceKey, ServiceName, Slot};
use proto::spec::{Dependency, DependencyCondition};
use proto::task_state::Phase;
use std::collections::BTreeSet;

use super::Draft;
use super::slot_set::SlotSet;
use crate::engine::model::{Service, Task};
use crate::engine::plan::{Change, Requires};
use crate::engine::reason::Reason;
use crate::engine::state::State;

pub(super) fn pass(draft: &mut Draft<'_>) {
    for service in draft.state.services().filter(|s| !s.removing) {
        for (name, dependency) in &service.spec.depends_on {
            if service.gates.contains_key(name) {
                continue;
            }
            let Some(reason) = opens(draft.state, service, name, *dependency) else { continue };
            let change = Change::LatchGate { service: service.key.clone(), dependency: name.clone() };
            draft.opened.insert((service.key.clone(), name.clone()));
            draft.change(change, vec![Requires::Service(service.key.clone(), service.modified)], reason);
        }
    }
}

fn opens(state: &State, service: &Service, name: &ServiceName, dependency: Dependency) -> Option<Reason> {
    let key = ServiceKey { project: service.key.project.clone(), service: name.clone() };
    match state.service(&key).filter(|d| !d.removing) {
        None if dependency.required => None,
        None => Some(Reason::DependencyAbsent { dependency: name.clone() }),
        Some(target) => is_condition_met(state, target, dependency.condition)
            .then(|| Reason::DependencyMet { dependency: name.clone(), condition: dependency.condition }),
    }
}

/// Is the condition met now, by tasks of the dependency's present spec?
pub fn is_condition_met(state: &State, target: &Service, condition: DependencyCondition) -> bool {
    let met = |task: &Task| match condition {
        DependencyCondition::Started => task.status.phase == Phase::Running || task.is_complete(),
        DependencyCondition::Healthy => task.status.is_ready(),
        DependencyCondition::Completed => task.is_complete(),
    };
    // Slots, not tasks: while one task replaces another, both may be ready.
    let set = SlotSet::of(state, target);
    let own = state.tasks_of(&target.key).filter(|t| t.is_wanted() && t.spec_hash == target.spec_hash);
    let slots: BTreeSet<Slot> =
        own.filter(|t| set.contains(t.slot) && set.is_at_home(t) && met(t)).map(|t| t.slot).collect();
    // Of a global one that is nowhere nothing can be said.
    set.has_any() && slots.len() >= set.count() as usize
}

/// The dependencies that hold a service back now.
pub fn blocking_gates(service: &Service) -> impl Iterator<Item = (&ServiceName, &Dependency)> {
    service.spec.depends_on.iter().filter(|(name, _)| !service.gates.contains_key(*name))
}

/// Do all gates stand open, those that this plan opens included?
pub(super) fn may_start(draft: &Draft<'_>, service: &Service) -> bool {
    blocking_gates(service).all(|(name, _)| draft.opened.contains(&(service.key.clone(), name.clone())))
}
