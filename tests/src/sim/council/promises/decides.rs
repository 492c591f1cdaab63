//! Where a majority of the voters is there and reaches each other, somebody leads, and what it writes is committed.

use crate::invariants::Promise;
use crate::sim::council::event::Fact;
use crate::sim::council::{Council, at};

/// An election or a few, and a change of the voters, in milliseconds.
const WITHIN_MS: u64 = 12_000;

/// The promise.
#[derive(Debug)]
pub(super) struct Decides;

impl Promise<Council, Fact> for Decides {
    fn name(&self) -> &'static str {
        "decides"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        let looks = matches!(fact, Fact::Second) && world.is_calm(WITHIN_MS) && world.cuts.is_empty();
        if !looks || !could_decide(world) {
            return Ok(());
        }
        let leaders = world.leaders();
        let Some(leader) = leaders.first() else {
            return Err("a majority of the voters is there, and nobody leads".to_owned());
        };
        let server = &world.servers[*leader];
        match server.disk.log.get(server.run.applied) {
            Some(entry) if world.now - entry.at > WITHIN_MS => {
                Err(format!("a majority of the voters is there, and server {} commits nothing", leader + 1))
            }
            _ => Ok(()),
        }
    }
}

/// Could those that are there decide, by the members that each of them has in its log?
fn could_decide(world: &Council) -> bool {
    let lost = world.lost();
    let is_there = |id| !lost.contains(&id) && world.servers[at(id)].is_well(world.now);
    let there = world.servers.iter().filter(|server| is_there(server.id));
    let mut members = there.map(|server| server.disk.members()).filter(|members| !members.quorums.is_empty());
    world.members().has_majority(is_there) && members.all(|members| members.has_majority(is_there))
}
