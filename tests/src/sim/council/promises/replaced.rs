//! A spare that could vote takes the place of a voter that has been silent for long.

use orchestrator::membership::ANSWERED_WITHIN;
use orchestrator::membership::rules::{Member, REPLACED_AFTER};
use proto::id::ServerId;
use std::collections::BTreeMap;

use crate::invariants::Promise;
use crate::sim::council::event::Fact;
use crate::sim::council::{Council, id_of};

/// Several looks at the members, in milliseconds.
const WITHIN_MS: u64 = 10_000;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// By leader and voter: since when it should not vote any more.
    since: BTreeMap<(ServerId, ServerId), u64>,
}

impl Promise<Council, Fact> for Replaced {
    fn name(&self) -> &'static str {
        "replaced"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        if !matches!(fact, Fact::Second) {
            return Ok(());
        }
        let mut now = BTreeMap::new();
        for leader in world.leaders() {
            for voter in overdue(world, leader) {
                let key = (id_of(leader), voter);
                now.insert(key, self.since.get(&key).copied().unwrap_or(world.now));
            }
        }
        self.since = now;
        let late = self.since.iter().find(|(_, since)| world.now - **since > WITHIN_MS && world.is_calm(WITHIN_MS));
        late.map_or(Ok(()), |((leader, voter), _)| {
            Err(format!("server {} is lost to its leader, server {}, and no spare takes its place", voter.0, leader.0))
        })
    }
}

/// Voters that a spare should have replaced, as a leader sees it.
fn overdue(world: &Council, leader: usize) -> Vec<ServerId> {
    let view = world.view(leader, ANSWERED_WITHIN);
    let is_spare = |m: &&Member| !m.votes && m.known && m.silent.is_none() && !m.is_behind;
    if view.members.iter().find(is_spare).is_none() {
        return Vec::new();
    }
    let is_lost = |m: &&Member| m.votes && m.silent.is_some_and(|silent| silent >= REPLACED_AFTER);
    view.members.iter().filter(is_lost).map(|m| m.id).collect()
}
