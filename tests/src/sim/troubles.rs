//! What goes wrong, when the world's parameters say so. A trouble counts when it was seen to do harm.

use super::World;
use super::event::{Event, Fact};
use super::operators::{ZONE, ZONES};
use super::params::Trouble;

/// A shorter pause of the leader is no excuse, in milliseconds: a lease outlasts two heartbeats.
const LONG_PAUSE_MS: u64 = 2_000;

impl World {
    /// Does a trouble that strikes now and then strike here?
    pub(super) fn strikes(&mut self, trouble: Trouble) -> bool {
        let permille = self.params.chances.get(&trouble).copied().unwrap_or_default();
        self.rough && permille > 0 && self.rng.chance(permille)
    }

    /// It was seen to happen.
    pub(super) fn saw(&mut self, trouble: Trouble) {
        self.seen.count(trouble);
        self.facts.push(Fact::Trouble(trouble));
    }

    /// One trouble, and the next later.
    pub(super) fn trouble(&mut self) {
        let mean = self.params.trouble_every_ms;
        let pause = self.rng.range(mean / 4, mean * 2);
        self.after(pause, Event::Trouble);
        let troubles = self.params.troubles.clone();
        let Some(trouble) = self.rng.pick(&troubles).copied() else { return };
        let at = self.rng.range(0, self.agents.len() as u64 - 1) as usize;
        match trouble {
            // Now, or while it begins what its next set brings: before its memory of that is written.
            Trouble::AgentCrash if self.rng.chance(500) => self.agents[at].doomed = true,
            Trouble::AgentCrash => self.crash_agent(at, false),
            Trouble::Relabel => self.relabel(at),
            Trouble::MemoryLost if self.rng.chance(250) => self.crash_agent(at, true),
            Trouble::LeaderChange if self.leader.leads => {
                let outage = self.rng.skewed(200, 8_000);
                self.depose(outage);
            }
            Trouble::Cut => {
                let span = self.rng.skewed(200, 30_000);
                self.say(format_args!("agent {at} is cut off for {span} ms"));
                self.agents[at].cut_until = self.now + span;
            }
            Trouble::Reset => self.reset(at),
            Trouble::EngineAway => self.engine_goes(at),
            Trouble::ContainerDies => {
                if let Some(id) = self.some_container(at)
                    && self.end_process(at, &id, 137)
                {
                    self.saw(trouble);
                }
            }
            Trouble::ContainerRemoved => self.remove_by_hand(at),
            Trouble::WallJump | Trouble::ClockStep => self.clock_jumps(at, trouble),
            Trouble::LateLeader => self.leader_stands_still(),
            Trouble::Suspend => self.suspend(at),
            Trouble::DiskFull => {
                let span = self.rng.skewed(500, 40_000);
                self.say(format_args!("the disk of {at} is full for {span} ms"));
                self.agents[at].disk_full_until = self.now + span;
            }
            Trouble::CrashLoop => {
                let span = self.rng.skewed(2_000, 60_000);
                self.say(format_args!("whatever starts on host {at} in the next {span} ms ends at once"));
                self.hosts[at].crashing_until = self.now + span;
                self.hosts[at].crashes = 0;
            }
            // Happens when sessions begin; the others strike messages and calls.
            _ => {}
        }
    }

    fn clock_jumps(&mut self, at: usize, trouble: Trouble) {
        let of_leader = self.rng.chance(300);
        if trouble == Trouble::WallJump {
            let jump = self.rng.range(0, 4_000_000) as i64 - 2_000_000;
            self.say(format_args!("wall clock of {at} jumps by {jump} ms"));
            self.agents[at].wall_offset += jump;
            if of_leader {
                self.wall_offset += jump;
            }
        } else if of_leader {
            // More than a lease outlasts, or a loop could not know that it was late.
            let step = self.rng.range(2_100, 60_000);
            self.say(format_args!("the leader's monotonic clock steps forward by {step} ms"));
            self.leader.step(step);
        } else {
            let step = self.rng.range(10, 60_000);
            self.say(format_args!("monotonic clock of {at} steps forward by {step} ms"));
            self.agents[at].step(step);
        }
        self.saw(trouble);
    }

    fn leader_stands_still(&mut self) {
        let span = self.rng.skewed(500, 12_000);
        self.say(format_args!("the leader stands still for {span} ms"));
        if self.leader.paused_until <= self.now {
            self.leader.paused_from = self.now;
        }
        self.leader.paused_until = self.leader.paused_until.max(self.now + span);
        // What its doors read may come to its loop before or after it looks at the clock.
        self.leader.messages_after = if self.rng.chance(500) { self.rng.range(1, 30) } else { 0 };
        self.leader.pause_seen = false;
        if span >= LONG_PAUSE_MS {
            self.leader.resumed = self.leader.paused_until;
        }
    }

    /// Its monotonic clock stands still, its wall clock does not.
    fn suspend(&mut self, at: usize) {
        if self.agents[at].suspended_until > self.now {
            return;
        }
        let span = self.rng.skewed(500, 60_000);
        self.say(format_args!("host {at} is suspended for {span} ms"));
        self.agents[at].suspended_until = self.now + span;
        self.agents[at].suspend_seen = false;
        self.agents[at].slept += span;
    }

    /// Its agent starts again with the other zone.
    fn relabel(&mut self, at: usize) {
        if !self.agents[at].alive || self.agents[at].suspended_until > self.now {
            return;
        }
        self.crash_agent(at, false);
        let labels = &mut self.agents[at].info.labels;
        let is_first = labels.get(ZONE).is_some_and(|zone| zone == ZONES[0]);
        labels.insert(ZONE.to_owned(), ZONES[usize::from(is_first)].to_owned());
        self.saw(Trouble::Relabel);
    }

    pub(super) fn crash_agent(&mut self, at: usize, damaged: bool) {
        self.agents[at].doomed = false;
        if !self.agents[at].alive || self.agents[at].suspended_until > self.now {
            return;
        }
        self.say(format_args!("agent {at} crashes; its memory is damaged: {damaged}"));
        self.saw(if damaged { Trouble::MemoryLost } else { Trouble::AgentCrash });
        if let Some(connection) = &self.agents[at].connection {
            let link = connection.id;
            let delay = self.rng.range(1, 50) + self.agents[at].cut_until.saturating_sub(self.now);
            self.after(delay, Event::Closed { agent: at, link });
        }
        self.agents[at].crash();
        self.agents[at].disk.damaged |= damaged;
        let down = self.rng.skewed(100, 45_000);
        self.after(down, Event::AgentStarts { agent: at });
    }

    /// A connection breaks: both ends learn of it some time.
    pub(super) fn reset(&mut self, at: usize) {
        if let Some(connection) = &self.agents[at].connection {
            let link = connection.id;
            self.say(format_args!("connection {link} of agent {at} breaks"));
            self.saw(Trouble::Reset);
            let (mine, theirs) = (self.rng.skewed(0, 3_000), self.rng.skewed(0, 3_000));
            self.after(mine, Event::Broken { agent: at, link });
            self.after(theirs, Event::Closed { agent: at, link });
        }
    }

    fn engine_goes(&mut self, at: usize) {
        let span = self.rng.skewed(100, 30_000);
        let hangs = self.rng.chance(400);
        self.say(format_args!("the engine of {at} is away for {span} ms; it hangs: {hangs}"));
        self.hosts[at].away_until = self.hosts[at].away_until.max(self.now + span);
        if !hangs {
            let process = self.agents[at].process;
            self.after(3, Event::EngineLost { agent: at, process });
            if self.rng.chance(300) {
                let running: Vec<String> = self.hosts[at]
                    .containers
                    .values()
                    .filter(|c| c.is_running() && !c.foreign)
                    .map(|c| c.shown.id.clone())
                    .collect();
                for id in &running {
                    self.end_process(at, id, 137);
                }
            }
        }
    }

    fn some_container(&mut self, at: usize) -> Option<String> {
        let ours: Vec<String> =
            self.hosts[at].containers.values().filter(|c| !c.foreign).map(|c| c.shown.id.clone()).collect();
        self.rng.pick(&ours).cloned()
    }

    fn remove_by_hand(&mut self, at: usize) {
        if let Some(id) = self.some_container(at) {
            self.say(format_args!("somebody removes {id} on host {at}"));
            self.hint(at, &id);
            self.hosts[at].containers.remove(&id);
            self.saw(Trouble::ContainerRemoved);
        }
    }

    /// Troubles end: what was cut is joined, what is down comes back.
    pub(super) fn calm(&mut self) {
        self.say(format_args!("calm"));
        self.rough = false;
        let now = self.now;
        for at in 0..self.agents.len() {
            let body = &mut self.agents[at];
            body.cut_until = now;
            body.disk_full_until = now;
            let early = body.suspended_until.saturating_sub(now + 500);
            body.suspended_until -= early;
            body.slept -= early;
            self.hosts[at].crashing_until = now;
            self.hosts[at].away_until = self.hosts[at].away_until.min(now + 500);
            if !self.agents[at].alive {
                self.after(500, Event::AgentStarts { agent: at });
            }
        }
        self.leader.paused_until = self.leader.paused_until.min(now + 500);
        // A pause that ends early may have been too short to be an excuse.
        if self.leader.resumed > self.leader.paused_until {
            let lasted = self.leader.paused_until - self.leader.paused_from;
            self.leader.resumed = if lasted >= LONG_PAUSE_MS { self.leader.paused_until } else { 0 };
        }
        self.resume_early();
        if self.params.deletes_all {
            self.delete_all();
        }
    }
}
