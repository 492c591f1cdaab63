//! A small cluster for the tests of names and of published ports.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proto::endpoint::EndpointState::{self, Draining, Ready, Starting};
use proto::endpoint::{Endpoint, EndpointTable, NamedPort, ServiceEndpoints};
use proto::id::{NodeId, ServiceKey, Slot, TaskId};
use proto::revision::Revision;
use proto::spec::Protocol;

use super::zone::{OwnView, Zone};

pub(crate) fn key(text: &str) -> ServiceKey {
    let (project, service) = text.split_once('/').expect("PROJECT/SERVICE");
    ServiceKey { project: project.parse().expect("a name"), service: service.parse().expect("a name") }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn endpoint(task: u64, slot: u32, address: &str, state: EndpointState) -> Endpoint {
    Endpoint {
        task: TaskId(task),
        slot: Slot(slot),
        node: NodeId(1),
        addresses: address.split(' ').map(ip).collect(),
        state,
        incarnation: 1,
        sequence: 10,
    }
}

fn port(name: &str, port: u16, protocol: Protocol) -> NamedPort {
    NamedPort { name: name.to_owned(), port, protocol }
}

/// `shop/web` with two ready slots, one starting, one draining; `shop/1` to confuse; `shop/my_db` being replaced;
/// `shop/idle` without endpoints; `blog/web` with both families; `web/1` to confuse more.
pub(crate) fn table() -> EndpointTable {
    let http = vec![port("http", 80, Protocol::Tcp), port("53", 53, Protocol::Udp)];
    let services = [
        (
            "shop/web",
            http.clone(),
            vec![
                endpoint(1, 1, "10.210.1.1", Ready),
                endpoint(2, 2, "10.210.1.2", Ready),
                endpoint(3, 3, "10.210.1.3", Starting),
                endpoint(4, 4, "10.210.1.4", Draining),
            ],
        ),
        (
            "shop/my_db",
            vec![],
            vec![
                endpoint(5, 1, "10.210.1.5", Draining),
                endpoint(6, 1, "10.210.1.6", Starting),
                endpoint(7, 2, "10.210.1.7", Ready),
                endpoint(8, 2, "10.210.1.8", Starting),
            ],
        ),
        ("shop/idle", vec![], vec![]),
        ("blog/web", http, vec![endpoint(9, 1, "10.210.2.9 fd00::9", Ready)]),
        ("web/1", vec![], vec![endpoint(10, 1, "10.210.2.10", Ready)]),
    ];
    let services: BTreeMap<_, _> = services
        .into_iter()
        .map(|(name, ports, endpoints)| {
            (key(name), ServiceEndpoints { ports, endpoints, ..ServiceEndpoints::default() })
        })
        .collect();
    EndpointTable { revision: Revision(7), services, ..EndpointTable::default() }
}

/// The zone of a table as a node without tasks sees it.
pub(crate) fn zone_of(table: &EndpointTable) -> Zone {
    Zone::new(table, NodeId(0), &OwnView::default())
}

pub(crate) fn zone() -> Zone {
    zone_of(&table())
}

/// A table with one service of these endpoints, in slots counted from 1.
pub(crate) fn service_of(name: &str, endpoints: &[(&str, EndpointState)]) -> EndpointTable {
    let endpoints =
        (1_u32..).zip(endpoints).map(|(n, (address, state))| endpoint(n.into(), n, address, *state)).collect();
    let service = ServiceEndpoints { endpoints, ..ServiceEndpoints::default() };
    EndpointTable { services: BTreeMap::from([(key(name), service)]), ..EndpointTable::default() }
}
