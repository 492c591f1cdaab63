//! The number of voters is odd, and no change of them half done, whenever somebody has led in calm for a while.

use crate::invariants::Promise;
use crate::sim::council::Council;
use crate::sim::council::event::Fact;
use crate::sim::council::lead::shown;

/// Several looks at the members, each change with its two entries, in milliseconds.
const WITHIN_MS: u64 = 15_000;

/// The promise.
#[derive(Debug)]
pub(super) struct Odd;

impl Promise<Council, Fact> for Odd {
    fn name(&self) -> &'static str {
        "odd"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        let is_settled = world.is_calm(WITHIN_MS) && world.leaders().iter().any(|me| world.led_for(*me) >= WITHIN_MS);
        if !matches!(fact, Fact::Second) || !is_settled {
            return Ok(());
        }
        let members = world.members();
        let voters = members.voters();
        if members.is_joint() {
            return Err(format!("a change of the voters, of {}, is not over", shown(&voters)));
        }
        match voters.len() % 2 {
            1 => Ok(()),
            _ => Err(format!("{} vote, which is an even number", shown(&voters))),
        }
    }
}
