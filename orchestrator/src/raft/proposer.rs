//! Many commands, one log entry: the only place that proposes commands to openraft.
//!
//! One entry is under way while the next one fills; an idle proposer waits for nothing. A command's outcome is its own:
//! what is wrong with one cannot harm the others of its entry. Never retries: only the caller knows its request id.
//! Fed by `RaftHandle::propose`.

use std::sync::Arc;
use std::time::Duration;

use proto::limits::{BATCH_MAX_BYTES, BATCH_MAX_COMMANDS};
use tokio::sync::{mpsc, oneshot, watch};

use super::clock::Clock;
use super::error::ProposeError;
use super::leadership::{Leadership, Term};
use super::type_config::{Applied, Batch, Encoded, Raft};

/// One command on its way into the log.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) version: u32,
    pub(super) encoded: Encoded,
    pub(super) answer: oneshot::Sender<Result<Applied, ProposeError>>,
}

/// Turns proposals into entries until nobody can propose any more.
pub(super) struct Proposer {
    pub(super) inbox: mpsc::Receiver<Proposal>,
    pub(super) raft: Raft,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) timeout: Duration,
}

impl Proposer {
    pub(super) async fn run(mut self) {
        let mut left_over = None;
        loop {
            let first = match left_over.take() {
                Some(proposal) => proposal,
                None => match self.inbox.recv().await {
                    Some(proposal) => proposal,
                    None => return,
                },
            };
            let proposals = self.fill(first, &mut left_over);
            let leadership = self.leadership.borrow().clone();
            match &leadership {
                Leadership::Leading(term) => self.propose(proposals, term).await,
                Leadership::Following { leader } => {
                    answer_all(proposals, &ProposeError::NotLeader { leader: leader.clone() });
                }
            }
        }
    }

    /// Takes what is waiting, up to the limits of an entry. Who gave up waiting is left out.
    fn fill(&mut self, first: Proposal, left_over: &mut Option<Proposal>) -> Vec<Proposal> {
        let mut bytes = first.encoded.0.len();
        let mut proposals = vec![first];
        while proposals.len() < BATCH_MAX_COMMANDS {
            let Ok(next) = self.inbox.try_recv() else { break };
            if next.answer.is_closed() {
                continue;
            }
            bytes += next.encoded.0.len();
            if bytes > BATCH_MAX_BYTES {
                *left_over = Some(next);
                break;
            }
            proposals.push(next);
        }
        proposals
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

fn answer_all(proposals: Vec<Proposal>, error: &ProposeError) {
    for proposal in proposals {
        let _ = proposal.answer.send(Err(error.clone()));
    }
}
