//! The servers as one leader: its loop, its leases, its log, its sessions with agents.
//!
//! What a round leads to (`leader::term`), which session counts (`dispatcher::sessions`) and what an agent is told
//! (`dispatcher::told`) is production's; how a loop waits is restated here.

use orchestrator::dispatcher::sessions::Sessions;
use orchestrator::dispatcher::told::{Told, moved_table};
use orchestrator::engine::model::Asker;
use orchestrator::engine::{Command, Leases, Outcome, Stamped, State, assignments, endpoints};
use orchestrator::leader::LeaseEvent;
use orchestrator::leader::term::{PAUSE_MS, Term, raised};
use proto::assignment::AssignmentSet;
use proto::endpoint::EndpointTable;
use proto::id::{RequestId, ServerId, SessionId};
use proto::revision::Time;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::World;
use super::event::{Down, Event, Fact, Letter, Up};
use super::params::Trouble;

/// States kept for servers that lag behind.
const PAST_KEPT: usize = 12;

/// The leader.
#[derive(Debug)]
pub struct Leader {
    /// There is one.
    pub leads: bool,
    /// Counts leaders.
    pub term: u64,
    /// When it began, on the world's clock.
    pub began: u64,
    /// Sessions by agent.
    pub links: BTreeMap<usize, Link>,
    /// It stands still until then.
    pub paused_until: u64,
    /// It stands still since then, if it does.
    pub paused_from: u64,
    /// What its doors read comes to its loop so long after a pause, in milliseconds.
    pub messages_after: u64,
    /// The pause was seen to hold something up.
    pub pause_seen: bool,
    /// When the last heartbeat of an agent was taken, by agent.
    pub beats: BTreeMap<usize, u64>,
    /// When the last pause ended.
    pub resumed: u64,
    base: Time,
    judgement: Term,
    sessions: Sessions<u64>,
    table: Arc<EndpointTable>,
    proposing: bool,
    wake: u64,
    publishing: bool,
    pending: Vec<Proposal>,
    in_flight: Vec<Proposal>,
    held: Vec<LeaseEvent>,
    past: VecDeque<State>,
}

/// A session as the server sees it.
#[derive(Debug)]
pub struct Link {
    id: u64,
    session: SessionId,
    told: Told,
}

#[derive(Debug, Clone)]
struct Proposal {
    origin: Origin,
    request: Option<RequestId>,
    command: Command,
}

#[derive(Debug, Clone)]
enum Origin {
    Leader,
    Register { agent: usize, link: u64 },
    Statuses { agent: usize, link: u64, number: u64 },
    Conditions,
    Operator(usize),
    Nobody,
}

// === impl Leader ===

impl Leader {
    /// Of a cluster that has none yet.
    pub fn new() -> Leader {
        Leader {
            leads: false,
            term: 0,
            began: 0,
            links: BTreeMap::new(),
            paused_until: 0,
            paused_from: 0,
            messages_after: 0,
            pause_seen: false,
            beats: BTreeMap::new(),
            resumed: 0,
            base: Time(0),
            judgement: Term::begin(&State::empty(), Time(0)),
            sessions: Sessions::default(),
            table: Arc::default(),
            proposing: false,
            wake: 0,
            publishing: false,
            pending: Vec::new(),
            in_flight: Vec::new(),
            held: Vec::new(),
            past: VecDeque::new(),
        }
    }

    /// Its leases.
    pub fn leases(&self) -> &Leases {
        self.judgement.leases()
    }

    /// Its monotonic clock steps forward.
    pub fn step(&mut self, by_ms: u64) {
        self.base = self.base.after_ms(by_ms);
    }
}

impl Default for Leader {
    fn default() -> Self {
        Leader::new()
    }
}

impl World {
    /// Cluster time, as the leader has it.
    pub fn cluster_now(&self) -> Time {
        self.leader.base.after_ms(self.now - self.leader.began)
    }

    /// The leader is gone; what was on its way may or may not be in the log.
    pub(super) fn depose(&mut self, outage_ms: u64) {
        let in_flight = std::mem::take(&mut self.leader.in_flight);
        let pending = std::mem::take(&mut self.leader.pending);
        let kept = self.rng.chance(500);
        let term = self.leader.term;
        self.say(format_args!("leader of term {term} is lost; what was on its way is kept: {kept}"));
        if kept && !in_flight.is_empty() {
            let orphans = in_flight.iter().cloned().map(|p| Proposal { origin: Origin::Nobody, ..p }).collect();
            self.commit_batch(orphans);
        }
        for proposal in in_flight.into_iter().chain(pending) {
            if let Origin::Operator(request) = proposal.origin {
                let delay = self.rng.range(50, 3_000);
                self.after(delay, Event::Ask { request });
            }
        }
        for (agent, link) in std::mem::take(&mut self.leader.links) {
            let delay = self.rng.range(1, 300);
            self.after(delay, Event::Broken { agent, link: link.id });
        }
        let term = self.leader.term;
        self.leader = Leader { term, ..Leader::new() };
        self.resume_early();
        self.after(outage_ms, Event::Elected);
    }

    /// A server that has nothing but the log leads from now on.
    pub(super) fn elected(&mut self) {
        let before = std::mem::replace(&mut self.state, self.log.replay());
        let leader = &mut self.leader;
        leader.term += 1;
        leader.leads = true;
        leader.began = self.now;
        leader.base = self.state.clock();
        leader.judgement = Term::begin(&self.state, leader.base);
        leader.table = Arc::new(endpoints(&self.state));
        if self.leader.term > 1 {
            self.saw(Trouble::LeaderChange);
        }
        let (term, revision) = (self.leader.term, self.state.revision());
        self.say(format_args!("term {term} begins at revision {revision}"));
        self.facts.push(Fact::Elected { before: Box::new(before) });
        self.leader_wakes(0);
    }

    fn leader_wakes(&mut self, delay_ms: u64) {
        self.leader.wake += 1;
        let (term, wake) = (self.leader.term, self.leader.wake);
        self.after(delay_ms, Event::LeaderTurn { term, wake });
    }

    /// One round of the leader's loop.
    pub(super) fn leader_turn(&mut self, term: u64, wake: u64) {
        if !self.leader.leads || term != self.leader.term || wake != self.leader.wake || self.leader.proposing {
            return;
        }
        if let Some(command) = raised(&self.state, ServerId(1)) {
            self.leader.proposing = true;
            return self.propose(Origin::Leader, None, command);
        }
        let now = self.cluster_now();
        let round = self.leader.judgement.round(&self.state, now);
        self.facts.push(Fact::Reconciled { plan: round.plan.clone(), now });
        if round.plan.is_empty() {
            return self.leader_wakes(round.sleep_ms);
        }
        for planned in &round.plan.changes {
            self.trace.say(self.now, format_args!("plan: {}: {}", planned.change, planned.reason));
        }
        self.leader.proposing = true;
        self.propose(Origin::Leader, None, Command::ApplyPlan { plan: round.plan });
    }

    fn propose(&mut self, origin: Origin, request: Option<RequestId>, command: Command) {
        self.leader.pending.push(Proposal { origin, request, command });
        self.send_batch();
    }

    /// One batch is on its way at a time.
    fn send_batch(&mut self) {
        if self.leader.in_flight.is_empty() && !self.leader.pending.is_empty() {
            self.leader.in_flight = std::mem::take(&mut self.leader.pending);
            let latency = if self.rng.chance(20 * u64::from(self.rough)) {
                self.rng.range(50, 1_500)
            } else {
                self.rng.range(1, 12)
            };
            let term = self.leader.term;
            self.after(latency, Event::Commit { term });
        }
    }

    pub(super) fn commit(&mut self, term: u64) {
        if !self.leader.leads || term != self.leader.term {
            return;
        }
        let batch = std::mem::take(&mut self.leader.in_flight);
        self.commit_batch(batch);
        self.send_batch();
    }

    fn commit_batch(&mut self, batch: Vec<Proposal>) {
        let (at, wall) = (self.cluster_now(), self.wall(None));
        let stamp = |p: &Proposal| {
            // Who sends a request id is an operator.
            let by = p.request.map(|_| Asker { who: "operator/sim".to_owned(), from: "192.0.2.1:1".to_owned() });
            Stamped { at, wall, request: p.request, by, command: p.command.clone() }
        };
        let stamped: Vec<Stamped> = batch.iter().map(stamp).collect();
        let revision = self.state.revision();
        let done = self.log.commit(&mut self.state, &stamped);
        if self.state.revision() != revision {
            self.leader.past.push_back(self.state.clone());
            if self.leader.past.len() > PAST_KEPT {
                self.leader.past.pop_front();
            }
        }
        for (proposal, (before, stamped, outcome, after)) in batch.into_iter().zip(done) {
            let (before, stamped, after) = (Box::new(before), Box::new(stamped), Box::new(after));
            let fact = Fact::Committed { before, stamped, outcome: outcome.clone(), after };
            self.facts.push(fact);
            self.tell_outcome(proposal.origin, outcome);
        }
        self.state_moved();
        self.log.compact(&self.state);
    }

    fn state_moved(&mut self) {
        if !self.leader.leads {
            return;
        }
        if !self.leader.publishing {
            self.leader.publishing = true;
            let term = self.leader.term;
            let delay = self.rng.range(0, 3);
            self.after(delay, Event::Publish { term });
        }
        if !self.leader.proposing {
            self.leader_wakes(0);
        }
    }

    fn tell_outcome(&mut self, origin: Origin, outcome: Outcome) {
        match origin {
            Origin::Leader => self.plan_ended(&outcome),
            Origin::Register { agent, link } => self.begin_session(agent, link),
            Origin::Statuses { agent, link, number } => self.send_down(agent, link, Down::Acknowledged(number)),
            Origin::Operator(request) => {
                // An answer may be lost with its connection: the operator asks again under the same id.
                if self.strikes(Trouble::AnswerLost) {
                    self.saw(Trouble::AnswerLost);
                    self.after(2_000, Event::Ask { request });
                } else {
                    let delay = self.rng.range(0, 5);
                    self.after(delay, Event::Answer { request, outcome });
                }
            }
            Origin::Conditions | Origin::Nobody => {}
        }
    }

    fn plan_ended(&mut self, outcome: &Outcome) {
        let accepted = match outcome {
            Outcome::Plan { accepted, rejected, .. } => {
                for (index, why) in rejected {
                    self.trace.say(self.now, format_args!("change {index} no longer held: {why}"));
                }
                *accepted
            }
            Outcome::Done { .. } => 1,
            _ => 0,
        };
        let after = self.cluster_now();
        let held = std::mem::take(&mut self.leader.held);
        self.leader.judgement.proposed(held, after);
        self.leader.proposing = false;
        if accepted == 0 {
            self.leader_wakes(PAUSE_MS);
        }
    }

    fn lease_event(&mut self, event: LeaseEvent) {
        if self.leader.proposing {
            self.leader.held.push(event);
            return;
        }
        let now = self.cluster_now();
        self.leader.judgement.take(event, now);
        if event.wakes(&self.state) {
            self.leader_wakes(0);
        }
    }

    // --- The agents' door ---

    /// A connection and its hello; false when nobody is there.
    fn greet(&mut self, agent: usize, link: u64) {
        let info = self.agents[agent].info.clone();
        if self.state.node(info.id).is_some_and(|known| known.info == info) {
            self.begin_session(agent, link);
        } else {
            self.propose(Origin::Register { agent, link }, None, Command::RegisterNode { info });
        }
    }

    fn begin_session(&mut self, agent: usize, link: u64) {
        if !self.leader.leads {
            return;
        }
        let (node, wall) = (self.agents[agent].info.id, self.wall(None));
        let (session, earlier) = self.leader.sessions.begin(node, wall, link);
        self.leader.links.insert(agent, Link { id: link, session, told: Told::default() });
        if let Some(earlier) = earlier {
            let delay = self.rng.range(1, 100);
            self.after(delay, Event::Broken { agent, link: earlier });
        }
        self.say(format_args!("agent {agent} has session {}", session.0));
        self.beat_taken(agent);
        self.lease_event(LeaseEvent::Heard(node));
        self.send_down(agent, link, Down::Welcome);
        let lags = self.rough && self.params.troubles.contains(&Trouble::StaleServer) && self.rng.chance(500);
        if lags && let Some(old) = self.leader.past.iter().next().cloned() {
            self.publish_to(agent, &old, &Arc::new(endpoints(&old)));
            if old.revision() < self.state.revision() {
                self.saw(Trouble::StaleServer);
            }
            let (term, delay) = (self.leader.term, self.rng.range(5, 800));
            self.leader.publishing = true;
            self.after(delay, Event::Publish { term });
        } else {
            self.publish_now(agent);
        }
    }

    fn beat_taken(&mut self, agent: usize) {
        self.leader.beats.insert(agent, self.now);
    }

    pub(super) fn publish(&mut self, term: u64) {
        if term != self.leader.term || !self.leader.leads {
            return;
        }
        self.leader.publishing = false;
        if let Some(table) = moved_table(&self.leader.table, &self.state) {
            self.leader.table = Arc::new(table);
        }
        let agents: Vec<usize> = self.leader.links.keys().copied().collect();
        agents.into_iter().for_each(|agent| self.publish_now(agent));
    }

    fn publish_now(&mut self, agent: usize) {
        let (state, table) = (self.state.clone(), Arc::clone(&self.leader.table));
        self.publish_to(agent, &state, &table);
    }

    /// Sends a session what moved, through the messages of the wire.
    fn publish_to(&mut self, agent: usize, state: &State, table: &Arc<EndpointTable>) {
        let Some(link) = self.leader.links.get_mut(&agent) else { return };
        let id = link.id;
        let mut messages = Vec::new();
        if let Some(set) = assignments(state, self.agents[agent].info.id, link.session)
            && link.told.is_news(&set)
        {
            let wire = proto::v1::AssignmentSet::from(&set);
            let read = AssignmentSet::try_from(wire).expect("a set survives the wire");
            assert_eq!(read, set, "the wire changes a set");
            messages.push(Down::Assignments(Arc::new(read)));
        }
        if link.told.table() != Some((table.epoch, table.revision)) {
            link.told.sent_table(table);
            messages.push(Down::Endpoints(Arc::clone(table)));
        }
        messages.into_iter().for_each(|message| self.send_down(agent, id, message));
    }

    pub(super) fn reaches_server(&mut self, agent: usize, letter: Letter, message: Up) {
        let link = letter.link;
        if !self.arrives_up(agent, letter, &message) || !self.leader.leads {
            return;
        }
        if matches!(message, Up::Hello) {
            self.greet(agent, link);
            return;
        }
        let node = self.agents[agent].info.id;
        let Some(current) = self.leader.links.get_mut(&agent).filter(|l| l.id == link) else { return };
        if !self.leader.sessions.is_current(node, current.session) {
            return;
        }
        match message {
            Up::Hello => {}
            Up::Heartbeat { assignments, endpoints } => {
                let again = current.told.beat(assignments, endpoints);
                self.beat_taken(agent);
                self.lease_event(LeaseEvent::Heard(node));
                self.send_down(agent, link, Down::Echo);
                if again {
                    self.publish_now(agent);
                }
            }
            Up::Statuses { number, reports } => {
                let command = Command::ReportStatuses { node, reports };
                self.propose(Origin::Statuses { agent, link, number }, None, command);
            }
            Up::Conditions(conditions) => {
                self.propose(Origin::Conditions, None, Command::ReportConditions { node, conditions });
            }
        }
    }

    pub(super) fn closed(&mut self, agent: usize, link: u64) {
        let node = self.agents[agent].info.id;
        let Some(session) = self.leader.links.get(&agent).filter(|l| l.id == link).map(|l| l.session) else { return };
        self.leader.links.remove(&agent);
        if self.leader.sessions.end(node, session) {
            self.lease_event(LeaseEvent::Closed(node));
        }
    }

    // --- The operators' door ---

    /// False when nobody leads.
    pub(super) fn asked(&mut self, request: usize, id: RequestId, command: Command) -> bool {
        if self.leader.leads {
            self.propose(Origin::Operator(request), Some(id), command);
        }
        self.leader.leads
    }

    /// The first command of the cluster.
    pub(super) fn bootstrap(&mut self, command: Command) {
        self.commit_batch(vec![Proposal { origin: Origin::Nobody, request: None, command }]);
    }
}
