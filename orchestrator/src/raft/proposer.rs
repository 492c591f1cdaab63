//! Many commands, one log entry: the only place that proposes commands to openraft.
//!
//! One entry is under way while the next one fills; an idle proposer waits for nothing. A command's outcome is its own:
//! what is wrong with one cannot harm the others of its entry. Never retries: only the caller knows its request id.
//! Fed by `RaftHandle::propose`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::clock::Clock;
use super::error::ProposeError;
use super::inbox::{Inbox, Proposal, answer_all};
use super::leadership::{Leadership, Term};
use super::type_config::{Applied, Batch, Raft};

/// Turns proposals into entries until nobody can propose any more.
pub(super) struct Proposer {
    pub(super) inbox: Inbox<Proposal>,
    pub(super) raft: Raft,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) timeout: Duration,
}

impl Proposer {
    pub(super) async fn run(mut self) {
        while let Some(first) = self.inbox.first().await {
            let proposals = self.inbox.with_others(first);
            let leadership = self.leadership.borrow().clone();
            match &leadership {
                Leadership::Leading(term) => self.propose(proposals, term).await,
                Leadership::Following { leader } => {
                    answer_all(proposals, &ProposeError::NotLeader { leader: leader.clone() });
                }
            }
        }
    }

    async fn propose(&self, proposals: Vec<Proposal>, term: &Term) {
        let batch = Batch {
            version: proposals.iter().map(|p| p.version).max().unwrap_or(0),
            at: term.now(&*self.clock),
            wall: self.clock.wall(),
            commands: proposals.iter().map(|p| p.encoded.clone()).collect(),
        };
        let unknown = |cause: String| ProposeError::Unknown { cause };
        match tokio::time::timeout(self.timeout, self.raft.client_write(batch)).await {
            Ok(Ok(written)) => answer_each(proposals, written.data),
            // Also when openraft names another leader: the entry may already be on other disks, and be revived there.
            Ok(Err(e)) => answer_all(proposals, &unknown(e.to_string())),
            Err(_) => answer_all(proposals, &unknown(format!("no majority answered within {:?}", self.timeout))),
        }
    }
}

fn answer_each(proposals: Vec<Proposal>, applied: Vec<Applied>) {
    debug_assert_eq!(proposals.len(), applied.len(), "each command has its outcome");
    for (proposal, applied) in proposals.into_iter().zip(applied) {
        // A caller that gave up has been told that the outcome is unknown.
        let _ = proposal.answer.send(Ok(applied));
    }
}
