//! What was refused to callers who are known, on its way into the audit: so many for each and a minute, the rest is counted.
//!
//! Strangers are never noted here: they could fill the log. Fed by the gate and the doors; `keep` runs beside them.

use proto::limits::AUDIT_REFUSALS_PER_MINUTE;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::engine::model::{Asker, AuditNote};
use crate::engine::{AUDITS, Command};
use crate::raft::{Clock, RaftHandle};

/// Refusals that may wait for the log; those beyond are counted only.
const WAITING: usize = 64;
const MINUTE_MS: u64 = 60_000;

/// Where refusals are put. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Refusals {
    sender: mpsc::Sender<(Asker, AuditNote)>,
    dropped: Arc<AtomicU64>,
}

/// The other end.
#[derive(Debug)]
pub struct Noted {
    receiver: mpsc::Receiver<(Asker, AuditNote)>,
    dropped: Arc<AtomicU64>,
}

// === impl Refusals ===

impl Refusals {
    /// Both ends.
    pub fn new() -> (Refusals, Noted) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let dropped = Arc::<AtomicU64>::default();
        (Refusals { sender, dropped: dropped.clone() }, Noted { receiver, dropped })
    }

    pub(super) fn note(&self, by: Asker, note: AuditNote) {
        if self.sender.try_send((by, note)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Puts refusals into the log as long as the server runs.
pub async fn keep(mut noted: Noted, raft: RaftHandle, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut pace = Pace::default();
    loop {
        let (by, mut note) = tokio::select! {
            next = noted.receiver.recv() => match next { Some(next) => next, None => return },
            () = stop.cancelled() => return,
        };
        let Some(left_out) = pace.take(&by.who, clock.monotonic_ms()) else { continue };
        let left_out = left_out + noted.dropped.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            note.detail = format!("({left_out} refusals before it were not kept) {}", note.detail);
        }
        if raft.state().borrow().version() < AUDITS {
            continue;
        }
        if let Err(error) = raft.propose_by(by.clone(), None, Command::NoteAccess { note }).await {
            tracing::warn!(who = by.who, %error, "a refusal is not in the audit");
        }
    }
}

/// How many refusals of whom were noted within the present minute of each.
#[derive(Debug, Default)]
struct Pace(BTreeMap<String, Minute>);

#[derive(Debug, Clone, Copy)]
struct Minute {
    since_ms: u64,
    taken: u32,
    left_out: u64,
}

// === impl Pace ===

impl Pace {
    /// May another one be kept? Then how many were left out before it.
    fn take(&mut self, who: &str, now_ms: u64) -> Option<u64> {
        self.0.retain(|_, minute| minute.left_out > 0 || now_ms < minute.since_ms + MINUTE_MS);
        let fresh = Minute { since_ms: now_ms, taken: 0, left_out: 0 };
        let minute = self.0.entry(who.to_owned()).or_insert(fresh);
        if now_ms >= minute.since_ms + MINUTE_MS {
            *minute = Minute { left_out: minute.left_out, ..fresh };
        }
        if minute.taken >= AUDIT_REFUSALS_PER_MINUTE {
            minute.left_out += 1;
            return None;
        }
        minute.taken += 1;
        Some(std::mem::take(&mut minute.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_each_and_minute_are_kept_and_the_others_counted() {
        let mut pace = Pace::default();
        let kept = |pace: &mut Pace, who, now| (0..50).filter(|_| pace.take(who, now).is_some()).count();
        assert_eq!(kept(&mut pace, "operator/vera", 1_000), AUDIT_REFUSALS_PER_MINUTE as usize);
        assert_eq!(kept(&mut pace, "operator/dan", 1_000), AUDIT_REFUSALS_PER_MINUTE as usize, "each has its own");
        assert_eq!(pace.take("operator/vera", 60_999), None);
        assert_eq!(pace.take("operator/vera", 61_000), Some(50 - u64::from(AUDIT_REFUSALS_PER_MINUTE) + 1));
        assert_eq!(pace.take("operator/vera", 61_001), Some(0));
        // Who is quiet is forgotten, unless something of it is still to be told.
        pace.take("agent/1", 500_000);
        assert_eq!(pace.0.keys().collect::<Vec<_>>(), ["agent/1", "operator/dan"]);
    }
}
