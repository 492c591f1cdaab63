//! Commands about nodes.

use proto::id::NodeId;
use proto::node::{NodeConditions, NodeInfo};
use proto::revision::Revision;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{State, done};
use crate::engine::admission;
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
        labels: BTreeMap::new(),
        labelled: Revision(0),
    };
    state.record(info.hostname.clone(), "node-registered", format!("node {} joined", info.id));
    state.nodes.insert(info.id, Arc::new(node));
    done(state, true)
}

/// Gives a node labels and takes some away. Those of its agent stay: where an operator's goes, the agent's counts again.
pub(super) fn label(
    state: &mut State,
    id: NodeId,
    set: &BTreeMap<String, String>,
    remove: &BTreeSet<String>,
    expected: Option<Revision>,
) -> Outcome {
    let Some(known) = state.nodes.get(&id) else { return Outcome::Rejected(Rejection::NoNode(id)) };
    let present = known.labelled;
    if let Some(expected) = expected.filter(|expected| *expected != present) {
        let node = known.info.hostname.clone();
        return Outcome::Rejected(Rejection::LabelsMoved { node, present, expected });
    }
    let problems = admission::labels::admit(&known.labels, set, remove);
    if !problems.is_empty() {
        return Outcome::Rejected(Rejection::Inadmissible(problems));
    }
    let given: Vec<&str> = set.iter().filter(|(k, v)| known.labels.get(*k) != Some(*v)).map(|(k, _)| &**k).collect();
    let taken: Vec<&str> = remove.iter().filter(|k| known.labels.contains_key(*k)).map(|k| &**k).collect();
    if given.is_empty() && taken.is_empty() {
        return done(state, false);
    }
    let mut node = (**known).clone();
    node.labels.extend(set.iter().map(|(key, value)| (key.clone(), value.clone())));
    node.labels.retain(|key, _| !remove.contains(key));
    (node.labelled, node.modified) = (state.revision, state.revision);
    state.record(node.info.hostname.clone(), "node-labelled", labelled(&given, &taken));
    state.nodes.insert(id, Arc::new(node));
    done(state, true)
}

/// `set disk, zone; removed rack`: values may be nobody else's business.
fn labelled(given: &[&str], taken: &[&str]) -> String {
    let parts = [("set", given), ("removed", taken)];
    let told = parts.into_iter().filter(|(_, keys)| !keys.is_empty());
    told.map(|(what, keys)| format!("{what} {}", few(keys))).collect::<Vec<_>>().join("; ")
}

/// Some of many keys.
fn few(keys: &[&str]) -> String {
    const NAMED: usize = 8;
    let named = keys.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if keys.len() > NAMED { format!("{named} and {} more", keys.len() - NAMED) } else { named }
}
