//! What happens in the world, what servers say to each other, and what promises are held against.

use orchestrator::engine::{Command, Outcome};
use orchestrator::raft::{Asked, NotTaken};
use proto::id::{RequestId, ServerId};
use std::collections::BTreeSet;
use std::rc::Rc;

use super::log::Entry;

/// A command that somebody asks for.
#[derive(Debug)]
pub struct Ask {
    /// Which client.
    pub client: usize,
    /// The same each time it is sent.
    pub request: RequestId,
    /// Who, and by which call.
    pub asked: Asked,
    /// What.
    pub command: Command,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The command's outcome.
    Became(Outcome),
    /// Who asks may not.
    Forbidden(String),
    /// It cannot be done now, and was not.
    NotNow,
    /// It may have been done, or may be yet.
    Unknown,
}

/// Whom an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Back {
    /// A client, at one of its attempts.
    Client(usize, u64),
    /// A server, for one of its calls.
    Server(ServerId, u64),
}

/// What a server says to another.
#[derive(Debug)]
pub enum Message {
    /// Entries, or a heartbeat without any.
    Append {
        /// The leader's term.
        term: u64,
        /// The entry before the first.
        after: (u64, usize),
        /// What follows it.
        entries: Vec<Rc<Entry>>,
        /// How many are committed.
        committed: usize,
    },
    /// The answer.
    Appended {
        /// The term of the leader that is answered, or a newer one.
        term: u64,
        /// How many entries are the leader's and synced; `Err`: where the leader has to begin.
        upto: Result<usize, usize>,
    },
    /// Would you vote for one that has this log?
    Canvass(u64, (u64, usize)),
    /// The answer.
    Canvassed(u64, bool),
    /// Vote for me.
    Vote(u64, (u64, usize)),
    /// The answer.
    Voted(u64, bool),
    /// Commands for the leader's log.
    Propose(u64, Vec<Rc<Ask>>),
    /// What became of them.
    Proposed(u64, Vec<Result<Outcome, NotTaken>>),
    /// A whole call.
    Call(u64, Rc<Ask>),
    /// Its answer.
    Called(u64, Reply),
    /// What a server says of itself.
    Announce(ServerId),
}

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// A server looks at its clock.
    Tick(usize, u64),
    /// A message arrives.
    Arrives(ServerId, usize, Rc<Message>),
    /// A sync comes back that reached an entry; then the leader that waits for it is answered.
    Synced(usize, u64, (usize, u64), Option<(ServerId, u64)>),
    /// Nobody has answered a server's message.
    Broken(usize, u64, u64),
    /// A client's call arrives.
    Asked(usize, Back, Rc<Ask>),
    /// A client is answered.
    Answered(usize, u64, Reply),
    /// A client waits no longer for this attempt.
    GivenUp(usize, u64),
    /// A client thinks of something, or asks once more.
    Thinks(usize),
    /// Something goes wrong.
    Trouble,
    /// A leader is killed in the middle of what it does.
    Falls(usize, u64),
    /// A server starts.
    Starts(usize),
    /// Two hosts reach each other again.
    Heals(usize, usize),
    /// Messages are lost no more.
    Clears,
    /// Troubles are over.
    Calm,
    /// A look at the whole.
    Look,
}

/// What promises are held against.
#[derive(Debug)]
pub enum Fact {
    /// A server was elected, by these.
    Elected(usize, BTreeSet<ServerId>),
    /// A server leads: its State holds everything.
    Leads(usize),
    /// A server has applied the entry of that number.
    Applied(usize, usize),
    /// The entry of that number was applied for the first time.
    Committed(usize),
    /// A leader changes the voters to these.
    Changes(usize, BTreeSet<ServerId>),
    /// A client has an answer.
    Answered(Rc<Ask>, Reply),
    /// A second has passed.
    Second,
}
