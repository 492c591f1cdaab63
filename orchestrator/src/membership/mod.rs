//! Who votes: an odd number of servers, kept by itself. One task that acts exactly while this server leads.
//!
//! # Guarantees
//! One change at a time, and none that would leave fewer voters answering than are needed to decide.
//!
//! # Caveats
//! Never lets anybody in: a server is in State before it is a member. `rules` decides, this does it.

pub mod rules;

use proto::id::ServerId;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::engine::State;
use crate::raft::{Follower, RaftError, RaftHandle};
use rules::{Member, Next, View};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// A follower that answered within this time is there.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Entries that one which has caught up may be behind.
pub const BEHIND_MAX: u64 = 500;

/// The members as their leader sees them.
pub fn view(raft: &RaftHandle, state: &State) -> View {
    view_within(raft, state, ANSWERED_WITHIN)
}

/// The same; who did not answer within this time is silent.
pub fn view_within(raft: &RaftHandle, state: &State, within: Duration) -> View {
    let member = |follower: Follower| Member {
        id: follower.peer.id,
        votes: follower.votes,
        known: state.server(follower.peer.id).is_some(),
        silent: Some(follower.silence).filter(|silence| *silence > within),
        is_behind: follower.behind.is_none_or(|entries| entries > BEHIND_MAX),
    };
    let own = raft.id();
    let metrics = raft.metrics();
    let me = Member {
        id: own,
        votes: metrics.voters.contains(&own),
        known: state.server(own).is_some(),
        silent: None,
        is_behind: false,
    };
    let members = std::iter::once(me).chain(raft.followers().into_iter().map(member)).collect();
    View { own, members, unfinished: raft.unfinished_change() }
}

/// Keeps the members as they should be whenever this server leads, until stopped.
pub async fn keep(raft: RaftHandle, stop: CancellationToken) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut led_since = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if raft.leadership().borrow().leading().is_none() {
            led_since = None;
            continue;
        }
        // Who has just begun to lead has not heard from anybody yet.
        let since = *led_since.get_or_insert_with(Instant::now);
        let state = raft.state().borrow().clone();
        if state.servers().next().is_none() || since.elapsed() < ANSWERED_WITHIN {
            continue;
        }
        if let Err(error) = step(&raft, &state).await {
            tracing::warn!(%error, "the members are not as they should be yet");
        }
    }
}

async fn step(raft: &RaftHandle, state: &State) -> Result<(), RaftError> {
    if admit_one(raft, state).await? {
        return Ok(());
    }
    match rules::next(&view(raft, state)) {
        None => Ok(()),
        Some(Next::Voters(voters)) => {
            tracing::info!(voters = %shown(&voters), "the voters change");
            raft.set_voters(voters).await
        }
        Some(Next::Drop(id)) => {
            tracing::info!(server = %id, "a server that was removed is no member any more");
            raft.drop_learner(id).await
        }
    }
}

/// A server that is known begins to receive the log, or is reached at another address. True if something changed.
async fn admit_one(raft: &RaftHandle, state: &State) -> Result<bool, RaftError> {
    let members = raft.metrics().members;
    for server in state.servers().filter(|server| !server.info.peers.is_empty()) {
        let info = &server.info;
        let is_right = members.iter().any(|peer| peer.id == info.id && peer.address == info.peers);
        if !is_right {
            tracing::info!(server = %info.id, address = info.peers, "a member, and where it is reached");
            raft.admit(info.id, &info.peers).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

fn shown(voters: &BTreeSet<ServerId>) -> String {
    voters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
