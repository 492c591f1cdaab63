//! Another sealing key takes the place of the one in use, while everything goes on. Two tasks of each server.
//!
//! # Flow
//! An admin asks (`api`), the log has it, and from there on each server does its part: `hold` takes the new key into this
//! server's file, which `servers/announce` says, and gives the old one up at the end; `lead` moves the rotation on while
//! this server leads. `rules` says what is next.
//!
//! # Guarantees
//! A key never enters the log. It is on the disk of every server before anything is sealed with it, and is given up by a
//! server only once a State in which nothing is sealed with it is in a snapshot on that server's disk: whenever a process
//! is killed, what is in State opens with what is in the file.
//!
//! # Caveats
//! A server that is away holds a rotation up until it comes back or is removed.

mod keys;
pub mod rules;
mod steps;

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pki::sealer::Sealer;
use crate::raft::{Peers, RaftHandle};
use keys::Keys;

/// Before what failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Why a rotation does not go on, as its leader found; empty: it does.
pub type Trouble = watch::Receiver<String>;

/// Where `lead` says what the matter is, and where it is read.
pub fn trouble() -> (watch::Sender<String>, Trouble) {
    watch::channel(String::new())
}

/// Has the keys on disk that State asks for, and none that it gave up, until stopped.
pub async fn hold(raft: RaftHandle, sealer: Arc<Sealer>, peers: Arc<Peers>, stop: CancellationToken) {
    let mut states = raft.state();
    let mut keys = Keys::new(raft, sealer, peers);
    let mut told = String::new();
    loop {
        let state = states.borrow_and_update().clone();
        let settled = keys.settle(&state).await;
        if let Err(problem) = &settled
            && *problem != told
        {
            tracing::warn!(problem, "this server's sealing keys are not as they should be yet");
            told.clone_from(problem);
        }
        let is_settled = matches!(settled, Ok(true));
        if is_settled {
            told.clear();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN), if !is_settled => {}
            changed = states.changed(), if is_settled => if changed.is_err() { return },
        }
    }
}

/// Moves a rotation on whenever this server leads, until stopped.
pub async fn lead(raft: RaftHandle, sealer: Arc<Sealer>, stuck: watch::Sender<String>, stop: CancellationToken) {
    let mut states = raft.state();
    let mut leadership = raft.leadership();
    loop {
        let state = states.borrow_and_update().clone();
        let leads = leadership.borrow_and_update().leading().is_some();
        let has = |id: &str| sealer.holds(id) || sealer.drawn(id).is_some();
        let next = rules::next(&state, has).filter(|_| leads);
        let problem = match next {
            // Its State is that of the answer by now: the next step is looked for at once.
            Some(step) => match steps::take(&raft, &sealer, &state, step).await {
                Ok(()) => {
                    stuck.send_replace(String::new());
                    continue;
                }
                Err(problem) => Some(problem),
            },
            None => {
                stuck.send_if_modified(|told| !std::mem::take(told).is_empty());
                None
            }
        };
        if let Some(problem) = &problem {
            let is_new = stuck.send_if_modified(|told| std::mem::replace(told, problem.clone()) != *problem);
            if is_new {
                tracing::warn!(problem, "the sealing key's rotation does not go on yet");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN), if problem.is_some() => {}
            changed = states.changed(), if problem.is_none() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
        }
    }
}
