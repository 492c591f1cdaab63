//! Which session of each node is the current one: a later one fences the earlier off.
//!
//! Pure: ends nothing itself, hands back what is to be fenced. Called by the dispatcher and by the simulator.

use proto::id::{NodeId, SessionId};
use proto::revision::Wall;
use std::collections::BTreeMap;

/// The current sessions; `F` is what ends one.
#[derive(Debug)]
pub struct Sessions<F> {
    last: u64,
    by_node: BTreeMap<NodeId, (SessionId, F)>,
}

// === impl Sessions ===

impl<F> Sessions<F> {
    /// A session for the node, later than all before, also than those before this server began; and what ends the
    /// node's earlier one.
    pub fn begin(&mut self, node: NodeId, wall: Wall, fence: F) -> (SessionId, Option<F>) {
        self.last = (self.last + 1).max(wall.0);
        let session = SessionId(self.last);
        let earlier = self.by_node.insert(node, (session, fence));
        (session, earlier.map(|(_, fence)| fence))
    }

    /// Is it the node's latest?
    pub fn is_current(&self, node: NodeId, session: SessionId) -> bool {
        self.by_node.get(&node).is_some_and(|(s, _)| *s == session)
    }

    /// Ends a session; false when a later one has taken its place.
    pub fn end(&mut self, node: NodeId, session: SessionId) -> bool {
        let is_current = self.is_current(node, session);
        if is_current {
            self.by_node.remove(&node);
        }
        is_current
    }
}

impl<F> Default for Sessions<F> {
    fn default() -> Self {
        Sessions { last: 0, by_node: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    #[test]
    fn a_later_session_fences_the_earlier_off() {
        let mut sessions = Sessions::default();
        let (first, none) = sessions.begin(NODE, Wall(50), "first");
        let (second, earlier) = sessions.begin(NODE, Wall(10), "second");
        assert_eq!((none, earlier), (None, Some("first")));
        assert!(first < second && !sessions.is_current(NODE, first) && sessions.is_current(NODE, second));
        assert!(!sessions.end(NODE, first), "the end of the earlier one ends nothing");
        assert!(sessions.end(NODE, second) && !sessions.is_current(NODE, second));
    }
}
