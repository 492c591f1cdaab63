//! Text in, transcript out: a script drives the production engine with a clock of its own.
//!
//! A line is a command; `>` echoes it in the transcript. Commands are listed in `World::obey`. No Docker, no log: the
//! agents' reports are lines of the script too.

mod show;
mod spec;

use orchestrator::engine::command::{Command, Stamped};
use orchestrator::engine::model::Ranges;
use orchestrator::engine::{Leases, Outcome, STATE_VERSION, State, Steer, apply, reconcile};
use proto::assignment::Desired;
use proto::id::{ClusterId, NodeId, ProjectName, ServiceKey, Slot, TaskId};
use proto::names::TypedName;
use proto::node::{FEATURE_PREPARE, ForwardStatus, NodeConditions, NodeInfo};
use proto::revision::{Time, Wall};
use proto::spec::{MountSource, PortMode, ProjectSpec, VolumeSpec};
use proto::task_state::{Health, Phase, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::site::node_info;

use spec::{ms, port, service};

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
        let ranges = Ranges::default();
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
        let stamped = Stamped { at: self.now, wall: Wall(self.now.0), request: None, by: None, command };
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
            ["label", name, changes @ ..] => self.label(name, changes),
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
            cpu_millis: 4_000,
            features: BTreeSet::from(["container-keys".to_owned(), FEATURE_PREPARE.to_owned()]),
            ..node_info(id, name)
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

    /// What an operator says: `KEY:VALUE` sets, `KEY-` removes. Then all labels of the node.
    fn label(&mut self, name: &str, changes: &[&str]) -> Done {
        let node = *self.nodes.get(name).ok_or("no such node")?;
        let (mut set, mut remove) = (BTreeMap::new(), BTreeSet::new());
        for change in changes {
            match (change.split_once(':'), change.strip_suffix('-')) {
                (Some((key, value)), _) => _ = set.insert(key.to_owned(), value.to_owned()),
                (None, Some(key)) => _ = remove.insert(key.to_owned()),
                (None, None) => return Err("KEY:VALUE or KEY-".to_owned()),
            }
        }
        self.tell_of(Command::LabelNode { node, set, remove, expected: None })?;
        let known = self.state.node(node).ok_or("no such node")?;
        let labels: Vec<String> = known.labels().iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.say(format!("{name} has {}", if labels.is_empty() { "none".to_owned() } else { labels.join(" ") }));
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
