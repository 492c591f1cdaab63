//! What one node should run, to the wire and back.
//!
//! A set that names a task twice is refused whole, so that no half of it is ever obeyed. Never compares revisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    ConvertError, enumerated, hex_id, list_from, list_to, map_from, map_to, parsed, parsed_list, required, texts,
};
use crate::assignment::{Assignment, AssignmentSet, Desired, Forward, NodeNetwork, Verdict};
use crate::id::{SessionId, Slot, TaskId};
use crate::revision::{Epoch, Revision};
use crate::v1;

enumeration!(Desired { Prepare, Run, Stop });
enumeration!(Verdict { Keep, Stop });

impl From<&AssignmentSet> for v1::AssignmentSet {
    fn from(s: &AssignmentSet) -> Self {
        v1::AssignmentSet {
            cluster: s.cluster.to_string(),
            epoch: s.epoch.0,
            node: s.node.to_string(),
            session: s.session.0,
            revision: s.revision.0,
            network: Some((&s.network).into()),
            tasks: s.tasks.values().map(v1::Assignment::from).collect(),
            forwards: list_to(&s.forwards),
            verdicts: s.verdicts.iter().map(|(id, verdict)| (id.clone(), (*verdict).into())).collect(),
            remove_volumes: s.remove_volumes.clone(),
        }
    }
}

impl TryFrom<v1::AssignmentSet> for AssignmentSet {
    type Error = ConvertError;
    fn try_from(w: v1::AssignmentSet) -> Result<Self, ConvertError> {
        let mut tasks = BTreeMap::new();
        for (i, assignment) in list_from::<_, Assignment>("tasks", w.tasks)?.into_iter().enumerate() {
            if let Some(earlier) = tasks.insert(assignment.task, assignment) {
                return Err(ConvertError::new(format!("{} is in the set twice", earlier.task))
                    .under(format!("tasks[{i}].task")));
            }
        }
        Ok(AssignmentSet {
            cluster: hex_id("cluster", &w.cluster)?,
            epoch: Epoch(w.epoch),
            node: hex_id("node", &w.node)?,
            session: SessionId(w.session),
            revision: Revision(w.revision),
            network: required("network", w.network)?,
            tasks,
            forwards: list_from("forwards", w.forwards)?,
            verdicts: map_from("verdicts", w.verdicts)?,
            remove_volumes: w.remove_volumes,
        })
    }
}

impl From<&NodeNetwork> for v1::NodeNetwork {
    fn from(n: &NodeNetwork) -> Self {
        v1::NodeNetwork { subnet: n.subnet.to_string(), prefix: n.prefix.into(), gateway: n.gateway.to_string() }
    }
}

impl TryFrom<v1::NodeNetwork> for NodeNetwork {
    type Error = ConvertError;
    fn try_from(w: v1::NodeNetwork) -> Result<Self, ConvertError> {
        let prefix = u8::try_from(w.prefix).ok().filter(|prefix| *prefix <= 32);
        let bad = || ConvertError::new(format!("{} is not a prefix length, 0 to 32 are", w.prefix)).under("prefix");
        Ok(NodeNetwork {
            subnet: parsed("subnet", &w.subnet)?,
            prefix: prefix.ok_or_else(bad)?,
            gateway: parsed("gateway", &w.gateway)?,
        })
    }
}

impl From<&Assignment> for v1::Assignment {
    fn from(a: &Assignment) -> Self {
        v1::Assignment {
            task: a.task.0,
            service: Some((&a.service).into()),
            slot: a.slot.0,
            generation: a.generation,
            desired: a.desired.into(),
            addresses: texts(&a.addresses),
            container: Some(a.container.as_ref().into()),
            spec_hash: a.spec_hash.clone(),
            restart: Some((&a.restart).into()),
            health: Some((&a.health).into()),
            host_ports: list_to(&a.host_ports),
            expose: list_to(&a.expose),
            volumes: map_to(&a.volumes),
            drain_ms: a.drain_ms,
        }
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = ConvertError;
    fn try_from(w: v1::Assignment) -> Result<Self, ConvertError> {
        Ok(Assignment {
            task: TaskId(w.task),
            service: required("service", w.service)?,
            slot: Slot(w.slot),
            generation: w.generation,
            desired: enumerated("desired", w.desired)?,
            addresses: parsed_list("addresses", &w.addresses)?,
            container: Arc::new(required("container", w.container)?),
            spec_hash: w.spec_hash,
            restart: required("restart", w.restart)?,
            health: required("health", w.health)?,
            host_ports: list_from("host_ports", w.host_ports)?,
            expose: list_from("expose", w.expose)?,
            volumes: map_from("volumes", w.volumes)?,
            drain_ms: w.drain_ms,
        })
    }
}

impl From<&Forward> for v1::Forward {
    fn from(f: &Forward) -> Self {
        v1::Forward { service: Some((&f.service).into()), port: Some((&f.port).into()) }
    }
}

impl TryFrom<v1::Forward> for Forward {
    type Error = ConvertError;
    fn try_from(w: v1::Forward) -> Result<Self, ConvertError> {
        Ok(Forward { service: required("service", w.service)?, port: required("port", w.port)? })
    }
}
