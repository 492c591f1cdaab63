//! What a listener counts, for metrics, and what it says of it in the log: at most one line each ten seconds.
//!
//! `Words` is pure. Called by the room, and by whoever shows metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::guard::{Limit, Open};
use super::room::Room;

/// Least time between two lines about connections that were turned away: a flood must not fill the log.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Totals since the listener began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sockets taken from the kernel.
    pub accepted: u64,
    /// Handshakes done with a certificate.
    pub known: u64,
    /// Handshakes done without one.
    pub strangers: u64,
    /// Connections closed because of a limit: the new one, or an older one that made room for it.
    pub refused: BTreeMap<Limit, u64>,
    /// Handshakes that ended by an error of the peer, of its certificate, or by a reset.
    pub handshakes_failed: u64,
    /// Handshakes not done at their deadline.
    pub handshakes_late: u64,
    /// Strangers closed because nothing was heard of them.
    pub idle_closed: u64,
    /// Connections closed because the process was out of descriptors.
    pub shed: u64,
    /// Times that a socket could not be taken from the kernel.
    pub accept_errors: u64,
}

/// Reads what a listener counts.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Room>);

/// What was said last, and when.
#[derive(Debug, Default)]
pub(super) struct Words {
    told: Counts,
    at: Option<Duration>,
}

// === impl Meter ===

impl Meter {
    pub(super) fn new(room: Arc<Room>) -> Meter {
        Meter(room)
    }

    /// Totals.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counts().0
    }

    /// What is open now.
    #[must_use]
    pub fn open(&self) -> Open {
        self.0.counts().1
    }
}

// === impl Counts ===

impl Counts {
    /// Connections closed because of limits.
    #[must_use]
    pub fn refused_in_all(&self) -> u64 {
        self.refused.values().sum()
    }

    fn trouble(&self) -> u64 {
        self.refused_in_all() + self.handshakes_failed + self.handshakes_late
    }
}

// === impl Words ===

impl Words {
    /// What to say now of what happened since the last time, if anything.
    pub(super) fn due(&mut self, counts: &Counts, now: Duration) -> Option<String> {
        let is_early = self.at.is_some_and(|at| now.saturating_sub(at) < SAID_EVERY);
        if is_early || counts.trouble() == self.told.trouble() {
            return None;
        }
        let mut parts = Vec::new();
        for (limit, count) in &counts.refused {
            let more = count - self.told.refused.get(limit).copied().unwrap_or_default();
            if more > 0 {
                parts.push(format!("{more} ({limit})"));
            }
        }
        let failed = counts.handshakes_failed - self.told.handshakes_failed;
        let late = counts.handshakes_late - self.told.handshakes_late;
        let refused = if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
        self.told = counts.clone();
        self.at = Some(now);
        Some(format!(
            "connections turned away by limits: {refused}; handshakes failed: {failed}, too slow: {late}; in all {} since the start",
            counts.trouble()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_in_ten_seconds() {
        let (mut words, mut counts) = (Words::default(), Counts::default());
        assert_eq!(words.due(&counts, Duration::ZERO), None, "nothing happened");
        let mut said = Vec::new();
        for second in 0..=20 {
            counts.handshakes_late += 100;
            *counts.refused.entry(Limit::Strangers).or_default() += 1;
            said.extend(words.due(&counts, Duration::from_secs(second)));
        }
        assert_eq!(
            said,
            [
                "connections turned away by limits: 1 (without certificate of all); handshakes failed: 0, too slow: 100; in all 101 since the start",
                "connections turned away by limits: 10 (without certificate of all); handshakes failed: 0, too slow: 1000; in all 1111 since the start",
                "connections turned away by limits: 10 (without certificate of all); handshakes failed: 0, too slow: 1000; in all 2121 since the start",
            ]
        );
        assert_eq!(words.due(&counts, Duration::from_secs(60)), None, "said before");
    }
}
