//! Outcomes by request id, so that a resent change is answered and not done again.

use imbl::OrdMap;
use proto::id::RequestId;
use proto::limits::{CLIENT_SESSIONS_KEPT, OUTCOMES_PER_SESSION_KEPT};
use proto::revision::Revision;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::engine::outcome::Outcome;

/// Remembered outcomes of client sessions, the longest unused forgotten first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub(super) struct Clients {
    sessions: OrdMap<u64, Arc<Session>>,
    by_use: OrdMap<(u64, u64), ()>,
    uses: u64,
    /// The youngest forgotten session's second of birth: an unknown session born until then may be it.
    #[serde(default)]
    forgotten_until_s: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Session {
    used: u64,
    highest: u64,
    /// In order of their numbers.
    #[serde(with = "as_map")]
    outcomes: Vec<(u64, Kept)>,
}

/// An outcome as it is kept: a session is copied at each of its changes, so that copying must cost nothing.
#[derive(Debug, Clone, PartialEq)]
enum Kept {
    Done(Revision, bool),
    Other(Arc<Outcome>),
}

impl From<&Outcome> for Kept {
    fn from(outcome: &Outcome) -> Kept {
        match outcome {
            Outcome::Done { revision, changed } => Kept::Done(*revision, *changed),
            other => Kept::Other(Arc::new(other.clone())),
        }
    }
}

impl From<&Kept> for Outcome {
    fn from(kept: &Kept) -> Outcome {
        match kept {
            Kept::Done(revision, changed) => Outcome::Done { revision: *revision, changed: *changed },
            Kept::Other(outcome) => (**outcome).clone(),
        }
    }
}

/// Outcomes by number, on disk.
mod as_map {
    use super::{Kept, Outcome};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<S: Serializer>(outcomes: &[(u64, Kept)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(outcomes.iter().map(|(number, kept)| (number, Outcome::from(kept))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(u64, Kept)>, D::Error> {
        let outcomes = BTreeMap::<u64, Outcome>::deserialize(deserializer)?;
        Ok(outcomes.iter().map(|(number, outcome)| (*number, Kept::from(outcome))).collect())
    }
}

/// What is known of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Recall {
    /// It has not been seen.
    New,
    /// It was done, with this outcome.
    Known(Box<Outcome>),
    /// It may have been done.
    Forgotten,
}

// === impl Session ===

impl Session {
    /// Where the outcome of a number is, or would be.
    fn at(&self, sequence: u64) -> Result<usize, usize> {
        self.outcomes.binary_search_by_key(&sequence, |(number, _)| *number)
    }

    fn keep(&mut self, sequence: u64, kept: Kept) {
        match self.at(sequence) {
            Ok(at) => self.outcomes[at].1 = kept,
            Err(at) => self.outcomes.insert(at, (sequence, kept)),
        }
        let surplus = self.outcomes.len().saturating_sub(OUTCOMES_PER_SESSION_KEPT);
        self.outcomes.drain(..surplus);
    }
}

// === impl Clients ===

impl Clients {
    pub(super) fn recall(&self, request: RequestId) -> Recall {
        match self.sessions.get(&request.client) {
            None if request.born_s() > self.forgotten_until_s => Recall::New,
            None => Recall::Forgotten,
            Some(session) => match session.at(request.sequence) {
                Ok(at) => Recall::Known(Box::new(Outcome::from(&session.outcomes[at].1))),
                Err(_) if request.sequence > session.highest.saturating_sub(OUTCOMES_PER_SESSION_KEPT as u64) => {
                    Recall::New
                }
                Err(_) => Recall::Forgotten,
            },
        }
    }

    pub(super) fn remember(&mut self, request: RequestId, outcome: &Outcome) {
        self.uses += 1;
        let mut session = match self.sessions.get(&request.client) {
            Some(known) => {
                self.by_use.remove(&(known.used, request.client));
                (**known).clone()
            }
            None => Session { used: 0, highest: 0, outcomes: Vec::new() },
        };
        session.used = self.uses;
        session.highest = session.highest.max(request.sequence);
        session.keep(request.sequence, Kept::from(outcome));
        self.by_use.insert((self.uses, request.client), ());
        self.sessions.insert(request.client, Arc::new(session));
        while self.sessions.len() > CLIENT_SESSIONS_KEPT {
            let Some(((used, client), ())) = self.by_use.get_min().cloned() else { break };
            self.by_use.remove(&(used, client));
            self.sessions.remove(&client);
            let born_s = RequestId { client, sequence: 0 }.born_s();
            self.forgotten_until_s = self.forgotten_until_s.max(born_s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(n: u64) -> Outcome {
        Outcome::Done { revision: Revision(n), changed: true }
    }

    const BORN: u64 = 1_000;

    fn request(client: u64, sequence: u64) -> RequestId {
        RequestId { client: BORN << 32 | client, sequence }
    }

    #[test]
    fn a_resent_request_is_answered_with_its_first_outcome() {
        let mut clients = Clients::default();
        let first = request(7, 3);
        assert_eq!(clients.recall(first), Recall::New);
        clients.remember(first, &done(5));
        assert_eq!(clients.recall(first), Recall::Known(Box::new(done(5))));
        assert_eq!(clients.recall(request(7, 4)), Recall::New);
    }

    #[test]
    fn what_was_forgotten_is_never_new() {
        let mut clients = Clients::default();
        for sequence in 1..=100 {
            clients.remember(request(7, sequence), &done(sequence));
        }
        assert_eq!(clients.recall(request(7, 1)), Recall::Forgotten, "its outcome was dropped");
        for client in 100..100 + CLIENT_SESSIONS_KEPT as u64 {
            clients.remember(request(client, 1), &done(1));
        }
        assert_eq!(clients.sessions.len(), CLIENT_SESSIONS_KEPT);
        assert_eq!(clients.recall(request(7, 101)), Recall::Forgotten, "its session was dropped");
        let younger = RequestId { client: (BORN + 1) << 32 | 9, sequence: 1 };
        assert_eq!(clients.recall(younger), Recall::New);
    }
}
