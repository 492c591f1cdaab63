//! Composition root: builds every room, hands out the handles, stops them in order. The only file naming all rooms.

use proto::id::{ClusterId, ServerId};
use proto::ranges::{self, Cidr, RANGE_PREFIX_DEFAULT};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::{self, Gate, Refusals};
use crate::api::{Api, Place};
use crate::dispatcher::Dispatcher;
use crate::engine::model::{Ranges, ServerInfo};
use crate::engine::{Command, Outcome, STATE_VERSION};
use crate::enrolment::Desk;
use crate::forward::Forward;
use crate::leader;
use crate::membership;
use crate::metrics;
use crate::pki::authority::AuthorityError;
use crate::pki::keeper::{self, Founded};
use crate::pki::seal::SealError;
use crate::pki::sealer::Sealer;
use crate::raft::{Applied, Peers, ProposeError, RaftError, RaftHandle, RaftMetrics, RaftOptions};
use crate::rotation;
use crate::servers::{self, ServersDoor};
use crate::switchboard::Switchboard;
use crate::trail;
use joining::Joined;

/// Longest wait for leadership at the start of a one-server cluster, in seconds.
const LEAD_WITHIN_S: u64 = 30;

mod doors;
mod joining;

pub use joining::{Join, JoinError};

/// What a server must be told.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Holds the log, the snapshots and the server's id.
    pub data_dir: PathBuf,
    /// Socket of the operators' door.
    pub api_socket: PathBuf,
    /// Socket of the agents' door.
    pub agents_socket: PathBuf,
    /// The sealing key: a file outside the data directory.
    pub seal_key: PathBuf,
    /// Make a new cluster when the data directory holds none.
    pub bootstrap: bool,
    /// The cluster to join when the data directory holds nothing.
    pub join: Option<Join>,
    /// A one-node cluster made by `ctl dev`.
    pub dev: bool,
    /// Container range of a new cluster; absent: the first that overlaps no host route.
    pub range: Option<Cidr>,
    /// Nets that the host uses already.
    pub used: Vec<Cidr>,
    /// TCP doors; absent: unix sockets only.
    pub tcp: Option<Tcp>,
}

/// How a server is reached from other hosts: TLS 1.3 only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// The address both doors listen on.
    pub listen: IpAddr,
    /// The address that others are told.
    pub advertise: IpAddr,
    /// The operators' port; 0: any.
    pub operators: u16,
    /// The agents' port; 0: any.
    pub agents: u16,
    /// Life of a certificate.
    pub life: Duration,
}

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The log.
    #[error(transparent)]
    Raft(#[from] RaftError),
    /// The sealing key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A directory or socket.
    #[error("cannot {verb} {path}: {source}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Somebody listens there.
    #[error("{path} answers already: another server runs; stop it, or choose another directory")]
    Running {
        /// The socket.
        path: PathBuf,
    },
    /// No data, and not told to make some.
    #[error(
        "{path} holds no cluster; start with --bootstrap to make one, or join one with --join HOST:PORT and a token"
    )]
    Empty {
        /// The data directory.
        path: PathBuf,
    },
    /// No range is free.
    #[error("every range tried overlaps a route of this host; choose one with --range, such as --range 172.30.0.0/16")]
    NoRange,
    /// The operator's range cannot be used.
    #[error("range {range} cannot be used: {why}; choose another with --range")]
    Range {
        /// As given.
        range: Cidr,
        /// What is wrong with it.
        why: String,
    },
    /// The first command was not accepted.
    #[error("the cluster could not be bootstrapped: {0}")]
    Bootstrap(String),
    /// The cluster's authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Joining.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A server that joins must be reached.
    #[error("a server that joins others must be reached by them: name its address with --listen IP")]
    JoinsUnreached,
    /// A port.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Port {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Calls that nobody decided about.
    #[error("the table of rights and the calls differ: {0}; this build must not run")]
    Rights(String),
    /// No leader came.
    #[error("this server did not become leader within {LEAD_WITHIN_S} s; see its log")]
    NotLeading,
}

/// A running server.
#[derive(Debug)]
pub struct RunningServer {
    raft: RaftHandle,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    sockets: [PathBuf; 2],
    ports: Option<[SocketAddr; 2]>,
}

/// Starts a server: the log, what happens while it leads, and its doors. Ready when this returns; one that joins, or that
/// comes back to others, may not have caught up yet.
pub async fn start(config: ServerConfig) -> Result<RunningServer, ServerError> {
    make_dir(&config.data_dir)?;
    let is_new = !config.data_dir.join("server-id").exists();
    let joined = joined(&config, is_new).await?;
    let sealer = Arc::new(Sealer::open(&config.seal_key, is_new && joined.is_none())?);
    let broken = access::rights::mismatches(&doors::SCHEMAS);
    if !broken.is_empty() {
        return Err(ServerError::Rights(broken.join(", ")));
    }
    let api_listener = listen(&config.api_socket).await?;
    let agents_listener = listen(&config.agents_socket).await?;
    let peers = Arc::new(Peers::default());
    let mut options = RaftOptions::new(&config.data_dir);
    options.transport = peers.clone();
    options.new_server_id = joined.as_ref().map(|joined| joined.id);
    let clock = options.clock.clone();
    let raft = RaftHandle::open(options).await?;
    if joined.is_none() {
        lead_cluster(&raft, &config).await?;
    }

    let stop = CancellationToken::new();
    let switchboard = Switchboard::default();
    let (lease_sender, lease_events) = mpsc::unbounded_channel();
    let leading = tokio::spawn(leader::run(raft.clone(), lease_events, stop.clone()));
    let is_alone = raft.is_alone().await?;
    let founded = Founded::follow(raft.clone(), sealer.clone(), clock.clone(), is_alone, stop.clone())?;
    if is_alone {
        let known = tokio::time::timeout(Duration::from_secs(LEAD_WITHIN_S), founded.wait());
        known.await.ok().flatten().ok_or(ServerError::NotLeading)?;
    }
    let (given, known_servers) = joined.map_or((None, Vec::new()), |j| (Some(j.identity), j.servers));
    let joins = given.as_ref().map(|identity| identity.cluster);
    let ports = match &config.tcp {
        None => None,
        Some(tcp) => {
            let own = keeper::Own {
                founded: founded.clone(),
                raft: raft.clone(),
                clock: clock.clone(),
                life: tcp.life,
                peers: peers.clone(),
            };
            let tls = own.tls(given, stop.clone()).await?;
            Some(doors::Ports::open(tcp, &tls, &stop)?)
        }
    };
    let reached = ports.as_ref().map(doors::Ports::advertised).unwrap_or_default();
    let place = Place { dev: config.dev, reached: reached.clone() };
    let (stuck, trouble) = rotation::trouble();
    let rooms = doors::Rooms {
        api: Api::new(
            raft.clone(),
            switchboard.clone(),
            sealer.clone(),
            founded.clone(),
            clock.clone(),
            place,
            trouble,
        ),
        dispatcher: Dispatcher::new(raft.clone(), lease_sender, switchboard, sealer.clone(), clock.clone()),
        servers: ServersDoor::new(raft.clone(), sealer.clone()),
        forward: Forward::new(raft.leadership(), peers.clone()),
    };
    let (refusals, noted) = Refusals::new();
    let local = Gate::local(raft.state(), clock.clone(), refusals.clone());
    let mut tasks = vec![
        leading,
        tokio::spawn(access::refusals::keep(noted, raft.clone(), clock.clone(), stop.clone())),
        tokio::spawn(trail::follow(raft.state(), stop.clone())),
        tokio::spawn(membership::keep(raft.clone(), stop.clone())),
        tokio::spawn(rotation::hold(raft.clone(), sealer.clone(), peers.clone(), stop.clone())),
        tokio::spawn(rotation::lead(raft.clone(), sealer.clone(), stuck, stop.clone())),
        tokio::spawn(servers::announce(
            raft.clone(),
            peers,
            info(raft.id(), reached),
            known_servers,
            sealer.held(),
            stop.clone(),
        )),
        tokio::spawn(doors::local_api(rooms.clone(), local.clone(), api_listener, stop.clone())),
        tokio::spawn(doors::local_agents(rooms.clone(), local, agents_listener, stop.clone())),
    ];
    let opened = ports.as_ref().map(doors::Ports::opened);
    if let (Some(ports), Some(tcp)) = (ports, &config.tcp) {
        let gate = Gate::remote(raft.state(), clock.clone(), refusals, joins);
        let desk = Desk::new(raft.clone(), founded, sealer, clock, tcp.life);
        tasks.extend(ports.serve(rooms, &desk, &gate, &stop).await);
    }
    Ok(RunningServer { raft, stop, tasks, sockets: [config.api_socket, config.agents_socket], ports: opened })
}

/// What a server shows that has joined others: now, or at an earlier start.
async fn joined(config: &ServerConfig, is_new: bool) -> Result<Option<Joined>, ServerError> {
    let earlier = joining::earlier(&config.data_dir)?;
    if earlier.is_some() || !is_new {
        return Ok(earlier);
    }
    match &config.join {
        Some(_) if config.tcp.is_none() => Err(ServerError::JoinsUnreached),
        Some(join) => Ok(Some(joining::join(&config.data_dir, &config.seal_key, join).await?)),
        None if config.bootstrap => Ok(None),
        None => Err(ServerError::Empty { path: config.data_dir.clone() }),
    }
}

/// What this server says of itself.
fn info(id: ServerId, [operators, peers]: [String; 2]) -> ServerInfo {
    ServerInfo {
        id,
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        peers,
        operators,
        understands: STATE_VERSION,
        program: proto::hello::VERSION.to_owned(),
        sealing_keys: Vec::new(),
    }
}

// === impl RunningServer ===

impl RunningServer {
    /// Writes figures of this server to a file from now on.
    pub fn write_metrics(&mut self, file: PathBuf) {
        self.tasks.push(tokio::spawn(metrics::keep(self.raft.clone(), file, self.stop.clone())));
    }

    /// Resolves when the log is lost: the process must end, because it can acknowledge nothing any more.
    pub async fn lost(&self) -> RaftError {
        self.raft.lost().await
    }

    /// Returns once the log's core has taken a question; false when it has ended.
    pub async fn answers(&self) -> bool {
        self.raft.answers().await
    }

    /// How its log is doing.
    pub fn metrics(&self) -> RaftMetrics {
        self.raft.metrics()
    }

    /// Where operators and agents reach it over TCP, in this order.
    pub fn ports(&self) -> Option<[SocketAddr; 2]> {
        self.ports
    }

    /// Closes the doors, then the log.
    /// One that leads others hands leadership over first: writes pause for less than an election.
    pub async fn shutdown(self) {
        self.raft.hand_over().await;
        self.stop.cancel();
        for task in self.tasks {
            // A door with open streams is not waited for for ever.
            let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "the log did not close in order");
        }
        for socket in &self.sockets {
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// Makes this server the first voter when the data are new. If it is the only one, waits until it leads, and writes the
/// first command; one of several comes back as it was.
async fn lead_cluster(raft: &RaftHandle, config: &ServerConfig) -> Result<(), ServerError> {
    if !raft.is_bootstrapped().await? {
        raft.bootstrap(&config.api_socket.display().to_string()).await?;
    }
    let mut leadership = raft.leadership();
    if !raft.is_alone().await? {
        return Ok(());
    }
    let leads = async { leadership.wait_for(|l| l.leading().is_some()).await.is_ok() };
    match tokio::time::timeout(Duration::from_secs(LEAD_WITHIN_S), leads).await {
        Ok(true) => {}
        _ => return Err(ServerError::NotLeading),
    }
    raft.read_barrier().await.map_err(|e| ServerError::Bootstrap(e.to_string()))?;
    if raft.state().borrow().cluster().is_some() {
        return Ok(());
    }
    let mut id = [0_u8; 8];
    getrandom::fill(&mut id).map_err(|e| ServerError::Bootstrap(e.to_string()))?;
    let command = Command::Bootstrap { cluster: ClusterId(u64::from_le_bytes(id)), ranges: choose_ranges(config)? };
    match raft.propose(None, command).await {
        Ok(Applied { outcome: Outcome::Done { .. }, .. }) => Ok(()),
        Ok(other) => Err(ServerError::Bootstrap(format!("{:?}", other.outcome))),
        Err(ProposeError::Unknown { cause }) => Err(ServerError::Bootstrap(format!("outcome unknown: {cause}"))),
        Err(error) => Err(ServerError::Bootstrap(error.to_string())),
    }
}

fn choose_ranges(config: &ServerConfig) -> Result<Ranges, ServerError> {
    let chosen = match config.range {
        Some(containers) => with_neighbour(containers, &config.used)?,
        None => ranges::choose_range(&config.used, RANGE_PREFIX_DEFAULT).ok_or(ServerError::NoRange)?,
    };
    Ok(chosen.into())
}

/// The operator's range for containers, and the one behind it for services.
fn with_neighbour(containers: Cidr, used: &[Cidr]) -> Result<ranges::Ranges, ServerError> {
    let wrong = |why: String| ServerError::Range { range: containers, why };
    if !(8..=28).contains(&containers.prefix()) {
        return Err(wrong("its prefix length must be between 8 and 28".to_owned()));
    }
    let behind = u32::from(containers.last()).checked_add(1).ok_or_else(|| wrong("nothing follows it".to_owned()))?;
    let services = Cidr::containing(behind.into(), containers.prefix()).map_err(|e| wrong(e.to_string()))?;
    match used.iter().find(|net| net.overlaps(containers) || net.overlaps(services)) {
        Some(net) => {
            Err(wrong(format!("it, or {services} for services behind it, overlaps the host's route to {net}")))
        }
        None => Ok(ranges::Ranges { containers, services }),
    }
}

fn make_dir(path: &Path) -> Result<(), ServerError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| ServerError::File { verb: "make", path: path.to_owned(), source })
}

/// A unix socket that only its owner may use. A stale one is replaced, a live one refused.
async fn listen(path: &Path) -> Result<UnixListener, ServerError> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(ServerError::Running { path: path.to_owned() });
    }
    if let Some(directory) = path.parent() {
        make_dir(directory)?;
    }
    let fail = |verb| move |source| ServerError::File { verb, path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(fail("replace")(e)),
    }
    let listener = UnixListener::bind(path).map_err(fail("listen on"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(fail("protect"))?;
    Ok(listener)
}
