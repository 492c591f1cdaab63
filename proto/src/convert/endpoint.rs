//! What discovery may answer, to the wire and back.
//!
//! On the wire a service's endpoints carry its key, here the key is the map's: so the pair is what converts.

use std::collections::BTreeMap;

use super::{ConvertError, enumerated, hex_id, list_from, list_to, parsed_list, port, required, texts};
use crate::endpoint::{Endpoint, EndpointState, EndpointTable, NamedPort, ServiceEndpoints};
use crate::id::{ServiceKey, Slot, TaskId};
use crate::revision::{Epoch, Revision};
use crate::v1;

enumeration!(EndpointState { Starting, Ready, Draining });

impl From<&EndpointTable> for v1::EndpointTable {
    fn from(t: &EndpointTable) -> Self {
        let services = t.services.iter().map(v1::ServiceEndpoints::from).collect();
        v1::EndpointTable { epoch: t.epoch.0, revision: t.revision.0, services }
    }
}

impl TryFrom<v1::EndpointTable> for EndpointTable {
    type Error = ConvertError;
    fn try_from(w: v1::EndpointTable) -> Result<Self, ConvertError> {
        let mut services = BTreeMap::new();
        for (i, wire) in w.services.into_iter().enumerate() {
            let at = |e: ConvertError| e.under(format!("services[{i}]"));
            let (key, endpoints) = <(ServiceKey, ServiceEndpoints)>::try_from(wire).map_err(at)?;
            if services.contains_key(&key) {
                return Err(at(ConvertError::new(format!("{key} is in the table twice")).under("service")));
            }
            services.insert(key, endpoints);
        }
        Ok(EndpointTable { epoch: Epoch(w.epoch), revision: Revision(w.revision), services })
    }
}

impl From<(&ServiceKey, &ServiceEndpoints)> for v1::ServiceEndpoints {
    fn from((key, s): (&ServiceKey, &ServiceEndpoints)) -> Self {
        v1::ServiceEndpoints {
            service: Some(key.into()),
            ports: list_to(&s.ports),
            endpoints: list_to(&s.endpoints),
            aliases: texts(&s.aliases),
        }
    }
}

impl TryFrom<v1::ServiceEndpoints> for (ServiceKey, ServiceEndpoints) {
    type Error = ConvertError;
    fn try_from(w: v1::ServiceEndpoints) -> Result<Self, ConvertError> {
        let endpoints = list_from("endpoints", w.endpoints)?;
        let (ports, aliases) = (list_from("ports", w.ports)?, w.aliases.into_iter().collect());
        Ok((required("service", w.service)?, ServiceEndpoints { ports, endpoints, aliases }))
    }
}

impl From<&NamedPort> for v1::NamedPort {
    fn from(p: &NamedPort) -> Self {
        v1::NamedPort { name: p.name.clone(), port: p.port.into(), protocol: p.protocol.into() }
    }
}

impl TryFrom<v1::NamedPort> for NamedPort {
    type Error = ConvertError;
    fn try_from(w: v1::NamedPort) -> Result<Self, ConvertError> {
        Ok(NamedPort { name: w.name, port: port("port", w.port)?, protocol: enumerated("protocol", w.protocol)? })
    }
}

impl From<&Endpoint> for v1::Endpoint {
    fn from(e: &Endpoint) -> Self {
        v1::Endpoint {
            task: e.task.0,
            slot: e.slot.0,
            node: e.node.to_string(),
            addresses: texts(&e.addresses),
            state: e.state.into(),
            incarnation: e.incarnation,
            sequence: e.sequence,
        }
    }
}

impl TryFrom<v1::Endpoint> for Endpoint {
    type Error = ConvertError;
    fn try_from(w: v1::Endpoint) -> Result<Self, ConvertError> {
        Ok(Endpoint {
            task: TaskId(w.task),
            slot: Slot(w.slot),
            node: hex_id("node", &w.node)?,
            addresses: parsed_list("addresses", &w.addresses)?,
            state: enumerated("state", w.state)?,
            incarnation: w.incarnation,
            sequence: w.sequence,
        })
    }
}
