//! What is committed is the same everywhere, and every new leader has it. Of the model itself.

use crate::invariants::Promise;
use crate::sim::council::Council;
use crate::sim::council::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Prefixes;

impl Promise<Council, Fact> for Prefixes {
    fn name(&self) -> &'static str {
        "prefixes"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        let (me, number, whose) = match fact {
            Fact::Applied(me, number) => (*me, *number, "has applied"),
            Fact::Elected(me, _) => (*me, world.committed.len(), "was elected with"),
            _ => return Ok(()),
        };
        let Some(wanted) = number.checked_sub(1).map(|at| world.committed[at].made) else { return Ok(()) };
        let present = world.servers[me].disk.log.get(number - 1).map(|entry| entry.made);
        if present == Some(wanted) || !world.servers[me].is_up {
            return Ok(());
        }
        Err(format!("server {} {whose} another entry {number} than was committed", me + 1))
    }
}
