//! One server with its TCP doors on this host's loopback, and those who join it: what tests of identity share.
//!
//! Never fakes a certificate: whoever joins does it as a host would, by a token and over TLS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent::clock::Clock;
use agent::identity::Join;
use agent::runtime::ImageInfo;
use agent::runtime::fake::FakeRuntime;
use agent::session::{Door, Link};
use orchestrator::server::{RunningServer, ServerConfig, Tcp, start};
use proto::id::NodeId;
use proto::join_token::{JoinToken, TokenKind};
use proto::node::NodeInfo;
use proto::peer::{EnrolError, Kept, PrivateKey, enrol};
use proto::revision::Epoch;
use proto::v1;
use proto::v1::control_client::ControlClient;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for what must happen, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(45);
/// A life that no test outlasts.
pub const LONG: Duration = Duration::from_secs(3_600);

/// A server.
#[derive(Debug)]
pub struct Site {
    /// Its data, and that of its guests.
    pub dir: tempfile::TempDir,
    /// Where operators and agents reach it.
    pub ports: [SocketAddr; 2],
    running: RunningServer,
}

/// An agent in this process, on an engine in memory.
#[derive(Debug)]
pub struct Guest {
    /// Its engine.
    pub engine: FakeRuntime,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), agent::AgentError>>,
}

/// Now, in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// A range of 127/8: its gateways can be bound without a bridge. Each site has another.
fn range() -> proto::ranges::Cidr {
    let drawn =
        std::process::id().wrapping_mul(31).wrapping_add(SITES.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    format!("127.{}.0.0/16", 2 * (1 + drawn % 120)).parse().expect("a range")
}

static SITES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Waits until something holds.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a server tells, if it does within three seconds.
pub async fn snapshot(
    mut door: ControlClient<Channel>,
    asked: impl tonic::IntoRequest<v1::GetSnapshotRequest>,
) -> Option<v1::Snapshot> {
    let answer = tokio::time::timeout(Duration::from_secs(3), door.get_snapshot(asked)).await;
    Some(answer.ok()?.ok()?.into_inner())
}

// === impl Site ===

impl Site {
    /// A new cluster whose certificates live so long.
    pub async fn new(life: Duration) -> Site {
        Site::open(tempfile::tempdir().expect("a temporary directory"), life, true).await
    }

    async fn open(dir: tempfile::TempDir, life: Duration, bootstrap: bool) -> Site {
        let local = "127.0.0.1".parse().expect("an address");
        let tcp = Tcp { listen: local, advertise: local, operators: 0, agents: 0, life };
        let config = ServerConfig {
            data_dir: dir.path().join("server"),
            api_socket: dir.path().join("api.sock"),
            agents_socket: dir.path().join("agents.sock"),
            seal_key: dir.path().join("keys/seal.key"),
            bootstrap,
            join: None,
            dev: false,
            range: bootstrap.then(range),
            used: Vec::new(),
            tcp: Some(tcp),
        };
        let running = start(config).await.expect("the server starts");
        let ports = running.ports().expect("it listens");
        Site { dir, ports, running }
    }

    /// Ends the server and starts it again on the same data, at other ports.
    pub async fn restart(self, life: Duration) -> Site {
        let Site { dir, running, .. } = self;
        running.shutdown().await;
        Site::open(dir, life, false).await
    }

    /// The operators' port.
    pub fn operators(&self) -> String {
        self.ports[0].to_string()
    }

    /// The agents' port.
    pub fn agents(&self) -> String {
        self.ports[1].to_string()
    }

    /// The operators' door on this host.
    pub fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(Link::Unix(self.dir.path().join("api.sock")).channel())
    }

    /// A token that was asked for so.
    pub async fn token_as(&self, asked: v1::CreateTokenRequest) -> String {
        self.control().create_token(asked).await.expect("a token").into_inner().token
    }

    /// A token for agents.
    pub async fn agent_token(&self, uses: u32) -> String {
        self.token_as(v1::CreateTokenRequest { kind: "agent".into(), uses, valid_ms: 3_600_000, ..Default::default() })
            .await
    }

    /// A token for one operator.
    pub async fn operator_token(&self, name: &str, role: &str, project: &str) -> String {
        self.token_as(v1::CreateTokenRequest {
            kind: "operator".into(),
            uses: 1,
            valid_ms: 3_600_000,
            role: role.into(),
            project: project.into(),
            name: name.into(),
        })
        .await
    }

    /// Joins with a key, as a node or, without an id, as an operator.
    pub async fn join(&self, token: &str, key: &PrivateKey, node: &str) -> Result<Kept, EnrolError> {
        let (kind, port) = match node {
            "" => (TokenKind::Operator, self.operators()),
            _ => (TokenKind::Agent, self.agents()),
        };
        let token = JoinToken::read(token, kind).expect("a token");
        enrol(vec![port], &token, key, node).await
    }

    /// An operator who has joined.
    pub async fn operator(&self, name: &str, role: &str, project: &str) -> Kept {
        let token = self.operator_token(name, role, project).await;
        self.join(&token, &PrivateKey::generate().expect("a key"), "").await.expect("joins")
    }

    /// A node's identity, without a node behind it.
    pub async fn node(&self, id: &str) -> Kept {
        let token = self.agent_token(1).await;
        self.join(&token, &PrivateKey::generate().expect("a key"), id).await.expect("joins")
    }

    /// Runs an agent whose data are in a directory of this name.
    pub fn run_agent(&self, name: &str, door: Door) -> Guest {
        let config = agent::Config {
            data_dir: self.dir.path().join(name),
            door,
            docker: "unix:///nowhere.sock".into(),
            labels: [("name".to_owned(), name.to_owned())].into(),
            allow: Default::default(),
            pulse: agent::pulse::Pulse::default(),
        };
        let engine = FakeRuntime::new();
        engine.add_to_registry("img:1", ImageInfo::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(agent::run_on(config, Arc::new(engine.clone()), Clock::real(), stop.clone()));
        Guest { engine, stop, task }
    }

    /// How an agent joins with the token in a file.
    pub fn door(&self, token_file: &Path) -> Door {
        Door::Join(Join { servers: vec![self.agents()], token_file: Some(token_file.to_owned()) })
    }

    /// Writes a token into a file.
    pub fn token_file(&self, name: &str, token: &str) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, format!("{token}\n")).expect("writes");
        path
    }

    /// Everything, as the server's own host sees it.
    pub async fn snapshot(&self) -> v1::Snapshot {
        let asked = v1::GetSnapshotRequest { project: String::new(), events: 1_000 };
        self.control().get_snapshot(asked).await.expect("a snapshot").into_inner()
    }

    /// Ends the server.
    pub async fn shutdown(self) {
        self.running.shutdown().await;
    }
}

// === impl Guest ===

impl Guest {
    /// Ends it, or tells how it ended.
    pub async fn stop(self) -> Result<(), agent::AgentError> {
        self.stop.cancel();
        self.task.await.expect("no panic")
    }

    /// How it ended by itself.
    pub async fn ended(self) -> Result<(), agent::AgentError> {
        self.task.await.expect("no panic")
    }
}

/// A channel to the doors at an address, seen as this identity.
pub fn channel_as(kept: &Kept, address: String) -> Channel {
    let mut kept = kept.clone();
    kept.servers = vec![address];
    kept.remote().expect("an identity").channel(Endpoint::from_static("http://server.wherry"))
}

/// How the agent of a node begins its session.
pub fn hello(node: v1::NodeInfo) -> v1::AgentMessage {
    let hello = proto::hello::hello(None, Epoch(0));
    let hello = v1::AgentHello { hello: Some(hello), node: Some(node) };
    v1::AgentMessage { message: Some(v1::agent_message::Message::Hello(hello)) }
}

/// What a node says of itself with one processor and 8 GiB, and nothing else; what is otherwise is written over it.
pub fn node_info(id: NodeId, hostname: impl Into<String>) -> NodeInfo {
    NodeInfo {
        id,
        hostname: hostname.into(),
        agent_version: "0".to_owned(),
        engine_version: "0".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        cpu_millis: 1_000,
        memory_bytes: 8 << 30,
        addresses: Vec::new(),
        labels: BTreeMap::new(),
        features: BTreeSet::new(),
    }
}

/// A project `shop` with one service `web` of one container that mounts these files.
pub fn shop(files: Vec<v1::FileMount>) -> v1::ProjectSpec {
    let container = v1::ContainerSpec {
        image: "img:1".into(),
        pull: v1::PullPolicy::Missing.into(),
        limits: Some(v1::Limits::default()),
        files,
        ..Default::default()
    };
    let always = v1::restart_policy::Policy::Always(v1::restart_policy::Always {});
    let of_image = v1::health_spec::Source::FromImage(v1::health_spec::FromImage {});
    let service = v1::ServiceSpec {
        container: Some(container),
        replicas: 1,
        restart: Some(v1::RestartPolicy { policy: Some(always) }),
        health: Some(v1::HealthSpec { source: Some(of_image) }),
        reservations: Some(v1::Reservations::default()),
        ..Default::default()
    };
    v1::ProjectSpec { name: "shop".into(), services: [("web".to_owned(), service)].into(), ..Default::default() }
}
