//! The pace of one connection: when a batch may go, when one is sent again, when a silent server is left.
//!
//! Pure: `now` is an argument, in milliseconds since the connection began. Called by the session and by the simulator.

use proto::revision::Time;

/// Time between batches, so that a burst becomes one log entry, in milliseconds.
const BATCH_EVERY_MS: u64 = 20;
/// Time after which an unacknowledged batch is sent again, in milliseconds.
const RESEND_AFTER_MS: u64 = 5_000;
/// A server that does not even echo heartbeats for so long is left for another connection, in milliseconds.
const SILENCE_MAX_MS: u64 = 6_000;

/// Of one connection.
#[derive(Debug, Clone)]
pub struct Pace {
    heard: Time,
    batch_at: Time,
    sent_at: Option<Time>,
}

/// What a heartbeat is the occasion for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The server is silent: leave.
    Leave,
    /// The batch on its way is overdue: it is put back, to be sent again.
    PutBack,
    /// Nothing else.
    Go,
}

// === impl Pace ===

impl Pace {
    /// Of a connection that begins.
    pub fn new(now: Time) -> Pace {
        Pace { heard: now, batch_at: now, sent_at: None }
    }

    /// The server said something.
    pub fn heard(&mut self, now: Time) {
        self.heard = now;
    }

    /// A heartbeat is due.
    pub fn beat(&mut self, now: Time) -> Beat {
        if now.since_ms(self.heard) > SILENCE_MAX_MS {
            return Beat::Leave;
        }
        if self.sent_at.is_some_and(|at| now.since_ms(at) > RESEND_AFTER_MS) {
            self.sent_at = None;
            return Beat::PutBack;
        }
        Beat::Go
    }

    /// When the next batch may go; `None` while one is on its way.
    pub fn batch_at(&self) -> Option<Time> {
        self.sent_at.is_none().then_some(self.batch_at)
    }

    /// A batch is sent.
    pub fn sent(&mut self, now: Time) {
        self.batch_at = now.after_ms(BATCH_EVERY_MS);
        self.sent_at = Some(now);
    }

    /// The batch on its way is in the log.
    pub fn acknowledged(&mut self) {
        self.sent_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_batch_travels_and_the_next_rests_a_little() {
        let mut pace = Pace::new(Time(0));
        assert_eq!(pace.batch_at(), Some(Time(0)));
        pace.sent(Time(7));
        assert_eq!(pace.batch_at(), None);
        pace.acknowledged();
        assert_eq!(pace.batch_at(), Some(Time(27)));
    }

    #[test]
    fn an_overdue_batch_is_put_back_once() {
        let mut pace = Pace::new(Time(0));
        pace.sent(Time(0));
        pace.heard(Time(5_000));
        assert_eq!(pace.beat(Time(5_000)), Beat::Go);
        assert_eq!(pace.beat(Time(5_001)), Beat::PutBack);
        assert_eq!(pace.beat(Time(5_002)), Beat::Go);
    }

    #[test]
    fn a_silent_server_is_left() {
        let mut pace = Pace::new(Time(0));
        assert_eq!([6_000, 6_001].map(|at| pace.beat(Time(at))), [Beat::Go, Beat::Leave]);
        pace.heard(Time(6_001));
        assert_eq!(pace.beat(Time(6_002)), Beat::Go);
    }
}
