//! The agent's `next_deadline` is sound: before it, and without news, its engine asks for nothing new.

use agent::engine::{diff, next_deadline};
use proto::revision::Wall;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// How far ahead is looked when there is no deadline, in milliseconds.
const FAR_MS: u64 = 600_000;
/// Moments tried before a deadline.
const TRIED: u64 = 2;

/// The promise.
#[derive(Debug)]
pub(super) struct Rest;

impl Promise for Rest {
    fn name(&self) -> &'static str {
        "rest"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Rested { agent, now, until } = fact else { return Ok(()) };
        let body = &world.agents[*agent];
        // Sampled: one time in four.
        let Some(set) = body.accepted.as_ref().filter(|_| now.0.is_multiple_of(4)) else { return Ok(()) };
        // Something else happened in the same moment.
        if !body.observed.is_complete() || next_deadline(set, &body.observed, &body.memory, *now) != *until {
            return Ok(());
        }
        let span = until.map_or(FAR_MS, |at| at.since_ms(*now));
        for n in 1..=TRIED {
            let then = now.after_ms(span.saturating_sub(1) * n / TRIED);
            let mut memory = body.memory.clone();
            memory.fold(set, &body.observed, then, Wall(0));
            if let Some(action) = diff(set, &body.observed, &memory, then).first() {
                let early = then.since_ms(*now);
                return Err(format!("agent {agent} rests until {until:?}, but after {early} ms wants {action:?}"));
            }
        }
        Ok(())
    }
}
