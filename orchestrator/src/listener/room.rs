//! The guard with its clock, its counts and its lock: what the accept loop, handshakes and connections share.
//!
//! Decides nothing; carries out by dropping what ends a connection, outside the lock. Called by all of the listener.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::guard::{Due, Evicted, Greeted, Guard, Limit, Open, Ticket};
use super::limits::Limits;
use super::meter::{Counts, Words};

/// Held by the guard; its end, by word or by being dropped, ends the connection.
pub(super) type End = oneshot::Sender<()>;
/// Held by the connection.
pub(super) type Ended = oneshot::Receiver<()>;

/// All connections of one listener.
#[derive(Debug)]
pub(super) struct Room {
    begun: Instant,
    limits: Limits,
    books: Mutex<Books>,
    /// A deadline came that may be the first.
    pub(super) changed: Notify,
}

#[derive(Debug)]
struct Books {
    guard: Guard<End>,
    counts: Counts,
    words: Words,
}

// === impl Room ===

impl Room {
    pub(super) fn new(limits: Limits) -> Room {
        let books = Books { guard: Guard::new(limits), counts: Counts::default(), words: Words::default() };
        Room { begun: Instant::now(), limits, books: Mutex::new(books), changed: Notify::new() }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A socket was accepted: may it begin a handshake?
    pub(super) fn arrive(&self, address: IpAddr) -> Option<(Ticket, Ended)> {
        let (end, ended) = oneshot::channel();
        let now = self.now();
        let mut books = self.books();
        books.counts.accepted += 1;
        let arrived = books.guard.arrive(address.into(), end, now);
        let (ticket, evicted) = match arrived {
            Ok((ticket, evicted)) => (Some(ticket), evicted),
            Err(limit) => {
                books.refused(limit);
                (None, None)
            }
        };
        if let Some(evicted) = &evicted {
            books.refused(evicted.limit);
        }
        self.unlock(books);
        drop(evicted);
        ticket.map(|ticket| (ticket, ended))
    }

    /// A handshake is done: may the connection stay?
    pub(super) fn greet(&self, ticket: Ticket, is_known: bool) -> bool {
        let now = self.now();
        let mut books = self.books();
        let greeted = books.guard.greet(ticket, is_known, now);
        match &greeted {
            Greeted::Stays(evicted) => {
                books.counts.known += u64::from(is_known);
                books.counts.strangers += u64::from(!is_known);
                if let Some(Evicted { limit, .. }) = evicted {
                    books.refused(*limit);
                }
            }
            Greeted::Refused(limit) => books.refused(*limit),
            Greeted::Gone => {}
        }
        self.unlock(books);
        if !is_known {
            self.changed.notify_one();
        }
        matches!(greeted, Greeted::Stays(_))
    }

    /// Something came from a stranger.
    pub(super) fn heard(&self, ticket: Ticket) {
        let now = self.now();
        self.books().guard.heard(ticket, now);
    }

    pub(super) fn leave(&self, ticket: Ticket) {
        let end = self.books().guard.leave(ticket);
        drop(end);
    }

    /// A handshake ended without a connection.
    pub(super) fn failed(&self) {
        let mut books = self.books();
        books.counts.handshakes_failed += 1;
        self.unlock(books);
    }

    /// Taking a socket failed.
    pub(super) fn not_accepted(&self) {
        self.books().counts.accept_errors += 1;
    }

    /// Ends those whose time is over.
    pub(super) fn end_due(&self) {
        let now = self.now();
        let mut books = self.books();
        let mut ended = Vec::new();
        while let Some((end, due)) = books.guard.due(now) {
            match due {
                Due::Handshake => books.counts.handshakes_late += 1,
                Due::Idle => books.counts.idle_closed += 1,
            }
            ended.push(end);
        }
        self.unlock(books);
        drop(ended);
    }

    /// When there will be one.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.books().guard.next_deadline().map(|at| self.begun + at)
    }

    /// Ends so many of those that matter least.
    pub(super) fn shed(&self, count: usize) {
        let mut books = self.books();
        let shed: Vec<End> = std::iter::from_fn(|| books.guard.shed()).take(count).collect();
        books.counts.shed += shed.len() as u64;
        drop(books);
    }

    pub(super) fn end_handshakes(&self) {
        let ended = self.books().guard.end_handshakes();
        drop(ended);
    }

    pub(super) fn counts(&self) -> (Counts, Open) {
        let books = self.books();
        (books.counts.clone(), books.guard.open())
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the lock back, then says what is to be said.
    fn unlock(&self, mut books: MutexGuard<'_, Books>) {
        let Books { counts, words, .. } = &mut *books;
        let said = words.due(counts, self.now());
        drop(books);
        if let Some(said) = said {
            tracing::warn!("{said}");
        }
    }
}

// === impl Books ===

impl Books {
    fn refused(&mut self, limit: Limit) {
        *self.counts.refused.entry(limit).or_default() += 1;
    }
}
