//! What is true: tables with one writer.
//!
//! Fields are private to this module; `apply` is its child and the only writer. Cloning is cheap (persistent maps),
//! so that everyone else reads a snapshot.

pub mod apply;
mod audit;
mod clients;
pub mod invariant;
mod sealing;
mod stored;

use imbl::{OrdMap, OrdSet, Vector};
use proto::id::{BlobDigest, ClusterId, NodeId, ProjectName, ServerId, ServiceKey, ServiceName, Slot, TaskId};
use proto::identity::Subject;
use proto::revision::{Epoch, Revision, Time, Uid, Wall};
use proto::spec::ServiceMode;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

use super::model::{
    Authority, Blob, Event, Identity, Node, Project, Ranges, Sealing, Server, Service, Task, Token, Usage, Volume,
    VolumeKey,
};
pub use audit::{Audit, AuditLoss};
use clients::Clients;

/// The newest version of State that this program understands.
pub const STATE_VERSION: u32 = 8;
/// The version of a State before its first command. The leader raises it: the log says from where on.
const FIRST_VERSION: u32 = 1;
/// The version that knows rollouts.
const ROLLOUTS: u32 = 2;
/// The version that knows global services.
const GLOBALS: u32 = 4;
/// The version whose tasks are judged by the check they were made with.
const OWN_CHECKS: u32 = 5;
/// The version that keeps an audit.
pub const AUDITS: u32 = 5;
/// The version that knows servers.
pub const SERVERS: u32 = 6;
/// The version whose sealing key can be replaced.
pub const KEY_ROTATION: u32 = 7;
/// The version whose nodes are labelled by operators, too.
pub const NODE_LABELS: u32 = 8;

/// Everything that is true, as of one revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "stored::StoredState", from = "stored::StoredState")]
pub struct State {
    version: u32,
    cluster: Option<ClusterId>,
    ranges: Option<Ranges>,
    epoch: Epoch,
    revision: Revision,
    clock: Time,
    wall: Wall,
    projects: OrdMap<ProjectName, Arc<Project>>,
    services: OrdMap<ServiceKey, Arc<Service>>,
    tasks: OrdMap<TaskId, Arc<Task>>,
    nodes: OrdMap<NodeId, Arc<Node>>,
    volumes: OrdMap<VolumeKey, Arc<Volume>>,
    blobs: OrdMap<BlobDigest, Arc<Blob>>,
    resting: OrdMap<IpAddr, Time>,
    clients: Clients,
    events: Vector<Arc<Event>>,
    /// How many there have ever been; 0 in a State that was written before they were counted.
    events_made: u64,
    next_task: u64,
    authority: Option<Arc<Authority>>,
    tokens: OrdMap<u64, Arc<Token>>,
    identities: OrdMap<Subject, Arc<Identity>>,
    /// Nodes whose identity was revoked: they may come back with another key.
    pardoned: OrdSet<NodeId>,
    audit: Audit,
    servers: OrdMap<ServerId, Arc<Server>>,
    sealing: Arc<Sealing>,
    // Indexes, derived from the tables above.
    by_service: OrdMap<(ServiceKey, Slot, TaskId), ()>,
    by_node: OrdMap<(NodeId, TaskId), ()>,
    by_address: OrdMap<IpAddr, TaskId>,
    usage: OrdMap<NodeId, Usage>,
}

// === impl State ===

impl State {
    /// Before the first command.
    pub fn empty() -> State {
        State {
            version: FIRST_VERSION,
            cluster: None,
            ranges: None,
            epoch: Epoch(1),
            revision: Revision(0),
            clock: Time(0),
            wall: Wall(0),
            projects: OrdMap::new(),
            services: OrdMap::new(),
            tasks: OrdMap::new(),
            nodes: OrdMap::new(),
            volumes: OrdMap::new(),
            blobs: OrdMap::new(),
            resting: OrdMap::new(),
            clients: Clients::default(),
            events: Vector::new(),
            events_made: 0,
            next_task: 1,
            authority: None,
            tokens: OrdMap::new(),
            identities: OrdMap::new(),
            pardoned: OrdSet::new(),
            audit: Audit::default(),
            servers: OrdMap::new(),
            sealing: Arc::default(),
            by_service: OrdMap::new(),
            by_node: OrdMap::new(),
            by_address: OrdMap::new(),
            usage: OrdMap::new(),
        }
    }

    /// The version whose commands are allowed.
    pub fn version(&self) -> u32 {
        self.version
    }
    /// The cluster's id, once bootstrapped.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }
    /// The address ranges, once bootstrapped.
    pub fn ranges(&self) -> Option<Ranges> {
        self.ranges
    }
    /// Count of restores.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
    /// Count of applied commands.
    pub fn revision(&self) -> Revision {
        self.revision
    }
    /// Cluster time of the last command.
    pub fn clock(&self) -> Time {
        self.clock
    }
    /// Wall time of the last command.
    pub fn wall(&self) -> Wall {
        self.wall
    }
    /// The number the next task gets.
    pub fn next_task(&self) -> TaskId {
        TaskId(self.next_task)
    }

    /// All projects in order of name.
    pub fn projects(&self) -> impl Iterator<Item = &Arc<Project>> {
        self.projects.values()
    }
    /// One project.
    pub fn project(&self, name: &ProjectName) -> Option<&Arc<Project>> {
        self.projects.get(name)
    }
    /// All services in order of name.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }
    /// One service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }
    /// The services of a project in order of name.
    pub fn services_of<'a>(&'a self, project: &'a ProjectName) -> impl Iterator<Item = &'a Arc<Service>> {
        let first = ServiceKey { project: project.clone(), service: lowest_service() };
        self.services.range(first..).map(|(_, s)| s).take_while(move |s| &s.key.project == project)
    }
    /// All tasks in order of id.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }
    /// How many tasks there are.
    pub fn task_count(&self) -> usize {
        self.tasks.len()
    }
    /// One task.
    pub fn task(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&id)
    }
    /// The tasks of a service in order of slot, then id.
    pub fn tasks_of<'a>(&'a self, service: &'a ServiceKey) -> impl Iterator<Item = &'a Arc<Task>> {
        let first = (service.clone(), Slot(0), TaskId(0));
        self.by_service
            .range(first..)
            .take_while(move |((key, _, _), ())| key == service)
            .filter_map(|((_, _, id), ())| self.tasks.get(id))
    }
    /// The tasks of one slot in order of id.
    pub fn tasks_in<'a>(&'a self, service: &'a ServiceKey, slot: Slot) -> impl Iterator<Item = &'a Arc<Task>> {
        let first = (service.clone(), slot, TaskId(0));
        self.by_service
            .range(first..)
            .take_while(move |((key, s, _), ())| *s == slot && key == service)
            .filter_map(|((_, _, id), ())| self.tasks.get(id))
    }
    /// The tasks on a node in order of id.
    pub fn tasks_on(&self, node: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        self.by_node
            .range((node, TaskId(0))..)
            .take_while(move |((n, _), ())| *n == node)
            .filter_map(|((_, id), ())| self.tasks.get(id))
    }
    /// What the tasks of each node hold; a node without tasks may be absent.
    pub(crate) fn usage(&self) -> &OrdMap<NodeId, Usage> {
        &self.usage
    }
    /// The task that has an address.
    pub fn task_at(&self, address: &IpAddr) -> Option<TaskId> {
        self.by_address.get(address).copied()
    }
    /// Until when an address rests after its task has gone.
    pub fn rests_until(&self, address: &IpAddr) -> Option<Time> {
        self.resting.get(address).copied()
    }
    /// All nodes in order of id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }
    /// One node.
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }
    /// All volumes in order of project, name and node.
    pub fn volumes(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.volumes.values()
    }
    /// The volumes of one name, node by node.
    pub fn volumes_named<'a>(
        &'a self,
        project: &'a ProjectName,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Volume>> {
        let first = VolumeKey { project: project.clone(), name: name.to_owned(), node: NodeId(0) };
        self.volumes.range(first..).map(|(_, v)| v).take_while(move |v| v.key.project == *project && v.key.name == name)
    }
    /// One volume.
    pub fn volume(&self, key: &VolumeKey) -> Option<&Arc<Volume>> {
        self.volumes.get(key)
    }
    /// All contents in order of digest.
    pub fn blobs(&self) -> impl Iterator<Item = &Arc<Blob>> {
        self.blobs.values()
    }
    /// One content.
    pub fn blob(&self, digest: &BlobDigest) -> Option<&Arc<Blob>> {
        self.blobs.get(digest)
    }
    /// What issues certificates, once it is founded.
    pub fn authority(&self) -> Option<&Arc<Authority>> {
        self.authority.as_ref()
    }
    /// All join tokens in order of id.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values()
    }
    /// One join token.
    pub fn token(&self, id: u64) -> Option<&Arc<Token>> {
        self.tokens.get(&id)
    }
    /// Everybody who joined, by kind and name.
    pub fn identities(&self) -> impl Iterator<Item = &Arc<Identity>> {
        self.identities.values()
    }
    /// Somebody who joined.
    pub fn identity(&self, subject: &Subject) -> Option<&Arc<Identity>> {
        self.identities.get(subject)
    }
    /// All servers in order of id; empty before the first has said what it is.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.servers.values()
    }
    /// One server.
    pub fn server(&self, id: ServerId) -> Option<&Arc<Server>> {
        self.servers.get(&id)
    }
    /// Was this server let in, and not removed? Before the first has said what it is, each is believed.
    pub fn is_member(&self, id: ServerId) -> bool {
        self.servers.is_empty() || self.servers.contains_key(&id) || self.identities.contains_key(&Subject::Server(id))
    }
    /// Who did what.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }
    /// Events, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        self.events.iter()
    }

    /// How many events there have ever been: the number of the newest. They are numbered from 1 without gaps.
    pub fn events_made(&self) -> u64 {
        self.events_made.max(self.events.len() as u64)
    }
    /// The events after a number, oldest first, with their numbers; and how many there were that are no longer kept.
    pub fn events_after(&self, number: u64) -> (u64, impl Iterator<Item = (u64, &Arc<Event>)>) {
        let oldest = self.events_made() - self.events.len() as u64 + 1;
        let from = oldest.max(number + 1);
        let skip = usize::try_from(from - oldest).unwrap_or(usize::MAX);
        let kept = (skip..self.events.len()).filter_map(|at| self.events.get(at));
        (from - (number + 1), (from..).zip(kept))
    }

    fn has_rollouts(&self) -> bool {
        self.version >= ROLLOUTS
    }

    fn has_own_checks(&self) -> bool {
        self.version >= OWN_CHECKS
    }

    /// Has the service one task on each node where it may be? Before that was known, it had as many as `replicas` says.
    pub fn is_global(&self, service: &Service) -> bool {
        self.version >= GLOBALS && service.spec.mode == ServiceMode::Global
    }

    fn uid(&self) -> Uid {
        Uid { epoch: self.epoch, created: self.revision }
    }

    fn record(&mut self, subject: String, kind: &str, message: String) {
        // Version 1 knows no count: those that are kept when it ends are the first.
        if self.has_rollouts() || self.events_made > 0 {
            self.events_made = self.events_made() + 1;
        }
        if self.events.len() >= proto::limits::EVENTS_KEPT {
            self.events.pop_front();
        }
        let event = Event { revision: self.revision, at: self.wall, subject, kind: kind.to_owned(), message };
        self.events.push_back(Arc::new(event));
    }

    fn insert_task(&mut self, task: Task) {
        self.by_service.insert((task.service.clone(), task.slot, task.id), ());
        self.by_node.insert((task.node, task.id), ());
        for address in &task.addresses {
            self.by_address.insert(*address, task.id);
        }
        self.usage.entry(task.node).or_default().hold(&task.reservations, &task.host_ports);
        self.tasks.insert(task.id, Arc::new(task));
    }

    fn remove_task(&mut self, id: TaskId) {
        let Some(task) = self.tasks.remove(&id) else { return };
        self.by_service.remove(&(task.service.clone(), task.slot, id));
        self.by_node.remove(&(task.node, id));
        // A node without tasks has no entry, as in an index that is derived anew.
        if let Some(usage) = self.usage.get_mut(&task.node) {
            usage.release(&task);
            if usage.tasks == 0 {
                self.usage.remove(&task.node);
            }
        }
        for address in &task.addresses {
            self.by_address.remove(address);
            self.resting.insert(*address, self.clock.after_ms(proto::limits::ADDRESS_REST_MS));
        }
    }
}

/// The name before all valid names.
fn lowest_service() -> ServiceName {
    "0".parse().expect("a digit is a valid name, and digits sort before letters")
}
