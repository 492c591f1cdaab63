//! Nodes: the labels that operators give them.

use proto::id::NodeId;
use proto::revision::Revision;
use proto::v1;
use tonic::Status;

use super::{Api, changes};
use crate::access::By;
use crate::engine::{Command, State};

// === impl Api ===

impl Api {
    /// Labels a node.
    pub(super) async fn label(&self, by: By, asked: v1::LabelNodeRequest) -> Result<v1::ChangeResponse, Status> {
        if id(&asked.node).is_none() {
            // A name is looked up in no older State than was told before.
            self.read_barrier().await?;
        }
        let command = Command::LabelNode {
            node: named(&self.present(), &asked.node)?,
            set: asked.set,
            remove: asked.remove.into_iter().collect(),
            expected: asked.expected_revision.map(Revision),
        };
        changes::changed(&self.change_anywhere(by, asked.request, command).await?)
    }
}

/// What is written as an id, with all its digits.
fn id(text: &str) -> Option<NodeId> {
    text.parse::<NodeId>().ok().filter(|id| id.to_string().eq_ignore_ascii_case(text))
}

/// A node by its id, or its host's name if it is the only one of that name.
fn named(state: &State, text: &str) -> Result<NodeId, Status> {
    let id = id(text);
    if let Some(known) = id.filter(|id| state.node(*id).is_some()) {
        return Ok(known);
    }
    let found: Vec<NodeId> = state.nodes().filter(|n| n.info.hostname == text).map(|n| n.info.id).collect();
    match (found.as_slice(), id) {
        ([id], _) => Ok(*id),
        // The engine's refusal: it is in the audit.
        ([], Some(id)) => Ok(id),
        ([], None) => Err(Status::not_found(format!("there is no node `{text}`; `ctl get nodes` shows them"))),
        (several, _) => {
            let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
            let message = format!("{} nodes are called `{text}`: name one by its id: {}", ids.len(), ids.join(", "));
            Err(Status::invalid_argument(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::Ranges;
    use crate::engine::{Stamped, apply};
    use proto::id::ClusterId;
    use proto::node::NodeInfo;
    use proto::revision::{Time, Wall};
    use std::collections::{BTreeMap, BTreeSet};

    fn info(id: u64, hostname: &str) -> NodeInfo {
        NodeInfo {
            id: NodeId(id),
            hostname: hostname.to_owned(),
            agent_version: String::new(),
            engine_version: String::new(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            cpu_millis: 1_000,
            memory_bytes: 1 << 30,
            addresses: Vec::new(),
            labels: BTreeMap::new(),
            features: BTreeSet::new(),
        }
    }

    #[test]
    fn a_node_is_named_by_its_id_or_by_a_name_that_is_its_own() {
        let mut state = State::empty();
        let said = [(1, "alpha"), (2, "twin"), (3, "twin"), (4, "0000000000000001")];
        let bootstrap = Command::Bootstrap { cluster: ClusterId(1), ranges: Ranges::default() };
        let register = said.map(|(id, host)| Command::RegisterNode { info: info(id, host) });
        for command in [bootstrap].into_iter().chain(register) {
            apply(&mut state, &Stamped { at: Time(0), wall: Wall(0), request: None, by: None, command });
        }
        let find = |text: &str| named(&state, text).map_err(|e| e.message().to_owned());
        assert_eq!(find("alpha"), Ok(NodeId(1)));
        assert_eq!(find("0000000000000003"), Ok(NodeId(3)));
        assert_eq!(find("0000000000000001"), Ok(NodeId(1)), "an id before a name");
        assert_eq!(find("00000000000000ff"), Ok(NodeId(0xff)), "refused by the engine");
        assert!(find("2").is_err() && find("+000000000000002").is_err(), "an id has all its digits");
        assert_eq!(find("beta"), Err("there is no node `beta`; `ctl get nodes` shows them".to_owned()));
        let several = "2 nodes are called `twin`: name one by its id: 0000000000000002, 0000000000000003";
        assert_eq!(find("twin"), Err(several.to_owned()));
    }
}
