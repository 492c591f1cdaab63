//! Determinism: who has nothing but the log has the same State.

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Replay;

impl Promise for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Elected { before } = fact else { return Ok(()) };
        if **before == world.state {
            Ok(())
        } else {
            Err(format!("revision {} replayed from the log is another State", before.revision()))
        }
    }
}
