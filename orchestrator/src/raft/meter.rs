//! How long syncs take and how much log was written: for metrics, an alarm, and the snapshot rule.
//!
//! Never touches the disk. Fed by `log_store`, read by `handle::metrics` and `upkeep`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::fault::held;

const SAMPLES: usize = 256;
const ALARM_EVERY: Duration = Duration::from_secs(10);

/// How long the last syncs took, in microseconds. All zero before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncLatency {
    /// The last one.
    pub last_us: u64,
    /// Half of the last 256 were faster.
    pub p50_us: u64,
    /// 99 of 100 of the last 256 were faster.
    pub p99_us: u64,
    /// Syncs since the start.
    pub count: u64,
}

/// Counts and times what is written.
#[derive(Debug)]
pub(super) struct Meter {
    alarm_above: Duration,
    appended_bytes: AtomicU64,
    passed_on: AtomicU64,
    syncs: Mutex<Syncs>,
}

#[derive(Debug, Default)]
struct Syncs {
    count: u64,
    recent_us: VecDeque<u64>,
    alarmed: Option<Instant>,
}

impl Meter {
    /// `alarm_above`: an append slower than this endangers the heartbeat.
    pub(super) fn new(alarm_above: Duration) -> Meter {
        Meter { alarm_above, appended_bytes: AtomicU64::new(0), passed_on: AtomicU64::new(0), syncs: Mutex::default() }
    }

    pub(super) fn count_bytes(&self, bytes: u64) {
        self.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn count_passed_on(&self, commands: u64) {
        self.passed_on.fetch_add(commands, Ordering::Relaxed);
    }

    pub(super) fn passed_on(&self) -> u64 {
        self.passed_on.load(Ordering::Relaxed)
    }

    pub(super) fn record_sync(&self, took: Duration) {
        let mut syncs = held(&self.syncs);
        syncs.count += 1;
        if syncs.recent_us.len() == SAMPLES {
            syncs.recent_us.pop_front();
        }
        syncs.recent_us.push_back(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if took > self.alarm_above && syncs.alarmed.is_none_or(|at| at.elapsed() > ALARM_EVERY) {
            syncs.alarmed = Some(Instant::now());
            tracing::warn!(
                took_ms = took.as_millis(),
                limit_ms = self.alarm_above.as_millis(),
                "the disk is slow: leadership is at risk"
            );
        }
    }

    pub(super) fn sync_latency(&self) -> SyncLatency {
        let syncs = held(&self.syncs);
        let mut sorted: Vec<u64> = syncs.recent_us.iter().copied().collect();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)));
        SyncLatency {
            last_us: syncs.recent_us.back().copied().unwrap_or(0),
            p50_us: at(50).copied().unwrap_or(0),
            p99_us: at(99).copied().unwrap_or(0),
            count: syncs.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_samples() {
        let meter = Meter::new(Duration::from_secs(1));
        assert_eq!(meter.sync_latency(), SyncLatency::default());
        for us in 0..1_000 {
            meter.record_sync(Duration::from_micros(us));
        }
        let latency = meter.sync_latency();
        assert_eq!((latency.last_us, latency.count), (999, 1_000));
        assert_eq!((latency.p50_us, latency.p99_us), (744 + 128, 744 + 253));
    }
}
