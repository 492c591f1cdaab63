//! What a node says of itself.

use proto::id::NodeId;
use proto::node::NodeConditions;
use std::sync::Arc;

use super::{State, done};
use crate::engine::outcome::{Outcome, Rejection};

/// Takes over a node's conditions; what changed for people becomes an event.
pub(super) fn report(state: &mut State, id: NodeId, conditions: &NodeConditions) -> Outcome {
    let Some(known) = state.nodes.get(&id).cloned() else { return Outcome::Rejected(Rejection::NoNode(id)) };
    if known.conditions == *conditions {
        return done(state, false);
    }
    let subject = known.info.hostname.clone();
    if known.conditions.engine_problem != conditions.engine_problem {
        match conditions.engine_problem.as_str() {
            "" => state.record(subject, "engine-usable", "its Docker Engine answers again".to_owned()),
            problem => state.record(subject, "engine-problem", problem.to_owned()),
        }
    }
    for forward in conditions.forwards.iter().filter(|f| !f.problem.is_empty()) {
        if !known.conditions.forwards.contains(forward) {
            state.record(forward.service.to_string(), "port-problem", forward.problem.clone());
        }
    }
    let mut node = (*known).clone();
    node.conditions = conditions.clone();
    state.nodes.insert(id, Arc::new(node));
    done(state, true)
}
