//! Whether this server leads, and what time it is in the cluster while it does.
//!
//! Leading is announced only after an entry of this very leadership has been applied: until then State may lack what
//! was acknowledged before. Never acts on leading: the rooms that do watch `RaftHandle::leadership`.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use proto::id::ServerId;
use proto::revision::Time;
use tokio::sync::watch;

use super::clock::Clock;
use super::type_config::{Batch, Raft};
use crate::engine::State;

/// A server and where it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Which server.
    pub id: ServerId,
    /// `HOST:PORT`, as it was announced when the server joined.
    pub address: String,
}

/// Who leads, as far as this server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// This server does, and its State holds everything that was ever acknowledged.
    Leading(Term),
    /// Another does, or nobody.
    Following {
        /// Who, if known.
        leader: Option<Peer>,
    },
}

impl Leadership {
    /// The term, if this server leads.
    pub fn leading(&self) -> Option<&Term> {
        match self {
            Leadership::Leading(term) => Some(term),
            Leadership::Following { .. } => None,
        }
    }

    /// Whom to ask instead.
    pub fn leader(&self) -> Option<&Peer> {
        match self {
            Leadership::Leading(_) => None,
            Leadership::Following { leader } => leader.as_ref(),
        }
    }
}

/// One leadership of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Raft's term.
    pub term: u64,
    /// Cluster time at which it began: State's clock at that moment.
    pub since: Time,
    began_ms: u64,
}

impl Term {
    /// Cluster time now: State's clock when this leadership began, plus our monotonic time since.
    pub fn now(&self, clock: &dyn Clock) -> Time {
        self.since.after_ms(clock.monotonic_ms().saturating_sub(self.began_ms))
    }
}

/// A leader that no majority has answered for so long does not lead: others may have elected one meanwhile.
const CUT_OFF_MS: u64 = 1_000;
/// Between two attempts to pass the barrier; they fail only while leadership is being lost.
const RETRY: Duration = Duration::from_millis(20);

/// What openraft's metrics say about leading.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Leader { term: u64 },
    Follower { leader: Option<Peer> },
}

fn look(metrics: &openraft::RaftMetrics<u64, openraft::BasicNode>) -> Seen {
    let is_cut_off = metrics.millis_since_quorum_ack.is_some_and(|ms| ms > CUT_OFF_MS)
        && metrics.membership_config.membership().voter_ids().nth(1).is_some();
    if metrics.state == ServerState::Leader && metrics.running_state.is_ok() && !is_cut_off {
        return Seen::Leader { term: metrics.current_term };
    }
    // A leader that no longer is one still names itself until it hears of another.
    let other = metrics.current_leader.filter(|id| *id != metrics.id);
    let node = |id: u64| metrics.membership_config.membership().get_node(&id).cloned();
    let leader = other.map(|id| Peer { id: ServerId(id), address: node(id).map(|n| n.addr).unwrap_or_default() });
    Seen::Follower { leader }
}

/// Follows openraft until it ends.
pub(super) async fn follow(
    raft: Raft,
    state: watch::Receiver<Arc<State>>,
    clock: Arc<dyn Clock>,
    leadership: watch::Sender<Leadership>,
) {
    let mut metrics = raft.metrics();
    loop {
        let seen = look(&metrics.borrow_and_update());
        match &seen {
            Seen::Leader { term } if leadership.borrow().leading().is_some_and(|t| t.term == *term) => {}
            Seen::Leader { term } => {
                announce(&leadership, Leadership::Following { leader: None });
                if passes_barrier(&raft, &seen).await {
                    let since = state.borrow().clock();
                    let term = Term { term: *term, since, began_ms: clock.monotonic_ms() };
                    announce(&leadership, Leadership::Leading(term));
                } else {
                    tokio::time::sleep(RETRY).await;
                }
                // What changed meanwhile is looked at next.
                metrics.mark_changed();
            }
            Seen::Follower { leader } => announce(&leadership, Leadership::Following { leader: leader.clone() }),
        }
        let has_stopped = metrics.borrow().running_state.is_err();
        if has_stopped || metrics.changed().await.is_err() {
            announce(&leadership, Leadership::Following { leader: None });
            return;
        }
    }
}

/// Whether an entry of this leadership was applied before the leadership ended.
async fn passes_barrier(raft: &Raft, seen: &Seen) -> bool {
    let mut metrics = raft.metrics();
    let written = tokio::select! {
        written = raft.client_write(Batch::barrier()) => written.is_ok(),
        _ = metrics.wait_for(|now| look(now) != *seen) => false,
    };
    written && look(&metrics.borrow()) == *seen
}

fn announce(leadership: &watch::Sender<Leadership>, new: Leadership) {
    leadership.send_if_modified(|current| {
        let is_news = *current != new;
        if is_news {
            tracing::info!(?new, "leadership");
            *current = new;
        }
        is_news
    });
}
