//! A slot has one ready task of its spec on nodes that are heard; two only while one hands over to the other.
//!
//! Of a service that is being removed nothing is replaced or settled any more: all its tasks stop, together, once what
//! depends on them has gone. Until then two may serve, when the node of one was lost and returned.

use proto::id::{ServiceKey, Slot};
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// Time for a leader to end the elder, in milliseconds: two plans, with a slow disk.
const HANDOVER_MS: u64 = 6_000;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct OneReady {
    since: BTreeMap<(ServiceKey, Slot, String), u64>,
}

impl Promise for OneReady {
    fn name(&self) -> &'static str {
        "one_ready"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Elected { .. } => self.since.clear(),
            Fact::Committed { .. } | Fact::Lapsed => {}
            _ => return Ok(()),
        }
        if !world.leader.leads || world.now < world.leader.resumed + HANDOVER_MS {
            self.since.clear();
            return Ok(());
        }
        let mut ready: BTreeMap<(ServiceKey, Slot, String), u32> = BTreeMap::new();
        let stays = |key: &ServiceKey| world.state.service(key).is_some_and(|s| !s.removing);
        for task in world.state.tasks().filter(|t| t.is_wanted() && t.status.is_ready()) {
            if stays(&task.service) && world.state.node(task.node).is_some_and(|n| n.is_up()) {
                *ready.entry((task.service.clone(), task.slot, task.spec_hash.clone())).or_default() += 1;
            }
        }
        self.since.retain(|key, _| ready.get(key).is_some_and(|n| *n > 1));
        for (key, _) in ready.into_iter().filter(|(_, n)| *n > 1) {
            let since = *self.since.entry(key.clone()).or_insert(world.now);
            if world.now - since > HANDOVER_MS {
                return Err(format!("{}.{} has two ready tasks since {since} ms", key.0, key.1));
            }
        }
        Ok(())
    }
}
