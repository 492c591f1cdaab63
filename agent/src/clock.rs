//! The two clocks of an agent: monotonic for decisions, wall for display.
//!
//! Never used by the engine, which gets both as arguments.

use proto::revision::{Time, Wall};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Where the monotonic clock begins: a year in milliseconds, so that moments before the process can be expressed.
const BEGIN_MS: u64 = 365 * 24 * 3_600_000;

/// Both clocks. Follows Tokio's paused time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    simulated: Option<Wall>,
}

impl Clock {
    /// The host's clocks.
    pub fn real() -> Clock {
        Clock { started: Instant::now(), simulated: None }
    }

    /// A wall clock that begins at `wall` and moves with Tokio's time.
    pub fn simulated(wall: Wall) -> Clock {
        Clock { started: Instant::now(), simulated: Some(wall) }
    }

    /// Milliseconds on a clock that never jumps.
    pub fn now(&self) -> Time {
        Time(BEGIN_MS + self.elapsed_ms())
    }

    /// Milliseconds since 1970.
    pub fn wall(&self) -> Wall {
        match self.simulated {
            Some(base) => Wall(base.0 + self.elapsed_ms()),
            None => Wall(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)),
        }
    }

    /// The moment as Tokio's timers want it.
    pub fn instant(&self, at: Time) -> Instant {
        self.started + Duration::from_millis(at.0.saturating_sub(BEGIN_MS))
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
