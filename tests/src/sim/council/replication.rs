//! The log as Raft promises it: elections that are asked for first, one leader a term, entries committed by a majority.
//!
//! Restates openraft and `raft/canvass`, whose loops need a runtime. Nothing of it is ours but when it asks for votes.

use proto::id::ServerId;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::event::{Event, Fact, Message};
use super::log::{Content, Entry, Members};
use super::server::{Lead, Progress, Role};
use super::{Council, HEARTBEAT_MS, LEASE_MS, PATIENCE_MS, at, id_of};

/// Before one that was not elected stands again, in milliseconds.
const AGAIN_MS: (u64, u64) = (100, 400);
/// A leader that no majority has answered for so long does not lead, in milliseconds.
const CUT_OFF_MS: u64 = 1_000;

impl Council {
    /// Stands for election when no leader has been heard for long.
    pub(super) fn stand(&mut self, me: usize) {
        let server = &self.servers[me];
        let silence = (self.now - server.run.heard).min(self.now - server.run.tried);
        let members = server.disk.members();
        if server.lead().is_some() || silence < server.run.patience || !members.voters().contains(&server.id) {
            return;
        }
        self.servers[me].run.tried = self.now;
        self.servers[me].run.patience = self.rng.range(AGAIN_MS.0, AGAIN_MS.1);
        let (number, last) = (self.servers[me].run.number(), self.servers[me].disk.last());
        self.servers[me].run.role = Role::Canvasser(number, BTreeSet::from([id_of(me)]));
        for other in members.voters().into_iter().filter(|id| *id != id_of(me)) {
            self.send(me, other, Message::Canvass(number, last));
        }
        self.canvassed(me, number, id_of(me), true);
    }

    /// Would this server vote for one that has this log? Not while a leader is there, this one included.
    pub(super) fn would_vote(&self, me: usize, last: (u64, usize)) -> bool {
        let server = &self.servers[me];
        let leads = server.lead().is_some() && self.quorum_age(me) < LEASE_MS;
        !leads && self.now - server.run.heard >= LEASE_MS && last >= server.disk.last()
    }

    /// Somebody would vote for this server, or not.
    pub(super) fn canvassed(&mut self, me: usize, number: u64, from: ServerId, yes: bool) {
        let members = self.servers[me].disk.members();
        let Role::Canvasser(asked, votes) = &mut self.servers[me].run.role else { return };
        if *asked != number || !yes {
            return;
        }
        votes.insert(from);
        if members.has_majority(|id| votes.contains(&id)) {
            self.ask_for_votes(me);
        }
    }

    fn ask_for_votes(&mut self, me: usize) {
        let own = id_of(me);
        let server = &mut self.servers[me];
        server.disk.term += 1;
        server.disk.vote = Some(own);
        server.run.role = Role::Candidate(BTreeSet::from([own]));
        server.run.leader = None;
        let (term, last, members) = (server.disk.term, server.disk.last(), server.disk.members());
        for other in members.voters().into_iter().filter(|id| *id != own) {
            self.send(me, other, Message::Vote(term, last));
        }
        self.voted(me, term, own, true);
    }

    /// Answers a candidate. Not while a leader was heard a moment ago.
    pub(super) fn vote(&mut self, me: usize, from: ServerId, term: u64, last: (u64, usize)) {
        let is_held = self.now - self.servers[me].run.heard < LEASE_MS && self.servers[me].run.leader.is_some();
        if term > self.servers[me].disk.term && !is_held {
            self.newer_term(me, term);
        }
        let disk = &mut self.servers[me].disk;
        let is_free = disk.vote.is_none_or(|voted| voted == from);
        let yes = term == disk.term && is_free && last >= disk.last();
        if yes {
            disk.vote = Some(from);
            self.servers[me].run.heard = self.now;
        }
        let term = self.servers[me].disk.term.max(if yes { term } else { 0 });
        self.send(me, from, Message::Voted(term, yes));
    }

    /// A vote, or none.
    pub(super) fn voted(&mut self, me: usize, term: u64, from: ServerId, yes: bool) {
        if term > self.servers[me].disk.term {
            return self.newer_term(me, term);
        }
        let members = self.servers[me].disk.members();
        if term != self.servers[me].disk.term || !yes {
            return;
        }
        let Role::Candidate(votes) = &mut self.servers[me].run.role else { return };
        votes.insert(from);
        if members.has_majority(|id| votes.contains(&id)) {
            let votes = std::mem::take(votes);
            self.elected(me, &members, votes);
        }
    }

    fn elected(&mut self, me: usize, members: &Members, votes: BTreeSet<ServerId>) {
        let next = self.servers[me].disk.log.len();
        let fresh = Progress { matched: None, next, sent: None, answered: None };
        let lead = Lead {
            began: self.now,
            barrier: next + 1,
            since: None,
            progress: members.all.iter().map(|id| (*id, fresh)).collect(),
            inbox: Default::default(),
            under_way: None,
            looked: 0,
            change: None,
            beat: self.now,
        };
        let run = &mut self.servers[me].run;
        (run.role, run.leader) = (Role::Leader(Box::new(lead)), Some(id_of(me)));
        let term = self.servers[me].disk.term;
        self.say(format_args!("server {} is elected in term {term}", me + 1));
        self.facts.push(Fact::Elected(me, votes));
        self.append(me, Content::Blank, None, Vec::new());
    }

    /// There is a newer term: whoever led does not any more.
    pub(super) fn newer_term(&mut self, me: usize, term: u64) {
        let disk = &mut self.servers[me].disk;
        if term > disk.term {
            (disk.term, disk.vote) = (term, None);
            self.servers[me].run.leader = None;
        }
        self.step_down(me);
    }

    /// It follows from now on. What is in its log may get further, what is not will not.
    pub(super) fn step_down(&mut self, me: usize) {
        let own = id_of(me);
        let run = &mut self.servers[me].run;
        run.patience = PATIENCE_MS.0 + self.rng.range(0, PATIENCE_MS.1 - PATIENCE_MS.0);
        let Role::Leader(lead) = std::mem::replace(&mut run.role, Role::Follower) else { return };
        run.heard = self.now;
        run.leader = run.leader.filter(|id| *id != own);
        self.say(format_args!("server {} leads no more", me + 1));
        if lead.change.is_some_and(|(goal, _)| goal.is_some()) {
            self.saw(super::params::Trouble::HalfChanged);
        }
        for proposal in lead.inbox {
            self.not_taken(me, &proposal, orchestrator::raft::NotTaken::NotLeading);
        }
        for proposal in lead.under_way.into_iter().flat_map(|(_, proposals)| proposals) {
            self.not_taken(me, &proposal, unknown("it leads no more"));
        }
    }

    /// Appends an entry; its number.
    pub(super) fn append(&mut self, me: usize, content: Content, members: Option<Members>, judged: Vec<u64>) -> usize {
        self.made += 1;
        let server = &mut self.servers[me];
        let members = members.map_or_else(|| server.disk.members(), Rc::new);
        let entry =
            Entry { made: self.made, at: self.now, term: server.disk.term, content, members: members.clone(), judged };
        server.disk.log.push(Rc::new(entry));
        let number = server.disk.log.len();
        if let Some(lead) = server.lead_mut() {
            let fresh = Progress { matched: None, next: number - 1, sent: None, answered: None };
            members.all.iter().for_each(|id| {
                lead.progress.entry(*id).or_insert(fresh);
            });
            lead.progress.retain(|id, _| members.all.contains(id));
        }
        self.sync(me, None);
        self.replicate(me, false);
        number
    }

    /// Everything that is in the log now reaches the disk after a while.
    pub(super) fn sync(&mut self, me: usize, then: Option<(ServerId, u64)>) {
        let server = &self.servers[me];
        let number = server.disk.log.len();
        let reached = (number, server.disk.log.last().map_or(0, |entry| entry.made));
        let process = server.process;
        let takes = self.rng.range(1, self.params.sync_ms);
        self.after(takes, Event::Synced(me, process, reached, then));
    }

    /// A sync came back.
    pub(super) fn synced(&mut self, me: usize, (number, made): (usize, u64), then: Option<(ServerId, u64)>) {
        if !self.servers[me].disk.reached(number, made) {
            return;
        }
        match then {
            Some((leader, term)) => self.send(me, leader, Message::Appended { term, upto: Ok(number) }),
            None => self.commit(me),
        }
    }

    /// Sends what others lack; a heartbeat also to who lacks nothing.
    pub(super) fn replicate(&mut self, me: usize, beats: bool) {
        let others: Vec<ServerId> = self.servers[me].disk.members().all.iter().copied().collect();
        for other in others.into_iter().filter(|id| *id != id_of(me)) {
            self.replicate_to(me, other, beats);
        }
    }

    fn replicate_to(&mut self, me: usize, other: ServerId, beats: bool) {
        let (now, server) = (self.now, &mut self.servers[me]);
        let (term, committed, length) = (server.disk.term, server.run.applied, server.disk.log.len());
        let Some(progress) = server.lead_mut().and_then(|lead| lead.progress.get_mut(&other)) else { return };
        let is_waited_for = progress.sent.is_some_and(|sent| now - sent < 2 * HEARTBEAT_MS);
        let sends = progress.next < length && !is_waited_for;
        if !sends && !beats {
            return;
        }
        if sends {
            progress.sent = Some(now);
        }
        let next = progress.next;
        let entries = if sends { server.disk.log[next..].to_vec() } else { Vec::new() };
        let after = (server.disk.term_at(next), next);
        self.send(me, other, Message::Append { term, after, entries, committed });
    }

    /// Takes entries of a leader.
    pub(super) fn appended_by(
        &mut self,
        me: usize,
        from: ServerId,
        (term, after): (u64, (u64, usize)),
        entries: &[Rc<Entry>],
        committed: usize,
    ) {
        let own_term = self.servers[me].disk.term;
        if term < own_term {
            return self.send(me, from, Message::Appended { term: own_term, upto: Err(0) });
        }
        if term > own_term || self.servers[me].lead().is_some() || self.servers[me].run.leader != Some(from) {
            self.newer_term(me, term);
        }
        let patience = self.rng.range(PATIENCE_MS.0, PATIENCE_MS.1);
        let server = &mut self.servers[me];
        server.run.role = Role::Follower;
        (server.run.leader, server.run.heard, server.run.patience) = (Some(from), self.now, patience);
        if after.1 > server.disk.log.len() || server.disk.term_at(after.1) != after.0 {
            let begin = after.1.saturating_sub(1).min(server.disk.log.len()).max(server.run.applied);
            return self.send(me, from, Message::Appended { term, upto: Err(begin) });
        }
        server.disk.take(after.1, entries);
        let reaches = after.1 + entries.len();
        if reaches <= server.disk.synced || entries.is_empty() {
            let upto = Ok(reaches.min(server.disk.synced));
            self.send(me, from, Message::Appended { term, upto });
        } else {
            self.sync(me, Some((from, term)));
        }
        self.apply_upto(me, committed.min(reaches));
    }

    /// A follower has answered.
    pub(super) fn appended(&mut self, me: usize, from: ServerId, term: u64, upto: Result<usize, usize>) {
        if term > self.servers[me].disk.term {
            return self.newer_term(me, term);
        }
        let (now, server) = (self.now, &mut self.servers[me]);
        if term != server.disk.term {
            return;
        }
        let Some(progress) = server.lead_mut().and_then(|lead| lead.progress.get_mut(&from)) else { return };
        progress.answered = Some(now);
        match upto {
            Ok(number) => {
                progress.matched = progress.matched.max(Some(number));
                progress.next = progress.next.max(number);
                if number >= progress.next {
                    progress.sent = None;
                }
            }
            Err(begin) => {
                progress.next = begin.max(progress.matched.unwrap_or(0));
                progress.sent = None;
            }
        }
        self.commit(me);
        self.replicate_to(me, from, false);
    }

    /// Commits what a majority has, of this leader's own term at least.
    fn commit(&mut self, me: usize) {
        let server = &self.servers[me];
        let Some(lead) = server.lead() else { return };
        let (members, disk) = (server.disk.members(), &server.disk);
        let has = |id: ServerId, number: usize| match id == server.id {
            true => disk.synced >= number,
            false => lead.progress.get(&id).and_then(|p| p.matched).is_some_and(|matched| matched >= number),
        };
        let fresh = (server.run.applied + 1..=disk.log.len()).rev();
        let mut fresh = fresh.take_while(|number| disk.term_at(*number) == disk.term);
        if let Some(number) = fresh.find(|number| members.has_majority(|id| has(id, *number))) {
            self.apply_upto(me, number);
            // Others learn of it at once.
            self.replicate(me, true);
            self.settled(me);
        }
    }

    /// What a leader does when something was committed.
    fn settled(&mut self, me: usize) {
        self.answer_entry(me);
        self.change_goes_on(me);
        let server = &self.servers[me];
        let stays = server.disk.members().voters().contains(&server.id);
        let is_settled = server.run.applied == server.disk.log.len();
        if server.lead().is_some() && !stays && is_settled {
            self.step_down(me);
        }
    }

    /// Milliseconds since a majority answered this leader.
    pub(super) fn quorum_age(&self, me: usize) -> u64 {
        let server = &self.servers[me];
        let Some(lead) = server.lead() else { return u64::MAX };
        let members = server.disk.members();
        let age = |id: &ServerId| match *id == server.id {
            true => 0,
            false => self.now - lead.progress.get(id).and_then(|p| p.answered).unwrap_or(lead.began).max(lead.began),
        };
        let ages: BTreeMap<ServerId, u64> = members.all.iter().map(|id| (*id, age(id))).collect();
        let mut sorted: Vec<u64> = ages.values().copied().collect();
        sorted.sort_unstable();
        let within = |limit: u64| members.has_majority(|id| ages.get(&id).is_some_and(|age| *age <= limit));
        sorted.into_iter().find(|limit| within(*limit)).unwrap_or(u64::MAX)
    }

    /// Does it lead: has it applied its barrier, and does a majority answer?
    pub fn leads(&self, me: usize) -> bool {
        let server = &self.servers[me];
        server.lead().is_some_and(|lead| lead.since.is_some()) && self.quorum_age(me) <= CUT_OFF_MS
    }

    /// Who leads as far as it knows, itself aside.
    pub fn follows(&self, me: usize) -> Option<ServerId> {
        self.servers[me].run.leader.filter(|id| *id != id_of(me) && at(*id) < self.servers.len())
    }
}

/// What a leader says of a command that may be in the log.
pub(super) fn unknown(cause: &str) -> orchestrator::raft::NotTaken {
    orchestrator::raft::NotTaken::Unknown { cause: cause.to_owned() }
}
