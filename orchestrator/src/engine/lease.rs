//! Who was heard when: the leader's memory of heartbeats, never in the log.
//!
//! Pure: `now` is an argument. The leader's task owns it; `reconcile` reads it.

use proto::id::NodeId;
use proto::limits::{HEARTBEAT_MS, LEASE_MS};
use proto::revision::Time;
use std::collections::BTreeMap;

/// Grace after a connection closed while its host still answers, in milliseconds: an agent restarts.
pub const CLOSED_GRACE_MS: u64 = 30_000;
/// Grace after a stop that was announced as an upgrade, in milliseconds.
pub const UPGRADE_GRACE_MS: u64 = 300_000;
/// What a new leader grants every node for finding it, in milliseconds.
pub const RECONNECT_ALLOWANCE_MS: u64 = 10_000;

/// Leases of all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leases {
    until: BTreeMap<NodeId, Time>,
    judged_at: Option<Time>,
}

// === impl Leases ===

impl Leases {
    /// At the start of a term: every node has a lease and the time to find the new leader.
    pub fn new_term(nodes: impl IntoIterator<Item = NodeId>, now: Time) -> Leases {
        let until = now.after_ms(LEASE_MS + RECONNECT_ALLOWANCE_MS);
        Leases { until: nodes.into_iter().map(|n| (n, until)).collect(), judged_at: Some(now) }
    }

    /// Nodes that joined since this term began get their first lease when they are first seen.
    pub fn meet(&mut self, nodes: impl IntoIterator<Item = NodeId>, now: Time) {
        for node in nodes {
            self.until.entry(node).or_insert(now.after_ms(LEASE_MS + RECONNECT_ALLOWANCE_MS));
        }
    }

    /// A heartbeat came.
    pub fn heard(&mut self, node: NodeId, now: Time) {
        let until = self.until.entry(node).or_insert(now);
        *until = now.after_ms(LEASE_MS);
    }

    /// Its connection closed, but its host answers.
    pub fn closed(&mut self, node: NodeId, now: Time, announced_upgrade: bool) {
        let grace = if announced_upgrade { UPGRADE_GRACE_MS } else { CLOSED_GRACE_MS };
        self.until.insert(node, now.after_ms(grace));
    }

    /// To be called before judging: a loop that was itself late by a heartbeat renews all leases first, because
    /// silence may have been its own.
    pub fn observe_loop(&mut self, now: Time, expected: Time) {
        if now.since_ms(expected) > HEARTBEAT_MS {
            for until in self.until.values_mut() {
                *until = (*until).max(now.after_ms(LEASE_MS));
            }
        }
        self.judged_at = Some(now);
    }

    /// Is its lease kept? A node never heard of in this term has none.
    pub fn is_kept(&self, node: NodeId, now: Time) -> bool {
        self.until.get(&node).is_some_and(|until| now < *until)
    }

    /// When its lease ends.
    pub fn ends(&self, node: NodeId) -> Option<Time> {
        self.until.get(&node).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    #[test]
    fn a_lease_lasts_from_the_last_heartbeat() {
        let mut leases = Leases::default();
        assert!(!leases.is_kept(NODE, Time(0)));
        leases.heard(NODE, Time(1_000));
        assert!(leases.is_kept(NODE, Time(1_000 + LEASE_MS - 1)));
        assert!(!leases.is_kept(NODE, Time(1_000 + LEASE_MS)));
    }

    #[test]
    fn a_closed_connection_is_not_silence() {
        let mut leases = Leases::default();
        leases.heard(NODE, Time(0));
        leases.closed(NODE, Time(100), false);
        assert!(leases.is_kept(NODE, Time(100 + LEASE_MS)));
        assert!(!leases.is_kept(NODE, Time(100 + CLOSED_GRACE_MS)));
        leases.heard(NODE, Time(200));
        assert_eq!(leases.ends(NODE), Some(Time(200 + LEASE_MS)), "a heartbeat takes the usual lease up again");
    }

    #[test]
    fn a_late_loop_renews_before_it_judges() {
        let mut leases = Leases::default();
        leases.heard(NODE, Time(0));
        leases.observe_loop(Time(60_000), Time(1_000));
        assert!(leases.is_kept(NODE, Time(60_000)));
        leases.observe_loop(Time(63_000), Time(62_900));
        assert!(!leases.is_kept(NODE, Time(63_000)), "a punctual loop judges");
    }
}
