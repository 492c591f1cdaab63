//! The audit in this server's own log, as it grows: what leaves the host with the log is out of the cluster's reach.
//!
//! Reads State only. Begins with what is made after the server has started.

use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::State;

/// Tells each record once, as long as the server runs.
pub async fn follow(mut states: watch::Receiver<Arc<State>>, stop: CancellationToken) {
    let mut told = states.borrow_and_update().audit().made();
    loop {
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let state = states.borrow_and_update().clone();
        for record in state.audit().after(told) {
            tracing::info!(
                target: "audit",
                number = record.number,
                who = record.by.who,
                from = record.by.from,
                call = record.call,
                project = record.project,
                object = record.object,
                detail = record.detail,
                outcome = record.outcome.as_str(),
                "audit"
            );
        }
        told = state.audit().made();
    }
}
