//! The stable form of everything that can be listed, as JSON and YAML: `{"kind": "TaskList", "items": [{"name", "state", ...}]}`.
//!
//! Made by hand and apart from the wire, so that neither changes with the other. Fields are added, never renamed or removed.
//! Times are RFC 3339 in UTC, absent when not known; spans are in the unit their name ends in.

mod plan;
pub use plan::Plan;

use std::collections::BTreeMap;

use proto::v1;
use serde::Serialize;

use crate::name::full;
use crate::output::views::{self, health_word, phase_word, port_text, task_name};
use crate::time::rfc3339;

/// A list of one kind.
#[derive(Debug, Clone, Serialize)]
pub struct List<T> {
    /// `TaskList` and so on.
    pub kind: &'static str,
    /// The cluster's revision it is of.
    pub revision: u64,
    /// What there is.
    pub items: Vec<T>,
}

/// A project.
#[derive(Debug, Clone, Serialize)]
pub struct Project {
    name: String,
    state: String,
    release: u64,
    services: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied_at: Option<String>,
    uid: String,
}

/// A service.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    name: String,
    state: String,
    project: String,
    service: String,
    mode: &'static str,
    replicas: u32,
    ready: u32,
    current: u32,
    generation: u64,
    image: String,
    ports: Vec<Port>,
    reason: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<Rollout>,
}

/// A service's last change.
#[derive(Debug, Clone, Serialize)]
pub struct Rollout {
    name: String,
    state: String,
    cause: String,
    release: u64,
    /// What it goes back to when it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_release: Option<u64>,
    /// Of a change that is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_release: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored_release: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    began_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    slots: Vec<RolloutSlot>,
    log: Vec<String>,
    /// Why the old container of a slot stops first; empty: it serves until the new one is done.
    stop_first: String,
}

/// How far one slot is.
#[derive(Debug, Clone, Serialize)]
pub struct RolloutSlot {
    slot: u32,
    state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cause: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    log: Vec<String>,
}

/// A release, as far as it is about one service.
#[derive(Debug, Clone, Serialize)]
pub struct Release {
    name: String,
    /// How it ended.
    state: String,
    release: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    what: String,
    image: String,
    mode: &'static str,
    replicas: u32,
    cause: String,
}

/// A published port.
#[derive(Debug, Clone, Serialize)]
pub struct Port {
    target: u32,
    /// The port really bound, 0 when it is not.
    bound: u32,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_ip: Option<String>,
    node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    problem: String,
    text: String,
}

/// A task.
#[derive(Debug, Clone, Serialize)]
pub struct Task {
    name: String,
    state: String,
    id: String,
    project: String,
    service: String,
    slot: u32,
    node: String,
    node_id: String,
    image: String,
    generation: u64,
    outdated: bool,
    desired: String,
    phase: &'static str,
    health: &'static str,
    restarts: u32,
    failures_in_a_row: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    oom_killed: bool,
    addresses: Vec<String>,
    container_id: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<String>,
}

/// A node.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    name: String,
    state: String,
    id: String,
    subnet: String,
    gateway: String,
    tasks: u32,
    cpu_millis: u64,
    memory_bytes: u64,
    reserved_cpu_millis: u64,
    reserved_memory_bytes: u64,
    os: String,
    arch: String,
    agent_version: String,
    engine_version: String,
    addresses: Vec<String>,
    /// Those of operators and, where they say nothing, its agent's own.
    labels: BTreeMap<String, String>,
    /// When an operator last changed one: 0 is never.
    labels_revision: u64,
    reason: String,
}

/// A server.
#[derive(Debug, Clone, Serialize)]
pub struct Server {
    name: String,
    state: String,
    role: String,
    version: String,
    term: u64,
    last_log: u64,
    applied: u64,
    safety: String,
    hostname: String,
    address: String,
}

/// A volume.
#[derive(Debug, Clone, Serialize)]
pub struct Volume {
    name: String,
    state: String,
    project: String,
    volume: String,
    node: String,
    docker_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// What it is about.
    name: String,
    /// A stable word for what happened.
    state: String,
    revision: u64,
    /// Counted from 1 in the order in which they happened.
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    message: String,
}

/// Events that a reader was too slow for.
#[derive(Debug, Clone, Serialize)]
pub struct Missed {
    name: &'static str,
    state: &'static str,
    missed: u64,
    message: String,
}

impl Missed {
    /// So many of the whole cluster.
    pub fn of(missed: u64, message: &str) -> Missed {
        Missed { name: "", state: "missed", missed, message: message.to_owned() }
    }
}

/// Any of them, for `get all`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind")]
pub enum Any {
    /// A project.
    Project(Project),
    /// A service.
    Service(Box<Service>),
    /// A task.
    Task(Box<Task>),
    /// A volume.
    Volume(Volume),
}

impl From<&v1::Project> for Project {
    fn from(p: &v1::Project) -> Project {
        Project {
            name: p.name.clone(),
            state: p.state.clone(),
            release: p.release,
            services: p.services,
            applied_at: rfc3339(p.applied_at_unix_ms),
            uid: p.uid.clone(),
        }
    }
}

fn mode(global: bool) -> &'static str {
    if global { "global" } else { "replicated" }
}

impl From<&v1::Service> for Service {
    fn from(s: &v1::Service) -> Service {
        let key = s.key.clone().unwrap_or_default();
        Service {
            name: full(&key),
            state: s.state.clone(),
            project: key.project,
            service: key.service,
            mode: mode(s.global),
            replicas: s.replicas,
            ready: s.ready,
            current: s.current,
            generation: s.generation,
            image: s.image.clone(),
            ports: s.ports.iter().map(Port::from).collect(),
            reason: s.reason.clone(),
            labels: s.labels.clone().into_iter().collect(),
            created_at: rfc3339(s.created_at_unix_ms),
            uid: s.uid.clone(),
            rollout: s.rollout.as_ref().map(|r| Rollout::new(s, r)),
        }
    }
}

impl Rollout {
    /// Of a service.
    pub fn new(service: &v1::Service, r: &v1::Rollout) -> Rollout {
        let written = |release: u64| (release > 0).then_some(release);
        let slot = |s: &v1::RolloutSlot| RolloutSlot {
            slot: s.slot,
            state: s.state.clone(),
            cause: s.cause.clone(),
            log: s.log.clone(),
        };
        Rollout {
            name: full(&service.key.clone().unwrap_or_default()),
            state: r.state.clone(),
            cause: r.cause.clone(),
            release: r.release,
            from_release: written(r.from_release),
            failed_release: written(r.failed_release),
            restored_release: written(r.restored_release),
            began_at: rfc3339(r.began_at_unix_ms),
            ended_at: r.ended_at_unix_ms.and_then(rfc3339),
            slots: r.slots.iter().map(slot).collect(),
            log: r.log.clone(),
            stop_first: r.stop_first.clone(),
        }
    }
}

impl From<&v1::Release> for Release {
    fn from(r: &v1::Release) -> Release {
        Release {
            name: r.number.to_string(),
            state: r.outcome.clone(),
            release: r.number,
            at: rfc3339(r.at_unix_ms),
            what: r.what.clone(),
            image: r.image.clone(),
            mode: mode(r.global),
            replicas: r.replicas,
            cause: r.cause.clone(),
        }
    }
}

impl From<&v1::PublishedPort> for Port {
    fn from(p: &v1::PublishedPort) -> Port {
        let spec = p.port.clone().unwrap_or_default();
        Port {
            target: spec.target,
            bound: p.bound,
            protocol: if spec.protocol() == v1::Protocol::Udp { "udp" } else { "tcp" },
            host_ip: spec.host_ip,
            node: p.node.clone(),
            problem: p.problem.clone(),
            text: port_text(p),
        }
    }
}

impl From<&v1::Task> for Task {
    fn from(t: &v1::Task) -> Task {
        let key = t.service.clone().unwrap_or_default();
        let status = t.status.clone().unwrap_or_default();
        Task {
            name: task_name(t),
            state: t.state.clone(),
            id: proto::id::TaskId(t.id).to_string(),
            project: key.project,
            service: key.service,
            slot: t.slot,
            node: t.node_name.clone(),
            node_id: t.node.clone(),
            image: t.image.clone(),
            generation: t.generation,
            outdated: t.outdated,
            desired: t.desired.clone(),
            phase: phase_word(status.phase()),
            health: health_word(status.health()),
            restarts: status.incarnation.saturating_sub(1),
            failures_in_a_row: status.failures_in_a_row,
            exit_code: status.exit_code,
            oom_killed: status.oom_killed,
            addresses: t.addresses.clone(),
            container_id: status.container_id,
            reason: t.reason.clone(),
            created_at: rfc3339(t.created_at_unix_ms),
            started_at: status.started_at_unix_ms.and_then(rfc3339),
            finished_at: status.finished_at_unix_ms.and_then(rfc3339),
            retry_at: status.retry_at_unix_ms.and_then(rfc3339),
        }
    }
}

impl From<&v1::Node> for Node {
    fn from(n: &v1::Node) -> Node {
        let info = n.info.clone().unwrap_or_default();
        let reserved = n.reserved.unwrap_or_default();
        Node {
            name: info.hostname,
            state: n.state.clone(),
            id: info.id,
            subnet: n.subnet.clone(),
            gateway: n.gateway.clone(),
            tasks: n.tasks,
            cpu_millis: info.cpu_millis,
            memory_bytes: info.memory_bytes,
            reserved_cpu_millis: reserved.cpu_millis,
            reserved_memory_bytes: reserved.memory_bytes,
            os: info.os,
            arch: info.arch,
            agent_version: info.agent_version,
            engine_version: info.engine_version,
            addresses: info.addresses,
            labels: views::labels(n).into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            labels_revision: n.labels_revision,
            reason: n.reason.clone(),
        }
    }
}

impl From<&v1::Server> for Server {
    fn from(s: &v1::Server) -> Server {
        Server {
            name: s.id.clone(),
            state: s.state.clone(),
            role: s.role.clone(),
            version: s.version.clone(),
            term: s.term,
            last_log: s.last_log,
            applied: s.applied,
            safety: s.safety.clone(),
            hostname: s.hostname.clone(),
            address: s.address.clone(),
        }
    }
}

impl From<&v1::Volume> for Volume {
    fn from(v: &v1::Volume) -> Volume {
        Volume {
            name: format!("{}/{}", v.project, v.name),
            state: v.state.clone(),
            project: v.project.clone(),
            volume: v.name.clone(),
            node: v.node.clone(),
            docker_name: v.docker_name.clone(),
            created_at: rfc3339(v.created_at_unix_ms),
        }
    }
}

impl From<&v1::Event> for Event {
    fn from(e: &v1::Event) -> Event {
        Event {
            name: e.subject.clone(),
            state: e.kind.clone(),
            revision: e.revision,
            number: e.number,
            at: rfc3339(e.at_unix_ms),
            message: e.message.clone(),
        }
    }
}

/// Pretty JSON with a line end.
pub fn to_json<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value).expect("these structs have string keys and no failing serializer");
    text + "\n"
}

/// JSON on one line, for streams.
pub fn to_json_line<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).expect("these structs have string keys and no failing serializer");
    text + "\n"
}

/// The same as YAML.
pub fn to_yaml<T: Serialize>(value: &T) -> String {
    let text = serde_saphyr::to_string(value).expect("these structs have string keys and no failing serializer");
    if text.ends_with('\n') { text } else { text + "\n" }
}
