//! Who may come in and who must go: the decisions of a listener.
//!
//! Pure: time is an argument, counted from when the listener began; ends no connection itself but hands back what ends
//! it. Called by the accept loop and by connections, under one lock.
//!
//! # Guarantees
//!
//! - Three shares that never mix: handshakes, strangers (no certificate) and the known (a certificate was verified). One
//!   share full is nothing to the others: a known peer is turned away only when the known are too many.
//! - A new handshake always finds room: the oldest of the address that holds most of them makes it. So whoever finishes
//!   its handshake soon gets in, also from the address of a flood.
//! - A known peer is never closed in favour of anybody.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::limits::Limits;

/// One connection. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// Whom an address stands for: an IPv4 address, or the network of an IPv6 one, of which a host has as many as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin(IpAddr);

/// The limit that a connection met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Handshakes of all.
    Handshakes,
    /// Handshakes of one address.
    HandshakesPerAddress,
    /// Strangers of all.
    Strangers,
    /// Strangers of one address.
    StrangersPerAddress,
    /// Connections of one address.
    PerAddress,
    /// Connections with a certificate of all.
    Known,
}

/// Connections that must go, and why. Dropping what is in them ends them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Evicted<F> {
    pub(super) end: F,
    pub(super) limit: Limit,
}

/// What becomes of one whose handshake is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeted<F> {
    /// It stays; somebody else may have to go for it.
    Stays(Option<Evicted<F>>),
    /// It goes.
    Refused(Limit),
    /// It was told to go before.
    Gone,
}

/// Why the time of a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Handshake,
    Idle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake { until: Duration },
    Stranger { heard: Duration },
    Known,
}

#[derive(Debug)]
struct Entry<F> {
    origin: Origin,
    phase: Phase,
    end: F,
}

/// What one origin holds. Strangers by when they were last heard.
#[derive(Debug, Default)]
struct Held {
    handshakes: BTreeSet<Ticket>,
    strangers: BTreeSet<(Duration, Ticket)>,
    known: usize,
}

/// All connections of one listener; `F` ends one when it is dropped.
#[derive(Debug)]
pub(super) struct Guard<F> {
    limits: Limits,
    last: u64,
    entries: BTreeMap<Ticket, Entry<F>>,
    origins: BTreeMap<Origin, Held>,
    handshakes: BTreeSet<Ticket>,
    strangers: BTreeSet<(Duration, Ticket)>,
    known: usize,
}

/// How many there are of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Open {
    /// Handshakes under way.
    pub handshakes: usize,
    /// Connections without a certificate.
    pub strangers: usize,
    /// Connections with one.
    pub known: usize,
}

// === impl Origin ===

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Origin(v4.into()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Origin(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
        }
    }
}

// === impl Limit ===

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Handshakes => "handshakes of all",
            Limit::HandshakesPerAddress => "handshakes of one address",
            Limit::Strangers => "without certificate of all",
            Limit::StrangersPerAddress => "without certificate of one address",
            Limit::PerAddress => "connections of one address",
            Limit::Known => "with certificate of all",
        })
    }
}

// === impl Held ===

impl Held {
    fn count(&self) -> usize {
        self.handshakes.len() + self.strangers.len() + self.known
    }
}

// === impl Guard ===

impl<F> Guard<F> {
    pub(super) fn new(limits: Limits) -> Self {
        Guard {
            limits,
            last: 0,
            entries: BTreeMap::new(),
            origins: BTreeMap::new(),
            handshakes: BTreeSet::new(),
            strangers: BTreeSet::new(),
            known: 0,
        }
    }

    /// Somebody connected: may it begin a handshake, and who goes for it?
    pub(super) fn arrive(
        &mut self,
        origin: Origin,
        end: F,
        now: Duration,
    ) -> Result<(Ticket, Option<Evicted<F>>), Limit> {
        let evicted = self.room_for_handshake(origin)?;
        let evicted = evicted.and_then(|(ticket, limit)| Some(Evicted { end: self.leave(ticket)?, limit }));
        self.last += 1;
        let ticket = Ticket(self.last);
        let phase = Phase::Handshake { until: now + self.limits.handshake_deadline };
        self.entries.insert(ticket, Entry { origin, phase, end });
        self.list(ticket, origin, phase);
        Ok((ticket, evicted))
    }

    /// Its handshake is done: with a certificate it is known, without one a stranger.
    pub(super) fn greet(&mut self, ticket: Ticket, is_known: bool, now: Duration) -> Greeted<F> {
        let Some(entry) = self.entries.get(&ticket) else { return Greeted::Gone };
        let (origin, phase) = (entry.origin, entry.phase);
        let room = if is_known { self.room_for_known() } else { self.room_for_stranger(origin, now) };
        let evicted = match room {
            Ok(evicted) => evicted.and_then(|(ticket, limit)| Some(Evicted { end: self.leave(ticket)?, limit })),
            Err(limit) => {
                self.leave(ticket);
                return Greeted::Refused(limit);
            }
        };
        self.unlist(ticket, origin, phase);
        let phase = if is_known { Phase::Known } else { Phase::Stranger { heard: now } };
        if let Some(entry) = self.entries.get_mut(&ticket) {
            entry.phase = phase;
        }
        self.list(ticket, origin, phase);
        Greeted::Stays(evicted)
    }

    /// Who goes for a handshake, if somebody must.
    fn room_for_handshake(&self, origin: Origin) -> Result<Option<(Ticket, Limit)>, Limit> {
        let oldest = |held: Option<&Held>| held.and_then(|held| held.handshakes.first().copied());
        let own = self.origins.get(&origin);
        let (handshakes, all) = own.map_or((0, 0), |held| (held.handshakes.len(), held.count()));
        let (leaves, limit) = if handshakes >= self.limits.handshakes_per_address {
            (oldest(own), Limit::HandshakesPerAddress)
        } else if all >= self.limits.per_address {
            // What is established is not closed for what may never be: only its own unfinished ones.
            (oldest(own), Limit::PerAddress)
        } else if self.handshakes.len() >= self.limits.handshakes {
            let age = |held: &&Held| (held.handshakes.len(), Reverse(held.handshakes.first().copied()));
            (oldest(self.origins.values().max_by_key(age)), Limit::Handshakes)
        } else {
            return Ok(None);
        };
        leaves.map(|ticket| Some((ticket, limit))).ok_or(limit)
    }

    fn room_for_known(&self) -> Result<Option<(Ticket, Limit)>, Limit> {
        if self.known < self.limits.reserved() { Ok(None) } else { Err(Limit::Known) }
    }

    /// Who goes for a stranger, if somebody must.
    fn room_for_stranger(&self, origin: Origin, now: Duration) -> Result<Option<(Ticket, Limit)>, Limit> {
        let is_long = |heard: Duration| now.saturating_sub(heard) >= self.limits.stranger_yields;
        let own = self.origins.get(&origin).map_or(0, |held| held.strangers.len());
        if own >= self.limits.strangers_per_address {
            let quietest = self.origins.get(&origin).and_then(|held| held.strangers.first());
            return match quietest {
                Some(&(heard, ticket)) if is_long(heard) => Ok(Some((ticket, Limit::StrangersPerAddress))),
                _ => Err(Limit::StrangersPerAddress),
            };
        }
        if self.strangers.len() < self.limits.strangers {
            return Ok(None);
        }
        let silence = |held: &&Held| (held.strangers.len(), Reverse(held.strangers.first().copied()));
        let most = self.origins.values().max_by_key(silence);
        let quietest = most.and_then(|held| Some((held.strangers.len(), *held.strangers.first()?)));
        match quietest {
            // The address with most of them yields to one that would still have fewer.
            Some((count, (heard, ticket))) if count > own + 1 || is_long(heard) => Ok(Some((ticket, Limit::Strangers))),
            _ => Err(Limit::Strangers),
        }
    }

    /// Bytes came from it.
    pub(super) fn heard(&mut self, ticket: Ticket, now: Duration) {
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        let (origin, before) = (entry.origin, entry.phase);
        if let Phase::Stranger { .. } = before {
            let phase = Phase::Stranger { heard: now };
            entry.phase = phase;
            self.unlist(ticket, origin, before);
            self.list(ticket, origin, phase);
        }
    }

    /// It is gone, or must go: what ends it, unless it was taken before.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<F> {
        let entry = self.entries.remove(&ticket)?;
        self.unlist(ticket, entry.origin, entry.phase);
        Some(entry.end)
    }

    /// The one whose time is over first; call until there is none.
    pub(super) fn due(&mut self, now: Duration) -> Option<(F, Due)> {
        let (ticket, at, due) = self.first_due()?;
        if at > now {
            return None;
        }
        Some((self.leave(ticket)?, due))
    }

    /// When `due` will have something.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.first_due().map(|(_, at, _)| at)
    }

    fn first_due(&self) -> Option<(Ticket, Duration, Due)> {
        // All have the same deadline: the first to come is the first to go.
        let handshake = self.handshakes.first().and_then(|ticket| match self.entries.get(ticket)?.phase {
            Phase::Handshake { until } => Some((*ticket, until, Due::Handshake)),
            _ => None,
        });
        let idle =
            self.strangers.first().map(|&(heard, ticket)| (ticket, heard + self.limits.stranger_idle, Due::Idle));
        [handshake, idle].into_iter().flatten().min_by_key(|(_, at, _)| *at)
    }

    /// The process is out of descriptors: the oldest handshake goes, or the stranger that was silent longest.
    pub(super) fn shed(&mut self) -> Option<F> {
        let oldest = self.handshakes.first().copied();
        let ticket = oldest.or_else(|| self.strangers.first().map(|&(_, ticket)| ticket))?;
        self.leave(ticket)
    }

    /// The listener ends: so do handshakes.
    pub(super) fn end_handshakes(&mut self) -> Vec<F> {
        let tickets: Vec<Ticket> = self.handshakes.iter().copied().collect();
        tickets.into_iter().filter_map(|ticket| self.leave(ticket)).collect()
    }

    pub(super) fn open(&self) -> Open {
        Open { handshakes: self.handshakes.len(), strangers: self.strangers.len(), known: self.known }
    }

    fn list(&mut self, ticket: Ticket, origin: Origin, phase: Phase) {
        let held = self.origins.entry(origin).or_default();
        match phase {
            Phase::Handshake { .. } => {
                held.handshakes.insert(ticket);
                self.handshakes.insert(ticket);
            }
            Phase::Stranger { heard } => {
                held.strangers.insert((heard, ticket));
                self.strangers.insert((heard, ticket));
            }
            Phase::Known => {
                held.known += 1;
                self.known += 1;
            }
        }
    }

    fn unlist(&mut self, ticket: Ticket, origin: Origin, phase: Phase) {
        let Some(held) = self.origins.get_mut(&origin) else { return };
        match phase {
            Phase::Handshake { .. } => {
                held.handshakes.remove(&ticket);
                self.handshakes.remove(&ticket);
            }
            Phase::Stranger { heard } => {
                held.strangers.remove(&(heard, ticket));
                self.strangers.remove(&(heard, ticket));
            }
            Phase::Known => {
                held.known -= 1;
                self.known -= 1;
            }
        }
        // What nobody holds is not remembered: those who come and go leave nothing behind.
        if held.count() == 0 {
            self.origins.remove(&origin);
        }
    }
}

#[cfg(test)]
mod tests;
