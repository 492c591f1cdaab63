//! `next_deadline` is sound: before it, reconcile does not change its mind; at rest it is asked for nothing.

use orchestrator::engine::{next_deadline, reconcile};

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// Moments tried before a deadline.
const TRIED: u64 = 3;
/// How far ahead is looked when there is no deadline, in milliseconds.
const FAR_MS: u64 = 600_000;

/// The promise.
#[derive(Debug)]
pub(super) struct Deadline;

impl Promise for Deadline {
    fn name(&self) -> &'static str {
        "deadline"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Reconciled { plan, now } = fact else { return Ok(()) };
        // The leader asks only at rest. Sampled: one time in four.
        if !plan.is_empty() || !world.state.revision().0.is_multiple_of(4) {
            return Ok(());
        }
        let leases = world.leader.leases();
        let deadline = next_deadline(&world.state, leases, *now);
        let span = deadline.map_or(FAR_MS, |d| d.since_ms(*now));
        for n in 1..=TRIED {
            let then = now.after_ms((span.saturating_sub(1)) * n / TRIED);
            let later = reconcile(&world.state, leases, then);
            if later.changes != plan.changes {
                return Err(format!(
                    "at {} the plan was to change at {deadline:?}, but changes at {}: from\n{plan}to\n{later}",
                    now.0, then.0
                ));
            }
        }
        Ok(())
    }
}
