//! What a leader does: many commands into one entry, their outcomes, and the members as `membership::rules` wants them.
//!
//! The rules and `apply` are production's; `raft/proposer`, `raft/leadership` and `membership::keep`, which need a
//! runtime, are restated.

use orchestrator::engine::model::Asker;
use orchestrator::engine::{Command, Outcome, STATE_VERSION, Stamped, State, apply};
use orchestrator::membership::ANSWERED_WITHIN;
use orchestrator::membership::rules::{Member, Next, View, next};
use orchestrator::raft::{NotTaken, decode, encode};
use proto::id::ServerId;
use proto::limits::BATCH_MAX_COMMANDS;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::event::{Ask, Fact, Reply};
use super::log::{Content, Members};
use super::replication::unknown;
use super::server::{Proposal, Way};
use super::{Council, at, id_of};

/// Between two looks at the members, in milliseconds.
const LOOK_MS: u64 = 500;
/// Entries that one which has caught up may be behind: few, because logs are short here.
const BEHIND_MAX: usize = 20;
/// How long a caller waits for an outcome, in milliseconds.
const OUTCOME_WITHIN_MS: u64 = 5_000;

/// An entry as it was applied by the first server that did.
#[derive(Debug)]
pub struct Applied {
    /// The entry.
    pub made: u64,
    /// When.
    pub at: u64,
    /// When it was made.
    pub made_at: u64,
    /// The members from it on.
    pub members: Rc<Members>,
    /// Its commands, with what became of each and whether State went on.
    pub commands: Vec<(Stamped, Outcome, bool)>,
    /// When each was last judged.
    pub judged: Vec<u64>,
    /// State after it.
    pub state: State,
}

/// A command under a request id.
#[derive(Debug)]
pub struct Done {
    /// The entry that it was in first.
    pub number: usize,
    /// What became of it there.
    pub outcome: Outcome,
    /// How often State went on for it.
    pub times: u64,
}

// === Applying ===

impl Council {
    /// State as a server knows it.
    pub fn state(&self, me: usize) -> &State {
        let applied = self.servers[me].run.applied;
        applied.checked_sub(1).map_or(&self.empty, |last| &self.committed[last].state)
    }

    /// Applies what is committed up to this entry. The first server that comes to an entry works it out for all.
    pub(super) fn apply_upto(&mut self, me: usize, number: usize) {
        for at in self.servers[me].run.applied..number {
            let entry = self.servers[me].disk.log[at].clone();
            if at == self.committed.len() {
                let applied = self.apply_first(&entry);
                self.note_done(at + 1, &applied);
                self.note_servers(&applied);
                self.committed.push(applied);
                self.facts.push(Fact::Committed(at + 1));
            }
            self.servers[me].run.applied = at + 1;
            self.facts.push(Fact::Applied(me, at + 1));
        }
        let server = &mut self.servers[me];
        server.disk.committed = server.disk.committed.max(server.run.applied.min(server.disk.synced));
        self.passes_barrier(me);
    }

    fn apply_first(&mut self, entry: &super::log::Entry) -> Applied {
        let mut state = self.committed.last().map_or(&self.empty, |last| &last.state).clone();
        let stamped: Vec<Stamped> = match &entry.content {
            Content::Commands(bytes) => decode(bytes).expect("what was encoded is decodable"),
            _ => Vec::new(),
        };
        let commands = stamped.into_iter().map(|stamped| {
            let before = state.revision();
            let outcome = apply(&mut state, &stamped);
            (stamped, outcome, state.revision() != before)
        });
        Applied {
            made: entry.made,
            at: self.now,
            made_at: entry.at,
            members: entry.members.clone(),
            commands: commands.collect(),
            judged: entry.judged.clone(),
            state,
        }
    }

    /// What has become of each command, the first time.
    fn note_done(&mut self, number: usize, applied: &Applied) {
        for (stamped, outcome, went_on) in &applied.commands {
            let Some(request) = stamped.request else { continue };
            if self.done.contains_key(&request) {
                self.seen.count(super::params::Trouble::Twice);
            }
            let fresh = Done { number, outcome: outcome.clone(), times: 0 };
            self.done.entry(request).or_insert(fresh).times += u64::from(*went_on);
        }
    }

    /// Servers come and go: the members follow.
    fn note_servers(&mut self, applied: &Applied) {
        for (stamped, outcome, _) in &applied.commands {
            match &stamped.command {
                _ if matches!(outcome, Outcome::Rejected(_)) => continue,
                Command::PutServer { info } => {
                    self.known_once.entry(info.id).or_insert(self.committed.len());
                }
                Command::RemoveServer { .. } => {}
                _ => continue,
            }
            self.disturbed = self.disturbed.max(self.now);
        }
    }

    fn passes_barrier(&mut self, me: usize) {
        let (now, clock) = (self.now, self.state(me).clock());
        let applied = self.servers[me].run.applied;
        let Some(lead) = self.servers[me].lead_mut() else { return };
        if lead.since.is_none() && applied >= lead.barrier {
            lead.since = Some((clock, now));
            lead.looked = now + ANSWERED_WITHIN.as_millis() as u64;
            self.say(format_args!("server {} leads", me + 1));
            self.facts.push(Fact::Leads(me));
        }
    }
}

// === Proposing ===

impl Council {
    /// Puts a command among those of the next entry, if this server leads.
    pub(super) fn propose(&mut self, me: usize, ask: Rc<Ask>, way: Way, judged: u64) {
        let leads = self.leads(me);
        let proposal = Proposal { ask, way, judged, expires: self.now + OUTCOME_WITHIN_MS };
        match self.servers[me].lead_mut() {
            Some(lead) if leads => {
                lead.inbox.push_back(proposal);
                self.write_entry(me);
            }
            _ => self.not_taken(me, &proposal, NotTaken::NotLeading),
        }
    }

    /// One entry is under way while the next one fills.
    fn write_entry(&mut self, me: usize) {
        let (now, wall, leads) = (self.now, self.wall(), self.leads(me));
        let Some(lead) = self.servers[me].lead_mut() else { return };
        let Some((since, began)) = lead.since.filter(|_| lead.under_way.is_none() && !lead.inbox.is_empty()) else {
            return;
        };
        let many = lead.inbox.len().min(BATCH_MAX_COMMANDS);
        let proposals: Vec<Proposal> = lead.inbox.drain(..many).filter(|p| p.expires > now).collect();
        if !leads {
            return proposals.iter().for_each(|p| self.not_taken(me, p, NotTaken::NotLeading));
        }
        let stamped = proposals.iter().map(|p| Stamped {
            at: since.after_ms(now - began),
            wall,
            request: Some(p.ask.request).filter(|_| !matches!(p.way, Way::Nobody)),
            by: Some(Asker { who: p.ask.asked.who.clone(), from: String::new() }),
            command: p.ask.command.clone(),
        });
        let stamped: Vec<Stamped> = stamped.collect();
        let bytes = encode(STATE_VERSION, &stamped).expect("commands are encodable");
        let judged = proposals.iter().map(|p| p.judged).collect();
        let number = self.append(me, Content::Commands(bytes), None, judged);
        if let Some(lead) = self.servers[me].lead_mut() {
            lead.under_way = Some((number, proposals));
        }
    }

    /// Says what became of the entry under way, once it is applied; then the next one goes.
    pub(super) fn answer_entry(&mut self, me: usize) {
        let applied = self.servers[me].run.applied;
        let Some(lead) = self.servers[me].lead_mut() else { return };
        if let Some((number, proposals)) = lead.under_way.take_if(|(number, _)| *number <= applied) {
            let outcomes: Vec<Outcome> =
                self.committed[number - 1].commands.iter().map(|(_, outcome, _)| outcome.clone()).collect();
            for (proposal, outcome) in proposals.into_iter().zip(outcomes) {
                self.took(me, proposal.way, Ok(outcome));
            }
        }
        self.write_entry(me);
    }

    /// Nobody waits longer than that for an outcome.
    pub(super) fn expire(&mut self, me: usize) {
        let now = self.now;
        let Some(lead) = self.servers[me].lead_mut() else { return };
        let mut over: Vec<Proposal> = Vec::new();
        let is_over = |p: &Proposal| p.expires <= now;
        while lead.inbox.front().is_some_and(is_over) {
            over.extend(lead.inbox.pop_front());
        }
        if let Some((_, proposals)) = lead.under_way.take_if(|(_, all)| all.iter().all(is_over)) {
            over.extend(proposals);
        }
        for proposal in over {
            self.not_taken(me, &proposal, unknown("no outcome in time"));
        }
        self.write_entry(me);
    }

    /// A command has no outcome.
    pub(super) fn not_taken(&mut self, me: usize, proposal: &Proposal, why: NotTaken) {
        self.took(me, proposal.way, Err(why));
    }

    fn took(&mut self, me: usize, way: Way, became: Result<Outcome, NotTaken>) {
        match way {
            Way::Nobody => {}
            Way::Call(number) => self.call_became(me, number, became),
            Way::Taken(from, number, at) => self.taken_became(me, (from, number), at, became),
        }
    }
}

// === The members ===

impl Council {
    /// The members as their leader sees them; `view_within` of production, which needs openraft.
    pub fn view(&self, me: usize, within: Duration) -> View {
        let server = &self.servers[me];
        let (members, state) = (server.disk.members(), self.state(me));
        let voters = members.voters();
        let member = |id: &ServerId| {
            let silence = Duration::from_millis(server.silence(*id, self.now));
            let reached = server.lead().and_then(|lead| lead.progress.get(id)).and_then(|p| p.matched);
            let is_own = *id == server.id;
            Member {
                id: *id,
                votes: voters.contains(id),
                known: state.server(*id).is_some(),
                silent: Some(silence).filter(|silence| !is_own && *silence > within),
                is_behind: !is_own && reached.is_none_or(|upto| server.disk.log.len() - upto > BEHIND_MAX),
            }
        };
        let own = BTreeSet::from([server.id]);
        let others = members.all.iter().filter(|id| **id != server.id);
        let unfinished = members.quorums.get(1).cloned();
        View { own: server.id, members: own.iter().chain(others).map(member).collect(), unfinished }
    }

    /// Keeps the members as they should be: one change at a time.
    pub(super) fn keep_members(&mut self, me: usize) {
        let now = self.now;
        let leads = self.leads(me);
        let Some(lead) = self.servers[me].lead_mut() else { return };
        if !leads || now < lead.looked || lead.change.is_some() {
            // Who begins to lead once more has to hear from others first.
            lead.looked = if leads { lead.looked } else { now + ANSWERED_WITHIN.as_millis() as u64 };
            return;
        }
        lead.looked = now + LOOK_MS;
        if !self.is_settled(me) || self.state(me).servers().next().is_none() || self.admit_one(me) {
            return;
        }
        match next(&self.view(me, ANSWERED_WITHIN)) {
            None => {}
            Some(Next::Voters(voters)) => self.set_voters(me, voters),
            Some(Next::Drop(id)) => {
                let mut members = (*self.servers[me].disk.members()).clone();
                members.all.remove(&id);
                self.say(format_args!("server {} is no member any more", id.0));
                self.change_members(me, members, None);
            }
        }
    }

    /// openraft refuses a change while the one before it is not committed.
    fn is_settled(&self, me: usize) -> bool {
        let server = &self.servers[me];
        let members = server.disk.members();
        server.run.applied.checked_sub(1).is_some_and(|last| self.committed[last].members == members)
    }

    fn admit_one(&mut self, me: usize) -> bool {
        let mut members = (*self.servers[me].disk.members()).clone();
        let ids = self.state(me).servers().map(|server| server.info.id);
        let Some(id) = ids.into_iter().find(|id| !members.all.contains(id)) else { return false };
        members.all.insert(id);
        self.say(format_args!("server {} is a member", id.0));
        self.change_members(me, members, None);
        true
    }

    fn set_voters(&mut self, me: usize, goal: BTreeSet<ServerId>) {
        self.say(format_args!("the voters are to be {}", shown(&goal)));
        self.facts.push(Fact::Changes(me, goal.clone()));
        let members = self.servers[me].disk.members().towards(&goal);
        self.change_members(me, members, Some(goal));
        if self.rng.chance(100) {
            let (soon, process) = (self.rng.range(1, 4 * self.params.late_ms), self.servers[me].process);
            self.after(soon, super::event::Event::Falls(me, process));
        }
    }

    fn change_members(&mut self, me: usize, members: Members, goal: Option<BTreeSet<ServerId>>) {
        let goal = goal.filter(|_| members.is_joint());
        let number = self.append(me, Content::Members, Some(members), Vec::new());
        if let Some(lead) = self.servers[me].lead_mut() {
            lead.change = Some((goal, number));
        }
        self.change_goes_on(me);
    }

    /// A change of voters has two steps: both sets, then the new one. For a leader that is gone the next takes the second.
    pub(super) fn change_goes_on(&mut self, me: usize) {
        let applied = self.servers[me].run.applied;
        let Some(lead) = self.servers[me].lead_mut() else { return };
        match lead.change.take_if(|(_, number)| *number <= applied) {
            Some((Some(goal), _)) => {
                let members = self.servers[me].disk.members().towards(&goal);
                self.change_members(me, members, None);
            }
            Some((None, _)) => {
                let members = self.servers[me].disk.members();
                self.say(format_args!("voters: {}", shown(&members.voters())));
            }
            None => {}
        }
    }

    /// An operator wants a server removed, if those that stay can decide; `Api::dismiss`, which needs a door.
    pub(super) fn dismiss(&mut self, me: usize, id: ServerId) -> Result<(), Option<Reply>> {
        const COUNTED_AFTER: Duration = Duration::from_millis(700);
        if self.state(me).server(id).is_none() {
            return Ok(());
        }
        let seen = self.view(me, COUNTED_AFTER);
        let mut left = seen.voters();
        if left.remove(&id) && (left.is_empty() || !seen.could_decide(&left)) {
            return Err(Some(Reply::NotNow));
        }
        if id == id_of(me) {
            // It hands leadership over; whoever leads next is asked.
            self.disturb();
            self.step_down(me);
            return Err(None);
        }
        Ok(())
    }

    /// A server says what it is, by whoever leads.
    pub(super) fn announced(&mut self, me: usize, id: ServerId) {
        if !self.state(me).is_member(id) {
            return;
        }
        if self.leads(me) {
            let command = Command::PutServer { info: super::clients::info(id) };
            let ask = super::clients::own_ask(command);
            self.propose(me, Rc::new(ask), Way::Nobody, self.now);
        } else if let Some(leader) = self.follows(me) {
            self.send(me, leader, super::event::Message::Announce(id));
        }
    }
}

/// Ids in a row.
pub fn shown(ids: &BTreeSet<ServerId>) -> String {
    ids.iter().map(|id| at(*id) + 1).map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
}
