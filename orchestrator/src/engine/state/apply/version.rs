//! A newer version of State: what earlier ones did not keep is filled in once, the same on every server.

use proto::revision::Time;
use std::sync::Arc;

use super::{State, done, rollout};
use crate::engine::model::Task;
use crate::engine::outcome::{Outcome, Rejection};
use crate::engine::state::STATE_VERSION;

/// Raises the version. Never lowers it.
pub(super) fn raise(state: &mut State, to: u32) -> Outcome {
    if to > STATE_VERSION {
        return Outcome::Rejected(Rejection::TooNew { needed: to, present: STATE_VERSION });
    }
    if to <= state.version {
        return done(state, false);
    }
    let (had_rollouts, had_own_checks) = (state.has_rollouts(), state.has_own_checks());
    state.version = to;
    if !had_rollouts && state.has_rollouts() {
        begin_rollouts(state);
    }
    if !had_own_checks && state.has_own_checks() {
        give_checks(state);
    }
    done(state, true)
}

/// Each task goes on with the check that it is judged by now.
fn give_checks(state: &mut State) {
    let check = |task: &Task| Some(state.services.get(&task.service)?.spec.health.clone());
    let given: Vec<Task> = state.tasks.values().map(|t| Task { health: check(t), ..(**t).clone() }).collect();
    for task in given {
        state.tasks.insert(task.id, Arc::new(task));
    }
}

fn begin_rollouts(state: &mut State) {
    let now = state.clock;
    let dated: Vec<Arc<Task>> = state.tasks.values().map(|t| Arc::new(dated(t, now))).collect();
    for task in dated {
        state.tasks.insert(task.id, task);
    }
    rollout::take_over(state);
}

/// Since when a task is as it is was not kept before version 2: since now.
fn dated(task: &Task, now: Time) -> Task {
    let ready_since = task.status.is_ready().then_some(now);
    Task { ready_since, phase_since: now, ..task.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever raises State's version says in `proto/spec/versions` which fields of a spec came with it, if any.
    #[test]
    fn a_field_of_a_spec_that_nobody_dated_needs_the_newest_version() {
        assert_eq!(proto::spec::NEWEST, STATE_VERSION);
    }
}
