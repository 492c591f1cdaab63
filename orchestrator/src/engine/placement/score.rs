//! Which of the possible nodes: spread as asked, then over nodes, then take the least loaded.

use proto::id::NodeId;
use proto::spec::ServiceSpec;
use std::collections::BTreeMap;

use super::Ledger;
use super::constraint::value_of;
use crate::engine::model::{Node, Service};
use crate::engine::state::State;

/// Smaller is better: tasks of the service on nodes that share the first, the first and second, ... value asked to
/// spread over; its tasks on the node; the node's reserved share in thousandths; its tasks in all.
pub type Score = (Vec<u32>, u32, u64, u32);

/// Where the tasks of one service are.
#[derive(Debug, Clone)]
pub struct Spread {
    /// By node; nodes without any are absent.
    pub tasks: BTreeMap<NodeId, u32>,
    /// By the first values asked to spread over; absent: none.
    groups: BTreeMap<Vec<String>, u32>,
}

// === impl Spread ===

impl Spread {
    /// Of a service, what a plan places included.
    pub fn of(state: &State, ledger: &Ledger, service: &Service) -> Spread {
        let tasks = ledger.tasks_of(state, &service.key);
        let mut spread = Spread { tasks, groups: BTreeMap::new() };
        if !service.spec.placement.spread.is_empty() {
            for (id, count) in spread.tasks.clone() {
                if let Some(node) = state.node(id) {
                    spread.count(&values(&service.spec, node), count);
                }
            }
        }
        spread
    }

    /// So many more tasks where these are the values.
    pub fn count(&mut self, values: &[String], more: u32) {
        for end in 1..=values.len() {
            *self.groups.entry(values[..end].to_vec()).or_default() += more;
        }
    }

    /// Tasks of the service that share the first, the first and second, ... of these values.
    pub fn shared(&self, values: &[String]) -> Vec<u32> {
        (1..=values.len()).map(|end| self.groups.get(&values[..end]).copied().unwrap_or(0)).collect()
    }
}

/// The node's values of what the service asks to spread over.
pub fn values(spec: &ServiceSpec, node: &Node) -> Vec<String> {
    spec.placement.spread.iter().map(|attribute| value_of(node, attribute).into_owned()).collect()
}

/// The node's score for one more task of the service.
pub fn score(ledger: &Ledger, spread: &Spread, service: &Service, node: &Node) -> Score {
    let (share, tasks) = ledger.load(node);
    let here = spread.tasks.get(&node.info.id).copied().unwrap_or(0);
    (spread.shared(&values(&service.spec, node)), here, share, tasks)
}
