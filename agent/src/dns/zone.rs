//! The names of the cluster as this node sees them: the endpoint table with the node's own view of its own tasks over it.
//!
//! Built whole from its inputs and never changed after; never touches the wire, a clock or a socket. `answer` and `fast`
//! ask it for names, the forwarder for ready addresses, the composition root builds it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;
use proto::endpoint::{Endpoint, EndpointState, EndpointTable, NamedPort, ServiceEndpoints};
use proto::id::{NodeId, ServiceKey, TaskId};
use proto::spec::Protocol;

use super::answer::soa_record;
use super::{SERVICE_LABEL, ZONE_LABELS};

/// What a node itself knows of one of its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnEndpoint {
    /// May it be answered?
    pub state: EndpointState,
    /// The incarnation the state is about.
    pub incarnation: u32,
    /// The sequence of the status that says so.
    pub sequence: u64,
}

/// What a node itself knows of all its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnView {
    /// Tasks it observes.
    pub endpoints: BTreeMap<TaskId, OwnEndpoint>,
    /// Tasks it knows to be stopped: not answered, whatever the table says.
    pub stopped: BTreeSet<TaskId>,
}

/// All names that can be answered without asking anyone.
#[derive(Debug, Default)]
pub struct Zone {
    projects: HashMap<Box<[u8]>, Services>,
    holders: HashMap<IpAddr, Holder>,
    serial: u32,
    soa_wire: Vec<u8>,
}

/// A project's services.
#[derive(Debug, Default)]
struct Services {
    /// By name and by each alias that is one label.
    by_name: HashMap<Box<[u8]>, Service>,
    /// By each alias of several labels (`mail.example.com`).
    by_long_alias: HashMap<Box<[u8]>, Service>,
}

/// One service's answers.
#[derive(Debug, Default)]
pub struct Service {
    ports: Vec<NamedPort>,
    ready: Addresses,
    slots: BTreeMap<u32, SlotName>,
    ready_slots: Vec<u32>,
    targets: Vec<IpAddr>,
    states: HashMap<IpAddr, EndpointState>,
}

/// One slot's answers.
#[derive(Debug)]
pub struct SlotName {
    pub(super) name: Name,
    pub(super) addresses: Addresses,
    state: EndpointState,
}

/// Addresses by family, in the order of slots.
#[derive(Debug, Default)]
pub struct Addresses {
    /// For A.
    pub v4: Vec<Ipv4Addr>,
    /// For AAAA.
    pub v6: Vec<Ipv6Addr>,
}

/// Whose an address is.
#[derive(Debug)]
struct Holder {
    task: TaskId,
    project: Box<[u8]>,
    slot_name: Name,
}

/// What a name means.
#[derive(Debug)]
pub enum Found<'a> {
    /// A service: its ready endpoints.
    Service(&'a Service),
    /// One slot of a known service; `None` while no task is in it.
    Slot(Option<&'a SlotName>),
    /// A port of a service.
    Port(&'a Service, u16),
    /// The reverse name of a task's address.
    Reverse(&'a Name),
    /// `localhost` or a name below it.
    Localhost,
    /// The zone itself.
    Apex,
    /// A name without records of its own but with names below it.
    Exists,
    /// A name in our zone that means nothing.
    Nothing,
    /// A name that others answer.
    Outside,
}

// === impl Zone ===

impl Zone {
    /// The zone of `table` as `node` sees it. A task of `node` has the state of `own` unless the table's
    /// (incarnation, sequence) is newer; a task that `own` knows to be stopped has no name.
    pub fn new(table: &EndpointTable, node: NodeId, own: &OwnView) -> Zone {
        let mut zone = Zone { serial: u32::try_from(table.revision.0 & 0xffff_ffff).unwrap_or(0), ..Zone::default() };
        zone.soa_wire = super::packet::record_bytes(&soa_record(zone.serial));
        for (key, endpoints) in &table.services {
            let service = zone.service_of(key, endpoints, node, own);
            let project = zone.projects.entry(key.project.as_str().as_bytes().into()).or_default();
            project.by_name.insert(key.service.as_str().as_bytes().into(), service);
        }
        for (key, endpoints) in table.services.iter().filter(|(_, e)| !e.aliases.is_empty()) {
            zone.add_aliases(key, endpoints, node, own);
        }
        zone
    }

    /// A service's own name comes before an alias of the same name.
    fn add_aliases(&mut self, key: &ServiceKey, from: &ServiceEndpoints, node: NodeId, own: &OwnView) {
        for alias in &from.aliases {
            let service = self.service_of(key, from, node, own);
            let project = self.projects.entry(key.project.as_str().as_bytes().into()).or_default();
            let names = if alias.contains('.') { &mut project.by_long_alias } else { &mut project.by_name };
            names.entry(alias.as_bytes().into()).or_insert(service);
        }
    }

    fn service_of(&mut self, key: &ServiceKey, from: &ServiceEndpoints, node: NodeId, own: &OwnView) -> Service {
        let mut members: Vec<(&Endpoint, EndpointState)> =
            from.endpoints.iter().filter_map(|e| state_of(e, node, own).map(|state| (e, state))).collect();
        members.sort_by_key(|(endpoint, _)| (endpoint.slot, endpoint.task));
        let mut service = Service { ports: from.ports.clone(), ..Service::default() };
        for (endpoint, state) in members {
            let Some(name) = slot_name(key, endpoint.slot.0) else { continue };
            self.hold(key, endpoint, &name);
            service.add(endpoint, state, name);
        }
        service
    }

    /// Notes whose the addresses are. Should two tasks claim one, the younger has it.
    fn hold(&mut self, key: &ServiceKey, endpoint: &Endpoint, name: &Name) {
        for address in &endpoint.addresses {
            let project = key.project.as_str().as_bytes().into();
            let holder = Holder { task: endpoint.task, project, slot_name: name.clone() };
            match self.holders.get(address) {
                Some(other) if other.task > holder.task => {}
                _ => {
                    self.holders.insert(*address, holder);
                }
            }
        }
    }

    /// The version of the table it was built from, for SOA.
    pub(super) fn serial(&self) -> u32 {
        self.serial
    }

    /// The SOA record of negative answers as it goes over the wire.
    pub(super) fn soa_wire(&self) -> &[u8] {
        &self.soa_wire
    }

    /// The service called `key`.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.projects.get(key.project.as_str().as_bytes())?.by_name.get(key.service.as_str().as_bytes())
    }

    /// What the name of these labels, in lower case, means to `client`. Short names belong to the client's project.
    pub fn find(&self, labels: &[&[u8]], client: Option<IpAddr>) -> Found<'_> {
        match labels {
            [.., b"localhost"] => Found::Localhost,
            [inside @ .., a, b] if [*a, *b] == ZONE_LABELS => match inside {
                [] => Found::Apex,
                [SERVICE_LABEL] => Found::Exists,
                [full @ .., SERVICE_LABEL] => self.find_full(full),
                _ => Found::Nothing,
            },
            [rest @ .., b"in-addr", b"arpa"] => self.find_reverse(reversed_v4(rest)),
            [rest @ .., b"ip6", b"arpa"] => self.find_reverse(reversed_v6(rest)),
            [] => Found::Outside,
            short => self.find_short(short, client),
        }
    }

    /// `[...] SERVICE PROJECT`, the zone's labels already taken off.
    fn find_full(&self, labels: &[&[u8]]) -> Found<'_> {
        let Some((project, rest)) = labels.split_last() else { return Found::Nothing };
        match self.projects.get(*project) {
            None => Found::Nothing,
            Some(_) if rest.is_empty() => Found::Exists,
            Some(services) => find_in_project(services, rest),
        }
    }

    /// A name without our zone: the client's own project comes first, then `[...] SERVICE PROJECT`. Only what exists is
    /// ours; anything else may well be a name of the world.
    fn find_short(&self, labels: &[&[u8]], client: Option<IpAddr>) -> Found<'_> {
        let own = client.and_then(|address| self.holders.get(&address)).and_then(|h| self.projects.get(&h.project));
        if let Some(services) = own {
            let found = find_in_project(services, labels);
            if !matches!(found, Found::Nothing) {
                return found;
            }
        }
        match self.find_full(labels) {
            Found::Nothing | Found::Exists => Found::Outside,
            found => found,
        }
    }

    fn find_reverse(&self, address: Option<IpAddr>) -> Found<'_> {
        match address.and_then(|a| self.holders.get(&a)) {
            Some(holder) => Found::Reverse(&holder.slot_name),
            None => Found::Outside,
        }
    }
}

/// The state of an endpoint as its node or the table has it, whichever is newer; `None` when it is known to be stopped.
fn state_of(endpoint: &Endpoint, node: NodeId, own: &OwnView) -> Option<EndpointState> {
    if endpoint.node != node {
        return Some(endpoint.state);
    }
    match own.endpoints.get(&endpoint.task) {
        Some(seen) if (seen.incarnation, seen.sequence) >= (endpoint.incarnation, endpoint.sequence) => {
            Some(seen.state)
        }
        Some(_) => Some(endpoint.state),
        None => (!own.stopped.contains(&endpoint.task)).then_some(endpoint.state),
    }
}

fn slot_name(key: &ServiceKey, slot: u32) -> Option<Name> {
    let slot = slot.to_string();
    let labels = [slot.as_bytes(), key.service.as_str().as_bytes(), key.project.as_str().as_bytes(), SERVICE_LABEL];
    Name::from_labels(labels.into_iter().chain(ZONE_LABELS)).ok()
}

fn find_in_project<'a>(services: &'a Services, labels: &[&[u8]]) -> Found<'a> {
    if !services.by_long_alias.is_empty()
        && let Some(service) = services.by_long_alias.get(labels.join(&b'.').as_slice())
    {
        return Found::Service(service);
    }
    let Some((service, rest)) = labels.split_last() else { return Found::Nothing };
    match services.by_name.get(*service) {
        Some(service) => service.find(rest),
        None => Found::Nothing,
    }
}

// === impl Service ===

impl Service {
    fn add(&mut self, endpoint: &Endpoint, state: EndpointState, name: Name) {
        for address in &endpoint.addresses {
            self.states.insert(*address, state);
        }
        let slot = endpoint.slot.0;
        let entry = self.slots.entry(slot).or_insert(SlotName { name, addresses: Addresses::default(), state });
        // Two tasks share a slot while one replaces the other: the slot's name is the ready one's, if there is one.
        if rank(state) > rank(entry.state) {
            entry.addresses = Addresses::default();
            entry.state = state;
        }
        if state == entry.state && state != EndpointState::Draining {
            entry.addresses.extend(&endpoint.addresses);
        }
        if state == EndpointState::Ready {
            self.ready.extend(&endpoint.addresses);
            self.targets.extend(endpoint.addresses.first());
            if self.ready_slots.last() != Some(&slot) {
                self.ready_slots.push(slot);
            }
        }
    }

    /// What the labels before the service's name mean.
    fn find(&self, labels: &[&[u8]]) -> Found<'_> {
        match labels {
            [] => Found::Service(self),
            [one] => match (slot_number(one), protocol(one)) {
                (Some(slot), _) => Found::Slot(self.slots.get(&slot)),
                (None, Some(p)) if self.ports.iter().any(|port| port.protocol == p) => Found::Exists,
                _ => Found::Nothing,
            },
            [name, proto] => match (name.strip_prefix(b"_"), protocol(proto)) {
                (Some(name), Some(p)) => self.find_port(name, p),
                _ => Found::Nothing,
            },
            _ => Found::Nothing,
        }
    }

    fn find_port(&self, name: &[u8], protocol: Protocol) -> Found<'_> {
        let named = |port: &&NamedPort| port.name.as_bytes().eq_ignore_ascii_case(name);
        let numbered = |port: &&NamedPort| port.port.to_string().as_bytes() == name;
        let mut of_protocol = self.ports.iter().filter(|port| port.protocol == protocol);
        match of_protocol.clone().find(named).or_else(|| of_protocol.find(numbered)) {
            Some(port) => Found::Port(self, port.port),
            None => Found::Nothing,
        }
    }

    /// Addresses of ready endpoints.
    pub fn ready(&self) -> &Addresses {
        &self.ready
    }

    /// Slots with a ready endpoint, in order.
    pub(super) fn ready_slots(&self) -> impl ExactSizeIterator<Item = Option<&SlotName>> + Clone {
        self.ready_slots.iter().map(|slot| self.slots.get(slot))
    }

    /// One address of each ready endpoint, to connect to.
    pub fn targets(&self) -> &[IpAddr] {
        &self.targets
    }

    /// The state of the endpoint with `address`; `None` when there is none.
    pub fn state_at(&self, address: IpAddr) -> Option<EndpointState> {
        self.states.get(&address).copied()
    }
}

impl Addresses {
    fn extend(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            match address {
                IpAddr::V4(a) => self.v4.push(*a),
                IpAddr::V6(a) => self.v6.push(*a),
            }
        }
    }
}

fn rank(state: EndpointState) -> u8 {
    match state {
        EndpointState::Draining => 0,
        EndpointState::Starting => 1,
        EndpointState::Ready => 2,
    }
}

// === Labels ===

/// A slot is counted from 1 and written without leading zeros.
fn slot_number(label: &[u8]) -> Option<u32> {
    if label.first() == Some(&b'0') {
        return None;
    }
    decimal(label)
}

fn decimal(label: &[u8]) -> Option<u32> {
    if label.is_empty() || !label.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(label).ok()?.parse().ok()
}

fn protocol(label: &[u8]) -> Option<Protocol> {
    match label {
        b"_tcp" => Some(Protocol::Tcp),
        b"_udp" => Some(Protocol::Udp),
        _ => None,
    }
}

/// RFC 1035 section 3.5: the octets, last first.
fn reversed_v4(labels: &[&[u8]]) -> Option<IpAddr> {
    let [d, c, b, a] = labels else { return None };
    let octet = |label: &[u8]| u8::try_from(decimal(label)?).ok();
    Some(Ipv4Addr::new(octet(a)?, octet(b)?, octet(c)?, octet(d)?).into())
}

/// RFC 3596 section 2.5: the hexadecimal digits, last first.
fn reversed_v6(labels: &[&[u8]]) -> Option<IpAddr> {
    if labels.len() != 32 {
        return None;
    }
    let mut bits: u128 = 0;
    for label in labels.iter().rev() {
        let [digit] = label else { return None };
        bits = bits << 4 | u128::from(char::from(*digit).to_digit(16)?);
    }
    Some(Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests;
