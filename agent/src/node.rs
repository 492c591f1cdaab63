//! A whole node: the only file that names every room of the agent, and the order in which they start.
//!
//! # Flow
//! Ledger, then what it holds (names, ports, the set), then the engine, then a session: whatever does not need a server
//! works without one. On `stop` everything ends but the containers.

use proto::assignment::{Assignment, AssignmentSet, Forward, NodeNetwork};
use proto::endpoint::EndpointTable;
use proto::id::NodeId;
use proto::limits::STOP_GRACE_DEFAULT_MS;
use proto::needs::Permission;
use proto::node::{ForwardStatus, NodeConditions};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::dns::host_resolvers::HostResolvers;
use crate::dns::server::{DnsConfig, DnsServer};
use crate::dns::upstream::{OwnServers, Resolvers};
use crate::dns::zone::{OwnEndpoint, OwnView, Zone};
use crate::engine::Memory;
use crate::files::{self, Files, FilesError};
use crate::identity::{self, IdentityError};
use crate::ledger::{Kept, Ledger, LedgerError};
use crate::log_streams::LogStreams;
use crate::network::forwarder::Forwarder;
use crate::pulse::Pulse;
use crate::reporter::Reporter;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::{ContainerRuntime, Identity, RuntimeError, SeenState};
use crate::session::{Door, Link, ServerBlobs, Session};
use crate::worker::{self, Parts, View};

/// Time after which a resolver or a table that could not be bound or kept is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Where names are asked for, here and elsewhere.
const DNS_PORT: u16 = 53;

/// How a node is run.
#[derive(Debug, Clone)]
pub struct Config {
    /// What survives a restart; one agent at a time.
    pub data_dir: PathBuf,
    /// Where the server is.
    pub door: Door,
    /// The Docker Engine, such as `unix:///var/run/docker.sock`.
    pub docker: String,
    /// The operator's labels of this node.
    pub labels: BTreeMap<String, String>,
    /// What its containers may ask for beyond the ordinary; nothing by default.
    pub allow: BTreeSet<Permission>,
    /// Beats with each turn of the node's loop.
    pub pulse: Pulse,
}

/// Why a node cannot run, or not be taken down.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Its files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its engine.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Runs a node until `stop`; its containers stay.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), AgentError> {
    let runtime = Arc::new(DockerRuntime::allowing(&config.docker, config.allow.clone()));
    run_on(config, runtime, Clock::real(), stop).await
}

/// The same on any engine and clock.
pub async fn run_on(
    config: Config,
    runtime: Arc<dyn ContainerRuntime>,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let ledger = Arc::new(Ledger::open(&config.data_dir)?);
    let node = ledger.node_id()?;
    let set = ledger.assignments()?.whole().map(Arc::new);
    let table = ledger.endpoints()?.whole().unwrap_or_default();
    let memory = remembered(&ledger, set.as_deref(), table.highest_incarnation(node), clock)?;
    let (link, known) = match &config.door {
        Door::Unix(path) => (Link::Unix(path.clone()), None),
        Door::Join(join) => {
            let known = identity::establish(join, &ledger, node, &stop).await?;
            (known.link(), Some(known))
        }
    };
    let blobs = Arc::new(ServerBlobs { link: link.clone(), node });
    let files = Arc::new(Files::open(&config.data_dir, blobs)?);
    tracing::info!(%node, tasks = set.as_ref().map_or(0, |s| s.tasks.len()), "the node starts");

    let reporter = Reporter::default();
    let (accepted, accepted_seen) = watch::channel(set);
    let (endpoints, endpoints_seen) = watch::channel(Arc::new(table));
    let (view, view_seen) = watch::channel(View::default());
    let (zone, zone_seen) = watch::channel(Arc::new(Zone::default()));
    let (forwards, forwards_seen) = watch::channel(Vec::new());
    let (names_problem, names_problem_seen) = watch::channel(String::new());
    let (conditions, conditions_seen) = watch::channel(NodeConditions::default());
    let (wanted, wanted_seen) = watch::channel(Vec::new());
    let (own_servers, own_servers_seen) = watch::channel(Arc::new(OwnServers::new()));

    let mut rooms = JoinSet::new();
    rooms.spawn(until(stop.clone(), keep_zone(node, endpoints_seen.clone(), view_seen.clone(), zone)));
    rooms.spawn(until(stop.clone(), keep_wanted(accepted_seen.clone(), wanted)));
    rooms.spawn(until(stop.clone(), keep_own_servers(accepted_seen.clone(), own_servers)));
    let names = Names { zone: zone_seen.clone(), own_servers: own_servers_seen };
    rooms.spawn(answer_names(accepted_seen.clone(), view_seen.clone(), names, names_problem, stop.clone()));
    rooms.spawn(Forwarder::run(wanted_seen, zone_seen, forwards, stop.clone()));
    rooms.spawn(until(stop.clone(), keep_conditions(view_seen.clone(), forwards_seen, names_problem_seen, conditions)));
    rooms.spawn(until(stop.clone(), keep_table(endpoints_seen, Arc::clone(&ledger))));
    let logs = LogStreams::new(Arc::clone(&runtime), link.clone());
    let session = Session {
        link,
        node,
        labels: config.labels,
        ledger: Arc::clone(&ledger),
        accepted,
        endpoints,
        reporter: reporter.clone(),
        conditions: conditions_seen,
        view: view_seen,
        logs,
    };
    rooms.spawn(session.run(stop.clone()));
    if let Some(known) = known {
        rooms.spawn(known.keep(stop.clone()));
    }
    let parts = Parts { runtime, files, ledger, reporter, clock, accepted: accepted_seen, view, pulse: config.pulse };
    worker::run(parts, memory, stop).await;
    while rooms.join_next().await.is_some() {}
    Ok(())
}

fn remembered(ledger: &Ledger, set: Option<&AssignmentSet>, told: u32, clock: Clock) -> Result<Memory, LedgerError> {
    let (now, wall) = (clock.now(), clock.wall());
    let memory = match ledger.memory()? {
        Kept::Whole(memory) => memory.restored(set, now, wall),
        Kept::Absent if set.is_none() => Memory::default(),
        Kept::Absent | Kept::Lost => Memory::after_loss(wall, told),
    };
    // Before anything is told from it: one that is killed again soon counts on from here. A full disk is no reason not to run.
    if let Err(error) = ledger.keep_memory(&memory) {
        tracing::error!(%error, "the memory could not be kept");
    }
    Ok(memory)
}

/// Stops all containers of the node and leaves them there: the next run starts them again in place. The agent must have
/// ended. Without an accepted set there are none.
pub async fn halt(config: &Config) -> Result<(), AgentError> {
    let ledger = Ledger::open(&config.data_dir)?;
    let Some(set) = ledger.assignments()?.whole() else { return Ok(()) };
    let runtime = Arc::new(DockerRuntime::new(&config.docker));
    stop_all(runtime, &set, false).await
}

/// Removes everything the node made: containers, network, files, the memory file system. Named volumes and the ledger
/// stay. The agent must have ended.
pub async fn teardown(config: &Config) -> Result<(), AgentError> {
    let ledger = Ledger::open(&config.data_dir)?;
    if let Some(set) = ledger.assignments()?.whole() {
        let runtime: Arc<dyn ContainerRuntime> = Arc::new(DockerRuntime::new(&config.docker));
        stop_all(Arc::clone(&runtime), &set, true).await?;
        runtime.remove_network(&marks(&set)).await?;
    }
    Ok(files::teardown(&config.data_dir)?)
}

async fn stop_all(runtime: Arc<dyn ContainerRuntime>, set: &AssignmentSet, remove: bool) -> Result<(), AgentError> {
    let mut stops = JoinSet::new();
    for seen in runtime.list(&marks(set)).await? {
        let grace_ms = set.tasks.get(&seen.task).map_or(STOP_GRACE_DEFAULT_MS, |a| a.container.stop_grace_ms);
        let runtime = Arc::clone(&runtime);
        stops.spawn(async move {
            if !matches!(seen.state, SeenState::Created | SeenState::Exited { .. }) {
                runtime.stop(&seen.id, grace_ms).await?;
            }
            if remove { runtime.remove(&seen.id).await } else { Ok(()) }
        });
    }
    let mut result = Ok(());
    while let Some(stopped) = stops.join_next().await {
        if let Ok(Err(error)) = stopped {
            result = Err(error.into());
        }
    }
    result
}

fn marks(set: &AssignmentSet) -> Identity {
    Identity { cluster: set.cluster, epoch: set.epoch, node: set.node }
}

async fn until(stop: CancellationToken, room: impl Future<Output = ()>) {
    tokio::select! {
        () = room => {}
        () = stop.cancelled() => {}
    }
}

/// The zone is the server's table with this node's own view over it.
async fn keep_zone(
    node: NodeId,
    mut table: watch::Receiver<Arc<EndpointTable>>,
    mut view: watch::Receiver<View>,
    zone: watch::Sender<Arc<Zone>>,
) {
    let mut before = None;
    loop {
        let own = own_view(&view.borrow_and_update());
        let latest = Arc::clone(&table.borrow_and_update());
        let changed = before.as_ref().is_none_or(|(t, o)| !Arc::ptr_eq(t, &latest) || *o != own);
        if changed {
            zone.send_replace(Arc::new(Zone::new(&latest, node, &own)));
            before = Some((latest, own));
        }
        let more = tokio::select! {
            changed = table.changed() => changed,
            changed = view.changed() => changed,
        };
        if more.is_err() {
            return;
        }
    }
}

fn own_view(view: &View) -> OwnView {
    let endpoint = |(id, (state, incarnation, sequence)): (&_, &_)| {
        (*id, OwnEndpoint { state: *state, incarnation: *incarnation, sequence: *sequence })
    };
    let alive = view.endpoints.iter().filter(|(id, _)| !view.stopped.contains(id));
    OwnView { endpoints: alive.map(endpoint).collect(), stopped: view.stopped.clone() }
}

async fn keep_wanted(mut accepted: watch::Receiver<Option<Arc<AssignmentSet>>>, wanted: watch::Sender<Vec<Forward>>) {
    loop {
        let forwards = accepted.borrow_and_update().as_ref().map(|set| set.forwards.clone()).unwrap_or_default();
        wanted.send_if_modified(|now| {
            let changed = *now != forwards;
            *now = forwards;
            changed
        });
        if accepted.changed().await.is_err() {
            return;
        }
    }
}

/// The resolvers that the manifest gives to single tasks, by the tasks' addresses.
async fn keep_own_servers(
    mut accepted: watch::Receiver<Option<Arc<AssignmentSet>>>,
    own_servers: watch::Sender<Arc<OwnServers>>,
) {
    loop {
        let servers = accepted.borrow_and_update().as_ref().map(|set| servers_of(set)).unwrap_or_default();
        own_servers.send_if_modified(|now| {
            let changed = **now != servers;
            *now = Arc::new(servers);
            changed
        });
        if accepted.changed().await.is_err() {
            return;
        }
    }
}

fn servers_of(set: &AssignmentSet) -> OwnServers {
    let with_own = set.tasks.values().filter(|a| !a.container.naming.servers.is_empty());
    let of_task = |a: &Assignment| -> Vec<SocketAddr> {
        a.container.naming.servers.iter().map(|server| SocketAddr::new(*server, DNS_PORT)).collect()
    };
    with_own.flat_map(|a| a.addresses.iter().map(move |address| (*address, of_task(a)))).collect()
}

/// What names are answered from.
#[derive(Clone)]
struct Names {
    zone: watch::Receiver<Arc<Zone>>,
    own_servers: watch::Receiver<Arc<OwnServers>>,
}

/// Answers names on the bridge's address once the bridge is there, and on another one when that changes.
async fn answer_names(
    mut accepted: watch::Receiver<Option<Arc<AssignmentSet>>>,
    mut view: watch::Receiver<View>,
    names: Names,
    problem: watch::Sender<String>,
    stop: CancellationToken,
) {
    let mut answering: Option<(NodeNetwork, CancellationToken)> = None;
    let mut servers = JoinSet::new();
    loop {
        let network = accepted.borrow_and_update().as_ref().map(|set| set.network);
        let ready = view.borrow_and_update().bridge.is_some();
        let mut again = false;
        if let Some(network) = network.filter(|n| ready && answering.as_ref().is_none_or(|(now, _)| now != n)) {
            if let Some((_, earlier)) = answering.take() {
                earlier.cancel();
            }
            match bind_names(&network, names.clone()) {
                Ok(server) => {
                    let ends = stop.child_token();
                    servers.spawn(server.run(ends.clone()));
                    answering = Some((network, ends));
                    problem.send_if_modified(|now| !std::mem::take(now).is_empty());
                }
                Err(why) => {
                    again = true;
                    problem.send_if_modified(|now| std::mem::replace(now, why.clone()) != why);
                }
            }
        }
        tokio::select! {
            changed = accepted.changed() => if changed.is_err() { break },
            changed = view.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(TRY_AGAIN), if again => {}
            () = stop.cancelled() => break,
        }
    }
    stop.cancelled().await;
    while servers.join_next().await.is_some() {}
}

fn bind_names(network: &NodeNetwork, names: Names) -> Result<DnsServer, String> {
    let address = SocketAddr::new(network.gateway.into(), DNS_PORT);
    let clients = proto::ranges::Cidr::containing(network.subnet, network.prefix).map_err(|e| e.to_string())?;
    let resolvers = Resolvers::Host(Box::new(HostResolvers::new(vec![network.gateway.into()])));
    let config = DnsConfig { address, resolvers, clients: vec![clients], own_servers: names.own_servers };
    DnsServer::bind(config, names.zone).map_err(|error| format!("names are not answered on this node: {error}"))
}

async fn keep_conditions(
    mut view: watch::Receiver<View>,
    mut forwards: watch::Receiver<Vec<ForwardStatus>>,
    mut names_problem: watch::Receiver<String>,
    conditions: watch::Sender<NodeConditions>,
) {
    loop {
        let mut now = view.borrow_and_update().conditions.clone();
        now.forwards.clone_from(&forwards.borrow_and_update());
        let problem = names_problem.borrow_and_update().clone();
        if now.engine_problem.is_empty() {
            now.engine_problem = problem;
        }
        conditions.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        let more = tokio::select! {
            changed = view.changed() => changed,
            changed = forwards.changed() => changed,
            changed = names_problem.changed() => changed,
        };
        if more.is_err() {
            return;
        }
    }
}

/// The table is kept so that names resolve after a restart without a server; at most once a second.
async fn keep_table(mut endpoints: watch::Receiver<Arc<EndpointTable>>, ledger: Arc<Ledger>) {
    while endpoints.changed().await.is_ok() {
        tokio::time::sleep(TRY_AGAIN).await;
        let (ledger, table) = (Arc::clone(&ledger), Arc::clone(&endpoints.borrow_and_update()));
        let kept = tokio::task::spawn_blocking(move || ledger.keep_endpoints(&table)).await;
        if let Ok(Err(error)) = kept {
            tracing::error!(%error, "the endpoint table could not be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::TaskMemory;
    use proto::id::TaskId;

    #[test]
    fn what_is_restored_is_kept_before_anything_is_told_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let mut memory = Memory::default();
        memory.tasks.insert(TaskId(1), TaskMemory::default());
        ledger.keep_memory(&memory).unwrap();
        let told = || {
            let memory = remembered(&ledger, None, 0, Clock::real()).unwrap();
            memory.tasks[&TaskId(1)].status.sequence
        };
        // Killed before it wrote anything again.
        let (first, second) = (told(), told());
        assert!(second > first, "{first} {second}");
    }
}
