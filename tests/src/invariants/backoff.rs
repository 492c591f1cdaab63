//! What fails again and again is started ever more seldom: a loop of crashes never becomes a load.

use proto::id::TaskId;
use std::collections::{BTreeMap, VecDeque};

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;
use crate::sim::params::Trouble;

/// Starts of one task at most within `SPAN_MS`: pauses of 0, 0.1, 0.2, 0.4 ... 3.2 s, and what agents forget in crashes.
const STARTS_MAX: usize = 13;
/// In milliseconds.
const SPAN_MS: u64 = 10_000;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    starts: BTreeMap<(usize, TaskId), VecDeque<u64>>,
}

impl Promise for Backoff {
    fn name(&self) -> &'static str {
        "backoff"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Started { host, task, .. } = fact else { return Ok(()) };
        // Clocks that jump shorten pauses.
        if world.params.has(Trouble::ClockStep) || world.params.has(Trouble::WallJump) {
            return Ok(());
        }
        let starts = self.starts.entry((*host, *task)).or_default();
        starts.push_back(world.now);
        while starts.front().is_some_and(|at| at + SPAN_MS < world.now) {
            starts.pop_front();
        }
        match starts.len() {
            0..=STARTS_MAX => Ok(()),
            n => Err(format!("{task} was started {n} times within {} s", SPAN_MS / 1_000)),
        }
    }
}
