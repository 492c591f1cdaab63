//! The `orchestrator` program: arguments, signals, the service manager, exit code. Called by its `main` and by `wherry`.

use anyhow::Context;
use clap::Parser;
use proto::join_token::{JoinToken, TokenKind};
use proto::limits::JOIN_TOKEN_MAX_BYTES;
use proto::peer::{AGENTS_PORT, OPERATORS_PORT, with_port};
use proto::ranges::Cidr;
use sd_notify::NotifyState;
use std::ffi::OsString;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::server::{Join, RunningServer, ServerConfig, Tcp, start};

/// A control-plane server of Wherry
#[derive(Debug, Parser)]
#[command(
    name = "orchestrator",
    version,
    after_help = "Examples:
  orchestrator --bootstrap    start with the data in /var/lib/wherry/server, or make a new cluster there
  orchestrator                start with the data that are there; refused when there are none
  orchestrator --listen 10.0.0.1
                              the same, and let agents and operators of other hosts in
  orchestrator --listen 10.0.0.2 --join 10.0.0.1:7421 --token-file FILE
                              become a server of the cluster there; `ctl token create server` makes the token"
)]
struct Arguments {
    /// Where the log, snapshots and the server's id live
    #[arg(long, value_name = "DIR", default_value = "/var/lib/wherry/server", env = "WHERRY_DATA_DIR")]
    data_dir: PathBuf,
    /// Directory of the sockets
    #[arg(long, value_name = "DIR", default_value = "/run/wherry")]
    run_dir: PathBuf,
    /// The sealing key: a file outside the data directory
    #[arg(long, value_name = "PATH", default_value = "/etc/wherry/seal.key")]
    seal_key: PathBuf,
    /// Make a new cluster when the data directory holds none
    #[arg(long)]
    bootstrap: bool,
    /// Join the cluster of these servers, HOST:PORT each, when the data directory holds nothing
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        conflicts_with = "bootstrap",
        requires = "listen",
        env = "WHERRY_JOIN"
    )]
    join: Vec<String>,
    /// File with the join token, `-` for standard input [default: the variable WHERRY_TOKEN]
    #[arg(long, value_name = "FILE", requires = "join")]
    token_file: Option<PathBuf>,
    /// Container range of a new cluster, such as 10.210.0.0/16
    #[arg(long, value_name = "CIDR")]
    range: Option<Cidr>,
    /// Write figures of this server to this file every ten seconds, for Prometheus' node exporter
    #[arg(long, value_name = "PATH", env = "WHERRY_METRICS_FILE")]
    metrics_file: Option<PathBuf>,
    /// Let other hosts in on this address: operators on port 7420, agents on 7421, with TLS and certificates only
    #[arg(long, value_name = "IP", env = "WHERRY_LISTEN")]
    listen: Option<IpAddr>,
    /// The address other hosts are told [default: that of --listen]
    #[arg(long, value_name = "IP", env = "WHERRY_ADVERTISE", requires = "listen")]
    advertise: Option<IpAddr>,
}

/// Life of a certificate.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// The TCP doors that were asked for.
fn tcp(listen: Option<IpAddr>, advertise: Option<IpAddr>) -> anyhow::Result<Option<Tcp>> {
    let Some(listen) = listen else { return Ok(None) };
    let advertise = advertise.unwrap_or(listen);
    anyhow::ensure!(
        !advertise.is_unspecified(),
        "--listen {listen} is every address of this host: say with --advertise IP which one other hosts are told"
    );
    Ok(Some(Tcp { listen, advertise, operators: OPERATORS_PORT, agents: AGENTS_PORT, life: CERTIFICATE_LIFE }))
}

/// Runs a command line, the program's own name first, until a signal; 0 when it ended because it was asked to.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = Arguments::parse_from(words);
    let filter = EnvFilter::try_from_env("WHERRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Err(error) = proto::peer::keep_memory_to_itself() {
        tracing::warn!(%error, "core dumps of this process cannot be ruled out: it holds secrets");
    }
    let ended = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", proto::chain::in_one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// The cluster to join, if the data directory holds nothing: a unit starts with the same line ever after.
fn join(arguments: &Arguments) -> anyhow::Result<Option<Join>> {
    let is_known = arguments.data_dir.join("server-id").exists() || arguments.data_dir.join("identity").exists();
    if arguments.join.is_empty() || is_known {
        return Ok(None);
    }
    let text = match &arguments.token_file {
        Some(path) if path.as_os_str() == "-" => {
            std::io::read_to_string(std::io::stdin().take(JOIN_TOKEN_MAX_BYTES as u64))
                .context("the join token cannot be read from standard input")?
        }
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("the join token in {} cannot be read", path.display()))?,
        None => std::env::var("WHERRY_TOKEN").map_err(|_| {
            anyhow::anyhow!(
                "no join token: name a file with --token-file, or set WHERRY_TOKEN; `ctl token create server` makes one"
            )
        })?,
    };
    let token = JoinToken::read(&text, TokenKind::Server)?;
    let servers = arguments.join.iter().map(|server| with_port(server, AGENTS_PORT)).collect();
    Ok(Some(Join { servers, token }))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let join = join(&arguments)?;
    let config = ServerConfig {
        api_socket: arguments.run_dir.join("api.sock"),
        agents_socket: arguments.run_dir.join("agents.sock"),
        data_dir: arguments.data_dir,
        seal_key: arguments.seal_key,
        bootstrap: arguments.bootstrap,
        join,
        dev: false,
        range: arguments.range,
        used: crate::routes::used()?,
        tcp: tcp(arguments.listen, arguments.advertise)?,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    // One that waits for a cluster to let it in can be ended too.
    let mut server = tokio::select! {
        started = start(config) => started?,
        _ = terminate.recv() => return Ok(()),
        interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
    };
    if let Some(file) = arguments.metrics_file {
        server.write_metrics(file);
    }
    sd_notify::notify(&[NotifyState::Ready])?;
    tokio::select! {
        error = server.lost() => return Err(error.into()),
        () = feed_watchdog(&server) => {}
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    sd_notify::notify(&[NotifyState::Stopping])?;
    server.shutdown().await;
    Ok(())
}

/// Tells the service manager, if it asks to be told, that the log still takes questions: a sync that hangs does not.
async fn feed_watchdog(server: &RunningServer) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        if server.answers().await
            && let Err(error) = sd_notify::notify(&[NotifyState::Watchdog])
        {
            tracing::warn!(%error, "the service manager could not be told");
        }
        tokio::time::sleep(limit / 3).await;
    }
}
