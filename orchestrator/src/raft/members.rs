//! Changing who is a member and who votes, and handing leadership over.
//!
//! Never decides who should: that is `membership`'s. Part of `RaftHandle`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError as CoreError};
use openraft::{BasicNode, ChangeMembers, ServerState};
use proto::id::ServerId;
use tokio::time::Instant;

use super::error::RaftError;
use super::handle::RaftHandle;
use super::leadership::Peer;
use super::peer_door::PeerDoor;

/// Between two looks at how far the next leader is.
const LOOK: Duration = Duration::from_millis(5);
/// How long the next leader may need to catch up.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(1);
/// How long it may need to be elected, beyond the lease.
const ELECTED_WITHIN: Duration = Duration::from_secs(1);

/// Another member, as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    /// Which, and where.
    pub peer: Peer,
    /// Has it a vote?
    pub votes: bool,
    /// The last entry that it is known to have.
    pub reached: Option<u64>,
    /// How many entries it lacks; `None`: not known yet.
    pub behind: Option<u64>,
    /// For how long it has not answered this server.
    pub silence: Duration,
}

impl RaftHandle {
    /// Lets a server receive the log without a vote, at this address from now on. Does not wait until it has caught up.
    pub async fn admit(&self, id: ServerId, address: &str) -> Result<(), RaftError> {
        let known = self.metrics().members.into_iter().find(|peer| peer.id == id);
        let node = BasicNode::new(address);
        match known {
            Some(peer) if peer.address == address => Ok(()),
            // Its vote, if it has one, stays.
            Some(_) => {
                let change = ChangeMembers::SetNodes(BTreeMap::from([(id.0, node)]));
                membership_changed(self.core().change_membership(change, true)).await
            }
            None => membership_changed(self.core().add_learner(id.0, node, false)).await,
        }
    }

    /// Lets a server receive the log without a vote; returns when it has caught up.
    pub async fn add_learner(&self, id: ServerId, address: &str) -> Result<(), RaftError> {
        membership_changed(self.core().add_learner(id.0, BasicNode::new(address), true)).await
    }

    /// Makes exactly these servers the voters. All must be learners or voters; who is left out becomes a learner.
    pub async fn set_voters(&self, voters: BTreeSet<ServerId>) -> Result<(), RaftError> {
        let voters: BTreeSet<u64> = voters.into_iter().map(|id| id.0).collect();
        membership_changed(self.core().change_membership(voters, true)).await
    }

    /// The voters of a change of which only the first step was taken, by whoever led then.
    pub fn unfinished_change(&self) -> Option<BTreeSet<ServerId>> {
        let watch = self.core().metrics();
        let m = watch.borrow();
        let sets = m.membership_config.membership().get_joint_config();
        sets.get(1).map(|goal| goal.iter().copied().map(ServerId).collect())
    }

    /// A learner is no member any more.
    pub async fn drop_learner(&self, id: ServerId) -> Result<(), RaftError> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([id.0]));
        membership_changed(self.core().change_membership(change, false)).await
    }

    /// The other members, as their leader sees them; nobody, if this server does not lead.
    pub fn followers(&self) -> Vec<Follower> {
        let watch = self.core().metrics();
        let m = watch.borrow();
        let Some(replication) = m.replication.as_ref().filter(|_| m.state == ServerState::Leader) else {
            return Vec::new();
        };
        let membership = m.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let others = membership.nodes().filter(|(id, _)| **id != m.id);
        let follower = |(id, node): (&u64, &BasicNode)| {
            let reached = replication.get(id).copied().flatten().map(|log| log.index);
            Follower {
                peer: Peer { id: ServerId(*id), address: node.addr.clone() },
                votes: voters.contains(id),
                reached,
                behind: reached.map(|index| m.last_log_index.unwrap_or(0).saturating_sub(index)),
                silence: self.answered().silence(*id),
            }
        };
        others.map(follower).collect()
    }

    /// Where messages of other servers go in.
    pub fn door(&self) -> PeerDoor {
        self.peer_door()
    }

    /// Has another voter lead, if this server leads and there is one that is up to date. Proposals are refused meanwhile,
    /// as by a server that does not lead. Returns who leads then; `None`: this one still does, or never did.
    pub async fn hand_over(&self) -> Option<Peer> {
        let next = self.heir()?;
        let holding = self.holding();
        holding.store(true, Ordering::SeqCst);
        let handed = self.hand_over_to(&next).await;
        if handed {
            let mut leadership = self.leadership();
            let follows = leadership.wait_for(|l| l.leading().is_none());
            let _ = tokio::time::timeout(ELECTED_WITHIN, follows).await;
        }
        self.core().runtime_config().heartbeat(true);
        holding.store(false, Ordering::SeqCst);
        handed.then_some(next)
    }

    /// The voter, this one aside, that has most of the log.
    fn heir(&self) -> Option<Peer> {
        let own = self.id();
        let metrics = self.metrics();
        let watch = self.core().metrics();
        let m = watch.borrow();
        let replication = m.replication.as_ref().filter(|_| m.state == ServerState::Leader)?;
        let voters = metrics.members.into_iter().filter(|peer| peer.id != own && metrics.voters.contains(&peer.id));
        let reached = |peer: &Peer| replication.get(&peer.id.0).copied().flatten().map(|id| id.index);
        voters.filter_map(|peer| Some((reached(&peer)?, peer))).max_by_key(|(index, _)| *index).map(|(_, peer)| peer)
    }

    async fn hand_over_to(&self, next: &Peer) -> bool {
        let end = Instant::now() + CAUGHT_UP_WITHIN;
        while !self.has_all(next.id) {
            if Instant::now() >= end {
                tracing::warn!(to = %next.id, "leadership is not handed over: that server does not catch up");
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.core().runtime_config().heartbeat(false);
        let within = self.timing().lease() + ELECTED_WITHIN;
        if let Err(error) = self.transport().take_lead(next, within).await {
            tracing::warn!(%error, "leadership was not handed over");
            return false;
        }
        tracing::info!(to = %next.id, "leadership was handed over");
        true
    }

    fn has_all(&self, id: ServerId) -> bool {
        let watch = self.core().metrics();
        let m = watch.borrow();
        let reached = m.replication.as_ref().and_then(|r| r.get(&id.0).copied().flatten()).map(|l| l.index);
        reached.is_some() && reached >= m.last_log_index
    }
}

async fn membership_changed<T>(
    change: impl Future<Output = Result<T, CoreError<u64, ClientWriteError<u64, BasicNode>>>>,
) -> Result<(), RaftError> {
    change.await.map(|_| ()).map_err(|e| RaftError::Membership { cause: e.to_string() })
}
