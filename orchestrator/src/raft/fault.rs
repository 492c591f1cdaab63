//! The first error of a disk, remembered for good: nothing is written after it, and the process is told to end.
//!
//! Never clears, never retries. Set by `log_store` and `state_machine`, awaited by `handle::lost`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::AnyError;
use tokio::sync::watch;

/// Shared by everything that touches the disk.
#[derive(Debug, Clone)]
pub(super) struct Fault(Arc<watch::Sender<Option<String>>>);

impl Fault {
    pub(super) fn none() -> Fault {
        Fault(Arc::new(watch::Sender::new(None)))
    }

    /// Remembers the cause if it is the first, and gives it back as openraft wants it.
    pub(super) fn report(&self, cause: impl ToString) -> AnyError {
        let cause = cause.to_string();
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                tracing::error!(%cause, "the log stops");
                *first = Some(cause.clone());
            }
            is_first
        });
        AnyError::error(cause)
    }

    /// The first cause, if there was one.
    pub(super) fn cause(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Refuses once there was an error.
    pub(super) fn check(&self) -> Result<(), AnyError> {
        match self.cause() {
            Some(cause) => Err(AnyError::error(cause)),
            None => Ok(()),
        }
    }

    /// Resolves with the first cause.
    pub(super) async fn wait(&self) -> String {
        let mut seen = self.0.subscribe();
        // Cannot fail: the sending half is ours.
        let cause = seen.wait_for(Option::is_some).await.ok().and_then(|cause| cause.clone());
        cause.unwrap_or_default()
    }
}

/// Locks; a panic of another holder does not make plain data unusable.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
