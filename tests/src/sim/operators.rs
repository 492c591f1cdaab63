//! What operators ask for: projects put, changed, scaled, deleted, put again; each under a request id until answered.

use orchestrator::engine::{Command, Outcome, Steer};
use proto::id::{ProjectName, RequestId, ServiceKey, ServiceName};
use proto::spec::{
    Constraint, ContainerSpec, Dependency, DependencyCondition, FailureAction, HealthCheck, HealthSpec, Mount,
    MountSource, PortMode, PortSpec, Probe, ProjectSpec, Protocol, Reservations, RestartPolicy, ServiceMode,
    ServiceSpec, UpdateOrder, UpdateSpec, VolumeSpec,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::World;
use super::event::{Event, Fact};
use super::image::{KINDS, WORKING_KINDS};

/// The label that nodes have, and its values.
pub const ZONE: &str = "zone";
pub const ZONES: [&str; 2] = ["a", "b"];

/// A request and what became of it.
#[derive(Debug)]
pub struct Request {
    /// Its id, the same each time it is sent.
    pub id: RequestId,
    /// What is asked.
    pub command: Command,
    /// The first answer.
    pub outcome: Option<Outcome>,
}

impl World {
    /// An operator thinks of something.
    pub(super) fn request(&mut self) {
        let command = self.next_command();
        self.ask_for(command);
        let mean = self.params.request_every_ms;
        let pause = self.rng.range(mean / 4, mean * 2);
        self.after(pause, Event::Request);
    }

    /// Everything is to go.
    pub(super) fn delete_all(&mut self) {
        let names: Vec<ProjectName> = self.state.projects().map(|p| p.name.clone()).collect();
        for project in names {
            self.ask_for(Command::DeleteProject { project, volumes: true });
        }
    }

    fn ask_for(&mut self, command: Command) {
        let client = (1_767_225_600 + self.now / 1_000) << 32 | self.requests.len() as u64;
        self.requests.push(Request { id: RequestId { client, sequence: 1 }, command, outcome: None });
        let request = self.requests.len() - 1;
        self.after(0, Event::Ask { request });
    }

    /// The request is sent; when nobody answers it is sent again.
    pub(super) fn ask(&mut self, request: usize) {
        if self.requests[request].outcome.is_some() {
            return;
        }
        let (id, command) = (self.requests[request].id, self.requests[request].command.clone());
        if !self.asked(request, id, command) {
            let pause = self.rng.range(100, 1_000);
            self.after(pause, Event::Ask { request });
        }
    }

    pub(super) fn answer(&mut self, request: usize, outcome: Outcome) {
        self.say(format_args!("request {request} is answered: {outcome:?}"));
        self.requests[request].outcome.get_or_insert_with(|| outcome.clone());
        self.facts.push(Fact::Answered { request, outcome });
    }

    fn next_command(&mut self) -> Command {
        let name: ProjectName =
            ["shop", "blog"][self.rng.range(0, self.params.projects - 1) as usize].parse().expect("a name");
        let present = self.state.project(&name).filter(|p| p.deletion.is_none()).map(|p| (**p.spec()).clone());
        let Some(spec) = present else { return put(self.new_project(name), false) };
        let services: Vec<ServiceName> = spec.services.keys().cloned().collect();
        let Some(service) = self.rng.pick(&services).cloned() else { return put(spec, false) };
        let key = ServiceKey { project: name.clone(), service: service.clone() };
        match self.rng.range(0, 25) {
            0..=7 => {
                let mut spec = spec;
                let image = self.image();
                if let Some(changed) = spec.services.get_mut(&service) {
                    let container = ContainerSpec { image, ..(*changed.container).clone() };
                    changed.container = Arc::new(container);
                }
                put(spec, false)
            }
            8..=11 => Command::ScaleService { service: key, replicas: self.rng.range(0, 4) as u32 },
            12 | 13 => {
                let prune = self.rng.chance(500);
                put(self.new_project(name), prune)
            }
            14 | 15 => put(spec, false),
            20 | 21 => Command::SteerRollout { service: key, how: Steer::Undo { to: None } },
            22 => Command::SteerRollout { service: key, how: Steer::Pause },
            23 | 24 => Command::SteerRollout { service: key, how: Steer::Resume },
            16 => Command::DeleteService { service: key },
            17 => Command::DeleteProject { project: name, volumes: self.rng.chance(500) },
            18 => {
                // Something nobody can hold.
                let mut spec = spec;
                if let Some(changed) = spec.services.get_mut(&service) {
                    changed.reservations = Reservations { cpu_millis: 900_000, memory_bytes: 0 };
                }
                put(spec, false)
            }
            19 => {
                let mut spec = spec;
                if let Some(changed) = spec.services.get_mut(&service) {
                    changed.placement.constraints.clear();
                    match changed.mode {
                        ServiceMode::Replicated => self.make_global(changed),
                        ServiceMode::Global if self.rng.chance(500) => self.make_global(changed),
                        ServiceMode::Global => changed.mode = ServiceMode::Replicated,
                    }
                    if self.rng.chance(300) {
                        let container = ContainerSpec { image: self.image(), ..(*changed.container).clone() };
                        changed.container = Arc::new(container);
                    }
                }
                put(spec, false)
            }
            _ => {
                let mut spec = spec;
                if let Some(changed) = spec.services.get_mut(&service) {
                    changed.reservations = Reservations::default();
                    changed.health = self.health();
                    changed.update = self.policy();
                }
                put(spec, false)
            }
        }
    }

    /// On each node, or on those of one zone.
    fn make_global(&mut self, service: &mut ServiceSpec) {
        service.mode = ServiceMode::Global;
        service.replicas = 1;
        if self.rng.chance(500) {
            let (attribute, value) = (format!("node.labels.{ZONE}"), ZONES[self.rng.range(0, 1) as usize].to_owned());
            service.placement.constraints = vec![Constraint { attribute, equal: self.rng.chance(700), value }];
        }
    }

    fn image(&mut self) -> String {
        let kinds = if self.params.bad_images { KINDS.len() } else { WORKING_KINDS };
        // What works is asked for more often.
        let low = self.rng.chance(600);
        let kind = if low { 0 } else { self.rng.range(0, kinds as u64 - 1) as usize };
        format!("{}-{}", KINDS[kind].0, self.rng.range(1, 4))
    }

    fn health(&mut self) -> HealthSpec {
        if self.rng.chance(500) {
            return HealthSpec::Disabled;
        }
        HealthSpec::Check(HealthCheck {
            probe: Probe::Tcp { port: 80 },
            interval_ms: self.rng.range(1, 10) * 1_000,
            timeout_ms: 1_000,
            retries: self.rng.range(1, 3) as u32,
            start_period_ms: self.rng.range(0, 1) * 6_000 + 5_000,
            start_interval_ms: 1_000,
        })
    }

    /// How a change is rolled out.
    fn policy(&mut self) -> UpdateSpec {
        let on_failure = match self.rng.range(0, 7) {
            0 => FailureAction::Pause,
            1 => FailureAction::Continue,
            _ => FailureAction::Rollback,
        };
        UpdateSpec {
            parallelism: self.rng.range(0, 2) as u32,
            delay_ms: self.rng.range(0, 3) * 1_000,
            order: self.rng.chance(150).then_some(UpdateOrder::StopFirst),
            monitor_ms: self.rng.range(0, 5) * 1_000,
            on_failure,
            max_failures_per_mille: if self.rng.chance(200) { 500 } else { 0 },
            deadline_ms: self.rng.range(5, 60) * 1_000,
        }
    }

    fn new_project(&mut self, name: ProjectName) -> ProjectSpec {
        let mut spec =
            ProjectSpec { name, services: BTreeMap::new(), volumes: BTreeMap::new(), networks: BTreeSet::new() };
        let count = self.rng.range(1, 4) as usize;
        for at in 0..count {
            let service = self.new_service(&mut spec, at);
            spec.services.insert(["a", "b", "c", "d"][at].parse().expect("a name"), service);
        }
        spec
    }

    fn new_service(&mut self, spec: &mut ProjectSpec, at: usize) -> ServiceSpec {
        let image = self.image();
        let mut service =
            ServiceSpec { replicas: self.rng.range(0, 3) as u32, health: self.health(), ..ServiceSpec::default() };
        if self.rng.chance(250) {
            self.make_global(&mut service);
        }
        let mut container =
            ContainerSpec { image, stop_grace_ms: self.rng.range(1, 3) * 1_000, ..ContainerSpec::default() };
        if self.rng.chance(150) {
            let name = ["data", "more"][self.rng.range(0, 1) as usize].to_owned();
            spec.volumes.insert(name.clone(), VolumeSpec::default());
            container.mounts = vec![Mount {
                source: MountSource::Volume { name, nocopy: false, subpath: None },
                target: "/data".into(),
                read_only: false,
            }];
        }
        if self.rng.chance(100) {
            service.ports = vec![PortSpec {
                name: None,
                target: 80,
                published: 8_000 + at as u16 + 10 * u16::from(spec.name.as_str() == "blog"),
                host_ip: None,
                protocol: Protocol::Tcp,
                mode: PortMode::Host,
            }];
        }
        if self.rng.chance(250) {
            service.reservations = Reservations { cpu_millis: self.rng.range(1, 8) * 100, memory_bytes: 0 };
        }
        (service.update, service.rollback) = (self.policy(), self.policy());
        service.drain_ms = self.rng.range(0, 3) * 1_000;
        service.restart = match self.rng.range(0, 9) {
            0 => RestartPolicy::No,
            1 => RestartPolicy::OnFailure { max: 3 },
            _ => RestartPolicy::Always,
        };
        service.container = Arc::new(container);
        for earlier in 0..at {
            if self.rng.chance(350) {
                let name: ServiceName = ["a", "b", "c"][earlier].parse().expect("a name");
                let condition = match self.rng.range(0, 5) {
                    0..=2 => DependencyCondition::Healthy,
                    3 | 4 => DependencyCondition::Started,
                    _ => DependencyCondition::Completed,
                };
                service.depends_on.insert(name, Dependency { condition, required: self.rng.chance(800) });
            }
        }
        service
    }
}

fn put(spec: ProjectSpec, prune: bool) -> Command {
    Command::PutProject { spec: Box::new(spec), expected_release: None, prune }
}
