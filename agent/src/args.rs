//! The agent's command line.

use clap::Parser;
use proto::needs::Permission;
use std::path::PathBuf;

use crate::identity::Join;
use crate::node::Config;
use crate::pulse::Pulse;
use crate::session::Door;

/// Runs containers on this host as a Wherry cluster assigns them.
#[derive(Debug, Parser)]
#[command(
    name = "agent",
    version,
    after_help = "Examples:
  agent --data-dir /var/lib/wherry/agent --server-socket /run/wherry/agents.sock
  agent --join 10.0.0.1:7421 --token-file /root/token    on another host
  agent --data-dir ./node --server-socket ./agents.sock --label disk=ssd

Containers keep running when the agent ends; the next one adopts them."
)]
pub struct Args {
    /// Directory for what survives a restart (0700); one agent at a time
    #[arg(long, value_name = "DIR", env = "WHERRY_DATA_DIR", default_value = "/var/lib/wherry/agent")]
    pub data_dir: PathBuf,
    /// Unix socket of the server's door for agents, on the server's own host
    #[arg(long, value_name = "PATH", env = "WHERRY_SERVER_SOCKET", required_unless_present = "join")]
    pub server_socket: Option<PathBuf>,
    /// Servers on other hosts, separated by commas; once the node is known, the token is not read again
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "WHERRY_JOIN",
        value_delimiter = ',',
        conflicts_with = "server_socket"
    )]
    pub join: Vec<String>,
    /// File with the join token that `ctl token create agent` printed [default: the variable WHERRY_TOKEN]
    #[arg(long, value_name = "FILE", env = "WHERRY_TOKEN_FILE", requires = "join")]
    pub token_file: Option<PathBuf>,
    /// The Docker Engine
    #[arg(long, value_name = "URL", env = "DOCKER_HOST", default_value = "unix:///var/run/docker.sock")]
    pub docker: String,
    /// A label of this node, for placement; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    pub labels: Vec<(String, String)>,
    /// What containers on this node may ask for, separated by commas: privileged, devices, capabilities, net-raw,
    /// security-opt, host-paths, engine-socket, host-pid, host-ipc, host-uts, host-userns, host-cgroup; by default nothing
    #[arg(long, value_name = "WORDS", env = "WHERRY_ALLOW", value_delimiter = ',')]
    pub allow: Vec<Permission>,
}

impl From<Args> for Config {
    fn from(args: Args) -> Config {
        let door = match args.server_socket {
            Some(path) => Door::Unix(path),
            None => Door::Join(Join { servers: args.join, token_file: args.token_file }),
        };
        Config {
            data_dir: args.data_dir,
            door,
            docker: args.docker,
            labels: args.labels.into_iter().collect(),
            allow: args.allow.into_iter().collect(),
            pulse: Pulse::default(),
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("write KEY=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_becomes_a_config() {
        let args = Args::parse_from(["agent", "--server-socket", "/s", "--data-dir", "/d", "--label", "disk=ssd"]);
        let config = Config::from(args);
        assert_eq!(config.door, Door::Unix("/s".into()));
        assert_eq!(config.labels["disk"], "ssd");
        assert!(config.allow.is_empty(), "nothing is allowed unless it is said");
        assert!(Args::try_parse_from(["agent", "--server-socket", "/s", "--label", "disk"]).is_err());
        let args = Args::parse_from(["agent", "--join", "a:1,b:2", "--token-file", "/t"]);
        let join = Join { servers: vec!["a:1".into(), "b:2".into()], token_file: Some("/t".into()) };
        assert_eq!(Config::from(args).door, Door::Join(join));
        assert!(Args::try_parse_from(["agent"]).is_err(), "no server is named");
        assert!(Args::try_parse_from(["agent", "--server-socket", "/s", "--join", "a:1"]).is_err());
        let args = Args::parse_from(["agent", "--server-socket", "/s", "--allow", "privileged,host-pid"]);
        assert_eq!(Config::from(args).allow, [Permission::Privileged, Permission::HostPid].into());
        assert!(Args::try_parse_from(["agent", "--server-socket", "/s", "--allow", "root"]).is_err());
    }
}
