//! An agent's connection, as `agent::session` holds it: which messages are lost, late, doubled or overtaken is decided here.
//!
//! Within a connection messages arrive in order unless the world is unruly; then sets, tables, statuses and their
//! acknowledgements may come twice or be overtaken, which their numbers must make harmless.

use agent::reporter::Batch;
use agent::session::pace::{Beat, Pace};
use agent::session::{acceptable, may_replace};
use proto::assignment::AssignmentSet;
use proto::limits::HEARTBEAT_MS;
use proto::revision::Revision;
use std::sync::Arc;

use super::World;
use super::event::{Down, Event, Fact, Fate, Letter, Up};
use super::params::Trouble;

const RECONNECT_MAX_MS: u64 = 2_000;

/// A connection as its agent sees it.
#[derive(Debug)]
pub struct Connection {
    /// Its number; a later one is larger.
    pub id: u64,
    welcome: bool,
    pace: Pace,
    batch_scheduled: bool,
    lines: [Line; 2],
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Line {
    /// What is sent later arrives later, if messages keep their order.
    busy_until: u64,
    /// Number of the newest letter that arrived.
    newest: u64,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl World {
    // --- The network ---

    /// Puts a message on its way: when it arrives, and how. `free`: its number makes it harmless twice or out of order.
    fn post(&mut self, agent: usize, link: u64, way: Way, free: bool) -> Vec<(u64, Letter)> {
        let late = self.strikes(Trouble::Late);
        let travels = if late { self.rng.range(100, 2_500) } else { self.rng.range(0, 4) };
        // What is sent into a cut line is sent again by the hosts once it heals.
        let cut = self.agents[agent].cut_until.saturating_sub(self.now);
        if cut > 0 {
            self.saw(Trouble::Cut);
        }
        let overtakes = free && self.strikes(Trouble::Reordered);
        let lost = self.strikes(Trouble::Lost);
        let twice = free && !lost && self.strikes(Trouble::Doubled);
        self.letters += 1;
        let number = self.letters;
        let mut at = self.now + travels + cut;
        if let Some(connection) = self.agents[agent].connection.as_mut().filter(|c| c.id == link && !overtakes) {
            let line = &mut connection.lines[way as usize];
            at = at.max(line.busy_until);
            line.busy_until = at;
        }
        let fate = if lost {
            Fate::Lost
        } else if late {
            Fate::Late
        } else {
            Fate::Comes
        };
        let mut letters = vec![(at, Letter { link, number, fate })];
        if twice {
            let again = at + self.rng.range(0, 3_000);
            letters.push((again, Letter { link, number, fate: Fate::Copy }));
        }
        letters
    }

    /// Sends an agent a message over its connection.
    pub(super) fn send_down(&mut self, agent: usize, link: u64, message: Down) {
        let free = matches!(message, Down::Assignments(_) | Down::Endpoints(_) | Down::Acknowledged(_));
        for (at, letter) in self.post(agent, link, Way::Down, free) {
            self.at(at, Event::ToAgent { agent, letter, message: message.clone() });
        }
    }

    fn send_up(&mut self, agent: usize, message: Up) {
        let free = matches!(message, Up::Statuses { .. });
        let Some(link) = self.agents[agent].connection.as_ref().map(|c| c.id) else { return };
        for (at, letter) in self.post(agent, link, Way::Up, free) {
            self.at(at, Event::ToServer { agent, letter, message: message.clone() });
        }
    }

    /// Counts what happened to a letter, if its connection still stands; false: it was lost.
    fn arrives(&mut self, agent: usize, letter: Letter, way: Way) -> bool {
        let Some(connection) = self.agents[agent].connection.as_mut().filter(|c| c.id == letter.link) else {
            return letter.fate != Fate::Lost;
        };
        let newest = &mut connection.lines[way as usize].newest;
        let overtaken = letter.number < *newest;
        *newest = letter.number.max(*newest);
        match letter.fate {
            Fate::Lost => self.saw(Trouble::Lost),
            Fate::Late => self.saw(Trouble::Late),
            Fate::Copy => self.saw(Trouble::Doubled),
            Fate::Comes if overtaken => self.saw(Trouble::Reordered),
            Fate::Comes => {}
        }
        letter.fate != Fate::Lost
    }

    /// Did a letter reach the server? Conditions are sent once and not acknowledged: what loses them loses the connection.
    pub(super) fn arrives_up(&mut self, agent: usize, letter: Letter, message: &Up) -> bool {
        let arrives = self.arrives(agent, letter, Way::Up);
        if !arrives && matches!(message, Up::Conditions(_)) && self.is_connected(agent, letter.link) {
            self.reset(agent);
        }
        arrives
    }

    // --- The agent's end ---

    /// Tries to connect.
    pub(super) fn connect(&mut self, agent: usize, process: u64) {
        if !self.agents[agent].is_process(process) || self.agents[agent].connection.is_some() {
            return;
        }
        if !self.leader.leads || self.agents[agent].cut_until > self.now {
            let pause = self.rng.range(100, RECONNECT_MAX_MS);
            self.after(pause, Event::Connect { agent, process });
            return;
        }
        self.links += 1;
        let now = self.agents[agent].now(self.now);
        let lines = Default::default();
        let connection =
            Connection { id: self.links, welcome: false, pace: Pace::new(now), batch_scheduled: false, lines };
        self.agents[agent].connection = Some(connection);
        self.send_up(agent, Up::Hello);
        let link = self.links;
        self.after(HEARTBEAT_MS, Event::Beat { agent, link });
    }

    fn is_connected(&self, agent: usize, link: u64) -> bool {
        self.agents[agent].connection.as_ref().is_some_and(|c| c.id == link)
    }

    /// The connection is gone for the agent; it begins another.
    pub(super) fn broken(&mut self, agent: usize, link: u64) {
        if !self.is_connected(agent, link) {
            return;
        }
        self.agents[agent].connection = None;
        self.agents[agent].outbox.put_back();
        let process = self.agents[agent].process;
        let pause = self.rng.range(50, 300);
        self.after(pause, Event::Connect { agent, process });
    }

    /// The agent gives it up; the server hears of that when the line allows it.
    fn hang_up(&mut self, agent: usize, link: u64) {
        let delay = self.rng.range(0, 4) + self.agents[agent].cut_until.saturating_sub(self.now);
        self.after(delay, Event::Closed { agent, link });
        self.broken(agent, link);
    }

    pub(super) fn beat(&mut self, agent: usize, link: u64) {
        if !self.is_connected(agent, link) {
            return;
        }
        let body = &mut self.agents[agent];
        let now = body.now(self.now);
        let Some(connection) = body.connection.as_mut() else { return };
        match connection.pace.beat(now) {
            Beat::Leave => return self.hang_up(agent, link),
            Beat::PutBack => body.outbox.put_back(),
            Beat::Go => {}
        }
        if connection.welcome {
            let beat = self.heartbeat(agent);
            self.send_up(agent, beat);
        }
        self.say_statuses(agent);
        self.after(HEARTBEAT_MS, Event::Beat { agent, link });
    }

    fn heartbeat(&self, agent: usize) -> Up {
        let body = &self.agents[agent];
        let assignments = body.accepted.as_ref().map_or(Revision(0), |set| set.revision);
        Up::Heartbeat { assignments, endpoints: body.table.revision }
    }

    /// Sends a batch as soon as one may be sent.
    pub(super) fn say_statuses(&mut self, agent: usize) {
        let body = &mut self.agents[agent];
        let now = body.now(self.now);
        let has_waiting = body.outbox.has_waiting();
        let Some(connection) = body.connection.as_mut() else { return };
        let Some(may_go) = connection.pace.batch_at() else { return };
        if connection.welcome && has_waiting && !connection.batch_scheduled {
            connection.batch_scheduled = true;
            let link = connection.id;
            self.after(may_go.since_ms(now), Event::Batch { agent, link });
        }
    }

    pub(super) fn batch(&mut self, agent: usize, link: u64) {
        if !self.is_connected(agent, link) {
            return;
        }
        let body = &mut self.agents[agent];
        let now = body.now(self.now);
        let Some(connection) = body.connection.as_mut() else { return };
        connection.batch_scheduled = false;
        if connection.pace.batch_at().is_none() {
            return;
        }
        let Some(Batch { number, reports }) = body.outbox.take() else { return };
        connection.pace.sent(now);
        self.send_up(agent, Up::Statuses { number, reports });
    }

    /// Tells conditions that moved, or all of them to a new server.
    pub(super) fn say_conditions(&mut self, agent: usize) {
        let conditions = self.conditions(agent);
        let body = &mut self.agents[agent];
        let ready = body.connection.as_ref().is_some_and(|c| c.welcome);
        if ready && body.told.as_ref() != Some(&conditions) {
            body.told = Some(conditions.clone());
            self.send_up(agent, Up::Conditions(conditions));
        }
    }

    pub(super) fn reaches_agent(&mut self, agent: usize, letter: Letter, message: Down) {
        if !self.arrives(agent, letter, Way::Down) {
            // An agent that hears anything else first leaves: what loses the welcome loses the connection.
            if matches!(message, Down::Welcome) && self.is_connected(agent, letter.link) {
                self.reset(agent);
            }
            return;
        }
        if !self.is_connected(agent, letter.link) {
            return;
        }
        let body = &mut self.agents[agent];
        let now = body.now(self.now);
        let Some(connection) = body.connection.as_mut() else { return };
        connection.pace.heard(now);
        match message {
            Down::Welcome => {
                connection.welcome = true;
                body.told = None;
                let beat = self.heartbeat(agent);
                self.send_up(agent, beat);
                self.say_conditions(agent);
                self.say_statuses(agent);
            }
            Down::Assignments(set) => self.accept_set(agent, set),
            Down::Endpoints(table) => {
                if may_replace(&table, &body.table) {
                    body.table = Arc::clone(&table);
                    body.disk.endpoints = Some(table);
                    self.facts.push(Fact::Named { agent });
                }
            }
            Down::Acknowledged(number) => {
                if body.outbox.acknowledged(number) {
                    connection.pace.acknowledged();
                    self.say_statuses(agent);
                }
            }
            Down::Echo => {}
        }
    }

    fn accept_set(&mut self, agent: usize, set: Arc<AssignmentSet>) {
        let body = &mut self.agents[agent];
        if let Err(reason) = acceptable(&set, body.info.id, body.accepted.as_deref()) {
            self.trace.say(self.now, format_args!("agent {agent} refuses set {}: {reason}", set.revision));
            return;
        }
        if body.disk_full_until > self.now {
            self.say(format_args!("agent {agent} cannot keep set {}", set.revision));
            self.saw(Trouble::DiskFull);
            return;
        }
        let brings_work = set.tasks.keys().any(|id| body.memory.task(*id).is_none());
        let doomed = body.doomed && brings_work;
        body.doomed &= !brings_work;
        let process = body.process;
        self.trace.say(self.now, format_args!("agent {agent} takes set {} of {} tasks", set.revision, set.tasks.len()));
        body.disk.assignments = Some(Arc::clone(&set));
        body.accepted = Some(set);
        self.facts.push(Fact::Accepted { agent });
        self.find_engine_once(agent);
        self.turn(agent);
        if doomed {
            let soon = self.rng.range(1, 250);
            self.after(soon, Event::AgentCrashes { agent, process });
        }
    }
}
