//! The `orchestrator` program: parse arguments, start the server, wait for a signal, map the error to an exit code.

use clap::Parser;
use orchestrator::server::{ServerConfig, start};
use proto::ranges::Cidr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// A control-plane server of Wherry.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "EXAMPLES:\n  orchestrator --bootstrap                     make a new cluster in /var/lib/wherry/server\n  orchestrator                                 start again with the same data"
)]
struct Arguments {
    /// Where the log, snapshots and the server's id live.
    #[arg(long, default_value = "/var/lib/wherry/server", env = "WHERRY_DATA_DIR")]
    data_dir: PathBuf,
    /// Directory of the sockets.
    #[arg(long, default_value = "/run/wherry")]
    run_dir: PathBuf,
    /// The sealing key: a file outside the data directory.
    #[arg(long, default_value = "/etc/wherry/seal.key")]
    seal_key: PathBuf,
    /// Make a new cluster when the data directory holds none.
    #[arg(long)]
    bootstrap: bool,
    /// Container range of a new cluster, such as 10.210.0.0/16.
    #[arg(long)]
    range: Option<Cidr>,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(Arguments::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = ServerConfig {
        api_socket: arguments.run_dir.join("api.sock"),
        agents_socket: arguments.run_dir.join("agents.sock"),
        data_dir: arguments.data_dir,
        seal_key: arguments.seal_key,
        bootstrap: arguments.bootstrap,
        dev: false,
        range: arguments.range,
        used: orchestrator::routes::used()?,
    };
    let server = start(config).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        error = server.lost() => return Err(error.into()),
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    server.shutdown().await;
    Ok(())
}
