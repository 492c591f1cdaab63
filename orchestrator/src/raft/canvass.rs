//! Elections: when this server stands for one. openraft itself never begins one here.
//!
//! It asks first whether a majority would vote for it (pre-vote): one that was cut off and comes back raises no term and
//! unseats nobody. The pause before it asks is drawn anew each time, so that two do not meet again and again.
//! Started by `handle::open`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::error::Fatal;
use proto::id::ServerId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::heard::Heard;
use super::leadership::Peer;
use super::log_store::Reach;
use super::network::Transport;
use super::options::Timing;
use super::type_config::Raft;
use super::wire::Canvass;

/// Between two looks at the clock.
const LOOK: Duration = Duration::from_millis(25);

/// What an election needs to know of this server.
struct Standing {
    follows: bool,
    /// The sets of voters of each of which a majority is needed.
    quorums: Vec<BTreeSet<u64>>,
    others: BTreeMap<u64, Peer>,
}

/// Follows openraft until it ends.
pub(super) async fn follow(raft: Raft, transport: Arc<dyn Transport>, log: Reach, heard: Heard, timing: Timing) {
    let own = raft.metrics().borrow().id;
    let mut patience = timing.patience();
    // Kept apart from `heard`: a server that only tries has heard no leader, and must not say so when others ask it.
    let mut tried = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        if heard.silence().min(tried.elapsed()) < patience {
            continue;
        }
        let Ok(standing) = look(&raft, own).await else { return };
        // A lone voter does not wait for anybody: `handle` has it elected at once.
        if !standing.follows || standing.others.is_empty() {
            tried = Instant::now();
            continue;
        }
        let answer_within = Duration::from_millis(timing.heartbeat_ms);
        let yes = ask_all(&transport, &standing, Canvass { last: log.last() }, answer_within).await;
        if has_majority(&standing.quorums, own, &yes) {
            tracing::info!(silent_ms = heard.silence().as_millis(), "no leader is heard: standing for election");
            if raft.trigger().elect().await.is_err() {
                return;
            }
        }
        // Whether elected or not: the next attempt has a pause of its own.
        tried = Instant::now();
        patience = timing.again();
        if raft.metrics().borrow().state == ServerState::Leader {
            patience = timing.patience();
        }
    }
}

async fn look(raft: &Raft, own: u64) -> Result<Standing, Fatal<u64>> {
    raft.with_raft_state(move |state| {
        let membership = state.membership_state.effective();
        let quorums: Vec<BTreeSet<u64>> = membership.membership().get_joint_config().clone();
        let is_voter = quorums.iter().any(|set| set.contains(&own));
        let voters: BTreeSet<u64> = quorums.iter().flatten().copied().collect();
        let others = membership
            .nodes()
            .filter(|(id, _)| **id != own && voters.contains(id))
            .map(|(id, node)| (*id, Peer { id: ServerId(*id), address: node.addr.clone() }))
            .collect();
        Standing { follows: is_voter && state.server_state != ServerState::Leader, quorums, others }
    })
    .await
}

/// Who would vote for this server.
async fn ask_all(
    transport: &Arc<dyn Transport>,
    standing: &Standing,
    question: Canvass,
    within: Duration,
) -> BTreeSet<u64> {
    let mut asked = JoinSet::new();
    for peer in standing.others.values().cloned() {
        let transport = transport.clone();
        asked.spawn(async move { (peer.id.0, transport.canvass(&peer, question, within).await) });
    }
    let mut yes = BTreeSet::new();
    while let Some(answer) = asked.join_next().await {
        if let Ok((id, Ok(true))) = answer {
            yes.insert(id);
        }
    }
    yes
}

fn has_majority(quorums: &[BTreeSet<u64>], own: u64, yes: &BTreeSet<u64>) -> bool {
    quorums.iter().all(|set| {
        let votes = set.iter().filter(|id| **id == own || yes.contains(id)).count();
        votes > set.len() / 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_each_set_is_needed() {
        let (one_two_three, three_four_five) = (BTreeSet::from([1, 2, 3]), BTreeSet::from([3, 4, 5]));
        let quorums = [one_two_three.clone()];
        assert!(!has_majority(&quorums, 1, &BTreeSet::new()));
        assert!(has_majority(&quorums, 1, &BTreeSet::from([3])));
        let joint = [one_two_three, three_four_five];
        assert!(!has_majority(&joint, 1, &BTreeSet::from([2, 4])));
        assert!(has_majority(&joint, 1, &BTreeSet::from([3, 4])));
    }
}
