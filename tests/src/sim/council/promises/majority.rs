//! No change of voters is made after which, by what the leader has heard, too few would answer; never are there too many.

use orchestrator::membership::rules::VOTERS_MAX;

use crate::invariants::Promise;
use crate::sim::council::event::Fact;
use crate::sim::council::lead::shown;
use crate::sim::council::{Council, id_of};

/// Who answered within this time is there, in milliseconds.
const ANSWERED_WITHIN_MS: u64 = 2_000;

/// The promise.
#[derive(Debug)]
pub(super) struct Majority;

impl Promise<Council, Fact> for Majority {
    fn name(&self) -> &'static str {
        "majority"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        let Fact::Changes(me, goal) = fact else { return Ok(()) };
        if goal.len() > VOTERS_MAX {
            return Err(format!("{} are to vote", shown(goal)));
        }
        let leader = &world.servers[*me];
        let answers = |id: &&_| **id == id_of(*me) || leader.silence(**id, world.now) <= ANSWERED_WITHIN_MS;
        let answering = goal.iter().filter(answers).count();
        match answering > goal.len() / 2 {
            true => Ok(()),
            false => Err(format!("{} are to vote, only {answering} of them answer server {}", shown(goal), me + 1)),
        }
    }
}
