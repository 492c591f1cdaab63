//! At most one server is elected in a term. Of the model itself: what else is promised rests on it.

use proto::id::ServerId;
use std::collections::BTreeMap;

use crate::invariants::Promise;
use crate::sim::council::event::Fact;
use crate::sim::council::{Council, id_of};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct OneLeader {
    elected: BTreeMap<u64, ServerId>,
}

impl Promise<Council, Fact> for OneLeader {
    fn name(&self) -> &'static str {
        "one_leader"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        let Fact::Elected(me, _) = fact else { return Ok(()) };
        let term = world.servers[*me].disk.term;
        match self.elected.insert(term, id_of(*me)) {
            Some(other) => Err(format!("server {} and server {} were elected in term {term}", other.0, me + 1)),
            None => Ok(()),
        }
    }
}
