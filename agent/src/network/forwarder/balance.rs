//! In which order endpoints are tried: round robin, those that failed a moment ago last.
//!
//! Never connects. The TCP and UDP sides of the forwarder ask it for each new connection or flow.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a failure puts an endpoint last: until the table is likely to know.
pub(super) const AVOID_FOR: Duration = Duration::from_secs(3);

/// One port's turn and its failures.
#[derive(Debug, Default)]
pub(super) struct Balance {
    turn: AtomicUsize,
    failed: Mutex<HashMap<IpAddr, Instant>>,
}

impl Balance {
    /// All of `ready`, in the order to try them.
    pub(super) fn order(&self, ready: &[IpAddr]) -> Vec<IpAddr> {
        if ready.is_empty() {
            return Vec::new();
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % ready.len();
        let mut order: Vec<IpAddr> = [&ready[first..], &ready[..first]].concat();
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if !failed.is_empty() {
            // A stable sort: the turn is kept among the good and among the bad.
            order.sort_by_key(|address| failed.get(address).is_some_and(|at| at.elapsed() < AVOID_FOR));
        }
        order
    }

    /// Notes that `address` did not accept.
    pub(super) fn failed(&self, address: IpAddr) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|_, at| at.elapsed() < AVOID_FOR);
        failed.insert(address, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_is_first_in_turn_and_a_failed_one_is_last_for_a_while() {
        let ready: Vec<IpAddr> = (1..=3).map(|last| IpAddr::from([10, 210, 1, last])).collect();
        let [a, b, c] = [ready[0], ready[1], ready[2]];
        let balance = Balance::default();
        assert!(balance.order(&[]).is_empty());
        assert_eq!(balance.order(&ready), [a, b, c]);
        assert_eq!(balance.order(&ready), [b, c, a]);
        balance.failed(c);
        assert_eq!(balance.order(&ready), [a, b, c]);
        assert_eq!(balance.order(&ready), [a, b, c]);
        assert_eq!(balance.order(&ready), [b, a, c]);
        tokio::time::advance(AVOID_FOR).await;
        assert_eq!(balance.order(&ready), [c, a, b]);
    }
}
