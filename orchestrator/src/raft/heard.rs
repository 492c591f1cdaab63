//! Who was heard when: a leader by this server (or a candidate that it promised its vote), and others when they answered.
//!
//! Never decides. Touched by `peer_door` and `network`, read by `canvass` and `members`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::fault::held;

/// Shared by who hears and who asks.
#[derive(Debug, Clone)]
pub(super) struct Heard(Arc<Mutex<Instant>>);

// === impl Heard ===

impl Heard {
    /// Just now.
    pub(super) fn now() -> Heard {
        Heard(Arc::new(Mutex::new(Instant::now())))
    }

    /// A leader was heard.
    pub(super) fn touch(&self) {
        *held(&self.0) = Instant::now();
    }

    /// For how long none was.
    pub(super) fn silence(&self) -> Duration {
        held(&self.0).elapsed()
    }
}

/// When each other server answered last.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    since: Instant,
    last: Arc<Mutex<BTreeMap<u64, Instant>>>,
}

// === impl Answers ===

impl Answers {
    /// Nobody has been asked yet.
    pub(super) fn none() -> Answers {
        Answers { since: Instant::now(), last: Arc::default() }
    }

    /// It answered.
    pub(super) fn touch(&self, id: u64) {
        held(&self.last).insert(id, Instant::now());
    }

    /// For how long it has not: one that never did, since this server was opened.
    pub(super) fn silence(&self, id: u64) -> Duration {
        held(&self.last).get(&id).unwrap_or(&self.since).elapsed()
    }
}
