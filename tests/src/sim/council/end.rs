//! Troubles have ended: somebody leads, all have caught up, the voters are as many as there can be, and nobody waits.

use orchestrator::membership::rules::VOTERS_MAX;
use proto::id::ServerId;
use std::collections::BTreeSet;

use super::lead::shown;
use super::{Council, at};

/// Time in which everything comes to rest, in milliseconds: a voter that is lost is replaced after 30 s, and a client may
/// wait 10 s for an answer, more than once.
const RESTS_WITHIN_MS: u64 = 120_000;

impl Council {
    /// Is everything at rest? An error says what is not, when it should have been.
    pub(super) fn is_at_rest(&self) -> Result<bool, String> {
        match self.restless() {
            None => Ok(true),
            Some(_) if self.now < self.params.rough_ms + RESTS_WITHIN_MS => Ok(false),
            Some(why) => Err(format!("settles: {why}, {} s after the last trouble", RESTS_WITHIN_MS / 1_000)),
        }
    }

    fn restless(&self) -> Option<String> {
        let Some(leader) = self.leaders().first().copied() else { return Some("nobody leads".to_owned()) };
        if let Some(client) = (0..self.clients.len()).find(|at| self.is_waiting(*at)) {
            return Some(format!("client {client} is not answered"));
        }
        let state = self.truth();
        let known: BTreeSet<ServerId> = state.servers().map(|server| server.info.id).collect();
        let lost = self.lost();
        if let Some(server) = self.servers.iter().find(|s| known.contains(&s.id) == lost.contains(&s.id)) {
            return Some(format!("server {} is known though it is lost, or not though it is there", server.id.0));
        }
        let members = self.members();
        if members.all != known || self.servers[leader].disk.members() != members {
            return Some(format!("members are {}, servers are {}", shown(&members.all), shown(&known)));
        }
        if let Some(id) = known.iter().find(|id| self.servers[at(**id)].run.applied < self.committed.len()) {
            return Some(format!("server {} has not caught up", id.0));
        }
        let wanted = known.len().min(VOTERS_MAX);
        let wanted = wanted - usize::from(wanted.is_multiple_of(2));
        let voters = members.voters();
        let is_right = voters.len() == wanted && !members.is_joint() && voters.is_subset(&known);
        (!is_right).then(|| {
            let half = if members.is_joint() { ", and the change to them is not over" } else { "" };
            format!("the voters are {} of the servers {}{half}", shown(&voters), shown(&known))
        })
    }

    fn is_waiting(&self, client: usize) -> bool {
        let client = &self.clients[client];
        client.asking.is_some() || !client.queue.is_empty()
    }
}
