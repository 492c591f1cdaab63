//! The placer of a plan makes the choices of `place`, which looks at every node, and gives its refusals; a subnet's free
//! addresses are counted as they are enumerated.

use proptest::collection::vec;
use proptest::prelude::*;
use proto::id::{ClusterId, NodeId, ServiceKey, Slot};
use proto::node::{NodeConditions, NodeInfo};
use proto::revision::{Time, Wall};
use proto::spec::{
    Constraint, ContainerSpec, Mount, MountSource, PlacementSpec, PortMode, PortSpec, ProjectSpec, Protocol,
    Reservations, ServiceSpec, VolumeSpec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Placer, place};
use crate::engine::command::{Command, Stamped};
use crate::engine::model::Ranges;
use crate::engine::plan::{Change, Plan, Planned};
use crate::engine::{Outcome, Reason, STATE_VERSION, State, apply};

#[derive(Debug, Clone)]
struct Host {
    cpu: u64,
    memory: u64,
    zone: usize,
    rack: usize,
    is_up: bool,
    engine_works: bool,
}

fn host() -> impl Strategy<Value = Host> {
    let sizes = (prop_oneof![Just(500u64), Just(1000), Just(4000)], 1u64..8);
    (sizes, 0usize..3, 0usize..3, prop::bool::weighted(0.85), prop::bool::weighted(0.9)).prop_map(
        |((cpu, memory), zone, rack, is_up, engine_works)| Host { cpu, memory, zone, rack, is_up, engine_works },
    )
}

fn zones(which: usize) -> Vec<Constraint> {
    let equal = |equal: bool| Constraint { attribute: "node.labels.zone".to_owned(), equal, value: "z1".to_owned() };
    match which {
        0 => vec![equal(true)],
        1 => vec![equal(false)],
        _ => Vec::new(),
    }
}

fn service() -> impl Strategy<Value = ServiceSpec> {
    let reservations = (prop_oneof![Just(0u64), Just(100), Just(300)], 0u64..3);
    let placement = (0usize..6, 0usize..3, 0u32..4);
    (reservations, placement, 0u32..6).prop_map(|((cpu_millis, memory), (zone, spread, most), odd)| {
        let mut container = ContainerSpec { image: "app:1".to_owned(), ..ContainerSpec::default() };
        if odd == 0 {
            let source = MountSource::Volume { name: "data".to_owned(), nocopy: false, subpath: None };
            container.mounts.push(Mount { source, target: "/data".to_owned(), read_only: false });
        }
        let mut spec = ServiceSpec {
            replicas: 1_000,
            reservations: Reservations { cpu_millis, memory_bytes: memory },
            placement: PlacementSpec {
                constraints: zones(zone),
                spread: ["node.labels.zone", "node.labels.rack"].iter().take(spread).map(|s| (*s).to_owned()).collect(),
                max_per_node: most,
            },
            ..ServiceSpec::default()
        };
        if odd == 1 {
            spec.ports.push(PortSpec {
                name: None,
                target: 80,
                published: 8080,
                host_ip: None,
                protocol: Protocol::Tcp,
                mode: PortMode::Host,
            });
        }
        spec.container = Arc::new(container);
        spec
    })
}

/// A cluster with these hosts and services, on which these tasks were placed, whether or not `place` would have.
fn cluster(hosts: &[Host], services: &[ServiceSpec], tasks: &[(usize, usize)]) -> State {
    let mut state = State::empty();
    let mut at = 0;
    let mut say = |command: Command| {
        at += 1;
        apply(&mut state, &Stamped { at: Time(at), wall: Wall(at), request: None, by: None, command })
    };
    // Few addresses, so that they run out.
    let ranges = Ranges { node_prefix: 28, ..Ranges::default() };
    say(Command::Bootstrap { cluster: ClusterId(1), ranges });
    say(Command::RaiseVersion { to: STATE_VERSION });
    for (index, host) in hosts.iter().enumerate() {
        say(Command::RegisterNode { info: info(index, host) });
        if !host.engine_works {
            let conditions = NodeConditions { engine_problem: "no answer".to_owned(), ..NodeConditions::default() };
            say(Command::ReportConditions { node: NodeId(index as u64 + 1), conditions });
        }
    }
    for (index, spec) in services.iter().enumerate() {
        let name = format!("p{index}");
        let services = BTreeMap::from([("web".parse().expect("a name"), spec.clone())]);
        let volumes = BTreeMap::from([("data".to_owned(), VolumeSpec::default())]);
        let spec = ProjectSpec { name: name.parse().expect("a name"), services, volumes, networks: BTreeSet::new() };
        // One that wants the port of an earlier one is refused, and is not there then.
        let refusable = say(Command::PutProject { spec: Box::new(spec), expected_release: None, prune: false });
        assert!(matches!(refusable, Outcome::Project { .. } | Outcome::Rejected(_)), "{refusable:?}");
    }
    let created = tasks.iter().enumerate().map(|(slot, (service, node))| Change::CreateTask {
        service: key(*service),
        slot: Slot(slot as u32 + 500),
        node: NodeId((node % hosts.len()) as u64 + 1),
    });
    let down = hosts.iter().enumerate().filter(|(_, h)| !h.is_up);
    let down = down.map(|(index, _)| Change::MarkDown { node: NodeId(index as u64 + 1) });
    let changes = created.chain(down).map(|change| Planned { change, requires: Vec::new(), reason: Reason::SlotEmpty });
    say(Command::ApplyPlan { plan: Plan { changes: changes.collect(), ..Plan::default() } });
    state
}

fn info(index: usize, host: &Host) -> NodeInfo {
    let mut labels = BTreeMap::new();
    if host.zone > 0 {
        labels.insert("zone".to_owned(), format!("z{}", host.zone));
    }
    if host.rack > 0 {
        labels.insert("rack".to_owned(), format!("r{}", host.rack));
    }
    NodeInfo {
        id: NodeId(index as u64 + 1),
        hostname: format!("n{index}"),
        agent_version: "0".to_owned(),
        engine_version: "0".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        cpu_millis: host.cpu,
        memory_bytes: host.memory,
        addresses: Vec::new(),
        labels,
        features: BTreeSet::new(),
    }
}

fn key(index: usize) -> ServiceKey {
    ServiceKey { project: format!("p{index}").parse().expect("a name"), service: "web".parse().expect("a name") }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_placer_chooses_as_place_does(
        hosts in vec(host(), 1..9),
        services in vec(service(), 1..4),
        tasks in vec((0usize..4, 0usize..9), 0..30),
        // Services one after the other, as in a plan, now and then another; sometimes a node to avoid.
        asked in vec((0usize..4, 1usize..25, prop::option::weighted(0.2, 1u64..9), prop::bool::weighted(0.9)), 1..8),
    ) {
        let state = cluster(&hosts, &services, &tasks);
        let now = Time(1_000);
        let mut placer = Placer::new(&state, now);
        for (service, times, avoid, takes) in asked {
            let Some(service) = state.service(&key(service)) else { continue };
            for _ in 0..times {
                let plain = place(&state, placer.ledger(), service, avoid.map(NodeId));
                let chosen = placer.choose(service, avoid.map(NodeId));
                prop_assert_eq!(&chosen, &plain);
                let Ok(node) = chosen else { break };
                if takes {
                    placer.take(node, service);
                }
            }
        }
    }
}
