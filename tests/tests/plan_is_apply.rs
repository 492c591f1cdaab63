//! A plan is what apply then does: change by change for what happens at once, and in its end for what is foreseen.
//!
//! Random clusters, random specs; agents report one thing at a time in any order, as far as this test is concerned.

use orchestrator::engine::model::Ranges;
use orchestrator::engine::preview::{Preview, preview};
use orchestrator::engine::{Command, Leases, Outcome, STATE_VERSION, Stamped, State, apply, next_deadline, reconcile};
use proptest::prelude::*;
use proto::assignment::Desired;
use proto::id::{ClusterId, NodeId, ProjectName, ServiceName, Slot};
use proto::node::NodeInfo;
use proto::revision::{Time, Wall};
use proto::spec::*;
use proto::task_state::{Health, Phase, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rounds after which a cluster is said not to come to rest.
const ROUNDS_MAX: usize = 5_000;

/// A service in numbers, so that proptest can shrink it.
#[derive(Debug, Clone)]
struct Part {
    image: u8,
    replicas: u32,
    cpu_millis: u64,
    volume: bool,
    host_port: bool,
    depends_on_first: Option<u8>,
    level: u8,
}

fn part() -> impl Strategy<Value = Part> {
    let cpu = prop_oneof![4 => Just(0), 2 => Just(500), 1 => Just(3_000)];
    let depends = prop_oneof![2 => Just(None), 1 => (0_u8..3).prop_map(Some)];
    (0_u8..3, 0_u32..5, cpu, prop::bool::weighted(0.15), prop::bool::weighted(0.15), depends, 0_u8..2).prop_map(
        |(image, replicas, cpu_millis, volume, host_port, depends_on_first, level)| Part {
            image,
            replicas,
            cpu_millis,
            volume,
            host_port,
            depends_on_first,
            level,
        },
    )
}

fn project(parts: &[Part]) -> ProjectSpec {
    let mut spec = ProjectSpec {
        name: "shop".parse().expect("a name"),
        services: BTreeMap::new(),
        volumes: BTreeMap::new(),
        networks: BTreeSet::new(),
    };
    let names: Vec<ServiceName> = ["a", "b", "c", "d"].iter().map(|n| n.parse().expect("a name")).collect();
    for (at, part) in parts.iter().enumerate() {
        let mut container = ContainerSpec { image: format!("img:{}", part.image), ..ContainerSpec::default() };
        container.environment.insert("LEVEL".to_owned(), part.level.to_string());
        let mut service = ServiceSpec { replicas: part.replicas, health: HealthSpec::Disabled, ..Default::default() };
        service.reservations.cpu_millis = part.cpu_millis;
        if part.volume {
            spec.volumes.insert("data".to_owned(), VolumeSpec::default());
            let source = MountSource::Volume { name: "data".to_owned(), nocopy: false, subpath: None };
            container.mounts = vec![Mount { source, target: "/data".into(), read_only: false }];
        }
        if part.host_port {
            let published = 8_000 + at as u16;
            let (protocol, mode) = (Protocol::Tcp, PortMode::Host);
            service.ports = vec![PortSpec { name: None, target: 80, published, host_ip: None, protocol, mode }];
        }
        if let Some(condition) = part.depends_on_first.filter(|_| at > 0) {
            let condition = [DependencyCondition::Started, DependencyCondition::Healthy][usize::from(condition % 2)];
            service.depends_on.insert(names[0].clone(), Dependency { condition, required: true });
        }
        service.container = Arc::new(container);
        spec.services.insert(names[at].clone(), service);
    }
    spec
}

/// A cluster whose agents do as they are told, one thing at a time.
#[derive(Debug, Clone)]
struct Cluster {
    state: State,
    now: Time,
}

impl Cluster {
    fn new(cpus: &[u64]) -> Cluster {
        let ranges = Ranges::default();
        let mut cluster = Cluster { state: State::empty(), now: Time(1_000) };
        cluster.command(Command::Bootstrap { cluster: ClusterId(7), ranges });
        cluster.command(Command::RaiseVersion { to: STATE_VERSION });
        for (at, cpu_millis) in cpus.iter().enumerate() {
            cluster.command(Command::RegisterNode {
                info: NodeInfo {
                    id: NodeId(at as u64 + 1),
                    hostname: format!("n{at}"),
                    agent_version: String::new(),
                    engine_version: String::new(),
                    os: "linux".to_owned(),
                    arch: "x86_64".to_owned(),
                    cpu_millis: *cpu_millis,
                    memory_bytes: 8 << 30,
                    addresses: Vec::new(),
                    labels: BTreeMap::new(),
                    features: ["prepare".to_owned()].into(),
                },
            });
        }
        cluster
    }

    fn command(&mut self, command: Command) -> Outcome {
        let stamped = Stamped { at: self.now, wall: Wall(self.now.0), request: None, by: None, command };
        apply(&mut self.state, &stamped)
    }

    fn leases(&self) -> Leases {
        Leases::new_term(self.state.nodes().map(|n| n.info.id), self.now)
    }

    /// One report of an agent that has something to say, the `pick`-th of them.
    fn report(&mut self, pick: usize) -> bool {
        let news: Vec<_> = self.state.tasks().filter_map(|t| Some((t.node, t.id, news(t)?))).collect();
        let Some((node, id, status)) = news.get(pick % news.len().max(1)).cloned() else { return false };
        self.command(Command::ReportStatuses { node, reports: vec![(id, status)] });
        true
    }

    /// Reports and plans until there are `rounds` of them or nothing follows.
    fn live(&mut self, seed: u64, rounds: usize) {
        let mut waits = 0;
        for round in 0..rounds {
            let plan = reconcile(&self.state, &self.leases(), self.now);
            let acted = !plan.is_empty()
                && matches!(self.command(Command::ApplyPlan { plan }), Outcome::Plan { accepted: 1.., .. });
            let pick = seed.wrapping_mul(round as u64 + 7).wrapping_add(seed >> 7) as usize;
            if self.report(pick) || acted {
                waits = 0;
                continue;
            }
            let Some(at) = next_deadline(&self.state, &self.leases(), self.now).filter(|_| waits < 20) else { return };
            waits += 1;
            self.now = self.now.max(at).after_ms(1);
        }
    }

    /// Of each slot the specs of its wanted tasks.
    fn slots(&self) -> BTreeMap<(ServiceName, Slot), Vec<String>> {
        let mut slots: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for task in self.state.tasks() {
            slots.entry((task.service.service.clone(), task.slot)).or_default().push(task.spec_hash.clone());
        }
        slots
    }
}

/// What an agent that does as it is told would say next.
fn news(task: &orchestrator::engine::model::Task) -> Option<TaskStatus> {
    let known = &task.status;
    let phase = match task.desired {
        Desired::Stop => Phase::Stopped,
        Desired::Prepare if known.phase < Phase::Prepared => Phase::Prepared,
        Desired::Run if known.phase < Phase::Running => Phase::Running,
        Desired::Prepare | Desired::Run => return None,
    };
    let incarnation = known.incarnation.max(1);
    Some(TaskStatus { incarnation, sequence: known.sequence + 1, phase, health: Health::None, ..TaskStatus::default() })
}

fn put(spec: ProjectSpec, prune: bool) -> Command {
    Command::PutProject { spec: Box::new(spec), expected_release: None, prune }
}

fn foresee(cluster: &Cluster, command: Command) -> Result<Preview, orchestrator::engine::Rejection> {
    let shop: ProjectName = "shop".parse().expect("a name");
    preview(&cluster.state, Vec::new(), command, &shop, cluster.now, Wall(cluster.now.0))
}

/// What waits for something else to end first is foreseen, and not told as what happens at once.
#[test]
fn what_follows_later_is_not_told_as_what_happens_at_once() {
    let part = |replicas, depends_on_first| Part {
        image: 0,
        replicas,
        cpu_millis: 0,
        volume: false,
        host_port: false,
        depends_on_first,
        level: 0,
    };
    let mut cluster = Cluster::new(&[16_000]);
    cluster.command(put(project(&[part(4, None), part(0, Some(0))]), false));
    cluster.live(0, 1);
    let command = put(project(&[part(4, None)]), false);
    let foreseen = foresee(&cluster, command.clone()).expect("accepted");
    cluster.command(command);
    let plan = reconcile(&cluster.state, &cluster.leases(), cluster.now);
    assert!(plan.is_empty(), "the case of this test: nothing happens at once, but {plan}");
    assert!(foreseen.steps[0].plan.is_empty(), "told at once: {}", foreseen.steps[0].plan);
    assert!(foreseen.steps.len() > 1, "something follows later");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_planned_is_what_apply_does(
        cpus in prop::collection::vec(prop_oneof![Just(1_000_u64), Just(4_000), Just(16_000)], 1..5),
        first in prop::collection::vec(part(), 1..5),
        second in prop::collection::vec(part(), 1..5),
        rounds in prop_oneof![1 => 0_usize..30, 1 => Just(ROUNDS_MAX)],
        seed in any::<u64>(),
        prune in any::<bool>(),
    ) {
        let mut cluster = Cluster::new(&cpus);
        cluster.command(put(project(&first), false));
        cluster.live(seed, rounds);
        let command = put(project(&second), prune);
        let foreseen = foresee(&cluster, command.clone());
        let before = cluster.clone();
        let outcome = cluster.command(command);
        let foreseen = match (foreseen, outcome) {
            (Err(refused), Outcome::Rejected(rejection)) => {
                prop_assert_eq!(refused, rejection);
                return Ok(());
            }
            (Ok(foreseen), outcome) => {
                prop_assert_eq!(&foreseen.outcome, &outcome);
                foreseen
            }
            (Err(refused), outcome) => return Err(TestCaseError::fail(format!("{refused} but {outcome:?}"))),
        };
        prop_assert_eq!(foreseen.applied.revision().0, before.state.revision().0 + 1, "one command, nothing else");

        // At once: the same changes, in the same order, for the same reasons.
        let plan = reconcile(&cluster.state, &cluster.leases(), cluster.now);
        let step = foreseen.steps.first().map(|s| s.plan.changes.clone()).unwrap_or_default();
        prop_assert_eq!(step, plan.changes);

        // In the end: every slot as foreseen. Where not everything fits, who gets the room depends on who is first.
        prop_assert!(!foreseen.is_cut);
        cluster.live(seed ^ 0x5eed, ROUNDS_MAX);
        // So it is where everything was foreseen to fit, and the order in which agents report leaves no node with enough of it.
        let has_room = reconcile(&cluster.state, &cluster.leases(), cluster.now).unplaced.is_empty();
        if foreseen.unplaced.is_empty() && has_room {
            let end = Cluster { state: foreseen.end, now: cluster.now };
            prop_assert_eq!(end.slots(), cluster.slots());
            let rest = reconcile(&end.state, &end.leases(), end.now);
            let of_tasks = |c: &&orchestrator::engine::plan::Planned| c.change.to_string().contains("shop/");
            prop_assert!(!rest.changes.iter().any(|c| of_tasks(&c)), "foreseen to its end: {}", rest);
        }
    }
}
