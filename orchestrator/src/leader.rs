//! One task that exists exactly while this server leads: changed | deadline | lost -> reconcile -> propose.
//!
//! Owns the leases. Never writes State but by proposing a plan.

use proto::id::NodeId;
use proto::revision::Time;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::{Command, Leases, Outcome, Plan, STATE_VERSION, State, next_deadline, reconcile};
use crate::raft::{Applied, ProposeError, RaftHandle};

/// Pause after a plan of which nothing was accepted or whose outcome is unknown, in milliseconds.
const PAUSE_MS: u64 = 50;
/// Longest sleep, in milliseconds: bounds what a missed wake-up could cost.
const SLEEP_MAX_MS: u64 = 1_000;

/// What a door tells about a node's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEvent {
    /// A heartbeat came.
    Heard(NodeId),
    /// Its connection closed.
    Closed(NodeId),
}

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
    let nodes: Vec<NodeId> = states.borrow().nodes().map(|n| n.info.id).collect();
    let Some(began) = raft.now() else { return };
    let mut leases = Leases::new_term(nodes, began);
    let mut expected = began;
    loop {
        let state = states.borrow_and_update().clone();
        let Some(now) = raft.now() else { return };
        if state.version() < STATE_VERSION && state.cluster().is_some() {
            if !raise_version(raft).await {
                return;
            }
            continue;
        }
        leases.observe_loop(now, expected);
        leases.meet(state.nodes().map(|n| n.info.id), now);
        let plan = reconcile(&state, &leases, now);
        for unplaced in &plan.unplaced {
            tracing::debug!(service = %unplaced.service, slot = unplaced.slot.0, why = %unplaced.why, "cannot place");
        }
        if !plan.is_empty() {
            match propose(raft, plan).await {
                Proposed::Made => {}
                Proposed::Pause => tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await,
                Proposed::Lost => return,
            }
            let Some(after) = raft.now() else { return };
            while let Ok(event) = events.try_recv() {
                take(event, &mut leases, after);
            }
            // The time a proposal took is the disk's, not this loop's lateness: heartbeats were taken meanwhile.
            expected = after;
            continue;
        }
        let wake = next_deadline(&state, &leases, now).map_or(SLEEP_MAX_MS, |d| d.since_ms(now)).clamp(1, SLEEP_MAX_MS);
        expected = now.after_ms(wake);
        if !wait(raft, wake, &state, &mut states, events, &mut leases, leadership, stop).await {
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
    leases: &mut Leases,
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
                take(event, leases, now);
                // A heartbeat of a node that is up changes nothing; one of a lost node brings it back.
                let wakes = matches!(event, LeaseEvent::Heard(n) if state.node(n).is_none_or(|n| !n.is_up()));
                if wakes { return true }
            }
        }
    }
}

fn take(event: LeaseEvent, leases: &mut Leases, now: Time) {
    match event {
        LeaseEvent::Heard(node) => leases.heard(node, now),
        LeaseEvent::Closed(node) => leases.closed(node, now, false),
    }
}

/// Every server knows the newest version: this one is the only one. False when leading is over.
async fn raise_version(raft: &RaftHandle) -> bool {
    match raft.propose(None, Command::RaiseVersion { to: STATE_VERSION }).await {
        Ok(_) => tracing::info!(to = STATE_VERSION, "state version raised"),
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
