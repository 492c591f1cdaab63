//! The log of one server: entries, the members that each puts in force, and what of it is safe from a power cut.

use proto::id::ServerId;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Who is a member and who votes, as openraft keeps it: while a change is under way a majority of two sets is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The sets of voters of each of which a majority is needed.
    pub quorums: Vec<BTreeSet<ServerId>>,
    /// All, learners too.
    pub all: BTreeSet<ServerId>,
}

/// What is in an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: the barrier of a new leader.
    Blank,
    /// Other members.
    Members,
    /// Commands, as bytes of the production codec.
    Commands(Vec<u8>),
}

/// An entry.
#[derive(Debug)]
pub struct Entry {
    /// Its number among all that were ever made in this world: two that are equal are one.
    pub made: u64,
    /// When it was made.
    pub at: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// What is in it.
    pub content: Content,
    /// The members from it on.
    pub members: Rc<Members>,
    /// When it was last looked at whether each of its commands may be asked for.
    pub judged: Vec<u64>,
}

/// What is on a server's disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// The newest term that it knows of.
    pub term: u64,
    /// For whom it voted in it.
    pub vote: Option<ServerId>,
    /// Its log.
    pub log: Vec<Rc<Entry>>,
    /// Entries that are synced.
    pub synced: usize,
    /// Entries that it knows to be committed.
    pub committed: usize,
}

// === impl Members ===

impl Members {
    /// One server, alone.
    pub fn alone(id: ServerId) -> Members {
        Members { quorums: vec![BTreeSet::from([id])], all: BTreeSet::from([id]) }
    }

    /// Nobody: of a server that has not heard of any.
    pub fn nobody() -> Members {
        Members { quorums: Vec::new(), all: BTreeSet::new() }
    }

    /// All that vote.
    pub fn voters(&self) -> BTreeSet<ServerId> {
        self.quorums.iter().flatten().copied().collect()
    }

    /// A change is under way.
    pub fn is_joint(&self) -> bool {
        self.quorums.len() > 1
    }

    /// Is it a majority of each set?
    pub fn has_majority(&self, is_one: impl Fn(ServerId) -> bool) -> bool {
        let decides = |set: &BTreeSet<ServerId>| set.iter().filter(|id| is_one(**id)).count() > set.len() / 2;
        !self.quorums.is_empty() && self.quorums.iter().all(decides)
    }

    /// The next step towards these voters, as `openraft::Membership::next_coherent`.
    pub fn towards(&self, goal: &BTreeSet<ServerId>) -> Members {
        let quorums = match self.quorums.last() {
            Some(last) if !self.quorums.contains(goal) => vec![last.clone(), goal.clone()],
            _ => vec![goal.clone()],
        };
        Members { quorums, all: self.all.clone() }
    }
}

// === impl Disk ===

impl Disk {
    /// The members in force: those of the last entry, committed or not.
    pub fn members(&self) -> Rc<Members> {
        self.log.last().map_or_else(|| Rc::new(Members::nobody()), |entry| entry.members.clone())
    }

    /// Term and number of the last entry: whose is greater has the longer log.
    pub fn last(&self) -> (u64, usize) {
        (self.term_at(self.log.len()), self.log.len())
    }

    /// The term of the entry of that number, counted from 1; 0 before the first.
    pub fn term_at(&self, number: usize) -> u64 {
        number.checked_sub(1).and_then(|at| self.log.get(at)).map_or(0, |entry| entry.term)
    }

    /// Takes what a leader sends after an entry that is there; what stands against it goes.
    pub fn take(&mut self, after: usize, entries: &[Rc<Entry>]) {
        for (at, entry) in (after..).zip(entries) {
            match self.log.get(at) {
                Some(known) if known.term == entry.term => {}
                _ => {
                    self.log.truncate(at);
                    self.synced = self.synced.min(at);
                    self.log.push(entry.clone());
                }
            }
        }
    }

    /// A sync that reached this entry has come back.
    pub fn reached(&mut self, number: usize, made: u64) -> bool {
        let is_there = number.checked_sub(1).is_none_or(|at| self.log.get(at).is_some_and(|entry| entry.made == made));
        if is_there {
            self.synced = self.synced.max(number);
        }
        is_there
    }

    /// What is not synced is lost. How many entries that was.
    pub fn lose_power(&mut self) -> usize {
        let lost = self.log.len() - self.synced;
        self.log.truncate(self.synced);
        lost
    }
}
