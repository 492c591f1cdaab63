//! The orchestrator's engine at size: placing 100 000 tasks, a pass over them when there is nothing to do, applying plans.
//!
//! Alone in this process: no log, no network.

use orchestrator::engine::command::{Command, Stamped};
use orchestrator::engine::model::Ranges;
use orchestrator::engine::placement::Placer;
use orchestrator::engine::{Leases, Outcome, STATE_VERSION, State, apply, endpoints, next_deadline, reconcile};
use proto::id::{ClusterId, NodeId, TaskId};
use proto::node::NodeInfo;
use proto::revision::{Time, Wall};
use proto::spec::{ContainerSpec, ProjectSpec, Reservations, ServiceSpec};
use proto::task_state::{Phase, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report::{Report, Values};
use crate::site::node_info;

const TASKS: u32 = 100_000;
const SERVICES_PER_PROJECT: u32 = 100;
const PASSES: usize = 15;

/// Measures.
pub fn run(report: &Report) {
    report.part("engine: 1 000 nodes, 100 000 tasks of 1 000 services");
    whole(report);
    report.part("engine: placements at 5 000 nodes");
    for replicas in [1_000, 100, 10] {
        placements(report, replicas);
    }
}

/// From nothing to 100 000 running tasks, then passes over them.
fn whole(report: &Report) {
    let mut world = World::new(1_000, TASKS, 100);
    let (mut reconciling, mut applying, mut plans) = (Duration::ZERO, Duration::ZERO, 0u32);
    loop {
        let begun = Instant::now();
        let plan = reconcile(&world.state, &world.leases, world.now);
        reconciling += begun.elapsed();
        if plan.is_empty() {
            assert!(plan.unplaced.is_empty(), "{:?}", plan.unplaced.first());
            break;
        }
        plans += 1;
        let begun = Instant::now();
        world.obey(Command::ApplyPlan { plan });
        applying += begun.elapsed();
    }
    assert_eq!(world.state.task_count(), TASKS as usize, "all are placed");
    let per_task = |total: Duration| Values::of([total.as_secs_f64() * 1e6 / f64::from(TASKS)]);
    report.alone(
        &format!("cold placement of 100 000 tasks, reconcile, in {plans} plans"),
        &Values::ms(&[reconciling]),
        "ms",
    );
    report.alone("the same per task", &per_task(reconciling), "us");
    report.alone("applying those plans", &Values::ms(&[applying]), "ms");
    report.alone("the same per task", &per_task(applying), "us");
    world.all_run();
    let passes: Vec<Duration> = (0..PASSES).map(|_| world.pass()).collect();
    report.alone("a full pass of reconcile with nothing to do, 100 000 tasks", &Values::ms(&passes), "ms");
    report.alone(
        "the same per task",
        &Values::of(passes.iter().map(|p| p.as_secs_f64() * 1e9 / f64::from(TASKS))),
        "ns",
    );
    let deadlines = timed(|| black_box(next_deadline(&world.state, &world.leases, world.now)));
    report.alone("next_deadline", &Values::ms(&deadlines), "ms");
    let tables = timed(|| black_box(endpoints(&world.state)));
    report.alone("the whole endpoint table", &Values::ms(&tables), "ms");
}

fn timed<T>(mut work: impl FnMut() -> T) -> Vec<Duration> {
    let once = |_| {
        let begun = Instant::now();
        let result = work();
        let took = begun.elapsed();
        drop(result);
        took
    };
    (0..PASSES).map(once).collect()
}

/// Choices for services of so many replicas, one after the other as in a plan.
fn placements(report: &Report, replicas: u32) {
    let world = World::new(5_000, TASKS, replicas);
    let rates = (0..5).map(|_| {
        let begun = Instant::now();
        let mut placer = Placer::new(&world.state, world.now);
        for service in world.state.services() {
            for _ in 0..replicas {
                match placer.choose(service, None) {
                    Ok(node) => placer.take(node, service),
                    Err(why) => panic!("{}: {why}", service.key),
                }
            }
        }
        f64::from(TASKS) / begun.elapsed().as_secs_f64()
    });
    let rates = Values::of(rates);
    report.alone(&format!("placements per second, 5 000 nodes, services of {replicas} replicas"), &rates, "/s");
}

/// A cluster without a log.
struct World {
    state: State,
    leases: Leases,
    now: Time,
    sequence: u64,
}

impl World {
    /// With so many nodes, and services wanting so many tasks.
    fn new(nodes: u32, tasks: u32, replicas: u32) -> World {
        let mut world = World { state: State::empty(), leases: Leases::default(), now: Time(1_000), sequence: 0 };
        let ranges = Ranges {
            containers: [10, 0, 0, 0].into(),
            containers_prefix: 8,
            services: [11, 0, 0, 0].into(),
            services_prefix: 16,
            node_prefix: 24,
        };
        world.obey(Command::Bootstrap { cluster: ClusterId(1), ranges });
        world.obey(Command::RaiseVersion { to: STATE_VERSION });
        for index in 0..nodes {
            world.obey(Command::RegisterNode { info: node(index) });
            world.leases.heard(NodeId(u64::from(index) + 1), world.now);
        }
        let services = tasks / replicas;
        for first in (0..services).step_by(SERVICES_PER_PROJECT as usize) {
            let end = services.min(first + SERVICES_PER_PROJECT);
            let spec = project(first / SERVICES_PER_PROJECT, end - first, replicas);
            world.obey(Command::PutProject { spec: Box::new(spec), expected_release: None, prune: false });
        }
        world
    }

    fn obey(&mut self, command: Command) {
        let outcome =
            apply(&mut self.state, &Stamped { at: self.now, wall: Wall(1_000), request: None, by: None, command });
        match outcome {
            Outcome::Rejected(why) => panic!("{why}"),
            Outcome::Plan { rejected, .. } => assert!(rejected.is_empty(), "{:?}", rejected.first()),
            Outcome::Done { .. } | Outcome::Project { .. } | Outcome::Enrolled { .. } => {}
        }
    }

    /// Every agent says that its tasks run.
    fn all_run(&mut self) {
        let nodes: Vec<NodeId> = self.state.nodes().map(|n| n.info.id).collect();
        for node in nodes {
            let tasks: Vec<TaskId> = self.state.tasks_on(node).map(|t| t.id).collect();
            let reports = tasks.into_iter().map(|id| {
                self.sequence += 1;
                let sequence = self.sequence;
                (id, TaskStatus { incarnation: 1, phase: Phase::Running, sequence, ..TaskStatus::default() })
            });
            let reports = reports.collect();
            self.obey(Command::ReportStatuses { node, reports });
        }
    }

    fn pass(&self) -> Duration {
        let begun = Instant::now();
        let plan = reconcile(&self.state, &self.leases, self.now);
        let took = begun.elapsed();
        assert!(plan.is_empty() && plan.unplaced.is_empty(), "nothing is to be done: {plan}");
        took
    }
}

fn node(index: u32) -> NodeInfo {
    NodeInfo {
        cpu_millis: 32_000,
        memory_bytes: 128 << 30,
        labels: BTreeMap::from([("zone".to_owned(), format!("z{}", index % 3))]),
        ..node_info(NodeId(u64::from(index) + 1), format!("node-{index}"))
    }
}

fn project(index: u32, services: u32, replicas: u32) -> ProjectSpec {
    let service = |n: u32| {
        let container = ContainerSpec {
            image: format!("registry.example/team/service-{n}:1.{index}"),
            environment: BTreeMap::from([("PORT".to_owned(), "8080".to_owned())]),
            ..ContainerSpec::default()
        };
        ServiceSpec {
            container: Arc::new(container),
            replicas,
            reservations: Reservations { cpu_millis: 50, memory_bytes: 128 << 20 },
            ..ServiceSpec::default()
        }
    };
    ProjectSpec {
        name: format!("project-{index}").parse().expect("a name"),
        services: (0..services).map(|n| (format!("service-{n}").parse().expect("a name"), service(n))).collect(),
        volumes: BTreeMap::new(),
        networks: BTreeSet::new(),
    }
}
