//! What goes wrong, and how it ends.

use orchestrator::engine::Command;
use proto::id::ServerId;
use std::collections::BTreeSet;

use super::event::Event;
use super::params::Trouble;
use super::server::{Run, Server};
use super::{Council, PATIENCE_MS, clients, id_of};

/// Longest life of a cluster's ids in one run: servers that ever were.
const SERVERS_MAX: usize = 10;

impl Council {
    /// Something goes wrong.
    pub(super) fn trouble(&mut self) {
        let every = self.params.trouble_every_ms;
        let pause = self.rng.range(every / 4, every * 2);
        self.after(pause, Event::Trouble);
        let me = self.rng.range(0, self.servers.len() as u64 - 1) as usize;
        let lasts = self.rng.skewed(200, 50_000);
        match self.rng.range(0, 19) {
            0..=3 => self.crash(me, Trouble::Crash, lasts),
            4 | 5 => self.crash(me, Trouble::PowerCut, lasts),
            6 => self.blackout(lasts),
            7..=9 => self.pause(me, lasts),
            10..=12 => self.cut(lasts),
            13 => self.leave_alone(me, lasts),
            14 => self.lose(lasts),
            15 => self.wipe(me),
            16 => self.remove(me),
            17 | 18 => self.joins(),
            _ => self.revoke(),
        }
    }

    /// Something has changed that the servers must come to terms with.
    pub(super) fn disturb(&mut self) {
        self.disturbed = self.now;
    }

    fn crash(&mut self, me: usize, how: Trouble, lasts: u64) {
        if !self.servers[me].is_up || self.servers[me].is_wiped {
            return;
        }
        self.saw(how);
        self.say(format_args!("server {}: {how:?}, for {lasts} ms", me + 1));
        self.ends(me);
        if how != Trouble::Crash && self.servers[me].disk.lose_power() > 0 {
            self.saw(Trouble::LostEntries);
        }
        self.after(lasts, Event::Starts(me));
    }

    /// A leader is killed while it changes the voters.
    pub(super) fn falls(&mut self, me: usize) {
        let lasts = self.rng.skewed(200, 50_000);
        self.crash(me, Trouble::Crash, lasts);
    }

    /// Its process ends, with everything that it had in memory.
    fn ends(&mut self, me: usize) {
        self.disturb();
        let is_changing = self.servers[me].lead().and_then(|lead| lead.change.as_ref());
        if is_changing.is_some_and(|(goal, _)| goal.is_some()) {
            self.saw(Trouble::HalfChanged);
        }
        let server = &mut self.servers[me];
        server.is_up = false;
        server.process += 1;
        server.paused_until = 0;
    }

    fn blackout(&mut self, lasts: u64) {
        self.saw(Trouble::Blackout);
        for me in 0..self.servers.len() {
            let more = self.rng.range(0, 3_000);
            self.crash(me, Trouble::PowerCut, lasts / 4 + more);
        }
    }

    /// A server starts with what is on its disk.
    pub(super) fn starts(&mut self, me: usize) {
        let (now, patience) = (self.now, self.rng.range(PATIENCE_MS.0, PATIENCE_MS.1));
        let server = &mut self.servers[me];
        if server.is_up || server.is_wiped {
            return;
        }
        (server.is_up, server.well_since) = (true, now);
        server.disk.committed = server.disk.committed.min(server.disk.log.len());
        server.run = Run::new(now, server.disk.committed);
        server.run.patience = patience;
        let process = server.process;
        self.disturb();
        self.say(format_args!("server {} starts", me + 1));
        self.after(1, Event::Tick(me, process));
        // What a process wrote and did not sync before it was killed.
        self.sync(me, None);
    }

    fn pause(&mut self, me: usize, lasts: u64) {
        if !self.servers[me].is_well(self.now) {
            return;
        }
        self.saw(Trouble::Pause);
        self.disturb();
        let lasts = lasts / 2;
        self.say(format_args!("server {} stands still for {lasts} ms", me + 1));
        (self.servers[me].paused_until, self.servers[me].well_since) = (self.now + lasts, self.now + lasts);
        self.disturbed = self.now + lasts;
    }

    fn cut(&mut self, lasts: u64) {
        let hosts = self.params.hosts as u64;
        let (a, b) = (self.rng.range(0, hosts - 1) as usize, self.rng.range(0, hosts - 1) as usize);
        if a == b {
            return;
        }
        self.saw(Trouble::Cut);
        let both = self.rng.chance(600);
        self.part(a, b, lasts);
        if both {
            self.part(b, a, lasts);
        }
    }

    fn part(&mut self, a: usize, b: usize, lasts: u64) {
        self.disturb();
        self.say(format_args!("host {} does not reach host {} for {lasts} ms", a + 1, b + 1));
        *self.cuts.entry((a, b)).or_default() += 1;
        self.after(lasts, Event::Heals(a, b));
    }

    /// Two hosts reach each other again.
    pub(super) fn heals(&mut self, a: usize, b: usize) {
        if let Some(cuts) = self.cuts.get_mut(&(a, b)) {
            *cuts -= 1;
            if *cuts == 0 {
                self.cuts.remove(&(a, b));
                self.healed.insert((a, b), self.now);
            }
            self.disturb();
        }
    }

    fn leave_alone(&mut self, me: usize, lasts: u64) {
        self.saw(Trouble::Alone);
        let host = self.servers[me].host;
        for other in (0..self.params.hosts).filter(|other| *other != host) {
            self.part(host, other, lasts);
            self.part(other, host, lasts);
        }
    }

    fn lose(&mut self, lasts: u64) {
        self.saw(Trouble::Loss);
        self.disturb();
        let loss = self.rng.range(20, 300);
        self.loss = loss;
        self.say(format_args!("messages are lost: {loss} of 1000"));
        self.after(lasts / 2, Event::Clears);
    }

    /// Messages arrive again.
    pub(super) fn clears(&mut self) {
        self.loss = 0;
        self.disturb();
    }

    /// Servers that will never vote again: wiped, or removed, or about to be.
    pub fn lost(&self) -> BTreeSet<ServerId> {
        let wiped = self.servers.iter().filter(|server| server.is_wiped).map(|server| server.id);
        wiped.chain(self.removed.iter().copied()).collect()
    }

    /// May one more be lost for ever? Only if no other is being lost, and whoever may decide now can do so without it.
    fn may_lose(&self, me: usize) -> bool {
        let mut lost = self.lost();
        let fresh: Vec<&Server> = self.servers.iter().filter(|s| !lost.contains(&s.id)).collect();
        let is_over = |id: &ServerId| fresh.iter().all(|s| !s.disk.members().all.contains(id));
        if !lost.iter().all(is_over) || lost.contains(&id_of(me)) {
            return false;
        }
        lost.insert(id_of(me));
        let of = |server: &&Server| {
            server
                .disk
                .log
                .iter()
                .skip(server.run.applied.saturating_sub(1))
                .all(|entry| entry.members.has_majority(|id| !lost.contains(&id)))
        };
        fresh.iter().all(of)
    }

    fn wipe(&mut self, me: usize) {
        if !self.may_lose(me) || self.servers.len() >= SERVERS_MAX {
            return;
        }
        self.saw(Trouble::Wipe);
        self.say(format_args!("the disk of server {} is wiped", me + 1));
        self.ends(me);
        let host = self.servers[me].host;
        let server = &mut self.servers[me];
        (server.is_wiped, server.disk) = (true, Default::default());
        self.comes(host);
        if self.rng.chance(600) {
            self.clients[0].queue.push_back(Command::RemoveServer { id: id_of(me) });
        }
    }

    fn remove(&mut self, me: usize) {
        if !self.may_lose(me) {
            return;
        }
        self.saw(Trouble::Remove);
        self.disturb();
        self.say(format_args!("server {} is to be removed", me + 1));
        self.removed.insert(id_of(me));
        self.clients[0].queue.push_back(Command::RemoveServer { id: id_of(me) });
    }

    /// A server on a host where there is none.
    fn joins(&mut self) {
        let lost = self.lost();
        let is_free = |host: &usize| !self.servers.iter().any(|s| s.host == *host && !lost.contains(&s.id));
        let Some(host) = (0..self.params.hosts).find(is_free).filter(|_| self.servers.len() < SERVERS_MAX) else {
            return;
        };
        self.saw(Trouble::Join);
        self.comes(host);
    }

    /// A server with an empty disk, which has to be let in.
    pub(super) fn comes(&mut self, host: usize) {
        self.disturb();
        let id = ServerId(self.servers.len() as u64 + 1);
        self.say(format_args!("server {} comes, on host {}", id.0, host + 1));
        self.servers.push(Server::new(id, host, self.now));
        self.after(1, Event::Tick(super::at(id), 1));
        self.clients[0].queue.push_back(clients::enrol(id));
    }

    /// It was let in: what it says of itself is believed from now on.
    pub(super) fn let_in(&mut self, id: ServerId) {
        self.disturb();
        self.say(format_args!("server {} is let in", id.0));
    }

    fn revoke(&mut self) {
        let operator = self.rng.range(1, self.params.operators as u64) as usize;
        if self.revoked.insert(operator) {
            self.saw(Trouble::Revoke);
            self.say(format_args!("client {operator} is to be revoked"));
            self.clients[0].queue.push_back(Command::RevokeIdentity { subject: clients::subject(operator) });
        }
    }

    /// Troubles are over: all that can come back does, and what is gone for ever is removed.
    pub(super) fn calm(&mut self) {
        self.say(format_args!("troubles are over"));
        self.is_rough = false;
        self.loss = 0;
        let cuts: Vec<(usize, usize)> = self.cuts.keys().copied().collect();
        for cut in cuts {
            self.cuts.remove(&cut);
            self.healed.insert(cut, self.now);
        }
        self.disturb();
        for me in 0..self.servers.len() {
            let server = &mut self.servers[me];
            (server.paused_until, server.well_since) = (0, self.now);
            self.starts(me);
            if self.servers[me].is_wiped && self.removed.insert(id_of(me)) {
                self.clients[0].queue.push_back(Command::RemoveServer { id: id_of(me) });
            }
        }
    }
}
