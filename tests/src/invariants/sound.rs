//! Every sentence of the engine's own invariant checker holds after every command.

use orchestrator::engine::state::invariant::violations;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Sound;

impl Promise for Sound {
    fn name(&self) -> &'static str {
        "sound"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { after, .. } = fact else { return Ok(()) };
        // A debug build has checked that in `apply`.
        let found = if cfg!(debug_assertions) { Vec::new() } else { violations(after) };
        if found.is_empty() { Ok(()) } else { Err(found.join("; ")) }
    }
}
