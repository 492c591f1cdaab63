//! One task that exists exactly while this server leads: changed | deadline | lost -> reconcile -> propose.
//!
//! Owns the leases. Never writes State but by proposing a plan.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::{Command, Outcome, Plan, State};
use crate::raft::{Applied, ProposeError, RaftHandle};
use term::{PAUSE_MS, Term};

pub use term::LeaseEvent;

pub mod term;

/// Leads whenever this server is the leader, until stopped.
pub async fn run(raft: RaftHandle, mut events: mpsc::UnboundedReceiver<LeaseEvent>, stop: CancellationToken) {
    let mut leadership = raft.leadership();
    loop {
        let leads = leadership.borrow_and_update().leading().is_some();
        if leads {
            tracing::info!("leading");
            lead(&raft, &mut events, &mut leadership, &stop).await;
            tracing::info!("no longer leading");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = leadership.changed() => if changed.is_err() { return },
            // Heartbeats of a time when somebody else leads say nothing here.
            event = events.recv() => if event.is_none() { return },
        }
    }
}

async fn lead(
    raft: &RaftHandle,
    events: &mut mpsc::UnboundedReceiver<LeaseEvent>,
    leadership: &mut watch::Receiver<crate::raft::Leadership>,
    stop: &CancellationToken,
) {
    let mut states = raft.state();
    let Some(began) = raft.now() else { return };
    let mut term = Term::begin(&states.borrow().clone(), began);
    loop {
        let state = states.borrow_and_update().clone();
        let Some(now) = raft.now() else { return };
        if let Some(command) = term::raised(&state, raft.id()) {
            if !raise_version(raft, command).await {
                return;
            }
            continue;
        }
        let round = term.round(&state, now);
        for unplaced in &round.plan.unplaced {
            tracing::debug!(service = %unplaced.service, slot = unplaced.slot.0, why = %unplaced.why, "cannot place");
        }
        if !round.plan.is_empty() {
            match propose(raft, round.plan).await {
                Proposed::Made => {}
                Proposed::Pause => tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await,
                Proposed::Lost => return,
            }
            let Some(after) = raft.now() else { return };
            term.proposed(std::iter::from_fn(|| events.try_recv().ok()), after);
            continue;
        }
        if !wait(raft, round.sleep_ms, &state, &mut states, events, &mut term, leadership, stop).await {
            return;
        }
    }
}

/// Waits for a reason to look again; false when leading is over.
#[allow(clippy::too_many_arguments, reason = "the leader's loop owns all of them; a struct would only rename them")]
async fn wait(
    raft: &RaftHandle,
    wake_ms: u64,
    state: &State,
    states: &mut watch::Receiver<Arc<State>>,
    events: &mut mpsc::UnboundedReceiver<LeaseEvent>,
    term: &mut Term,
    leadership: &mut watch::Receiver<crate::raft::Leadership>,
    stop: &CancellationToken,
) -> bool {
    let deadline = tokio::time::sleep(Duration::from_millis(wake_ms));
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            () = stop.cancelled() => return false,
            changed = leadership.changed() => {
                let leads = changed.is_ok() && leadership.borrow_and_update().leading().is_some();
                if !leads { return false }
            }
            changed = states.changed() => return changed.is_ok(),
            () = &mut deadline => return true,
            event = events.recv() => {
                let Some(event) = event else { return false };
                let Some(now) = raft.now() else { return false };
                term.take(event, now);
                if event.wakes(state) { return true }
            }
        }
    }
}

/// Has a newer State version known to all servers. False when leading is over.
async fn raise_version(raft: &RaftHandle, command: Command) -> bool {
    match raft.propose(None, command).await {
        Ok(_) => tracing::info!("state version raised"),
        Err(ProposeError::NotLeader { .. } | ProposeError::Stopped) => return false,
        Err(error) => {
            tracing::warn!(%error, "state version not raised");
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
    }
    true
}

enum Proposed {
    Made,
    Pause,
    Lost,
}

async fn propose(raft: &RaftHandle, plan: Plan) -> Proposed {
    for planned in &plan.changes {
        tracing::info!(change = %planned.change, reason = %planned.reason, "decided");
    }
    match raft.propose(None, Command::ApplyPlan { plan }).await {
        Ok(Applied { outcome: Outcome::Plan { accepted, rejected, .. }, .. }) => {
            for (index, why) in &rejected {
                tracing::debug!(index, why, "change no longer held");
            }
            if accepted > 0 { Proposed::Made } else { Proposed::Pause }
        }
        Ok(Applied { outcome, .. }) => {
            tracing::error!(?outcome, "a plan had an outcome that is none of a plan's");
            Proposed::Pause
        }
        Err(ProposeError::NotLeader { .. } | ProposeError::Stopped) => Proposed::Lost,
        Err(error) => {
            tracing::warn!(%error, "plan not made");
            Proposed::Pause
        }
    }
}
