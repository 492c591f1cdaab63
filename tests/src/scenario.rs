//! Text in, transcript out: a script drives the production engine with a clock of its own.
//!
//! A line is a command; `>` echoes it in the transcript. Commands are listed in `World::obey`. No Docker, no log: the
//! agents' reports are lines of the script too.

use orchestrator::engine::command::{Command, Stamped};
use orchestrator::engine::model::Ranges;
use orchestrator::engine::{
    Leases, Outcome, STATE_VERSION, State, Steer, apply, endpoints, explain, next_deadline, reconcile,
};
use proto::assignment::Desired;
use proto::id::{ClusterId, NodeId, ProjectName, ServiceKey, Slot, TaskId};
use proto::names::TypedName;
use proto::node::{FEATURE_PREPARE, ForwardStatus, NodeConditions, NodeInfo};
use proto::revision::{Time, Wall};
use proto::spec::{
    Constraint, ContainerSpec, Dependency, DependencyCondition, FailureAction, HealthCheck, HealthSpec, Mount,
    MountSource, PortMode, PortSpec, Probe, ProjectSpec, Protocol, RestartPolicy, ServiceSpec, UpdateOrder, VolumeSpec,
};
use proto::task_state::{Health, Phase, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Plans in a row after which a script is said not to settle.
const PLANS_MAX: usize = 200;

/// Runs a script; the transcript, or the line that could not be obeyed and why.
pub fn play(script: &str) -> Result<String, String> {
    let mut world = World::new();
    let lines: Vec<&str> = script.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        if line.trim().is_empty() || line.starts_with('#') {
            let _ = writeln!(world.transcript, "{line}");
            continue;
        }
        let block: Vec<&str> = lines[at..].iter().take_while(|l| l.starts_with("  ")).copied().collect();
        at += block.len();
        let _ = writeln!(world.transcript, "> {line}");
        for inner in &block {
            let _ = writeln!(world.transcript, "> {inner}");
        }
        world.obey(line, &block).map_err(|e| format!("line {at}: `{line}`: {e}"))?;
    }
    Ok(world.transcript)
}

/// A cluster without a network: State, leases and a clock.
#[derive(Debug)]
struct World {
    state: State,
    leases: Leases,
    now: Time,
    nodes: BTreeMap<String, NodeId>,
    sequence: u64,
    transcript: String,
}

type Done = Result<(), String>;

// === impl World ===

impl World {
    fn new() -> World {
        let ranges = Ranges {
            containers: Ipv4Addr::new(10, 210, 0, 0),
            containers_prefix: 16,
            services: Ipv4Addr::new(10, 211, 0, 0),
            services_prefix: 16,
            node_prefix: 24,
        };
        let mut world = World {
            state: State::empty(),
            leases: Leases::default(),
            now: Time(1_000),
            nodes: BTreeMap::new(),
            sequence: 0,
            transcript: String::new(),
        };
        world.command(Command::Bootstrap { cluster: ClusterId(7), ranges });
        world.command(Command::RaiseVersion { to: STATE_VERSION });
        world
    }

    fn command(&mut self, command: Command) -> Outcome {
        let stamped = Stamped { at: self.now, wall: Wall(self.now.0), request: None, command };
        apply(&mut self.state, &stamped)
    }

    fn say(&mut self, line: impl AsRef<str>) {
        for part in line.as_ref().lines() {
            let _ = writeln!(self.transcript, "{part}");
        }
    }

    fn obey(&mut self, line: &str, block: &[&str]) -> Done {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["node", name, options @ ..] => self.node(name, options),
            ["nodes", count, name, options @ ..] => {
                let width = count.len();
                (1..=parse::<u32>(count)?).try_for_each(|n| self.node(&format!("{name}{n:0width$}"), options))
            }
            ["apply", project] => self.apply(project, block, false),
            ["apply", project, "prune"] => self.apply(project, block, true),
            ["delete", project] => self.tell_of(Command::DeleteProject { project: parse(project)?, volumes: false }),
            ["delete", project, "volumes"] => {
                self.tell_of(Command::DeleteProject { project: parse(project)?, volumes: true })
            }
            ["delete-service", name] => self.tell_of(Command::DeleteService { service: key(name)?.0 }),
            ["scale", name, replicas] => {
                self.tell_of(Command::ScaleService { service: key(name)?.0, replicas: parse(replicas)? })
            }
            ["pause", name] => self.steer(name, Steer::Pause),
            ["resume", name] => self.steer(name, Steer::Resume),
            ["undo", name] => self.steer(name, Steer::Undo { to: None }),
            ["undo", name, release] => self.steer(name, Steer::Undo { to: Some(parse(release)?) }),
            ["rollout", name] => self.rollout(name),
            ["releases", project] => self.releases(project),
            ["settle"] => self.settle(),
            ["plan"] => self.plan(),
            ["report", target, phase, options @ ..] => self.report(target, phase, options),
            ["obey"] => self.agents_obey(),
            ["volume-removed", name, volume] => self.volume_removed(name, volume),
            ["port-taken", node, name, port] => self.port_taken(node, name, port),
            ["tick", span] => self.tick(span),
            ["beat"] => self.beat(),
            ["beat", name] => self.beat_of(name),
            ["close", name] => self.close(name),
            ["stranger", name, containers @ ..] => self.strangers(name, containers),
            ["content", digest] => self.content(digest),
            ["deadline"] => self.deadline(),
            ["tasks"] => self.tasks(),
            ["services"] => self.services(),
            ["endpoints"] => self.endpoints(),
            ["why", name] => self.why(name),
            ["why", "node", name] => self.why_node(name),
            ["why", "project", name] => self.why_project(name),
            ["events", count] => self.events(parse(count)?),
            _ => Err("no such command".to_owned()),
        }
    }

    fn node(&mut self, name: &str, options: &[&str]) -> Done {
        let next = NodeId(self.nodes.len() as u64 + 1);
        let id = *self.nodes.entry(name.to_owned()).or_insert(next);
        let mut info = NodeInfo {
            id,
            hostname: name.to_owned(),
            agent_version: "0".to_owned(),
            engine_version: "0".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            cpu_millis: 4_000,
            memory_bytes: 8 << 30,
            addresses: Vec::new(),
            labels: BTreeMap::new(),
            features: BTreeSet::from(["container-keys".to_owned(), FEATURE_PREPARE.to_owned()]),
        };
        for (option, value) in pairs(options)? {
            match option {
                "cpu" => info.cpu_millis = parse(value)?,
                "memory" => info.memory_bytes = parse::<u64>(value)? << 20,
                "features" => info.features = value.split(',').map(str::to_owned).collect(),
                "arch" => info.arch = value.to_owned(),
                "label" => {
                    let (key, value) = value.split_once(':').ok_or("label=KEY:VALUE")?;
                    info.labels.insert(key.to_owned(), value.to_owned());
                }
                other => return Err(format!("no option `{other}`")),
            }
        }
        self.command(Command::RegisterNode { info });
        self.leases.heard(id, self.now);
        Ok(())
    }

    fn apply(&mut self, project: &str, block: &[&str], prune: bool) -> Done {
        let mut spec = ProjectSpec {
            name: parse(project)?,
            services: BTreeMap::new(),
            volumes: BTreeMap::new(),
            networks: BTreeSet::new(),
        };
        for line in block {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, options) = words.split_first().ok_or("a service needs a name")?;
            let service = service(options)?;
            for mount in &service.container.mounts {
                if let MountSource::Volume { name, .. } = &mount.source {
                    spec.volumes.insert(name.clone(), VolumeSpec::default());
                }
            }
            spec.services.insert(parse(name)?, service);
        }
        self.tell_of(Command::PutProject { spec: Box::new(spec), expected_release: None, prune })
    }

    fn tell_of(&mut self, command: Command) -> Done {
        let text = match self.command(command) {
            Outcome::Done { changed, .. } => format!("changed: {changed}"),
            Outcome::Project { release, changed, services, notices, .. } => {
                let each: Vec<String> = services.iter().map(|(n, c)| format!("{n} {}", c.as_str())).collect();
                let notices: String = notices.iter().map(|n| format!("\nnotice: {n}")).collect();
                format!("release {release}, changed: {changed}: {}{notices}", each.join(", "))
            }
            Outcome::Rejected(why) => format!("refused: {why}"),
            other @ (Outcome::Plan { .. } | Outcome::Enrolled { .. }) => format!("{other:?}"),
        };
        self.say(text);
        Ok(())
    }

    fn steer(&mut self, name: &str, how: Steer) -> Done {
        self.tell_of(Command::SteerRollout { service: key(name)?.0, how })
    }

    fn rollout(&mut self, name: &str) -> Done {
        let key = key(name)?.0;
        let service = self.state.service(&key).ok_or("no such service")?.clone();
        let Some(rollout) = &service.rollout else {
            self.say("none");
            return Ok(());
        };
        let from = rollout.from.as_ref().map_or_else(|| "nothing".to_owned(), |f| format!("release {}", f.release));
        let cause = if rollout.cause().is_empty() { String::new() } else { format!(" ({})", rollout.cause()) };
        let done = explain::rollout::done_words(&self.state, &service);
        self.say(format!("release {}: {}{cause}; {done}; from {from}", rollout.release, rollout.word()));
        for line in explain::rollout::failures(&service, rollout) {
            self.say(format!("  {line}"));
        }
        Ok(())
    }

    fn releases(&mut self, project: &str) -> Done {
        let project = self.state.project(&parse(project)?).ok_or("no such project")?.clone();
        for release in &project.releases {
            let outcomes: Vec<String> = release.outcomes.iter().map(|(s, o)| format!("{s} {o}")).collect();
            self.say(format!("{} {:?} {}", release.number, release.origin, outcomes.join(", ")).trim_end());
        }
        Ok(())
    }

    /// Plans until there is nothing to do, and shows each plan.
    fn settle(&mut self) -> Done {
        for _ in 0..PLANS_MAX {
            let plan = reconcile(&self.state, &self.leases, self.now);
            let text = self.readable(&plan.to_string());
            if plan.is_empty() {
                self.say(if text.is_empty() { "settled".to_owned() } else { format!("{}\nsettled", text.trim_end()) });
                return Ok(());
            }
            self.say(text);
            if let Outcome::Plan { rejected, .. } = self.command(Command::ApplyPlan { plan }) {
                for (index, why) in rejected {
                    self.say(format!("rejected {index}: {why}"));
                }
            }
        }
        Err(format!("does not settle within {PLANS_MAX} plans"))
    }

    fn plan(&mut self) -> Done {
        let plan = reconcile(&self.state, &self.leases, self.now);
        let text = self.readable(&plan.to_string());
        self.say(if text.is_empty() { "nothing to do".to_owned() } else { text });
        Ok(())
    }

    /// Node ids by their names.
    fn readable(&self, text: &str) -> String {
        self.nodes.iter().fold(text.to_owned(), |t, (name, id)| t.replace(&id.to_string(), name))
    }

    fn find(&self, target: &str) -> Result<TaskId, String> {
        if let Ok(id) = target.parse::<TaskId>() {
            return Ok(id);
        }
        let (key, slot) = key(target)?;
        let slot = slot.ok_or("name a slot")?;
        let tasks = self.state.tasks_of(&key).filter(|t| t.slot == slot);
        tasks.max_by_key(|t| (t.is_wanted(), t.id)).map(|t| t.id).ok_or_else(|| "no such task".to_owned())
    }

    fn report(&mut self, target: &str, phase: &str, options: &[&str]) -> Done {
        let id = self.find(target)?;
        let known = self.state.task(id).ok_or("no such task")?.clone();
        let phase = phase_of(phase)?;
        let mut status = TaskStatus {
            incarnation: known.status.incarnation.max(1),
            phase,
            finished_at: (phase == Phase::Exited).then_some(Wall(self.now.0)),
            failures_in_a_row: known.status.failures_in_a_row,
            started_at: Some(Wall(self.now.0)),
            ..TaskStatus::default()
        };
        for (option, value) in pairs(options)? {
            match option {
                "incarnation" => status.incarnation = parse(value)?,
                "exit" => status.exit_code = Some(parse(value)?),
                "failures" => status.failures_in_a_row = parse(value)?,
                "retry" => status.retry_at = Some(Wall(self.now.0 + parse::<u64>(value)?)),
                "message" => status.message = value.replace('_', " "),
                "log" => status.last_log = value.split('|').map(|line| line.replace('_', " ")).collect(),
                "health" => status.health = health_of(value)?,
                "warning" => status.warnings.push(value.replace('_', " ")),
                other => return Err(format!("no option `{other}`")),
            }
        }
        self.send(known.node, vec![(id, status)]);
        Ok(())
    }

    fn send(&mut self, node: NodeId, mut reports: Vec<(TaskId, TaskStatus)>) {
        for (_, status) in &mut reports {
            self.sequence += 1;
            status.sequence = self.sequence;
        }
        self.command(Command::ReportStatuses { node, reports });
    }

    /// Every agent that is heard does what it is told: what is wanted runs, what is not has stopped.
    fn agents_obey(&mut self) -> Done {
        let mut reports: BTreeMap<NodeId, Vec<(TaskId, TaskStatus)>> = BTreeMap::new();
        for task in self.state.tasks() {
            if !self.state.node(task.node).is_some_and(|n| n.is_up()) {
                continue;
            }
            let phase = match task.desired {
                Desired::Prepare => Phase::Prepared,
                Desired::Run => Phase::Running,
                Desired::Stop => Phase::Stopped,
            };
            if task.status.phase != phase && !task.is_complete() {
                let incarnation = task.status.incarnation.max(1) + u32::from(task.status.phase > Phase::Running);
                let started_at = Some(Wall(self.now.0));
                let status = TaskStatus { phase, incarnation, started_at, ..TaskStatus::default() };
                reports.entry(task.node).or_default().push((task.id, status));
            }
        }
        for (node, reports) in reports {
            self.send(node, reports);
        }
        Ok(())
    }

    fn volume_removed(&mut self, name: &str, volume: &str) -> Done {
        let node = *self.nodes.get(name).ok_or("no such node")?;
        let conditions = NodeConditions { removed_volumes: vec![volume.to_owned()], ..NodeConditions::default() };
        self.command(Command::ReportConditions { node, conditions });
        Ok(())
    }

    fn port_taken(&mut self, node: &str, name: &str, of: &str) -> Done {
        let node = *self.nodes.get(node).ok_or("no such node")?;
        let port = port(of, PortMode::Ingress)?;
        let problem = format!("port {} is taken by another process", port.published);
        let forwards = vec![ForwardStatus { service: key(name)?.0, port, bound: 0, problem }];
        self.command(Command::ReportConditions { node, conditions: NodeConditions { forwards, ..Default::default() } });
        Ok(())
    }

    fn tick(&mut self, span: &str) -> Done {
        self.now = self.now.after_ms(ms(span)?);
        Ok(())
    }

    fn beat(&mut self) -> Done {
        for id in self.nodes.values() {
            self.leases.heard(*id, self.now);
        }
        Ok(())
    }

    fn beat_of(&mut self, name: &str) -> Done {
        self.leases.heard(*self.nodes.get(name).ok_or("no such node")?, self.now);
        Ok(())
    }

    fn close(&mut self, name: &str) -> Done {
        self.leases.closed(*self.nodes.get(name).ok_or("no such node")?, self.now, false);
        Ok(())
    }

    /// The containers with our label that a node finds and no set mentions: `CONTAINER=TASK`, none when they are gone.
    fn strangers(&mut self, name: &str, containers: &[&str]) -> Done {
        let node = *self.nodes.get(name).ok_or("no such node")?;
        let mut conditions = NodeConditions::default();
        for (container, task) in pairs(containers)? {
            conditions.strangers.push(proto::node::Stranger {
                container_id: container.to_owned(),
                name: container.to_owned(),
                task: parse(task)?,
                service: key("shop/stranger")?.0,
                running: true,
            });
        }
        self.command(Command::ReportConditions { node, conditions });
        Ok(())
    }

    /// A config's content that nothing refers to yet.
    fn content(&mut self, digest: &str) -> Done {
        let content = orchestrator::engine::model::Content::Plain { bytes: digest.as_bytes().to_vec() };
        let digest = proto::id::BlobDigest(digest.to_owned());
        self.tell_of(Command::PutBlob { digest, kind: proto::spec::BlobKind::Config, content })
    }

    fn deadline(&mut self) -> Done {
        let text = match next_deadline(&self.state, &self.leases, self.now) {
            Some(at) => format!("in {} ms", at.since_ms(self.now)),
            None => "never".to_owned(),
        };
        self.say(text);
        Ok(())
    }

    fn tasks(&mut self) -> Done {
        let mut lines = Vec::new();
        for service in self.state.services() {
            for task in self.state.tasks_of(&service.key) {
                let judged = explain::task(&self.state, task);
                let node = self.state.node(task.node).map(|n| n.info.hostname.clone()).unwrap_or_default();
                let address = task.addresses.first().map(ToString::to_string).unwrap_or_default();
                let mut line = format!(
                    "{} {}.{} g{} {node} {address} {}",
                    task.id, task.service, task.slot, task.generation, judged.state
                );
                if !judged.reason.is_empty() {
                    let _ = write!(line, " ({})", judged.reason);
                }
                lines.push(line);
            }
        }
        self.say(if lines.is_empty() { "no tasks".to_owned() } else { lines.join("\n") });
        Ok(())
    }

    fn services(&mut self) -> Done {
        let mut lines = Vec::new();
        for service in self.state.services() {
            let judged = explain::service(&self.state, service);
            let counts = explain::counts(&self.state, service);
            let reason = if judged.reason.is_empty() { String::new() } else { format!(" ({})", judged.reason) };
            lines.push(format!("{} {} {}/{}{reason}", service.key, judged.state, counts.ready, service.spec.replicas));
        }
        self.say(if lines.is_empty() { "no services".to_owned() } else { self.readable(&lines.join("\n")) });
        Ok(())
    }

    fn endpoints(&mut self) -> Done {
        let mut lines = Vec::new();
        for (key, service) in &endpoints(&self.state).services {
            let each: Vec<String> = service
                .endpoints
                .iter()
                .map(|e| {
                    format!(
                        "{}={:?}@{}",
                        e.slot,
                        e.state,
                        e.addresses.first().map(ToString::to_string).unwrap_or_default()
                    )
                })
                .collect();
            lines.push(format!("{key}: {}", each.join(" ")));
        }
        self.say(lines.join("\n"));
        Ok(())
    }

    fn why(&mut self, name: &str) -> Done {
        let (key, slot) = key(name)?;
        let answer = explain::why(&self.state, &key, slot, Wall(self.now.0)).ok_or("no such service")?;
        self.explained(answer)
    }

    fn why_node(&mut self, name: &str) -> Done {
        let id = *self.nodes.get(name).ok_or("no such node")?;
        let answer = explain::node::why(&self.state, id, Wall(self.now.0)).ok_or("no such node")?;
        self.explained(answer)
    }

    fn why_project(&mut self, name: &str) -> Done {
        let answer = explain::project::why(&self.state, &parse(name)?, Wall(self.now.0)).ok_or("no such project")?;
        self.explained(answer)
    }

    fn explained(&mut self, answer: explain::Explanation) -> Done {
        let text = format!("now:   {}\ncause: {}\nnext:  {}", answer.now, answer.cause, answer.next);
        let text = self.readable(&text);
        self.say(text);
        for line in answer.detail {
            self.say(format!("       {line}"));
        }
        Ok(())
    }

    fn events(&mut self, count: usize) -> Done {
        let newest: Vec<String> = self
            .state
            .events()
            .rev()
            .take(count)
            .map(|e| format!("{} {} {} {}", e.at.0, e.subject, e.kind, e.message).trim_end().to_owned())
            .collect();
        for line in newest.iter().rev() {
            let line = self.readable(line);
            self.say(line);
        }
        Ok(())
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| format!("`{text}`: {e}"))
}

fn key(name: &str) -> Result<(ServiceKey, Option<Slot>), String> {
    let typed: TypedName = parse(name)?;
    let project: ProjectName = typed.project.ok_or("name the project")?;
    Ok((ServiceKey { project, service: typed.service }, typed.slot))
}

fn pairs<'a>(options: &[&'a str]) -> Result<Vec<(&'a str, &'a str)>, String> {
    options.iter().map(|o| o.split_once('=').ok_or_else(|| format!("`{o}` is not option=value"))).collect()
}

fn service(options: &[&str]) -> Result<ServiceSpec, String> {
    let mut container = ContainerSpec { image: "app:1".to_owned(), stop_grace_ms: 10_000, ..ContainerSpec::default() };
    let mut spec = ServiceSpec::default();
    for (option, value) in pairs(options)? {
        match option {
            "image" => container.image = value.to_owned(),
            "replicas" => spec.replicas = parse(value)?,
            "cpu" => spec.reservations.cpu_millis = parse(value)?,
            "memory" => spec.reservations.memory_bytes = parse::<u64>(value)? << 20,
            "port" => spec.ports.push(port(value, PortMode::Ingress)?),
            "host-port" => spec.ports.push(port(value, PortMode::Host)?),
            "alias" => {
                spec.aliases.entry("default".to_owned()).or_default().insert(value.to_owned());
            }
            "order" if value == "stop-first" => spec.update.order = Some(UpdateOrder::StopFirst),
            "parallelism" => spec.update.parallelism = parse(value)?,
            "delay" => spec.update.delay_ms = ms(value)?,
            "monitor" => spec.update.monitor_ms = ms(value)?,
            "deadline" => spec.update.deadline_ms = ms(value)?,
            "on-failure" if value == "pause" => spec.update.on_failure = FailureAction::Pause,
            "on-failure" if value == "continue" => spec.update.on_failure = FailureAction::Continue,
            "may-fail" => spec.update.max_failures_per_mille = parse(value)?,
            "back-parallelism" => spec.rollback.parallelism = parse(value)?,
            "back-monitor" => spec.rollback.monitor_ms = ms(value)?,
            "back-delay" => spec.rollback.delay_ms = ms(value)?,
            "back-on-failure" if value == "pause" => spec.rollback.on_failure = FailureAction::Pause,
            "back-order" if value == "stop-first" => spec.rollback.order = Some(UpdateOrder::StopFirst),
            "drain" => spec.drain_ms = ms(value)?,
            "check" => spec.health = HealthSpec::Check(check(ms(value)?)),
            "privileged" => container.isolation.privileged = parse(value)?,
            "cap-add" => container.isolation.cap_add.extend([value.to_owned()]),
            "platform" => container.platform = Some(value.to_owned()),
            "constraint" => spec.placement.constraints.push(constraint(value)?),
            "spread" => spec.placement.spread.push(value.to_owned()),
            "max-per-node" => spec.placement.max_per_node = parse(value)?,
            "restart" if value == "no" => spec.restart = RestartPolicy::No,
            "volume" => container.mounts.push(Mount {
                source: MountSource::Volume { name: value.to_owned(), nocopy: false, subpath: None },
                target: "/data".to_owned(),
                read_only: false,
            }),
            "needs" => {
                let (value, required) = value.strip_suffix(":optional").map_or((value, true), |v| (v, false));
                let (name, condition) = value.split_once(':').ok_or("needs=SERVICE:CONDITION[:optional]")?;
                let condition = match condition {
                    "started" => DependencyCondition::Started,
                    "healthy" => DependencyCondition::Healthy,
                    "completed" => DependencyCondition::Completed,
                    other => return Err(format!("no condition `{other}`")),
                };
                spec.depends_on.insert(parse(name)?, Dependency { condition, required });
            }
            other => return Err(format!("no option `{other}`")),
        }
    }
    spec.container = Arc::new(container);
    Ok(spec)
}

/// A check whose failures do not count for so long after the start.
fn check(start_period_ms: u64) -> HealthCheck {
    HealthCheck {
        probe: Probe::Tcp { port: 80 },
        interval_ms: 10_000,
        timeout_ms: 1_000,
        retries: 3,
        start_period_ms,
        start_interval_ms: 1_000,
    }
}

fn ms(span: &str) -> Result<u64, String> {
    match span.strip_suffix("ms") {
        Some(ms) => parse(ms),
        None => Ok(parse::<u64>(span.strip_suffix('s').ok_or("a span ends in ms or s")?)? * 1_000),
    }
}

fn constraint(text: &str) -> Result<Constraint, String> {
    let (equal, parts) = match text.split_once("==") {
        Some(parts) => (true, parts),
        None => (false, text.split_once("!=").ok_or("constraint=ATTRIBUTE==VALUE or ATTRIBUTE!=VALUE")?),
    };
    Ok(Constraint { attribute: parts.0.to_owned(), equal, value: parts.1.to_owned() })
}

fn port(value: &str, mode: PortMode) -> Result<PortSpec, String> {
    let (published, target) = value.split_once(':').ok_or("PUBLISHED:TARGET")?;
    let (published, target) = (parse(published)?, parse(target)?);
    Ok(PortSpec { name: None, target, published, host_ip: None, protocol: Protocol::Tcp, mode })
}

fn phase_of(word: &str) -> Result<Phase, String> {
    const ALL: [Phase; 8] = [
        Phase::Pending,
        Phase::Preparing,
        Phase::Prepared,
        Phase::Starting,
        Phase::Running,
        Phase::Exited,
        Phase::Failed,
        Phase::Stopped,
    ];
    ALL.into_iter().find(|p| p.as_str() == word).ok_or_else(|| format!("no phase `{word}`"))
}

fn health_of(word: &str) -> Result<Health, String> {
    const ALL: [Health; 4] = [Health::None, Health::Starting, Health::Healthy, Health::Unhealthy];
    ALL.into_iter().find(|h| h.as_str() == word).ok_or_else(|| format!("no health `{word}`"))
}
