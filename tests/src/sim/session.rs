//! An agent's connection, as `agent::session` holds it: which messages are lost, late, doubled or overtaken is decided here.
//!
//! Within a connection messages arrive in order unless the world is unruly; then sets, tables, statuses and their
//! acknowledgements may come twice or be overtaken, which their numbers must make harmless.

use agent::reporter::{Batch, Outbox};
use agent::session::acceptable;
use proto::assignment::AssignmentSet;
use proto::limits::HEARTBEAT_MS;
use std::sync::Arc;

use super::World;
use super::event::{Down, Event, Fact, Up};

const BATCH_EVERY_MS: u64 = 20;
const RESEND_AFTER_MS: u64 = 5_000;
const SILENCE_MAX_MS: u64 = 6_000;
const RECONNECT_MAX_MS: u64 = 2_000;

/// A connection as its agent sees it.
#[derive(Debug)]
pub struct Connection {
    /// Its number; a later one is larger.
    pub id: u64,
    welcome: bool,
    heard: u64,
    batch_at: u64,
    sent_at: Option<u64>,
    batch_scheduled: bool,
    up_after: u64,
    down_after: u64,
}

impl World {
    // --- The network ---

    fn is_ordered(&mut self) -> bool {
        let reordered = self.params.reordered;
        !(self.rough && self.rng.chance(reordered))
    }

    fn delay(&mut self, agent: usize) -> u64 {
        let late = self.params.late;
        let travels =
            if self.rough && self.rng.chance(late) { self.rng.range(100, 2_500) } else { self.rng.range(0, 4) };
        // What is sent into a cut line is sent again by the hosts once it heals.
        travels + self.agents[agent].cut_until.saturating_sub(self.now)
    }

    /// Sends an agent a message over its connection.
    pub(super) fn send_down(&mut self, agent: usize, link: u64, message: Down) {
        let delay = self.delay(agent);
        let mut at = self.now + delay;
        let free = matches!(message, Down::Assignments(_) | Down::Endpoints(_) | Down::Acknowledged(_));
        let overtakes = free && !self.is_ordered();
        if let Some(connection) = self.agents[agent].connection.as_mut().filter(|c| c.id == link && !overtakes) {
            at = at.max(connection.down_after);
            connection.down_after = at;
        }
        let doubled = self.params.doubled;
        if self.rough && free && self.rng.chance(doubled) {
            let again = at + self.rng.range(0, 3_000);
            self.at(again, Event::ToAgent { agent, link, message: message.clone() });
        }
        self.at(at, Event::ToAgent { agent, link, message });
    }

    fn send_up(&mut self, agent: usize, message: Up) {
        let delay = self.delay(agent);
        let mut at = self.now + delay;
        let free = matches!(message, Up::Statuses { .. });
        let overtakes = free && !self.is_ordered();
        let Some(connection) = self.agents[agent].connection.as_mut() else { return };
        let link = connection.id;
        if !overtakes {
            at = at.max(connection.up_after);
            connection.up_after = at;
        }
        let doubled = self.params.doubled;
        if self.rough && free && self.rng.chance(doubled) {
            let again = at + self.rng.range(0, 3_000);
            self.at(again, Event::ToServer { agent, link, message: message.clone() });
        }
        self.at(at, Event::ToServer { agent, link, message });
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
        let now = self.now;
        self.agents[agent].connection = Some(Connection {
            id: self.links,
            welcome: false,
            heard: now,
            batch_at: now,
            sent_at: None,
            batch_scheduled: false,
            up_after: now,
            down_after: now,
        });
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
        let delay = self.delay(agent);
        self.after(delay, Event::Closed { agent, link });
        self.broken(agent, link);
    }

    pub(super) fn beat(&mut self, agent: usize, link: u64) {
        if !self.is_connected(agent, link) {
            return;
        }
        let now = self.now;
        let Some(connection) = self.agents[agent].connection.as_mut() else { return };
        if now - connection.heard > SILENCE_MAX_MS {
            self.hang_up(agent, link);
            return;
        }
        if connection.sent_at.is_some_and(|at| now - at > RESEND_AFTER_MS) {
            connection.sent_at = None;
            self.agents[agent].outbox.put_back();
        }
        if self.agents[agent].connection.as_ref().is_some_and(|c| c.welcome) {
            self.send_up(agent, Up::Heartbeat);
        }
        self.say_statuses(agent);
        self.after(HEARTBEAT_MS, Event::Beat { agent, link });
    }

    /// Sends a batch as soon as one may be sent.
    pub(super) fn say_statuses(&mut self, agent: usize) {
        let now = self.now;
        let has_waiting = self.agents[agent].outbox.has_waiting();
        let Some(connection) = self.agents[agent].connection.as_mut() else { return };
        if connection.welcome && has_waiting && connection.sent_at.is_none() && !connection.batch_scheduled {
            connection.batch_scheduled = true;
            let (at, link) = (connection.batch_at.max(now), connection.id);
            self.at(at, Event::Batch { agent, link });
        }
    }

    pub(super) fn batch(&mut self, agent: usize, link: u64) {
        if !self.is_connected(agent, link) {
            return;
        }
        let now = self.now;
        let Some(connection) = self.agents[agent].connection.as_mut() else { return };
        connection.batch_scheduled = false;
        if connection.sent_at.is_some() {
            return;
        }
        let Some(Batch { number, reports }) = Outbox::take(&mut self.agents[agent].outbox) else { return };
        if let Some(connection) = self.agents[agent].connection.as_mut() {
            connection.batch_at = now + BATCH_EVERY_MS;
            connection.sent_at = Some(now);
        }
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

    pub(super) fn reaches_agent(&mut self, agent: usize, link: u64, message: Down) {
        if !self.is_connected(agent, link) {
            return;
        }
        let now = self.now;
        let Some(connection) = self.agents[agent].connection.as_mut() else { return };
        connection.heard = now;
        match message {
            Down::Welcome => {
                connection.welcome = true;
                self.agents[agent].told = None;
                self.send_up(agent, Up::Heartbeat);
                self.say_conditions(agent);
                self.say_statuses(agent);
            }
            Down::Assignments(set) => self.accept_set(agent, *set),
            Down::Endpoints(table) => {
                let body = &mut self.agents[agent];
                if (table.epoch, table.revision) >= (body.table.epoch, body.table.revision) {
                    body.table = Arc::new(*table);
                    body.disk.endpoints = serde_json::to_vec(&*body.table).ok();
                    self.facts.push(Fact::Named { agent });
                }
            }
            Down::Acknowledged(number) => {
                if self.agents[agent].outbox.acknowledged(number) {
                    if let Some(connection) = self.agents[agent].connection.as_mut() {
                        connection.sent_at = None;
                    }
                    self.say_statuses(agent);
                }
            }
            Down::Echo => {}
        }
    }

    fn accept_set(&mut self, agent: usize, set: AssignmentSet) {
        let body = &mut self.agents[agent];
        if let Err(reason) = acceptable(&set, body.info.id, body.accepted.as_deref()) {
            self.trace.say(self.now, format_args!("agent {agent} refuses set {}: {reason}", set.revision));
            return;
        }
        body.disk.assignments = Some(serde_json::to_vec(&set).expect("a set is writable"));
        self.trace.say(self.now, format_args!("agent {agent} takes set {} of {} tasks", set.revision, set.tasks.len()));
        body.accepted = Some(Arc::new(set));
        self.facts.push(Fact::Accepted { agent });
        self.find_engine_once(agent);
        self.turn(agent);
    }
}
