//! A request is carried out once: resent, it changes nothing more.

use proto::id::RequestId;
use std::collections::BTreeSet;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Once {
    done: BTreeSet<RequestId>,
}

impl Promise for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { before, stamped, .. } = fact else { return Ok(()) };
        let Some(request) = stamped.request else { return Ok(()) };
        if self.done.insert(request) {
            return Ok(());
        }
        let mut after = (**before).clone();
        orchestrator::engine::apply(&mut after, stamped);
        if after == **before { Ok(()) } else { Err(format!("{:?} is carried out twice", world.state.revision())) }
    }
}
