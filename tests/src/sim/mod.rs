//! A whole cluster in one thread: the production engines, codec and wire messages around one log, with a clock, a
//! network, hosts and operators that follow from a seed.
//!
//! # Flow
//! An event happens at its time; it changes the world, schedules others and leaves facts; the promises of `invariants`
//! are held against each fact. When troubles end, everything must converge (`end`).
//!
//! # Guarantees
//! The same seed gives the same run, line by line. Nothing here reads a clock or draws from anything but the seed.
//!
//! # Caveats
//! Raft is one log with a leader that changes. What a leader's round leads to, who is current, what an agent is told and
//! when it sends is production's (`leader::term`, `dispatcher::{sessions, told}`, `session::pace`); how loops wait, and the
//! worker's bookkeeping of looks under way, is restated because theirs need a runtime.

pub mod agent;
pub mod calls;
pub mod council;
pub mod docker;
pub mod end;
pub mod event;
pub mod image;
pub mod leader;
pub mod log;
pub mod many;
pub mod operators;
pub mod params;
pub mod rng;
pub mod seen;
pub mod session;
pub mod trace;
mod troubles;

use orchestrator::engine::model::Ranges;
use orchestrator::engine::{Command, State};
use proto::id::{ClusterId, NodeId};
use proto::node::{FEATURE_PREPARE, NodeInfo};
use proto::revision::Wall;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Arguments;

use crate::invariants::{self, Promises};
use crate::site::node_info;
use event::{Event, Fact, Place};
use params::{Params, Trouble};
use rng::Rng;
use seen::Seen;
use trace::Trace;

/// The world's wall clock begins in 2026.
const WALL_BEGIN_MS: u64 = 1_767_225_600_000;
/// Tickets below are of what was held up: it comes before what else happens in the moment of its release.
const HELD_TICKETS: u64 = 1 << 40;
/// Time between two looks at the whole, in milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;
/// Time in which everything converges once troubles have ended, in milliseconds: backoffs of a minute follow each other
/// along `depends_on`, and slots are changed one after the other.
pub const CONVERGES_WITHIN_MS: u64 = 900_000;

/// The world.
#[derive(Debug)]
pub struct World {
    /// What it is.
    pub params: Params,
    /// Now, in milliseconds since it began.
    pub now: u64,
    /// What was committed.
    pub state: State,
    /// Who leads.
    pub leader: leader::Leader,
    /// Agents, one on each host.
    pub agents: Vec<agent::Agent>,
    /// Hosts' engines.
    pub hosts: Vec<docker::Docker>,
    /// Operators' requests.
    pub requests: Vec<operators::Request>,
    /// Troubles happen.
    pub rough: bool,
    /// Those that were seen.
    pub seen: Seen<Trouble>,
    log: log::Log,
    rng: Rng,
    trace: Trace,
    wall_offset: i64,
    queue: BTreeMap<(u64, u64), Event>,
    tickets: u64,
    held: BTreeMap<Place, VecDeque<Event>>,
    held_tickets: u64,
    links: u64,
    letters: u64,
    calls: BTreeMap<u64, calls::Call>,
    calls_made: u64,
    facts: Vec<Fact>,
}

impl many::Simulated for World {
    type Trouble = Trouble;
    const SEEDS: &'static str = "seeds";
    const OPTION: &'static str = "";
    const BIG: usize = 300;

    fn told(seed: u64) -> String {
        Params::of(seed).to_string()
    }

    fn of(seed: u64, trace: Trace) -> World {
        World::new(Params::of(seed), trace)
    }

    fn live(&mut self) -> Result<u64, String> {
        self.live_by(&mut invariants::all())
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn ended(self) -> (u64, Seen<Trouble>, Trace) {
        (self.state.revision().0, self.seen, self.trace)
    }
}

// === impl World ===

impl World {
    fn new(params: Params, trace: Trace) -> World {
        let mut rng = Rng::new(params.seed ^ 0x5eed);
        let hosts: Vec<docker::Docker> = (0..params.nodes).map(|_| docker::Docker::default()).collect();
        let agents = (0..params.nodes).map(|n| agent::Agent::new(info(n, &params))).collect();
        rng.range(0, 1);
        World {
            now: 0,
            state: State::empty(),
            leader: leader::Leader::new(),
            agents,
            hosts,
            requests: Vec::new(),
            rough: true,
            seen: Seen::default(),
            log: log::Log::new(),
            rng,
            trace,
            wall_offset: 0,
            queue: BTreeMap::new(),
            tickets: HELD_TICKETS,
            held: BTreeMap::new(),
            held_tickets: 0,
            links: 0,
            letters: 0,
            calls: BTreeMap::new(),
            calls_made: 0,
            facts: Vec::new(),
            params,
        }
    }

    /// Lives until everything has converged; how long that took after the troubles.
    fn live_by(&mut self, promises: &mut Promises) -> Result<u64, String> {
        self.begin();
        let mut end = end::Convergence::default();
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            let looks = matches!(event, Event::Look);
            self.happen(event);
            for fact in std::mem::take(&mut self.facts) {
                promises.hold(self, &fact)?;
            }
            if looks && !self.rough && end.look(self)? {
                return Ok(self.now - self.params.rough_ms);
            }
        }
        Err("nothing happens any more".to_owned())
    }

    fn begin(&mut self) {
        let ranges = Ranges {
            // Tight: addresses come round.
            node_prefix: if self.params.tight { 28 } else { 24 },
            ..Ranges::default()
        };
        self.bootstrap(Command::Bootstrap { cluster: ClusterId(7), ranges });
        self.at(1, Event::Elected);
        for agent in 0..self.agents.len() {
            let when = self.rng.range(2, 3_000);
            self.at(when, Event::AgentStarts { agent });
            if self.rng.chance(300) {
                self.hosts[agent].plant("shop-a-1");
            }
            self.hosts[agent].plant("database");
        }
        self.at(1_000, Event::Request);
        self.at(3_000, Event::Trouble);
        self.at(self.params.rough_ms, Event::Calm);
        self.at(LOOK_EVERY_MS, Event::Look);
    }

    /// Schedules an event.
    fn at(&mut self, at: u64, event: Event) {
        self.tickets += 1;
        self.queue.insert((at.max(self.now), self.tickets), event);
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now + ms, event);
    }

    fn say(&mut self, what: Arguments<'_>) {
        self.trace.say(self.now, what);
    }

    /// Wall time of an agent's host, or of the leader's.
    fn wall(&self, agent: Option<usize>) -> Wall {
        let offset = agent.map_or(self.wall_offset, |a| self.agents[a].wall_offset);
        Wall((WALL_BEGIN_MS + self.now).saturating_add_signed(offset))
    }

    /// What concerns a leader that stands still, or a host that is suspended, happens later, in the order in which it came:
    /// also what comes after it waits for it, or the messages of a connection would overtake each other.
    fn held_up(&mut self, event: Event) -> Option<Event> {
        let Some(place) = event.place(|call| self.calls.get(&call).map(calls::Call::agent)) else { return Some(event) };
        let until = self.stands_until(place);
        if until <= self.now && !self.held.contains_key(&place) {
            return Some(event);
        }
        let (seen, trouble) = match place {
            Place::Loop | Place::Doors => (&mut self.leader.pause_seen, Trouble::LateLeader),
            Place::Host(host) => (&mut self.agents[host].suspend_seen, Trouble::Suspend),
        };
        if !std::mem::replace(seen, true) {
            self.saw(trouble);
        }
        if !self.held.contains_key(&place) {
            self.at(until, Event::Resumes { place });
        }
        self.held.entry(place).or_default().push_back(event);
        None
    }

    fn stands_until(&self, place: Place) -> u64 {
        match place {
            Place::Loop => self.leader.paused_until,
            Place::Doors => self.leader.paused_until + self.leader.messages_after,
            Place::Host(host) => self.agents[host].suspended_until,
        }
    }

    /// What was held up there happens now, unless it stands still for longer than it was to.
    fn resumes(&mut self, place: Place) {
        let until = self.stands_until(place);
        if until > self.now {
            return self.at(until, Event::Resumes { place });
        }
        for event in self.held.remove(&place).unwrap_or_default() {
            self.held_tickets += 1;
            self.queue.insert((self.now, self.held_tickets), event);
        }
    }

    /// What is held up goes on earlier than it was to.
    fn resume_early(&mut self) {
        for place in self.held.keys().copied().collect::<Vec<_>>() {
            self.at(self.stands_until(place), Event::Resumes { place });
        }
    }

    fn happen(&mut self, event: Event) {
        let Some(event) = self.held_up(event) else { return };
        match event {
            Event::Resumes { place } => self.resumes(place),
            Event::Commit { term } => self.commit(term),
            Event::LeaderTurn { term, wake } => self.leader_turn(term, wake),
            Event::Publish { term } => self.publish(term),
            Event::Elected => self.elected(),
            Event::ToServer { agent, letter, message } => self.reaches_server(agent, letter, message),
            Event::ToAgent { agent, letter, message } => self.reaches_agent(agent, letter, message),
            Event::Closed { agent, link } => self.closed(agent, link),
            Event::Broken { agent, link } => self.broken(agent, link),
            Event::AgentStarts { agent } => self.agent_starts(agent),
            Event::AgentCrashes { agent, process } if self.agents[agent].is_process(process) => {
                self.crash_agent(agent, false);
            }
            Event::AgentCrashes { .. } => {}
            Event::Connect { agent, process } => self.connect(agent, process),
            Event::Beat { agent, link } => self.beat(agent, link),
            Event::Batch { agent, link } => self.batch(agent, link),
            Event::Wake { agent, process, wake } => self.wake(agent, process, wake),
            Event::Effect { call } => self.effect(call),
            Event::End { call } => self.call_ends(call),
            Event::Read { agent, process, begun, what } => self.read_at_engine(agent, process, begun, what),
            Event::Seen { agent, process, begun, what, answer } => self.seen(agent, process, begun, what, answer),
            Event::Hint { agent, process, task, container } => self.hinted(agent, process, task, &container),
            Event::EngineFound { agent, process } => self.engine_found(agent, process),
            Event::EngineLost { agent, process } => self.engine_lost(agent, process),
            Event::Probe { agent, process, task, incarnation } => self.probe(agent, process, task, incarnation),
            Event::Probed { agent, process, task, incarnation, passed } => {
                self.probed(agent, process, task, incarnation, passed);
            }
            Event::WriteMemory { agent, process } => self.write_memory(agent, process),
            Event::Ends { host, container, run, code } => self.ends(host, &container, run, code),
            Event::Trouble if self.rough => self.trouble(),
            Event::Request if self.rough => self.request(),
            Event::Trouble | Event::Request => {}
            Event::Ask { request } => self.ask(request),
            Event::Answer { request, outcome } => self.answer(request, outcome),
            Event::Calm => self.calm(),
            Event::Look => {
                self.facts.push(Fact::Lapsed);
                self.after(LOOK_EVERY_MS, Event::Look);
            }
        }
    }
}

fn info(n: u64, params: &Params) -> NodeInfo {
    NodeInfo {
        cpu_millis: if params.tight { 1_000 } else { 8_000 },
        labels: BTreeMap::from([(operators::ZONE.to_owned(), operators::ZONES[(n % 2) as usize].to_owned())]),
        features: BTreeSet::from([FEATURE_PREPARE.to_owned()]),
        ..node_info(NodeId(n + 1), format!("n{}", n + 1))
    }
}
