//! Plans do not oscillate: applied again and again without news from agents, they come to rest, and a plan that was
//! applied is not made again.

use orchestrator::engine::{Command, Outcome, Stamped, apply, reconcile};

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// Plans in a row after which it is not at rest: gates open one after the other along `depends_on`.
const PLANS_MAX: usize = 12;

/// The promise.
#[derive(Debug)]
pub(super) struct Settles;

impl Promise for Settles {
    fn name(&self) -> &'static str {
        "settles"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Reconciled { plan, now } = fact else { return Ok(()) };
        if plan.is_empty() {
            return Ok(());
        }
        let mut state = world.state.clone();
        let mut plan = plan.clone();
        for _ in 0..PLANS_MAX {
            let command = Command::ApplyPlan { plan: plan.clone() };
            let stamped = Stamped { at: *now, wall: state.wall(), request: None, by: None, command };
            let outcome = apply(&mut state, &stamped);
            if let Outcome::Plan { rejected, .. } = &outcome
                && let Some((index, why)) = rejected.first()
            {
                let change = &plan.changes[*index as usize].change;
                return Err(format!("a plan made from this very State is rejected: {change}: {why}"));
            }
            plan = reconcile(&state, world.leader.leases(), *now);
            if plan.is_empty() {
                return Ok(());
            }
        }
        Err(format!("after {PLANS_MAX} plans there is still something to do:\n{plan}"))
    }
}
