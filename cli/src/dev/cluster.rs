//! Server and agent in this process: started, asked to stop, cleaned up after.
//!
//! The only place of ctl, beside `build`, that names the server and the agent. Called by `command/dev`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use orchestrator::server::{RunningServer, ServerConfig};
use proto::needs::Permission;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::turn::Turn;

/// What a dev cluster is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevConfig {
    /// Its name.
    pub name: String,
    /// Its directory, which exists, is ours alone, and is locked by this process.
    pub dir: PathBuf,
    /// Range of the containers' addresses; `None`: the one in its state, or the first free one.
    pub range: Option<String>,
    /// The Docker Engine, `unix:///var/run/docker.sock`.
    pub docker: String,
    /// What its containers may ask for beyond the ordinary.
    pub allow: BTreeSet<Permission>,
    /// The labels of its node, for placement.
    pub labels: BTreeMap<String, String>,
}

impl DevConfig {
    /// Where the operators' door is.
    pub fn api_socket(&self) -> PathBuf {
        self.dir.join("api.sock")
    }
    /// Where the agents' door is.
    pub fn agents_socket(&self) -> PathBuf {
        self.dir.join("agents.sock")
    }
    /// The server's data.
    pub fn server_dir(&self) -> PathBuf {
        self.dir.join("server")
    }
    /// The agent's data.
    pub fn agent_dir(&self) -> PathBuf {
        self.dir.join("agent")
    }
}

/// A running dev cluster.
#[derive(Debug)]
pub struct Cluster {
    config: DevConfig,
    server: RunningServer,
    agent: Agent,
}

/// The agent in this process.
#[derive(Debug)]
struct Agent {
    stop: CancellationToken,
    ended: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

/// Starts server and agent; returns when the operators' door is open. The node may still be joining.
pub async fn start(config: DevConfig) -> anyhow::Result<Cluster> {
    if let Err(error) = proto::peer::keep_memory_to_itself() {
        tracing::warn!(%error, "core dumps of this process cannot be ruled out: it holds secrets");
    }
    let is_new = !config.server_dir().join("server-id").exists();
    let turn = if is_new { Some(Turn::take().await) } else { None };
    let server = orchestrator::server::start(server_config(&config)?).await?;
    let agent = Agent::start(agent_config(&config));
    if let Some(turn) = turn {
        turn.pass_when_routed(config.api_socket());
    }
    Ok(Cluster { config, server, agent })
}

fn server_config(config: &DevConfig) -> anyhow::Result<ServerConfig> {
    Ok(ServerConfig {
        data_dir: config.server_dir(),
        api_socket: config.api_socket(),
        agents_socket: config.agents_socket(),
        // Beside the server's data, not in it: a copy of the data alone tells no secret.
        seal_key: config.dir.join("keys").join("seal.key"),
        bootstrap: true,
        join: None,
        dev: true,
        range: config.range.as_deref().map(str::parse).transpose()?,
        used: orchestrator::routes::used().context("the host's routes cannot be read")?,
        tcp: None,
    })
}

fn agent_config(config: &DevConfig) -> agent::Config {
    agent::Config {
        data_dir: config.agent_dir(),
        door: agent::session::Door::Unix(config.agents_socket()),
        docker: config.docker.clone(),
        labels: config.labels.clone(),
        allow: allowed(config),
        pulse: agent::pulse::Pulse::default(),
    }
}

/// Who runs a dev cluster runs Docker, and is root by that: the paths of its host are its own, and manifests that are
/// worked on mount them.
fn allowed(config: &DevConfig) -> BTreeSet<Permission> {
    config.allow.iter().copied().chain([Permission::HostPaths]).collect()
}

// === impl Agent ===

impl Agent {
    fn start(config: agent::Config) -> Agent {
        let stop = CancellationToken::new();
        let (say, ended) = watch::channel(None);
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let how = match agent::run(config, stopped).await {
                Ok(()) => "the agent ended".to_owned(),
                Err(error) => format!("the agent ended: {error}"),
            };
            say.send_replace(Some(how));
        });
        Agent { stop, ended, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        // It ends by itself; a panic in it has been told by `lost`.
        let _ = self.task.await;
    }
}

// === impl Cluster ===

impl Cluster {
    /// Where the operators' door is.
    pub fn api_socket(&self) -> PathBuf {
        self.config.api_socket()
    }

    /// Ends server and agent, then stops all containers with their grace. Data and what is wanted stay: the next start
    /// runs them again.
    pub async fn stop_with_tasks(self) -> anyhow::Result<()> {
        let config = agent_config(&self.config);
        self.shutdown().await?;
        Ok(agent::halt(&config).await?)
    }

    /// Ends agent and server. Containers are left as they are.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        self.agent.stop().await;
        self.server.shutdown().await;
        Ok(())
    }

    /// Resolves when server or agent ended by itself, with the reason.
    pub async fn lost(&self) -> anyhow::Error {
        let mut ended = self.agent.ended.clone();
        tokio::select! {
            error = self.server.lost() => error.into(),
            how = ended.wait_for(Option::is_some) => match how {
                Ok(how) => anyhow!("{}", how.as_deref().unwrap_or("the agent ended")),
                Err(_) => anyhow!("the agent's task ended without a word"),
            },
        }
    }
}

/// Removes what a stopped cluster left outside its directory: containers, Docker's network, mounts. Absent ones are no error.
pub async fn remove_traces(config: &DevConfig) -> anyhow::Result<()> {
    Ok(agent::teardown(&agent_config(config)).await?)
}
