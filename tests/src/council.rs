//! Several servers in this process, each with its own directories and ports on this host's loopback.
//!
//! Never fakes a member: each joins by a token over TLS, as a host would. They end in order or stand still; those that
//! are killed are processes of their own (`lab`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agent::session::Link;
use orchestrator::raft::RaftMetrics;
use orchestrator::server::{Join, RunningServer, ServerConfig, Tcp, start};
use proto::join_token::{JoinToken, TokenKind};
use proto::v1;
use proto::v1::control_client::ControlClient;
use tonic::transport::Channel;

use crate::site::{LONG, until};

/// The servers.
#[derive(Debug)]
pub struct Council {
    /// The directories of all.
    pub dir: tempfile::TempDir,
    servers: Vec<Option<RunningServer>>,
    ports: Vec<[u16; 2]>,
}

// === impl Council ===

impl Council {
    /// So many servers, all of them taken up.
    pub async fn of(count: usize) -> Council {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut council = Council { dir, servers: Vec::new(), ports: Vec::new() };
        for _ in 0..count {
            council.add().await;
        }
        council
    }

    /// One more; returns when it has caught up.
    pub async fn add(&mut self) -> usize {
        let at = self.servers.len();
        self.servers.push(None);
        self.ports.push([0, 0]);
        self.start(at).await;
        let id = self.id(at);
        until("a server is taken up", async || {
            let state = self.server(&id).await?.state;
            (state == "ready").then_some(())
        })
        .await;
        at
    }

    /// Starts one, with the line that it is always started with.
    pub async fn start(&mut self, at: usize) {
        let local = "127.0.0.1".parse().expect("an address");
        let [operators, agents] = self.ports[at];
        let join = match (at, self.home(at).join("server/server-id").exists()) {
            (0, _) | (_, true) => None,
            _ => Some(Join { servers: vec![self.peers(0).to_string()], token: self.token().await }),
        };
        let config = ServerConfig {
            data_dir: self.home(at).join("server"),
            api_socket: self.socket(at),
            agents_socket: self.home(at).join("agents.sock"),
            seal_key: self.home(at).join("keys/seal.key"),
            bootstrap: at == 0,
            join,
            dev: false,
            range: None,
            used: Vec::new(),
            tcp: Some(Tcp { listen: local, advertise: local, operators, agents, life: LONG }),
        };
        let running = start(config).await.expect("the server starts");
        self.ports[at] = running.ports().expect("it listens").map(|address| address.port());
        self.servers[at] = Some(running);
    }

    async fn token(&self) -> JoinToken {
        let asked = v1::CreateTokenRequest { kind: "server".into(), uses: 1, valid_ms: 600_000, ..Default::default() };
        let told = self.control(0).create_token(asked).await.expect("a token").into_inner();
        JoinToken::read(&told.token, TokenKind::Server).expect("a token")
    }

    /// Its directory.
    pub fn home(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("s{at}"))
    }

    /// Its operators' socket.
    pub fn socket(&self, at: usize) -> PathBuf {
        self.home(at).join("api.sock")
    }

    /// Where agents and servers reach it.
    pub fn peers(&self, at: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[at][1]))
    }

    /// Its id, as others call it.
    pub fn id(&self, at: usize) -> String {
        let path = self.home(at).join("server/server-id");
        std::fs::read_to_string(path).expect("it has one").trim().to_owned()
    }

    /// How the log of one is doing.
    pub fn metrics(&self, at: usize) -> RaftMetrics {
        self.servers[at].as_ref().expect("it runs").metrics()
    }

    /// The operators' door of one.
    pub fn control(&self, at: usize) -> ControlClient<Channel> {
        ControlClient::new(Link::Unix(self.socket(at)).channel())
    }

    /// Those that run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.servers.len()).filter(|at| self.servers[*at].is_some()).collect()
    }

    /// Everything, asked of one.
    pub async fn snapshot(&self, at: usize) -> Result<v1::Snapshot, tonic::Status> {
        let asked = v1::GetSnapshotRequest { project: String::new(), events: 1_000 };
        let mut control = self.control(at);
        match tokio::time::timeout(Duration::from_secs(12), control.get_snapshot(asked)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(tonic::Status::deadline_exceeded("no answer in time")),
        }
    }

    /// One, as the cluster sees it.
    pub async fn server(&self, id: &str) -> Option<v1::Server> {
        let at = *self.running().first()?;
        self.snapshot(at).await.ok()?.servers.into_iter().find(|server| server.id == id)
    }

    /// How many vote, and who leads, once somebody does.
    pub async fn voters(&self) -> Option<(usize, String)> {
        let at = *self.running().first()?;
        let servers = self.snapshot(at).await.ok()?.servers;
        let voters = servers.iter().filter(|server| server.role != "learner").count();
        let leader = servers.into_iter().find(|server| server.role == "leader")?;
        Some((voters, leader.id))
    }

    /// The one that leads.
    pub async fn leader(&self) -> usize {
        let id = until("one leads", async || self.voters().await.map(|(_, leader)| leader)).await;
        self.running().into_iter().find(|at| self.id(*at) == id).expect("it runs")
    }

    /// Ends one in order.
    pub async fn stop(&mut self, at: usize) {
        self.servers[at].take().expect("it runs").shutdown().await;
    }

    /// Ends all, at once.
    pub async fn shutdown(mut self) {
        let all = self.servers.iter_mut().filter_map(Option::take).map(RunningServer::shutdown);
        futures_util::future::join_all(all).await;
    }
}
