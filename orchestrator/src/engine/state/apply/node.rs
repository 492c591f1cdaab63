//! Commands about nodes.

use proto::node::{NodeConditions, NodeInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{State, done};
use crate::engine::model::{Node, Reachability};
use crate::engine::outcome::{Outcome, Rejection};

/// A node came, or came back with another fingerprint. Its subnet stays its own.
pub(super) fn register(state: &mut State, info: &NodeInfo) -> Outcome {
    if let Some(known) = state.nodes.get(&info.id) {
        if known.info == *info {
            return done(state, false);
        }
        let mut node = (**known).clone();
        node.info = info.clone();
        node.modified = state.revision;
        state.nodes.insert(info.id, Arc::new(node));
        return done(state, true);
    }
    let Some(ranges) = state.ranges else { return Outcome::Rejected(Rejection::NoNode(info.id)) };
    let taken: BTreeSet<u32> = state.nodes.values().map(|n| n.subnet_index).collect();
    let Some(subnet_index) = (0..ranges.node_count()).find(|index| !taken.contains(index)) else {
        return Outcome::Rejected(Rejection::RangeExhausted);
    };
    let node = Node {
        uid: state.uid(),
        info: info.clone(),
        subnet_index,
        network: ranges.node_network(subnet_index),
        reachability: Reachability::Up,
        conditions: NodeConditions::default(),
        verdicts: BTreeMap::new(),
        last_host: 0,
        registered_at: state.wall,
        modified: state.revision,
    };
    state.record(info.hostname.clone(), "node-registered", format!("node {} joined", info.id));
    state.nodes.insert(info.id, Arc::new(node));
    done(state, true)
}
