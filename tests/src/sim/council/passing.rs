//! A call at a server: answered here if it leads, else its command is passed on with others, else the call whole.
//!
//! Restates `forward::once` and `raft/passing`, which are async. One message holds what waits, and four are under way at
//! most; what waits meanwhile goes together with the next. What is not answered counts as "does not lead" for a command
//! under a request id: it is asked for again, as a whole call, of whoever leads then. `Asked`, `NotTaken` and who may ask
//! (`access::may_still`) are production's.

use orchestrator::access::may_still;
use orchestrator::engine::{Command, Outcome};
use orchestrator::raft::NotTaken;
use proto::id::ServerId;
use proto::limits::BATCH_MAX_COMMANDS;
use std::rc::Rc;

use super::event::{Ask, Back, Event, Message, Reply};
use super::params::Trouble;
use super::server::{Call, Way};
use super::{Council, at};

/// How long a call looks for a leader, in milliseconds.
const LEADER_WITHIN_MS: u64 = 8_000;
/// Before a call is passed on again, in milliseconds.
const AGAIN_MS: u64 = 50;
/// Messages under way at once.
const UNDER_WAY: usize = 4;
/// How long a leader may take to answer one, in milliseconds.
const ANSWER_WITHIN_MS: u64 = 5_000;

impl Council {
    /// A call comes in: the gate asks this server's State who that is.
    pub(super) fn called(&mut self, me: usize, back: Back, ask: Rc<Ask>) {
        if let Err(NotTaken::Forbidden { why, .. }) = may_still(&ask.asked, self.state(me)) {
            return self.reply(me, back, &ask, Reply::Forbidden(why));
        }
        let as_command = matches!(ask.command, Command::LabelNode { .. });
        let (judged, ends) = (self.now, self.now + LEADER_WITHIN_MS);
        let call = Call { ask, back, judged, ends, as_command, again: self.now, is_away: false };
        let number = self.servers[me].run.number();
        self.servers[me].run.calls.insert(number, call);
        self.call_goes_on(me, number);
    }

    /// Calls that wait for somebody who leads look again.
    pub(super) fn calls_go_on(&mut self, me: usize) {
        let waits = |call: &Call| !call.is_away && call.again <= self.now;
        let numbers: Vec<u64> = self.servers[me].run.calls.iter().filter(|(_, c)| waits(c)).map(|(n, _)| *n).collect();
        for number in numbers {
            self.call_goes_on(me, number);
        }
    }

    fn call_goes_on(&mut self, me: usize, number: u64) {
        let (leads, leader) = (self.leads(me), self.follows(me));
        let Some(call) = self.servers[me].run.calls.get_mut(&number) else { return };
        if self.now >= call.ends {
            return self.call_ends(me, number, Reply::Unknown);
        }
        let (ask, judged) = (call.ask.clone(), call.judged);
        call.is_away = leads || leader.is_some();
        match leader {
            _ if leads => self.call_here(me, number, ask, judged),
            None => {}
            Some(_) if std::mem::take(&mut call.as_command) => {
                self.servers[me].run.waiting.push_back(number);
                self.pass_on(me);
            }
            Some(leader) => {
                let relayed = self.servers[me].run.number();
                self.servers[me].run.relayed.insert(relayed, number);
                self.send(me, leader, Message::Call(relayed, ask));
                self.breaks(me, relayed);
            }
        }
    }

    fn call_here(&mut self, me: usize, number: u64, ask: Rc<Ask>, judged: u64) {
        if let Command::RemoveServer { id } = ask.command {
            match self.dismiss(me, id) {
                Ok(()) => {}
                Err(Some(reply)) => return self.call_ends(me, number, reply),
                Err(None) => return self.call_waits(me, number),
            }
        }
        self.propose(me, ask, Way::Call(number), judged);
    }

    /// The same call again, after a while.
    fn call_waits(&mut self, me: usize, number: u64) {
        let again = self.now + AGAIN_MS;
        if let Some(call) = self.servers[me].run.calls.get_mut(&number) {
            (call.is_away, call.again) = (false, again);
        }
    }

    fn call_ends(&mut self, me: usize, number: u64, reply: Reply) {
        if let Some(call) = self.servers[me].run.calls.remove(&number) {
            self.reply(me, call.back, &call.ask, reply);
        }
    }

    fn reply(&mut self, me: usize, back: Back, ask: &Rc<Ask>, reply: Reply) {
        match back {
            Back::Server(server, number) => self.send(me, server, Message::Called(number, reply)),
            Back::Client(client, attempt) => {
                let lost = self.rng.chance(self.loss);
                let takes = self.rng.range(1, self.params.late_ms);
                if !lost {
                    self.after(takes, Event::Answered(ask.client.min(client), attempt, reply));
                }
            }
        }
    }

    /// A command of a call was put into the log here, or passed on alone, or not.
    pub(super) fn call_became(&mut self, me: usize, number: u64, became: Result<Outcome, NotTaken>) {
        match became {
            Ok(outcome) => self.call_ends(me, number, Reply::Became(outcome)),
            Err(NotTaken::Forbidden { why, .. }) => self.call_ends(me, number, Reply::Forbidden(why)),
            Err(NotTaken::Unknown { .. }) => self.call_ends(me, number, Reply::Unknown),
            Err(NotTaken::NotLeading) => self.call_waits(me, number),
        }
    }
}

// === Commands alone ===

impl Council {
    /// Sends what waits to the leader, while fewer than so many messages are under way.
    fn pass_on(&mut self, me: usize) {
        let leader = self.follows(me);
        let run = &mut self.servers[me].run;
        if run.passed.len() >= UNDER_WAY || run.waiting.is_empty() {
            return;
        }
        let many = run.waiting.len().min(BATCH_MAX_COMMANDS);
        let numbers: Vec<u64> = run.waiting.drain(..many).collect();
        let Some(leader) = leader else {
            return numbers.into_iter().for_each(|number| self.call_waits(me, number));
        };
        let calls = &self.servers[me].run.calls;
        let asks: Vec<Rc<Ask>> = numbers.iter().filter_map(|number| calls.get(number)).map(|c| c.ask.clone()).collect();
        let message = self.servers[me].run.number();
        self.servers[me].run.passed.insert(message, numbers);
        self.send(me, leader, Message::Propose(message, asks));
        self.breaks(me, message);
    }

    /// A message that is not answered: mostly its connection breaks, sometimes it hangs.
    fn breaks(&mut self, me: usize, number: u64) {
        let process = self.servers[me].process;
        let after = if self.rng.chance(300) { ANSWER_WITHIN_MS } else { self.rng.range(300, 2_000) };
        self.after(after, Event::Broken(me, process, number));
    }

    /// Nobody answers.
    pub(super) fn broken(&mut self, me: usize, number: u64) {
        let run = &mut self.servers[me].run;
        let passed = run.passed.remove(&number);
        let relayed = run.relayed.remove(&number);
        if passed.is_some() || relayed.is_some() {
            self.saw(Trouble::Unanswered);
        }
        for call in passed.into_iter().flatten().chain(relayed) {
            if let Some(request) = self.servers[me].run.calls.get(&call).map(|call| call.ask.request) {
                self.unsure(request);
            }
            self.call_waits(me, call);
        }
        self.pass_on(me);
    }

    /// The leader has answered commands that were passed on.
    pub(super) fn proposed(&mut self, me: usize, number: u64, each: &[Result<Outcome, NotTaken>]) {
        let calls = self.servers[me].run.passed.remove(&number).unwrap_or_default();
        for (call, became) in calls.into_iter().zip(each) {
            self.call_became(me, call, became.clone());
        }
        self.pass_on(me);
    }

    /// Another server passes commands on: who asks is looked at once more.
    pub(super) fn take_passed(&mut self, me: usize, from: ServerId, number: u64, asks: &[Rc<Ask>]) {
        self.servers[me].run.taken.insert((from, number), vec![None; asks.len()]);
        for (at, ask) in asks.iter().enumerate() {
            let may = match self.leads(me) {
                true => may_still(&ask.asked, self.state(me)),
                false => Err(NotTaken::NotLeading),
            };
            match may {
                Ok(()) => self.propose(me, ask.clone(), Way::Taken(from, number, at), self.now),
                Err(why) => self.taken_became(me, (from, number), at, Err(why)),
            }
        }
    }

    /// One of them has an outcome. When all have, the other server is answered.
    pub(super) fn taken_became(
        &mut self,
        me: usize,
        from: (ServerId, u64),
        at: usize,
        became: Result<Outcome, NotTaken>,
    ) {
        let taken = &mut self.servers[me].run.taken;
        let Some(each) = taken.get_mut(&from) else { return };
        each[at] = Some(became);
        if each.iter().all(Option::is_some) {
            let each = taken.remove(&from).unwrap_or_default().into_iter().flatten().collect();
            self.send(me, from.0, Message::Proposed(from.1, each));
        }
    }

    /// Another server has answered a whole call.
    pub(super) fn call_answered(&mut self, me: usize, number: u64, reply: Reply) {
        if let Some(call) = self.servers[me].run.relayed.remove(&number) {
            self.call_ends(me, call, reply);
        }
    }

    /// Another server's call comes in whole, if it is believed.
    pub(super) fn relayed(&mut self, me: usize, from: ServerId, number: u64, ask: Rc<Ask>) {
        debug_assert!(at(from) < self.servers.len());
        self.called(me, Back::Server(from, number), ask);
    }
}
