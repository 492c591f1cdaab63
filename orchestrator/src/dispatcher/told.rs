//! What one session's agent was told last, and whether it has it.
//!
//! Pure: says what is to be sent, never sends. Called by the session and by the simulator.

use proto::assignment::AssignmentSet;
use proto::endpoint::EndpointTable;
use proto::revision::{Epoch, Revision};

use crate::engine::{State, endpoints};

/// Heartbeats in a row that name something older than what was sent, after which it is sent again: it was lost on its
/// way, or the agent could not keep it.
const BEHIND_MAX: u32 = 3;

/// What an agent was told in its session.
#[derive(Debug, Default)]
pub struct Told {
    set: Option<AssignmentSet>,
    table: Option<(Epoch, Revision)>,
    /// Heartbeats in a row that named an older set, and an older table: apart, because a table that changes every second
    /// would otherwise put off for ever what became of a set.
    behind: (u32, u32),
}

// === impl Told ===

impl Told {
    /// Is this set to be sent? Then it counts as sent. The revision alone is no news.
    pub fn is_news(&mut self, set: &AssignmentSet) -> bool {
        let is_same = self.set.as_ref().is_some_and(|told| {
            let later = AssignmentSet { revision: set.revision, ..told.clone() };
            later == *set
        });
        if !is_same {
            self.set = Some(set.clone());
            self.behind.0 = 0;
        }
        !is_same
    }

    /// The table is sent.
    pub fn sent_table(&mut self, table: &EndpointTable) {
        self.table = Some((table.epoch, table.revision));
        self.behind.1 = 0;
    }

    /// The table that was sent last.
    pub fn table(&self) -> Option<(Epoch, Revision)> {
        self.table
    }

    /// A heartbeat says by what its agent goes. True: set and table are to be sent again.
    pub fn beat(&mut self, assignments: Revision, endpoints: Revision) -> bool {
        let lacks_set = self.set.as_ref().is_some_and(|set| assignments < set.revision);
        let lacks_table = self.table.is_some_and(|(_, revision)| endpoints < revision);
        let count = |before: u32, lacks: bool| if lacks { before + 1 } else { 0 };
        self.behind = (count(self.behind.0, lacks_set), count(self.behind.1, lacks_table));
        let again = self.behind.0.max(self.behind.1) >= BEHIND_MAX;
        if again {
            *self = Told::default();
        }
        again
    }
}

/// The table of a new State, if it says anything else than the one before: its revision is that of the last change.
pub fn moved_table(known: &EndpointTable, state: &State) -> Option<EndpointTable> {
    let table = endpoints(state);
    (known.services != table.services || known.epoch != table.epoch).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::assignment::NodeNetwork;
    use proto::id::{ClusterId, NodeId, SessionId};
    use std::collections::BTreeMap;

    fn set() -> AssignmentSet {
        AssignmentSet {
            cluster: ClusterId(7),
            epoch: Epoch(1),
            node: NodeId(1),
            session: SessionId(1),
            revision: Revision(9),
            network: NodeNetwork { subnet: [10, 210, 0, 0].into(), prefix: 24, gateway: [10, 210, 0, 1].into() },
            tasks: BTreeMap::new(),
            forwards: Vec::new(),
            verdicts: BTreeMap::new(),
            remove_volumes: Vec::new(),
        }
    }

    #[test]
    fn a_later_revision_of_the_same_set_is_no_news() {
        let (mut told, set) = (Told::default(), set());
        assert!(told.is_news(&set));
        let later = AssignmentSet { revision: Revision(set.revision.0 + 9), ..set.clone() };
        assert!(!told.is_news(&later));
        let other = AssignmentSet { remove_volumes: vec!["shop_data".into()], ..later };
        assert!(told.is_news(&other));
    }

    #[test]
    fn what_an_agent_does_not_go_by_is_sent_again() {
        let (mut told, set) = (Told::default(), set());
        let old = Revision(set.revision.0 - 1);
        told.is_news(&set);
        assert_eq!([old, old, set.revision, old, old].map(|r| told.beat(r, Revision(0))), [false; 5]);
        assert!(told.beat(old, Revision(0)), "three in a row");
        assert!(told.is_news(&set));
        assert!(!told.beat(Revision(set.revision.0 + 4), Revision(0)), "a server that lags behind has no news");
    }

    #[test]
    fn a_table_that_changes_all_the_time_does_not_hold_a_lost_set_back() {
        let (mut told, set) = (Told::default(), set());
        told.is_news(&set);
        let beat = |told: &mut Told, second: u64| {
            told.sent_table(&EndpointTable { revision: Revision(second), ..endpoints(&State::empty()) });
            told.beat(Revision(0), Revision(second))
        };
        assert_eq!([1, 2, 3].map(|second| beat(&mut told, second)), [false, false, true]);
    }

    #[test]
    fn the_table_is_sent_again_too() {
        let mut told = Told::default();
        let table = EndpointTable { revision: Revision(5), ..endpoints(&State::empty()) };
        told.sent_table(&table);
        assert_eq!([4, 4, 4].map(|r| told.beat(Revision(0), Revision(r))), [false, false, true]);
        assert_eq!(told.table(), None);
    }
}
