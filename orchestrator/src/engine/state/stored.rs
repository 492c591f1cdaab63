//! State as it stands in snapshots: the tables without the indexes, which are derived anew.

use imbl::{OrdMap, OrdSet, Vector};
use proto::id::{BlobDigest, ClusterId, NodeId, ProjectName, ServerId, ServiceKey, TaskId};
use proto::identity::Subject;
use proto::revision::{Epoch, Revision, Time, Wall};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

use super::State;
use super::audit::Audit;
use super::clients::Clients;
use crate::engine::model::{
    Authority, Blob, Event, Identity, Node, Project, Ranges, Sealing, Server, Service, Task, Token, Usage, Volume,
    VolumeKey, is_default,
};

/// The tables.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredState {
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
    #[serde(default, skip_serializing_if = "is_zero")]
    events_made: u64,
    next_task: u64,
    // Since version 3; earlier bytes have none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authority: Option<Arc<Authority>>,
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    tokens: OrdMap<u64, Arc<Token>>,
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    identities: OrdMap<Subject, Arc<Identity>>,
    #[serde(default, skip_serializing_if = "OrdSet::is_empty")]
    pardoned: OrdSet<NodeId>,
    // Since version 5.
    #[serde(default, skip_serializing_if = "is_default")]
    audit: Audit,
    // Since version 6.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    servers: OrdMap<ServerId, Arc<Server>>,
    // Since version 7.
    #[serde(default, skip_serializing_if = "is_default")]
    sealing: Arc<Sealing>,
}

/// A State without events is written as it was before they were counted.
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl From<State> for StoredState {
    fn from(s: State) -> StoredState {
        StoredState {
            version: s.version,
            cluster: s.cluster,
            ranges: s.ranges,
            epoch: s.epoch,
            revision: s.revision,
            clock: s.clock,
            wall: s.wall,
            projects: s.projects,
            services: s.services,
            tasks: s.tasks,
            nodes: s.nodes,
            volumes: s.volumes,
            blobs: s.blobs,
            resting: s.resting,
            clients: s.clients,
            events: s.events,
            events_made: s.events_made,
            next_task: s.next_task,
            authority: s.authority,
            tokens: s.tokens,
            identities: s.identities,
            pardoned: s.pardoned,
            audit: s.audit,
            servers: s.servers,
            sealing: s.sealing,
        }
    }
}

impl From<StoredState> for State {
    fn from(s: StoredState) -> State {
        let mut by_service = OrdMap::new();
        let mut by_node = OrdMap::new();
        let mut by_address = OrdMap::new();
        let mut usage: OrdMap<NodeId, Usage> = OrdMap::new();
        for task in s.tasks.values() {
            by_service.insert((task.service.clone(), task.slot, task.id), ());
            by_node.insert((task.node, task.id), ());
            usage.entry(task.node).or_default().hold(&task.reservations, &task.host_ports);
            for address in &task.addresses {
                by_address.insert(*address, task.id);
            }
        }
        State {
            version: s.version,
            cluster: s.cluster,
            ranges: s.ranges,
            epoch: s.epoch,
            revision: s.revision,
            clock: s.clock,
            wall: s.wall,
            projects: s.projects,
            services: s.services,
            tasks: s.tasks,
            nodes: s.nodes,
            volumes: s.volumes,
            blobs: s.blobs,
            resting: s.resting,
            clients: s.clients,
            events: s.events,
            events_made: s.events_made,
            next_task: s.next_task,
            authority: s.authority,
            tokens: s.tokens,
            identities: s.identities,
            pardoned: s.pardoned,
            audit: s.audit,
            servers: s.servers,
            sealing: s.sealing,
            by_service,
            by_node,
            by_address,
            usage,
        }
    }
}
