//! Whose lease ran out, and who is heard again.

use proto::revision::Time;

use super::Draft;
use crate::engine::lease::Leases;
use crate::engine::plan::{Change, Requires};
use crate::engine::reason::Reason;
use crate::engine::state::State;

pub(super) fn pass(draft: &mut Draft<'_>, leases: &Leases, now: Time) {
    for node in draft.state.nodes() {
        let id = node.info.id;
        let requires = vec![Requires::Node(id, node.modified)];
        match (node.is_up(), leases.is_kept(id, now)) {
            (true, false) => {
                draft.marked.insert(id);
                draft.placer.lose(id);
                draft.change(Change::MarkDown { node: id }, requires, Reason::LeaseExpired);
            }
            (false, true) => {
                draft.marked.insert(id);
                draft.change(Change::MarkUp { node: id }, requires, Reason::HeardAgain);
            }
            (true, true) | (false, false) => {}
        }
    }
}

/// The first end of a kept lease. Also of a node that is still said to be lost: its return is void when the lease ends.
pub(super) fn next_deadline(state: &State, leases: &Leases, now: Time) -> Option<Time> {
    state.nodes().filter_map(|n| leases.ends(n.info.id)).filter(|end| *end > now).min()
}
