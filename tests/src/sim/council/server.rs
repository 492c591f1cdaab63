//! One server: what is on its disk, and what it forgets when its process ends.

use orchestrator::engine::Outcome;
use orchestrator::raft::NotTaken;
use proto::id::ServerId;
use proto::revision::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::event::{Ask, Back};
use super::log::Disk;

/// A server.
#[derive(Debug)]
pub struct Server {
    /// Its id, which never comes back.
    pub id: ServerId,
    /// Its host.
    pub host: usize,
    /// Its disk.
    pub disk: Disk,
    /// Its disk was wiped: it never starts again.
    pub is_wiped: bool,
    /// Its process runs.
    pub is_up: bool,
    /// Counts its processes.
    pub process: u64,
    /// Until then its process stands still.
    pub paused_until: u64,
    /// Since when it has been up and gone on without a stop.
    pub well_since: u64,
    /// The process.
    pub run: Run,
}

/// What a process has in memory.
#[derive(Debug)]
pub struct Run {
    /// When it began.
    pub began: u64,
    /// What it is.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<ServerId>,
    /// When it heard a leader last.
    pub heard: u64,
    /// When it stood for election last.
    pub tried: u64,
    /// How long it waits before it stands.
    pub patience: u64,
    /// Entries that are committed and applied.
    pub applied: usize,
    /// When each other answered last.
    pub answers: BTreeMap<ServerId, u64>,
    /// Counts its messages that want an answer.
    pub numbers: u64,
    /// Calls that are not answered.
    pub calls: BTreeMap<u64, Call>,
    /// Calls whose commands wait to be passed on.
    pub waiting: VecDeque<u64>,
    /// Messages under way, with the calls that their commands are of.
    pub passed: BTreeMap<u64, Vec<u64>>,
    /// Whole calls under way, each with the call here that it is of.
    pub relayed: BTreeMap<u64, u64>,
    /// Commands of others that are in the making.
    pub taken: BTreeMap<(ServerId, u64), Vec<Option<Became>>>,
}

/// What became of a command.
pub type Became = Result<Outcome, NotTaken>;

/// What a server is.
#[derive(Debug)]
pub enum Role {
    /// It follows.
    Follower,
    /// It asks who would vote for it.
    Canvasser(u64, BTreeSet<ServerId>),
    /// It asks for votes.
    Candidate(BTreeSet<ServerId>),
    /// It leads.
    Leader(Box<Lead>),
}

/// What a leader has.
#[derive(Debug)]
pub struct Lead {
    /// When it was elected.
    pub began: u64,
    /// Its barrier: the entry that must be applied before it leads.
    pub barrier: usize,
    /// State's clock when it had been applied, and when that was.
    pub since: Option<(Time, u64)>,
    /// What it knows of the others.
    pub progress: BTreeMap<ServerId, Progress>,
    /// Commands for the next entry.
    pub inbox: VecDeque<Proposal>,
    /// The entry under way, and what waits for it.
    pub under_way: Option<(usize, Vec<Proposal>)>,
    /// When it looked at the members last.
    pub looked: u64,
    /// The voters that are to be, and the entry that has to be committed next.
    pub change: Option<(Option<BTreeSet<ServerId>>, usize)>,
    /// When it sent heartbeats last.
    pub beat: u64,
}

/// What a leader knows of another server.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Entries that it has.
    pub matched: Option<usize>,
    /// Entries before the next that is sent.
    pub next: usize,
    /// When entries were sent that are not answered.
    pub sent: Option<u64>,
    /// When it answered last in this term.
    pub answered: Option<u64>,
}

/// A command on its way into an entry.
#[derive(Debug)]
pub struct Proposal {
    /// The command.
    pub ask: Rc<Ask>,
    /// Who is told.
    pub way: Way,
    /// When it was looked at whether it may be asked for.
    pub judged: u64,
    /// From then on its outcome is unknown.
    pub expires: u64,
}

/// Who waits for a command.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// A call of this server.
    Call(u64),
    /// One of the commands that another server passed on.
    Taken(ServerId, u64, usize),
    /// Nobody.
    Nobody,
}

/// A call that a server answers.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub ask: Rc<Ask>,
    /// Who is answered.
    pub back: Back,
    /// When the gate let it in.
    pub judged: u64,
    /// Until then a leader is looked for.
    pub ends: u64,
    /// Its command can be passed on alone.
    pub as_command: bool,
    /// Before then nothing is done.
    pub again: u64,
    /// Somebody else has it.
    pub is_away: bool,
}

// === impl Server ===

impl Server {
    /// A server on an empty disk.
    pub fn new(id: ServerId, host: usize, now: u64) -> Server {
        Server {
            id,
            host,
            disk: Disk::default(),
            is_wiped: false,
            is_up: true,
            process: 1,
            paused_until: 0,
            well_since: now,
            run: Run::new(now, 0),
        }
    }

    /// What it has as a leader.
    pub fn lead(&self) -> Option<&Lead> {
        match &self.run.role {
            Role::Leader(lead) if self.is_up => Some(lead),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn lead_mut(&mut self) -> Option<&mut Lead> {
        match &mut self.run.role {
            Role::Leader(lead) if self.is_up => Some(lead),
            _ => None,
        }
    }

    /// It is up, and does not stand still.
    pub fn is_well(&self, now: u64) -> bool {
        self.is_up && self.paused_until <= now
    }

    /// For how long another has not answered it.
    pub fn silence(&self, of: ServerId, now: u64) -> u64 {
        now - self.run.answers.get(&of).copied().unwrap_or(self.run.began)
    }
}

// === impl Run ===

impl Run {
    /// A process that begins with so much applied.
    pub fn new(now: u64, applied: usize) -> Run {
        Run {
            began: now,
            role: Role::Follower,
            leader: None,
            heard: now,
            tried: now,
            patience: 700,
            applied,
            answers: BTreeMap::new(),
            numbers: now << 20,
            calls: BTreeMap::new(),
            waiting: VecDeque::new(),
            passed: BTreeMap::new(),
            relayed: BTreeMap::new(),
            taken: BTreeMap::new(),
        }
    }

    /// A number for a message that wants an answer.
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}
