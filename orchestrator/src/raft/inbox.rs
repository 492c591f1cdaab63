//! Commands that wait to go on together: as many as an entry of the log holds.
//!
//! Never waits for more than the first. Used by `proposer` and `passing`.

use proto::limits::{BATCH_MAX_BYTES, BATCH_MAX_COMMANDS};
use tokio::sync::{mpsc, oneshot};

use super::error::ProposeError;
use super::type_config::{Applied, Encoded};

/// One command on its way into the log.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) version: u32,
    pub(super) encoded: Encoded,
    pub(super) answer: oneshot::Sender<Result<Applied, ProposeError>>,
}

impl AsRef<Proposal> for Proposal {
    fn as_ref(&self) -> &Proposal {
        self
    }
}

/// What waits, in order.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    receiver: mpsc::Receiver<T>,
    /// It did not fit any more.
    left_over: Option<T>,
}

// === impl Inbox ===

impl<T: AsRef<Proposal>> Inbox<T> {
    pub(super) fn new(receiver: mpsc::Receiver<T>) -> Inbox<T> {
        Inbox { receiver, left_over: None }
    }

    /// The next one; `None` once nobody can ask any more.
    pub(super) async fn first(&mut self) -> Option<T> {
        match self.left_over.take() {
            Some(first) => Some(first),
            None => self.receiver.recv().await,
        }
    }

    /// With it, what is waiting, up to the limits of an entry. Who gave up waiting is left out.
    pub(super) fn with_others(&mut self, first: T) -> Vec<T> {
        let mut bytes = first.as_ref().encoded.0.len();
        let mut together = vec![first];
        while together.len() < BATCH_MAX_COMMANDS {
            let Ok(next) = self.receiver.try_recv() else { break };
            if next.as_ref().answer.is_closed() {
                continue;
            }
            bytes += next.as_ref().encoded.0.len();
            if bytes > BATCH_MAX_BYTES {
                self.left_over = Some(next);
                break;
            }
            together.push(next);
        }
        together
    }
}

/// Answers all of them alike.
pub(super) fn answer_all<T: Into<Proposal>>(proposals: Vec<T>, error: &ProposeError) {
    for proposal in proposals {
        let _ = proposal.into().answer.send(Err(error.clone()));
    }
}
