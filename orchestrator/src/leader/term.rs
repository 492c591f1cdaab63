//! What a leader decides in one round, apart from how it waits: whether its leases can be believed, what to propose, when
//! to look again.
//!
//! Pure: `now` is an argument, nothing is sent. Called by `leader` and by the simulator.

use proto::id::{NodeId, ServerId};
use proto::limits::HEARTBEAT_MS;
use proto::revision::Time;

use crate::engine::{Command, Leases, Plan, STATE_VERSION, State, next_deadline, reconcile};

/// Pause after a plan of which nothing was accepted or whose outcome is unknown, in milliseconds.
pub const PAUSE_MS: u64 = 50;
/// Longest sleep, in milliseconds: bounds what a missed wake-up could cost.
pub const SLEEP_MAX_MS: u64 = 1_000;

/// What a door tells about a node's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEvent {
    /// A heartbeat came.
    Heard(NodeId),
    /// Its connection closed.
    Closed(NodeId),
}

/// What a leader knows of nodes and of its own punctuality, from the begin of its term to the end.
#[derive(Debug, Clone)]
pub struct Term {
    leases: Leases,
    /// When the next round was to begin.
    expected: Time,
    /// When the last plan was made.
    proposed: Time,
}

/// What follows from one round.
#[derive(Debug)]
pub struct Round {
    /// To be proposed, unless it is empty; what cannot be placed is in it either way.
    pub plan: Plan,
    /// Time until the next round when nothing happens and nothing is to be proposed, in milliseconds.
    pub sleep_ms: u64,
}

/// What comes before any round: a State of an earlier version is raised to the newest that every server understands.
/// This one, `own`, is believed now and not by what it said before it was upgraded.
pub fn raised(state: &State, own: ServerId) -> Option<Command> {
    let others = state.servers().filter(|s| s.info.id != own).map(|s| s.info.understands);
    let to = others.min().unwrap_or(STATE_VERSION).min(STATE_VERSION);
    let is_earlier = state.version() < to && state.cluster().is_some();
    is_earlier.then_some(Command::RaiseVersion { to })
}

// === impl Term ===

impl Term {
    /// A server leads from now on.
    pub fn begin(state: &State, now: Time) -> Term {
        let leases = Leases::new_term(state.nodes().map(|n| n.info.id), now);
        Term { leases, expected: now, proposed: now }
    }

    /// One round. After a plan that is not empty comes `proposed`, and then the next round at once.
    pub fn round(&mut self, state: &State, now: Time) -> Round {
        self.leases.observe_loop(now, self.expected);
        self.leases.meet(state.nodes().map(|n| n.info.id), now);
        let plan = reconcile(state, &self.leases, now);
        self.proposed = now;
        let deadline = if plan.is_empty() { next_deadline(state, &self.leases, now) } else { None };
        let sleep_ms = deadline.map_or(SLEEP_MAX_MS, |d| d.since_ms(now)).clamp(1, SLEEP_MAX_MS);
        self.expected = now.after_ms(sleep_ms);
        Round { plan, sleep_ms }
    }

    /// A plan's outcome is known, or that it stays unknown; `held`: what the doors told meanwhile.
    ///
    /// The time a proposal takes is mostly the disk's: heartbeats were taken meanwhile. But this server may have stood
    /// still in it, and then they were not.
    pub fn proposed(&mut self, held: impl IntoIterator<Item = LeaseEvent>, now: Time) {
        self.leases.observe_loop(now, self.proposed.after_ms(HEARTBEAT_MS));
        held.into_iter().for_each(|event| self.take(event, now));
        self.expected = now;
    }

    /// A door told of a node.
    pub fn take(&mut self, event: LeaseEvent, now: Time) {
        match event {
            LeaseEvent::Heard(node) => self.leases.heard(node, now),
            LeaseEvent::Closed(node) => self.leases.closed(node, now, false),
        }
    }

    /// Who was heard when.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }
}

// === impl LeaseEvent ===

impl LeaseEvent {
    /// Is it a reason for a round before the next is due? A heartbeat of a node that is up changes nothing; one of a lost
    /// node brings it back.
    pub fn wakes(self, state: &State) -> bool {
        matches!(self, LeaseEvent::Heard(node) if state.node(node).is_none_or(|n| !n.is_up()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::limits::LEASE_MS;

    const NODE: NodeId = NodeId(1);

    fn heard_at(now: Time) -> Term {
        let mut term = Term::begin(&State::empty(), now);
        term.take(LeaseEvent::Heard(NODE), now);
        term
    }

    #[test]
    fn a_round_without_a_plan_sleeps_a_second_at_most() {
        let round = heard_at(Time(0)).round(&State::empty(), Time(0));
        assert!(round.plan.is_empty());
        assert_eq!(round.sleep_ms, SLEEP_MAX_MS);
    }

    #[test]
    fn a_server_that_stood_still_while_it_proposed_believes_no_silence() {
        let mut term = heard_at(Time(0));
        term.round(&State::empty(), Time(100));
        term.proposed([], Time(60_000));
        assert!(term.leases().is_kept(NODE, Time(60_000)));
        assert!(!term.leases().is_kept(NODE, Time(60_000 + LEASE_MS)));
    }

    #[test]
    fn a_proposal_of_usual_length_renews_nothing() {
        let mut term = heard_at(Time(0));
        for at in [0, 1_000, 2_000, 2_500] {
            term.round(&State::empty(), Time(at));
        }
        term.proposed([], Time(3_000));
        assert!(!term.leases().is_kept(NODE, Time(3_000)));
    }

    #[test]
    fn what_was_told_during_a_proposal_counts_from_its_end() {
        let mut term = heard_at(Time(0));
        term.round(&State::empty(), Time(2_500));
        term.proposed([LeaseEvent::Heard(NODE)], Time(3_000));
        assert!(term.leases().is_kept(NODE, Time(3_000 + LEASE_MS - 1)));
    }
}
