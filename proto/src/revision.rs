//! Counters that only move forward, and the two clocks.
//!
//! Never reads a clock: time is an argument everywhere but in the shells.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The count of applied commands; also the version of whatever is projected from State.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The count of restores and recoveries. Order between two states is (epoch, revision).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Epoch(pub u32);

/// Identity of an object for its whole life: a later object of the same name has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Uid {
    /// The epoch it was created in.
    pub epoch: Epoch,
    /// The revision that created it.
    pub created: Revision,
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch.0, self.created.0)
    }
}

/// Milliseconds on a clock that never jumps: cluster time in the log, the process's monotonic time in an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Time(pub u64);

impl Time {
    /// This moment plus a span in milliseconds.
    pub fn after_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }
    /// Milliseconds since `earlier`, zero if that is later.
    pub fn since_ms(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Milliseconds since 1970 in UTC: for display and expiry only, never for a decision about order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Wall(pub u64);
