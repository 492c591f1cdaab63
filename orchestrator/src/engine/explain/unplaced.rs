//! Why no node takes a task, filter by filter: how many nodes each filter refused, and one of them by name.
//!
//! Asks the filters that place (`placement::filter::judge`) and knows none of them: a new one shows up by its own word.
//! Pure. Called by `why` and by the preview of an apply; never by placement, which needs no words.

use proto::id::{NodeId, Slot};

use super::Explanation;
use crate::engine::model::{Node, Service};
use crate::engine::placement::{Ledger, Refusal, filter};
use crate::engine::state::State;

/// What one filter said no to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterCount {
    /// The filter's stable word.
    pub filter: String,
    /// How many nodes it refused.
    pub nodes: u32,
    /// Host name of one of them, the first in order of id.
    pub example: String,
    /// What it said about that one.
    pub refusal: String,
}

/// Every node judged for one task of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NoNode {
    /// Nodes asked.
    pub nodes: u32,
    /// Those that would take it now.
    pub fit: u32,
    /// The filters that refused, the one with most nodes first.
    pub filters: Vec<FilterCount>,
}

// === impl NoNode ===

impl NoNode {
    /// Judges all nodes as State is now. `avoid`: a node not to be chosen.
    pub fn judge(state: &State, service: &Service, avoid: Option<NodeId>) -> NoNode {
        NoNode::judge_nodes(state, service, avoid, |_| true)
    }

    /// Judges some of the nodes.
    pub(super) fn judge_those(state: &State, service: &Service, those: impl Fn(&Node) -> bool) -> NoNode {
        NoNode::judge_nodes(state, service, None, those)
    }

    fn judge_nodes(state: &State, service: &Service, avoid: Option<NodeId>, those: impl Fn(&Node) -> bool) -> NoNode {
        let (ledger, wanted) = (Ledger::of(state), filter::Wanted::of(state, service));
        let mut all = NoNode::default();
        for node in state.nodes().filter(|n| those(n)) {
            all.nodes += 1;
            let verdict = match avoid {
                Some(avoided) if avoided == node.info.id => Err(Refusal::Avoided),
                _ => filter::judge(state, &ledger, &wanted, node),
            };
            match verdict {
                Ok(()) => all.fit += 1,
                Err(refusal) => all.count(&refusal, &node.info.hostname),
            }
        }
        all.filters.sort_by(|a, b| b.nodes.cmp(&a.nodes).then(a.filter.cmp(&b.filter)));
        all
    }

    fn count(&mut self, refusal: &Refusal, hostname: &str) {
        let filter = refusal.kind();
        match self.filters.iter_mut().find(|f| f.filter == filter) {
            Some(known) => known.nodes += 1,
            None => self.filters.push(FilterCount {
                filter: filter.into_owned(),
                nodes: 1,
                example: hostname.to_owned(),
                refusal: refusal.to_string(),
            }),
        }
    }

    /// One line: the refusal itself where there is one node, the count of each filter where there are several.
    pub fn in_a_line(&self) -> String {
        match (self.nodes, self.filters.as_slice()) {
            (0, _) => "there is no node".to_owned(),
            (1, [only]) => format!("0 of 1 node can hold it: {}", only.refusal),
            (nodes, filters) => {
                let counts: Vec<String> = filters.iter().map(|f| format!("{} {}", f.filter, f.nodes)).collect();
                format!("{} of {nodes} nodes can hold it: {}", self.fit, counts.join(", "))
            }
        }
    }

    /// A line for each filter with its count and one example; none where a line says all.
    pub fn by_filter(&self) -> Vec<String> {
        if self.nodes <= 1 {
            return Vec::new();
        }
        let word = self.filters.iter().map(|f| f.filter.len()).max().unwrap_or(0);
        let number = self.nodes.to_string().len();
        let line = |f: &FilterCount| {
            let plural = if f.nodes == 1 { " " } else { "s" };
            format!("{:word$}  {:>number$} node{plural}  {}: {}", f.filter, f.nodes, f.example, f.refusal)
        };
        self.filters.iter().map(line).collect()
    }
}

/// The answer of `ctl why` for slots that no node can hold; `None` when one would take them now.
pub(super) fn explain(state: &State, service: &Service, slots: &[Slot]) -> Option<Explanation> {
    let none = NoNode::judge(state, service, None);
    if none.fit > 0 {
        return None;
    }
    let now = match slots {
        [one] => format!("{}.{one} has no node", service.key),
        several => format!(
            "{} of {} slots of {} have no node: {}",
            several.len(),
            service.spec.replicas,
            service.key,
            ranges(several)
        ),
    };
    let next = match none.nodes {
        0 => "it is placed as soon as a node joins",
        _ => "it is placed as soon as a node can hold it: free some room, add a node, or ask for less",
    };
    Some(Explanation { now, cause: none.in_a_line(), next: next.to_owned(), detail: none.by_filter() })
}

/// `1, 3-5, 9` of slots in order.
fn ranges(slots: &[Slot]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for slot in slots {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == slot.0 => *last = slot.0,
            _ => runs.push((slot.0, slot.0)),
        }
    }
    let words = runs.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_in_a_row_are_one_range() {
        let of = |numbers: &[u32]| ranges(&numbers.iter().map(|n| Slot(*n)).collect::<Vec<_>>());
        assert_eq!(of(&[1]), "1");
        assert_eq!(of(&[1, 2]), "1, 2");
        assert_eq!(of(&[1, 3, 4, 5, 9]), "1, 3-5, 9");
    }
}
