//! Several servers in one thread: who votes, commands that are passed on, request ids, and operators that are revoked.
//!
//! # Flow
//! An event happens at its time; it changes the world, schedules others and leaves facts; `promises` are held against each
//! fact. When troubles end, everything must come to rest (`end`).
//!
//! # Guarantees
//! The same seed gives the same run, line by line.
//!
//! # Caveats
//! Raft and the ways between servers are restated (`replication`, `lead`, `passing`): openraft needs a runtime. Who votes
//! (`membership::rules`), what a command leads to and that it is recognised (`engine::apply`), the log's codec and who may
//! still ask (`access::may_still`) are production's. The log has no snapshots here. A server believes one that it has not
//! heard of yet, which production's gate does not (`TELLS_NEW_FROM_REMOVED`).

pub mod clients;
mod end;
pub mod event;
pub mod lead;
pub mod log;
pub mod params;
mod passing;
mod promises;
mod replication;
pub mod server;
mod troubles;

use orchestrator::engine::{STATE_VERSION, Stamped, State};
use orchestrator::raft::encode;
use proto::id::{RequestId, ServerId};
use proto::revision::{Time, Wall};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::rc::Rc;

use crate::invariants::Promises;
use crate::sim::many::Simulated;
use crate::sim::rng::Rng;
use crate::sim::seen::Seen;
use crate::sim::trace::Trace;
use clients::{Client, Record};
use event::{Event, Fact, Message};
use log::{Content, Entry, Members};
use params::{Params, Trouble};
use server::Server;

/// The world's wall clock begins in 2026.
const WALL_BEGIN_MS: u64 = 1_767_225_600_000;
/// A server that has read less of the log than its leader needed to become known believes it here. Production cannot tell
/// who is new from who was removed and refuses both, until another leads: with `false` seeds 1637 and 1928 do not settle.
const TELLS_NEW_FROM_REMOVED: bool = true;
/// Between two looks of a server at its clock, in milliseconds.
const TICK_MS: u64 = 50;
/// Between two heartbeats, in milliseconds.
const HEARTBEAT_MS: u64 = 200;
/// How long a leader that was heard is taken to be there, in milliseconds.
const LEASE_MS: u64 = 250;
/// Silence after which a server stands for election, in milliseconds.
const PATIENCE_MS: (u64, u64) = (600, 900);
/// Between two looks at the whole, in milliseconds.
const LOOK_MS: u64 = 1_000;
/// Between two times that a server says what it is.
const ANNOUNCES_MS: u64 = 600;

/// The world.
#[derive(Debug)]
pub struct Council {
    /// What it is like.
    pub params: Params,
    /// Now, in milliseconds since it began.
    pub now: u64,
    /// All servers that ever were; one that is at `n` has the id `n + 1`.
    pub servers: Vec<Server>,
    /// Who asks.
    pub clients: Vec<Client>,
    /// What is known of each command from outside.
    pub records: BTreeMap<RequestId, Record>,
    /// What was committed, entry by entry.
    pub committed: Vec<lead::Applied>,
    /// Commands under a request id that are in State, each as it became first.
    pub done: BTreeMap<RequestId, lead::Done>,
    /// Pairs of hosts of which the first does not reach the second, and by how many troubles.
    pub cuts: BTreeMap<(usize, usize), u64>,
    /// When a pair was cut no more.
    pub healed: BTreeMap<(usize, usize), u64>,
    /// Servers that an operator wants removed.
    pub removed: BTreeSet<ServerId>,
    /// Operators that are to be revoked.
    pub revoked: BTreeSet<usize>,
    /// When something last went wrong, was put right, or is still to be.
    pub disturbed: u64,
    /// Troubles happen.
    pub is_rough: bool,
    /// Those that were seen.
    pub seen: Seen<Trouble>,
    /// Where each server was known first.
    known_once: BTreeMap<ServerId, usize>,
    empty: State,
    made: u64,
    loss: u64,
    rng: Rng,
    trace: Trace,
    queue: BTreeMap<(u64, u64), Event>,
    tickets: u64,
    facts: Vec<Fact>,
}

impl Simulated for Council {
    type Trouble = Trouble;
    const SEEDS: &'static str = "seeds of several servers";
    const OPTION: &'static str = "--council ";
    const BIG: usize = 200;

    fn told(seed: u64) -> String {
        Params::of(seed).to_string()
    }

    fn of(seed: u64, trace: Trace) -> Council {
        Council::new(Params::of(seed), trace)
    }

    fn live(&mut self) -> Result<u64, String> {
        self.live_by(&mut promises::all())
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn ended(self) -> (u64, Seen<Trouble>, Trace) {
        (self.committed.len() as u64, self.seen, self.trace)
    }
}

/// Where a server is in the list.
pub fn at(id: ServerId) -> usize {
    (id.0 - 1) as usize
}

/// The id of the server that is there in the list.
pub fn id_of(at: usize) -> ServerId {
    ServerId(at as u64 + 1)
}

// === impl Council ===

impl Council {
    fn new(params: Params, trace: Trace) -> Council {
        Council {
            now: 0,
            servers: Vec::new(),
            clients: (0..=params.operators).map(Client::new).collect(),
            records: BTreeMap::new(),
            committed: Vec::new(),
            done: BTreeMap::new(),
            cuts: BTreeMap::new(),
            healed: BTreeMap::new(),
            removed: BTreeSet::new(),
            revoked: BTreeSet::new(),
            disturbed: 0,
            is_rough: true,
            seen: Seen::default(),
            known_once: BTreeMap::new(),
            empty: State::empty(),
            made: 0,
            loss: 0,
            rng: Rng::new(params.seed ^ 0xc0_5eed),
            trace,
            queue: BTreeMap::new(),
            tickets: 0,
            facts: Vec::new(),
            params,
        }
    }

    /// Lives until everything is at rest; how long that took after the troubles.
    fn live_by(&mut self, promises: &mut Promises<Council, Fact>) -> Result<u64, String> {
        self.begin();
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            let looks = matches!(event, Event::Look);
            self.happen(event);
            for fact in std::mem::take(&mut self.facts) {
                promises.hold(self, &fact)?;
            }
            if looks && !self.is_rough && self.is_at_rest()? {
                return Ok(self.now - self.params.rough_ms);
            }
        }
        Err("nothing happens any more".to_owned())
    }

    /// One server, with the first commands on its disk; others come one by one.
    fn begin(&mut self) {
        self.servers.push(Server::new(id_of(0), 0, 0));
        self.after(1, Event::Tick(0, 1));
        let members = Rc::new(Members::alone(id_of(0)));
        let commands: Vec<Stamped> = clients::first_commands(self.params.operators)
            .into_iter()
            .map(|command| Stamped { at: Time(0), wall: Wall(WALL_BEGIN_MS), request: None, by: None, command })
            .collect();
        let judged = vec![0; commands.len()];
        let content = Content::Commands(encode(STATE_VERSION, &commands).expect("commands are encodable"));
        for (content, judged) in [(Content::Members, Vec::new()), (content, judged)] {
            self.made += 1;
            let entry = Entry { made: self.made, at: 0, term: 0, content, members: members.clone(), judged };
            self.servers[0].disk.log.push(Rc::new(entry));
        }
        self.servers[0].disk.synced = 2;
        for _ in 1..self.params.servers {
            let host = self.servers.len();
            self.comes(host);
        }
        for client in 0..self.clients.len() {
            let begins = self.rng.range(100, 5_000);
            self.after(begins, Event::Thinks(client));
        }
        self.after(8_000, Event::Trouble);
        self.after(self.params.rough_ms, Event::Calm);
        self.after(LOOK_MS, Event::Look);
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.tickets += 1;
        self.queue.insert((self.now + ms, self.tickets), event);
    }

    fn say(&mut self, what: Arguments<'_>) {
        self.trace.say(self.now, what);
    }

    fn saw(&mut self, trouble: Trouble) {
        self.seen.count(trouble);
    }

    fn wall(&self) -> Wall {
        Wall(WALL_BEGIN_MS + self.now)
    }

    /// Do hosts of these servers reach each other in this direction?
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cuts.contains_key(&(self.servers[from].host, self.servers[to].host))
    }

    /// Sends a message: it may be late, lost, doubled, or come before one that was sent earlier.
    fn send(&mut self, from: usize, to: ServerId, message: Message) {
        let message = Rc::new(message);
        let copies = match (self.rng.chance(self.loss), self.rng.chance(self.loss / 2)) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        if !self.reaches(from, at(to)) {
            return;
        }
        if copies > 1 {
            self.doubled(&message);
        }
        for _ in 0..copies {
            let mut takes = self.rng.range(1, self.params.late_ms);
            if self.rng.chance(self.loss) {
                takes += self.rng.range(0, 1_500);
            }
            self.after(takes, Event::Arrives(id_of(from), at(to), message.clone()));
        }
    }

    /// A command that comes twice is asked for twice.
    fn doubled(&mut self, message: &Message) {
        match message {
            Message::Propose(_, asks) => asks.iter().for_each(|ask| self.unsure(ask.request)),
            Message::Call(_, ask) => self.unsure(ask.request),
            _ => {}
        }
    }

    /// What concerns a process that stands still happens when it goes on.
    fn held_up(&mut self, event: Event) -> Option<Event> {
        let me = match &event {
            Event::Tick(me, _)
            | Event::Arrives(_, me, _)
            | Event::Synced(me, ..)
            | Event::Broken(me, ..)
            | Event::Asked(me, ..) => *me,
            _ => return Some(event),
        };
        let until = self.servers[me].paused_until;
        if until <= self.now {
            return Some(event);
        }
        self.after(until - self.now, event);
        None
    }

    fn happen(&mut self, event: Event) {
        let Some(event) = self.held_up(event) else { return };
        match event {
            Event::Tick(me, process) if self.runs(me, process) => self.tick(me),
            Event::Arrives(from, me, message) if self.servers[me].is_up => self.arrives(me, from, &message),
            Event::Synced(me, process, reached, then) if self.runs(me, process) => self.synced(me, reached, then),
            Event::Broken(me, process, number) if self.runs(me, process) => self.broken(me, number),
            Event::Asked(me, back, ask) if self.servers[me].is_up => self.called(me, back, ask),
            Event::Tick(..) | Event::Arrives(..) | Event::Synced(..) | Event::Broken(..) | Event::Asked(..) => {}
            Event::Answered(client, attempt, reply) => self.answered(client, attempt, reply),
            Event::GivenUp(client, attempt) => self.given_up(client, attempt),
            Event::Thinks(client) => self.thinks(client),
            Event::Trouble if self.is_rough => self.trouble(),
            Event::Trouble => {}
            Event::Falls(me, process) if self.runs(me, process) && self.is_rough => self.falls(me),
            Event::Falls(..) => {}
            Event::Starts(me) => self.starts(me),
            Event::Heals(a, b) => self.heals(a, b),
            Event::Clears => self.clears(),
            Event::Calm => self.calm(),
            Event::Look => {
                self.facts.push(Fact::Second);
                self.after(LOOK_MS, Event::Look);
            }
        }
    }

    fn runs(&self, me: usize, process: u64) -> bool {
        self.servers[me].is_up && self.servers[me].process == process
    }

    /// A server looks at its clock.
    fn tick(&mut self, me: usize) {
        let process = self.servers[me].process;
        self.after(TICK_MS, Event::Tick(me, process));
        self.stand(me);
        let now = self.now;
        let beats = self.servers[me].lead_mut().is_some_and(|lead| {
            let beats = now - lead.beat >= HEARTBEAT_MS;
            lead.beat = if beats { now } else { lead.beat };
            beats
        });
        if beats {
            self.replicate(me, true);
        }
        self.expire(me);
        self.keep_members(me);
        self.calls_go_on(me);
        if now / ANNOUNCES_MS != (now - TICK_MS.min(now)) / ANNOUNCES_MS {
            self.announce(me);
        }
    }

    /// A server says what it is, as long as it does not know that it is known.
    fn announce(&mut self, me: usize) {
        let own = id_of(me);
        if self.state(me).server(own).is_some() {
            return;
        }
        if self.leads(me) {
            return self.announced(me, own);
        }
        let other = self.rng.range(0, self.servers.len() as u64 - 1) as usize;
        let to = self.follows(me).unwrap_or(id_of(other));
        if to != own {
            self.send(me, to, Message::Announce(own));
        }
    }

    /// A message arrives. A question is heard only from who is a member, as far as is known here.
    fn arrives(&mut self, me: usize, from: ServerId, message: &Message) {
        let is_answer = matches!(
            message,
            Message::Appended { .. }
                | Message::Canvassed(..)
                | Message::Voted(..)
                | Message::Proposed(..)
                | Message::Called(..)
        );
        if is_answer {
            self.servers[me].run.answers.insert(from, self.now);
        } else if !self.state(me).is_member(from) && !self.is_new_to(me, from) {
            return;
        }
        match message {
            Message::Append { term, after, entries, committed } => {
                self.appended_by(me, from, (*term, *after), entries, *committed);
            }
            Message::Appended { term, upto } => self.appended(me, from, *term, *upto),
            Message::Canvass(number, last) => {
                let yes = self.would_vote(me, *last);
                self.send(me, from, Message::Canvassed(*number, yes));
            }
            Message::Canvassed(number, yes) => self.canvassed(me, *number, from, *yes),
            Message::Vote(term, last) => self.vote(me, from, *term, *last),
            Message::Voted(term, yes) => self.voted(me, *term, from, *yes),
            Message::Propose(number, asks) => self.take_passed(me, from, *number, asks),
            Message::Proposed(number, each) => self.proposed(me, *number, each),
            Message::Call(number, ask) => self.relayed(me, from, *number, ask.clone()),
            Message::Called(number, reply) => self.call_answered(me, *number, reply.clone()),
            Message::Announce(id) => self.announced(me, *id),
        }
    }

    /// Was this server, as far as it has read the log, never told of the other?
    fn is_new_to(&self, me: usize, from: ServerId) -> bool {
        let applied = self.servers[me].run.applied;
        TELLS_NEW_FROM_REMOVED && self.known_once.get(&from).is_some_and(|first| *first >= applied)
    }

    /// Those that lead, as they see it.
    pub fn leaders(&self) -> Vec<usize> {
        (0..self.servers.len()).filter(|me| self.leads(*me) && self.servers[*me].is_well(self.now)).collect()
    }

    /// The members that were committed last.
    pub fn members(&self) -> Rc<Members> {
        self.committed.last().map_or_else(|| Rc::new(Members::nobody()), |last| last.members.clone())
    }

    /// What was committed last.
    pub fn truth(&self) -> &State {
        self.committed.last().map_or(&self.empty, |last| &last.state)
    }

    /// Nothing has gone wrong for so long, and nothing was put right; what was wrong before may still be.
    pub fn is_calm(&self, ms: u64) -> bool {
        self.loss == 0 && self.now.saturating_sub(self.disturbed) >= ms
    }

    /// For how long a server has led.
    pub fn led_for(&self, me: usize) -> u64 {
        let since = self.servers[me].lead().and_then(|lead| lead.since);
        since.filter(|_| self.leads(me)).map_or(0, |(_, began)| self.now - began)
    }
}
