//! What a host's server and agent are started with: their directories and their words. Pure.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The two programs of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A server of the control plane.
    Server,
    /// The agent.
    Agent,
}

/// Where this host keeps what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The server's data.
    pub server: PathBuf,
    /// The agent's data.
    pub agent: PathBuf,
    /// Sockets and process ids.
    pub run: PathBuf,
    /// The sealing key, apart from the data.
    pub key: PathBuf,
    /// What the programs write when nobody else keeps it.
    pub log: PathBuf,
}

/// What the agent is told beyond where its server is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentWords {
    /// The Docker Engine; `None`: its usual socket.
    pub docker: Option<String>,
    /// What containers may ask for.
    pub allow: Vec<String>,
    /// Labels, `KEY=VALUE`.
    pub labels: Vec<String>,
}

/// Where the agent finds its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// On this host.
    Here,
    /// On others, `HOST:PORT`.
    To(Vec<String>),
}

// === impl Role ===

impl Role {
    /// The name by which the one program for all is that one.
    pub fn program(self) -> &'static str {
        match self {
            Role::Server => "orchestrator",
            Role::Agent => "agent",
        }
    }
}

// === impl Layout ===

impl Layout {
    /// Where packages have it.
    pub fn of_system() -> Layout {
        Layout {
            server: "/var/lib/wherry/server".into(),
            agent: "/var/lib/wherry/agent".into(),
            run: "/run/wherry".into(),
            key: "/etc/wherry/seal.key".into(),
            log: "/var/lib/wherry".into(),
        }
    }

    /// All of it below one directory, an absolute path.
    pub fn below(dir: &Path) -> Layout {
        Layout {
            server: dir.join("server"),
            agent: dir.join("agent"),
            run: dir.join("run"),
            key: dir.join("keys/seal.key"),
            log: dir.to_owned(),
        }
    }

    /// The operators' door.
    pub fn api_socket(&self) -> PathBuf {
        self.run.join("api.sock")
    }

    /// The file with a program's process id.
    pub fn pid_file(&self, role: Role) -> PathBuf {
        self.run.join(format!("{}.pid", role.program()))
    }

    /// What a program has written.
    pub fn log_file(&self, role: Role) -> PathBuf {
        self.log.join(format!("{}.log", role.program()))
    }

    /// The data directory that a program names on its command line, and nobody else does.
    pub fn data_dir(&self, role: Role) -> &Path {
        match role {
            Role::Server => &self.server,
            Role::Agent => &self.agent,
        }
    }

    /// The first server's words.
    pub fn server_words(&self, listen: Option<IpAddr>) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--bootstrap".into(), "--data-dir".into(), self.server.clone().into()];
        words.extend(["--run-dir".into(), self.run.clone().into(), "--seal-key".into(), self.key.clone().into()]);
        if let Some(listen) = listen {
            words.extend(["--listen".into(), listen.to_string().into()]);
        }
        words
    }

    /// The agent's words. A token is not among them: every process of a host can read those.
    pub fn agent_words(&self, leads: &Leads, told: &AgentWords) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--data-dir".into(), self.agent.clone().into()];
        match leads {
            Leads::Here => words.extend(["--server-socket".into(), self.run.join("agents.sock").into()]),
            Leads::To(servers) => words.extend(["--join".into(), servers.join(",").into()]),
        }
        if let Some(docker) = &told.docker {
            words.extend(["--docker".into(), docker.into()]);
        }
        if !told.allow.is_empty() {
            words.extend(["--allow".into(), told.allow.join(",").into()]);
        }
        words.extend(told.labels.iter().flat_map(|label| ["--label".into(), label.into()]));
        words
    }
}

/// The line that the next host pastes. The token is in its environment, where `ps` does not show it.
pub fn next_line(program: &str, address: &str, token: &str, dir: Option<&str>) -> String {
    let dir = dir.map(|dir| format!(" --dir {dir}")).unwrap_or_default();
    format!("WHERRY_TOKEN={token} {program} cluster join {address}{dir}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: Vec<OsString>) -> String {
        words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn programs_are_told_what_they_need_and_no_secret() {
        let layout = Layout::below(Path::new("/w"));
        assert_eq!(
            text(layout.server_words("10.0.0.1".parse().ok())),
            "--bootstrap --data-dir /w/server --run-dir /w/run --seal-key /w/keys/seal.key --listen 10.0.0.1"
        );
        let told = AgentWords {
            docker: Some("unix:///d.sock".into()),
            allow: vec!["devices".into(), "net-raw".into()],
            labels: vec!["disk=ssd".into()],
        };
        assert_eq!(
            text(layout.agent_words(&Leads::Here, &told)),
            "--data-dir /w/agent --server-socket /w/run/agents.sock --docker unix:///d.sock --allow devices,net-raw --label disk=ssd"
        );
        let there = Leads::To(vec!["a:7421".into(), "b:7421".into()]);
        assert_eq!(
            text(layout.agent_words(&there, &AgentWords::default())),
            "--data-dir /w/agent --join a:7421,b:7421"
        );
        assert!(!layout.key.starts_with(&layout.server) && !layout.key.starts_with(&layout.agent));
    }

    #[test]
    fn the_next_line_is_one_line() {
        let line = next_line("./wherry", "10.0.0.1:7421", "wherry-agent-x", Some("w"));
        assert_eq!(line, "WHERRY_TOKEN=wherry-agent-x ./wherry cluster join 10.0.0.1:7421 --dir w");
    }
}
