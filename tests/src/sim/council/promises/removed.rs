//! A server that was removed never becomes a member or a voter again, decides no election once it has no vote, and is
//! dropped from the members.

use orchestrator::engine::{Command, Outcome};
use proto::id::ServerId;
use std::collections::BTreeMap;

use crate::invariants::Promise;
use crate::sim::council::event::Fact;
use crate::sim::council::{Council, id_of};

/// Several looks at the members, in milliseconds.
const WITHIN_MS: u64 = 20_000;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// Servers that were removed, and when.
    since: BTreeMap<ServerId, u64>,
}

impl Promise<Council, Fact> for Removed {
    fn name(&self) -> &'static str {
        "removed"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Committed(number) => self.committed(world, *number),
            Fact::Elected(me, votes) => {
                let voters = world.members().voters();
                let counted = world.servers[*me].disk.members().voters();
                let without_vote = |id: &&ServerId| self.since.contains_key(id) && !voters.contains(id);
                match votes.iter().filter(without_vote).find(|id| counted.contains(id)) {
                    Some(id) => Err(format!("server {} was elected by server {}, which was removed", me + 1, id.0)),
                    None => Ok(()),
                }
            }
            Fact::Second if world.is_calm(WITHIN_MS) => self.dropped(world),
            _ => Ok(()),
        }
    }
}

// === impl Removed ===

impl Removed {
    fn committed(&mut self, world: &Council, number: usize) -> Result<(), String> {
        let entry = &world.committed[number - 1];
        if let Some(before) = number.checked_sub(2).map(|at| &world.committed[at].members) {
            for (id, since) in self.since.iter().filter(|(_, since)| **since < entry.made_at) {
                let is_new = entry.members.all.contains(id) && !before.all.contains(id);
                let votes_anew = entry.members.voters().contains(id) && !before.voters().contains(id);
                if is_new || votes_anew {
                    return Err(format!("server {} was removed at {since} ms, and is taken up again", id.0));
                }
            }
        }
        for (stamped, outcome, _) in &entry.commands {
            if let (Command::RemoveServer { id }, Outcome::Done { .. }) = (&stamped.command, outcome) {
                self.since.entry(*id).or_insert(entry.at);
            }
        }
        Ok(())
    }

    /// Where those that stay can decide, it is no member any more.
    fn dropped(&self, world: &Council) -> Result<(), String> {
        let members = world.members();
        let Some(leader) = world.leaders().into_iter().find(|me| world.led_for(*me) >= WITHIN_MS) else {
            return Ok(());
        };
        let Some(id) = self.since.keys().find(|id| members.all.contains(id)) else { return Ok(()) };
        let mut left = members.voters();
        left.retain(|other| !self.since.contains_key(other));
        let answers = |other: &&ServerId| {
            **other == id_of(leader) || world.servers[leader].silence(**other, world.now) < WITHIN_MS / 10
        };
        match left.iter().filter(answers).count() > left.len() / 2 {
            true => Err(format!("server {} was removed long ago, and still is a member", id.0)),
            false => Ok(()),
        }
    }
}
