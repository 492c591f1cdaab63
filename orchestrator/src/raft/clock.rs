//! The two clocks of this room, as an argument: a simulation brings its own.
//!
//! What enters the log comes from here; only the measuring of syncs (`meter`) looks at the machine itself. Called by `leadership` and `proposer`.

use std::fmt::Debug;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use proto::revision::Wall;

/// Where time comes from.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since some moment of this process; never goes back.
    fn monotonic_ms(&self) -> u64;
    /// Milliseconds since 1970 in UTC; may jump.
    fn wall(&self) -> Wall;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
    fn wall(&self) -> Wall {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Wall(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }
}
