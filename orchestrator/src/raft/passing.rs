//! Commands that a server is asked for that does not lead, on their way into the leader's log: many in one message.
//!
//! Never decides who may ask: the leader's door looks at that once more before anything comes to `take`. Fed by
//! `RaftHandle::propose_for`.
//!
//! # Guarantees
//! What is not answered is never taken for done, nor for not done: a command under a request id is asked for again, of whoever
//! leads then, and recognised; the outcome of another is unknown.

use std::sync::Arc;
use std::time::Duration;

use proto::id::ProjectName;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use super::error::ProposeError;
use super::inbox::{Inbox, Proposal, answer_all};
use super::leadership::{Leadership, Peer};
use super::meter::Meter;
use super::network::{Transport, TransportError};
use super::type_config::{Applied, Encoded};

/// Messages under way at once: the next fills while these wait for the disks of a majority.
const UNDER_WAY: usize = 4;

/// Who asks for a command, by which call, as the server found out that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Who, in the audit's words.
    pub who: String,
    /// The call.
    pub call: String,
    /// The project that who asks is held to.
    pub project: Option<ProjectName>,
}

/// One command for the leader's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// Who asks.
    pub asked: Asked,
    /// The State version that it needs.
    pub(super) version: u32,
    /// The command, encoded as for the log.
    pub(super) command: Encoded,
}

/// Commands for the leader's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassedOn {
    /// In the order in which they were asked for.
    pub commands: Vec<Passed>,
}

/// What became of them, one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Became {
    /// In the same order.
    pub each: Vec<Result<Applied, NotTaken>>,
}

/// Why a command has no outcome, as the leader says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NotTaken {
    /// Who asks may not, or not any more.
    Forbidden {
        /// It is known who that is.
        is_known: bool,
        /// Why not.
        why: String,
    },
    /// It does not lead.
    NotLeading,
    /// It may be in the log, or get there.
    Unknown {
        /// What was observed.
        cause: String,
    },
}

impl From<ProposeError> for NotTaken {
    fn from(error: ProposeError) -> NotTaken {
        match error {
            ProposeError::NotLeader { .. } | ProposeError::Stopped => NotTaken::NotLeading,
            ProposeError::Forbidden { is_known, why } => NotTaken::Forbidden { is_known, why },
            other => NotTaken::Unknown { cause: other.to_string() },
        }
    }
}

impl From<NotTaken> for ProposeError {
    fn from(why: NotTaken) -> ProposeError {
        match why {
            NotTaken::Forbidden { is_known, why } => ProposeError::Forbidden { is_known, why },
            NotTaken::NotLeading => ProposeError::NotLeader { leader: None },
            NotTaken::Unknown { cause } => ProposeError::Unknown { cause },
        }
    }
}

/// One that waits to be passed on.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) asked: Asked,
    pub(super) proposal: Proposal,
    /// It has a request id: asked for twice it happens once.
    pub(super) is_recognised: bool,
}

impl AsRef<Proposal> for Waiting {
    fn as_ref(&self) -> &Proposal {
        &self.proposal
    }
}

impl From<Waiting> for Proposal {
    fn from(waiting: Waiting) -> Proposal {
        waiting.proposal
    }
}

impl From<&Waiting> for Passed {
    fn from(Waiting { asked, proposal, .. }: &Waiting) -> Passed {
        Passed { asked: asked.clone(), version: proposal.version, command: proposal.encoded.clone() }
    }
}

/// Passes on what comes until nobody can ask any more.
pub(super) struct Passing {
    pub(super) inbox: Inbox<Waiting>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) meter: Arc<Meter>,
    pub(super) timeout: Duration,
}

// === impl Passing ===

impl Passing {
    pub(super) async fn run(mut self) {
        let room = Arc::new(Semaphore::new(UNDER_WAY));
        while let Some(first) = self.inbox.first().await {
            // What comes while there is no room goes with it.
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let waiting = self.inbox.with_others(first);
            let leader = self.leadership.borrow().leader().cloned();
            let Some(leader) = leader else {
                answer_all(waiting, &ProposeError::NotLeader { leader: None });
                continue;
            };
            let (transport, meter, timeout) = (self.transport.clone(), self.meter.clone(), self.timeout);
            tokio::spawn(async move {
                pass(&*transport, &leader, waiting, timeout, &meter).await;
                drop(place);
            });
        }
    }
}

async fn pass(transport: &dyn Transport, leader: &Peer, waiting: Vec<Waiting>, timeout: Duration, meter: &Meter) {
    let commands = waiting.len();
    let passed = PassedOn { commands: waiting.iter().map(Passed::from).collect() };
    match transport.propose(leader, passed, timeout).await {
        Ok(became) if became.each.len() == commands => {
            meter.count_passed_on(commands as u64);
            for (waiting, became) in waiting.into_iter().zip(became.each) {
                // A caller that gave up has been told that the outcome is unknown.
                let _ = waiting.proposal.answer.send(became.map_err(ProposeError::from));
            }
        }
        Ok(became) => {
            let cause = format!("the leader answered {} of {} commands", became.each.len(), commands);
            answer_all(waiting, &ProposeError::Unknown { cause });
        }
        Err(error) => unanswered(waiting, &error),
    }
}

fn unanswered(waiting: Vec<Waiting>, error: &TransportError) {
    for one in waiting {
        let _ = one.proposal.answer.send(Err(match one.is_recognised {
            true => ProposeError::NotLeader { leader: None },
            false => ProposeError::Unknown { cause: error.to_string() },
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Outcome;
    use async_trait::async_trait;
    use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
    use proto::id::ServerId;
    use proto::limits::BATCH_MAX_COMMANDS;
    use proto::revision::Revision;
    use std::sync::Mutex;
    use tokio::sync::{mpsc, oneshot};

    use crate::raft::type_config::{Snapshot, Vote};
    use crate::raft::wire::Canvass;
    use crate::raft::{NoPeers, TypeConfig};

    /// A leader that answers each message in the same way, after a while.
    #[derive(Debug)]
    struct Leader {
        messages: Mutex<Vec<usize>>,
        answer: Result<Result<Applied, NotTaken>, TransportError>,
    }

    #[async_trait]
    impl Transport for Leader {
        async fn append_entries(
            &self,
            to: &Peer,
            _: AppendEntriesRequest<TypeConfig>,
            _: Duration,
        ) -> Result<AppendEntriesResponse<u64>, TransportError> {
            NoPeers::refuse(to)
        }
        async fn vote(&self, to: &Peer, _: VoteRequest<u64>, _: Duration) -> Result<VoteResponse<u64>, TransportError> {
            NoPeers::refuse(to)
        }
        async fn snapshot(
            &self,
            to: &Peer,
            _: Vote,
            _: Snapshot,
            _: Duration,
        ) -> Result<SnapshotResponse<u64>, TransportError> {
            NoPeers::refuse(to)
        }
        async fn canvass(&self, to: &Peer, _: Canvass, _: Duration) -> Result<bool, TransportError> {
            NoPeers::refuse(to)
        }
        async fn take_lead(&self, to: &Peer, _: Duration) -> Result<(), TransportError> {
            NoPeers::refuse(to)
        }
        async fn propose(&self, _: &Peer, passed: PassedOn, _: Duration) -> Result<Became, TransportError> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.messages.lock().unwrap().push(passed.commands.len());
            let answer = self.answer.clone()?;
            Ok(Became { each: vec![answer; passed.commands.len()] })
        }
    }

    fn applied() -> Applied {
        Applied { revision: Revision(7), outcome: Outcome::Done { revision: Revision(7), changed: true } }
    }

    type Answers = Vec<Result<Applied, ProposeError>>;

    /// So many commands at once, every other one under a request id.
    async fn passed_on(count: usize, leader: Arc<Leader>, known: bool) -> Answers {
        let (sender, inbox) = mpsc::channel(1_024);
        let peer = known.then(|| Peer { id: ServerId(1), address: "10.0.0.1:7421".to_owned() });
        let (_leads, leadership) = watch::channel(Leadership::Following { leader: peer });
        let meter = Arc::new(Meter::new(Duration::from_secs(1)));
        let inbox = Inbox::new(inbox);
        let passing = Passing { inbox, transport: leader, leadership, meter, timeout: Duration::from_secs(1) };
        let mut answers = Vec::new();
        for number in 0..count {
            let asked = Asked { who: "local".to_owned(), call: "LabelNode".to_owned(), project: None };
            let (answer, outcome) = oneshot::channel();
            let proposal = Proposal { version: 8, encoded: Encoded(vec![0; 8].into()), answer };
            sender.send(Waiting { asked, proposal, is_recognised: number % 2 == 0 }).await.unwrap();
            answers.push(outcome);
        }
        drop(sender);
        tokio::spawn(passing.run());
        let mut became = Vec::new();
        for answer in answers {
            became.push(answer.await.unwrap());
        }
        became
    }

    fn leader(answer: Result<Result<Applied, NotTaken>, TransportError>) -> Arc<Leader> {
        Arc::new(Leader { messages: Mutex::default(), answer })
    }

    #[tokio::test(start_paused = true)]
    async fn many_go_in_one_message_and_each_has_its_answer() {
        let leader = leader(Ok(Ok(applied())));
        let became = passed_on(600, leader.clone(), true).await;
        assert!(became.iter().all(|b| *b == Ok(applied())) && became.len() == 600);
        let messages = leader.messages.lock().unwrap().clone();
        assert_eq!(messages.iter().sum::<usize>(), 600);
        assert!(messages.len() <= 600_usize.div_ceil(BATCH_MAX_COMMANDS), "{messages:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_is_asked_for_again_only_if_it_is_recognised() {
        let cause = "the connection broke".to_owned();
        let became = passed_on(2, leader(Err(TransportError::Unreachable { to: ServerId(1), cause })), true).await;
        assert!(matches!(became[0], Err(ProposeError::NotLeader { .. })), "{became:?}");
        assert!(matches!(became[1], Err(ProposeError::Unknown { .. })), "{became:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_handed_on_and_nobody_is_asked_while_nobody_leads() {
        let why = NotTaken::Forbidden { is_known: true, why: "no".to_owned() };
        let became = passed_on(1, leader(Ok(Err(why))), true).await;
        assert_eq!(became, [Err(ProposeError::Forbidden { is_known: true, why: "no".to_owned() })]);
        let idle = leader(Ok(Ok(applied())));
        let became = passed_on(3, idle.clone(), false).await;
        assert!(became.iter().all(|b| matches!(b, Err(ProposeError::NotLeader { .. }))), "{became:?}");
        assert!(idle.messages.lock().unwrap().is_empty());
    }
}
