//! Shows that the agent's one loop turns: a loop that hangs is told from one that has nothing to do.
//!
//! Beaten by the worker, which turns at least every ten seconds; read by `program` for the service manager.

use std::sync::Arc;
use tokio::sync::watch;

/// Counts the turns of a loop.
#[derive(Debug, Clone)]
pub struct Pulse(Arc<watch::Sender<u64>>);

impl Default for Pulse {
    fn default() -> Self {
        Pulse(Arc::new(watch::channel(0).0))
    }
}

// === impl Pulse ===

impl Pulse {
    /// One more turn.
    pub fn beat(&self) {
        self.0.send_modify(|turns| *turns += 1);
    }

    /// Turns so far.
    pub fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Returns once there were more than `seen` turns.
    pub async fn beyond(&self, seen: u64) {
        // The sender is this very value: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|turns| *turns > seen).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_noticed() {
        let pulse = Pulse::default();
        pulse.beat();
        pulse.beyond(0).await;
        let seen = pulse.count();
        let waits = tokio::time::timeout(Duration::from_secs(3_600), pulse.beyond(seen));
        assert!(waits.await.is_err(), "nothing turned");
        pulse.beat();
        pulse.beyond(seen).await;
    }
}
