//! What `RaftHandle::open` must be told, with defaults for everything but the place.
//!
//! Never reads the environment. Filled in by `server`, and by tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto::id::ServerId;

use super::clock::{Clock, SystemClock};
use super::network::{NoPeers, Transport};

/// Milliseconds between a leader's heartbeats. An append with its sync must stay below it.
pub const HEARTBEAT_MS: u64 = 200;
/// Milliseconds for which a leader that was heard is taken to be there: voters refuse others meanwhile. A leader that hands
/// over is followed by another only after it, so it is little more than a heartbeat; that nobody stands without need is the
/// patience below.
pub const LEASE_MS: u64 = 250;
/// Milliseconds of silence after which a follower stands for election, at least.
pub const PATIENCE_MIN_MS: u64 = 600;
/// And at most: drawn anew each time, so that two do not stand at once.
pub const PATIENCE_MAX_MS: u64 = 900;
/// Milliseconds before one that was not elected stands again, at most.
pub const AGAIN_MAX_MS: u64 = 400;
/// Entries after which a snapshot is taken.
pub const SNAPSHOT_AFTER_ENTRIES: u64 = 5_000;
/// Bytes of log after which a snapshot is taken: bounds disk and start-up when entries are large.
pub const SNAPSHOT_AFTER_BYTES: u64 = 64 << 20;
/// Entries kept behind the newest snapshot, so that a slow follower needs no snapshot.
pub const ENTRIES_KEPT: u64 = 1_000;
/// How long a caller waits for an outcome.
pub const PROPOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How this server is to be opened.
#[derive(Debug, Clone)]
pub struct RaftOptions {
    /// Holds `server-id`, `raft/` and `snapshots/`; created with mode 0700.
    pub data_dir: PathBuf,
    /// The id of a server that is being made; drawn at random if absent. Ignored where one lives already.
    pub new_server_id: Option<ServerId>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The way to the other servers.
    pub transport: Arc<dyn Transport>,
    /// Heartbeats and elections.
    pub timing: Timing,
    /// When State is written out and the log cut.
    pub snapshots: SnapshotRule,
    /// How long `propose` and `read_barrier` wait.
    pub propose_timeout: Duration,
}

impl RaftOptions {
    /// A server of a one-server cluster in this directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> RaftOptions {
        RaftOptions {
            data_dir: data_dir.into(),
            new_server_id: None,
            clock: Arc::new(SystemClock::default()),
            transport: Arc::new(NoPeers),
            timing: Timing::default(),
            snapshots: SnapshotRule::default(),
            propose_timeout: PROPOSE_TIMEOUT,
        }
    }
}

/// Heartbeats and elections, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// How long a leader that was heard is taken to be there; longer than a heartbeat.
    pub lease_ms: u64,
    /// Silence after which a follower stands for election, at least.
    pub patience_min_ms: u64,
    /// And at most.
    pub patience_max_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat_ms: HEARTBEAT_MS,
            lease_ms: LEASE_MS,
            patience_min_ms: PATIENCE_MIN_MS,
            patience_max_ms: PATIENCE_MAX_MS,
        }
    }
}

// === impl Timing ===

impl Timing {
    /// How long a leader that was heard is taken to be there.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// The silence after which this server stands for election the next time.
    pub(super) fn patience(&self) -> Duration {
        drawn(self.patience_min_ms, self.patience_max_ms)
    }

    /// The same after it stood and was not elected.
    pub(super) fn again(&self) -> Duration {
        drawn(self.heartbeat_ms / 2, AGAIN_MAX_MS)
    }
}

fn drawn(min_ms: u64, max_ms: u64) -> Duration {
    let span = max_ms.saturating_sub(min_ms) + 1;
    // Without randomness two may meet; they draw again.
    let random = getrandom::u64().unwrap_or_default();
    Duration::from_millis(min_ms + random % span)
}

/// When State is written out, and how much log stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRule {
    /// After this many entries,
    pub after_entries: u64,
    /// or this many bytes of entries, whichever comes first.
    pub after_bytes: u64,
    /// Entries that stay behind the newest snapshot. The log also always reaches the snapshot before it.
    pub keep_entries: u64,
}

impl Default for SnapshotRule {
    fn default() -> Self {
        SnapshotRule {
            after_entries: SNAPSHOT_AFTER_ENTRIES,
            after_bytes: SNAPSHOT_AFTER_BYTES,
            keep_entries: ENTRIES_KEPT,
        }
    }
}
