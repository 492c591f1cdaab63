//! What a node says of itself, to the wire and back. Never judges whether a node is alive.

use super::{ConvertError, hex_id, list_from, list_to, parsed_list, port_or_zero, required, texts};
use crate::id::TaskId;
use crate::node::{ForwardStatus, NodeConditions, NodeInfo, Stranger};
use crate::v1;

impl From<&NodeInfo> for v1::NodeInfo {
    fn from(n: &NodeInfo) -> Self {
        v1::NodeInfo {
            id: n.id.to_string(),
            hostname: n.hostname.clone(),
            agent_version: n.agent_version.clone(),
            engine_version: n.engine_version.clone(),
            os: n.os.clone(),
            arch: n.arch.clone(),
            cpu_millis: n.cpu_millis,
            memory_bytes: n.memory_bytes,
            addresses: texts(&n.addresses),
            labels: n.labels.clone(),
            features: texts(&n.features),
        }
    }
}

impl TryFrom<v1::NodeInfo> for NodeInfo {
    type Error = ConvertError;
    fn try_from(w: v1::NodeInfo) -> Result<Self, ConvertError> {
        Ok(NodeInfo {
            id: hex_id("id", &w.id)?,
            hostname: w.hostname,
            agent_version: w.agent_version,
            engine_version: w.engine_version,
            os: w.os,
            arch: w.arch,
            cpu_millis: w.cpu_millis,
            memory_bytes: w.memory_bytes,
            addresses: parsed_list("addresses", &w.addresses)?,
            labels: w.labels,
            features: w.features.into_iter().collect(),
        })
    }
}

impl From<&NodeConditions> for v1::NodeConditions {
    fn from(c: &NodeConditions) -> Self {
        v1::NodeConditions {
            engine_problem: c.engine_problem.clone(),
            forwards: list_to(&c.forwards),
            strangers: list_to(&c.strangers),
            removed_volumes: c.removed_volumes.clone(),
        }
    }
}

impl TryFrom<v1::NodeConditions> for NodeConditions {
    type Error = ConvertError;
    fn try_from(w: v1::NodeConditions) -> Result<Self, ConvertError> {
        Ok(NodeConditions {
            engine_problem: w.engine_problem,
            forwards: list_from("forwards", w.forwards)?,
            strangers: list_from("strangers", w.strangers)?,
            removed_volumes: w.removed_volumes,
        })
    }
}

impl From<&ForwardStatus> for v1::ForwardStatus {
    fn from(f: &ForwardStatus) -> Self {
        v1::ForwardStatus {
            service: Some((&f.service).into()),
            port: Some((&f.port).into()),
            bound: f.bound.into(),
            problem: f.problem.clone(),
        }
    }
}

impl TryFrom<v1::ForwardStatus> for ForwardStatus {
    type Error = ConvertError;
    fn try_from(w: v1::ForwardStatus) -> Result<Self, ConvertError> {
        Ok(ForwardStatus {
            service: required("service", w.service)?,
            port: required("port", w.port)?,
            bound: port_or_zero("bound", w.bound)?,
            problem: w.problem,
        })
    }
}

impl From<&Stranger> for v1::Stranger {
    fn from(s: &Stranger) -> Self {
        v1::Stranger {
            container_id: s.container_id.clone(),
            name: s.name.clone(),
            task: s.task.0,
            service: Some((&s.service).into()),
            running: s.running,
        }
    }
}

impl TryFrom<v1::Stranger> for Stranger {
    type Error = ConvertError;
    fn try_from(w: v1::Stranger) -> Result<Self, ConvertError> {
        Ok(Stranger {
            container_id: w.container_id,
            name: w.name,
            task: TaskId(w.task),
            service: required("service", w.service)?,
            running: w.running,
        })
    }
}
