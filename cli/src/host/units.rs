//! What the packaged units are told, as files: the address a server listens on, where an agent's servers are. Pure.

use std::net::IpAddr;

use super::layout::{AgentWords, Leads, Role};

/// Where it is known whether a host has the service manager that the units are for.
pub const MANAGER: &str = "/run/systemd/system";
/// Where the units are once they are installed.
pub const SERVER_UNIT: &str = "/etc/systemd/system/wherry-server.service";
const SERVER_ENV: &str = "/etc/wherry/server.env";
const AGENT_ENV: &str = "/etc/wherry/agent.env";
const TOKEN: &str = "/etc/wherry/token";
const JOIN: &str = "/etc/systemd/system/wherry-agent.service.d/join.conf";

/// A file that is to be there, for root's eyes only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub path: &'static str,
    /// What is in it.
    pub content: String,
    /// A fresh one takes its place without a question.
    pub replaced: bool,
}

/// The units of a role, as the service manager calls them.
pub fn units(roles: &[Role]) -> Vec<&'static str> {
    let unit = |role: &Role| match role {
        Role::Server => "wherry-server",
        Role::Agent => "wherry-agent",
    };
    roles.iter().map(unit).collect()
}

/// What the units of a host read. `token`: for an agent whose servers are elsewhere.
pub fn files(listen: Option<IpAddr>, leads: &Leads, told: &AgentWords, token: Option<&str>) -> Vec<Wanted> {
    let mut files = Vec::new();
    if let Some(listen) = listen {
        files.push(Wanted { path: SERVER_ENV, content: format!("WHERRY_LISTEN={listen}\n"), replaced: false });
    }
    let docker = told.docker.iter().map(|docker| format!("DOCKER_HOST={docker}\n"));
    let allow = (!told.allow.is_empty()).then(|| format!("WHERRY_ALLOW={}\n", told.allow.join(",")));
    let environment: String = docker.chain(allow).collect();
    if !environment.is_empty() {
        files.push(Wanted { path: AGENT_ENV, content: environment, replaced: false });
    }
    let labels: String = told.labels.iter().map(|label| format!(" --label {label}")).collect();
    let line = match leads {
        Leads::To(servers) => Some(format!("--join {} --token-file {TOKEN}{labels}", servers.join(","))),
        Leads::Here if labels.is_empty() => None,
        Leads::Here => Some(format!("--server-socket /run/wherry/agents.sock{labels}")),
    };
    if let Some(line) = line {
        // The first, empty one takes the unit's own away.
        let content = format!("[Service]\nExecStart=\nExecStart=/usr/local/bin/wherry agent {line}\n");
        files.push(Wanted { path: JOIN, content, replaced: false });
    }
    if let (Leads::To(_), Some(token)) = (leads, token) {
        files.push(Wanted { path: TOKEN, content: format!("{token}\n"), replaced: true });
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_host_says_where_it_listens_and_nothing_else() {
        let files = files("10.0.0.1".parse().ok(), &Leads::Here, &AgentWords::default(), None);
        assert_eq!(files, [Wanted { path: SERVER_ENV, content: "WHERRY_LISTEN=10.0.0.1\n".into(), replaced: false }]);
        assert_eq!(units(&[Role::Server, Role::Agent]), ["wherry-server", "wherry-agent"]);
    }

    #[test]
    fn the_next_host_has_a_token_in_a_file_and_not_on_a_command_line() {
        let told = AgentWords { allow: vec!["host-paths".into()], labels: vec!["a=b".into()], docker: None };
        let files = files(None, &Leads::To(vec!["10.0.0.1:7421".into()]), &told, Some("wherry-agent-x"));
        let of = |path: &str| files.iter().find(|f| f.path == path).map(|f| f.content.as_str()).unwrap_or_default();
        assert_eq!(of(AGENT_ENV), "WHERRY_ALLOW=host-paths\n");
        assert_eq!(
            of(JOIN),
            "[Service]\nExecStart=\nExecStart=/usr/local/bin/wherry agent --join 10.0.0.1:7421 --token-file \
             /etc/wherry/token --label a=b\n"
        );
        assert_eq!(of(TOKEN), "wherry-agent-x\n");
        assert!(of(SERVER_ENV).is_empty());
    }
}
