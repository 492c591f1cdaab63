//! How long to wait after the n-th failure in a row.
//!
//! Never draws jitter: a node restarts its own containers, nobody else's clock is near.

use proto::limits::{RESTART_BACKOFF_FIRST_MS, RESTART_BACKOFF_MAX_MS};

/// First delay after an image could not be pulled or a file not be fetched, in milliseconds: the cause is far away.
pub const FETCH_BACKOFF_FIRST_MS: u64 = 1_000;

/// Delay before the container is started again after `failures` in a row, in milliseconds: none for the first.
pub fn restart_ms(failures: u32) -> u64 {
    match failures {
        0 | 1 => 0,
        more => doubled(RESTART_BACKOFF_FIRST_MS, more - 2),
    }
}

/// Delay before another try at what could not be prepared, started, stopped or removed, in milliseconds.
pub fn retry_ms(failures: u32) -> u64 {
    doubled(RESTART_BACKOFF_FIRST_MS, failures.saturating_sub(1))
}

/// Delay before another try at a pull or a fetch, in milliseconds.
pub fn fetch_ms(failures: u32) -> u64 {
    doubled(FETCH_BACKOFF_FIRST_MS, failures.saturating_sub(1))
}

fn doubled(first_ms: u64, times: u32) -> u64 {
    first_ms.saturating_mul(1 << times.min(20)).min(RESTART_BACKOFF_MAX_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_delay_doubles_to_a_minute() {
        let delays: Vec<u64> = (0..14).map(restart_ms).collect();
        assert_eq!(delays, [0, 0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(restart_ms(u32::MAX), 60_000);
    }

    #[test]
    fn fetches_wait_from_a_second() {
        assert_eq!([0, 1, 2, 3, 7, 90].map(fetch_ms), [1_000, 1_000, 2_000, 4_000, 60_000, 60_000]);
        assert_eq!([1, 2, 3].map(retry_ms), [100, 200, 400]);
    }
}
