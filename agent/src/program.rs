//! The `agent` program: arguments, signals, the service manager, exit code. Called by its `main` and by `wherry`.

use clap::Parser;
use sd_notify::NotifyState;
use std::ffi::OsString;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::args::Args;
use crate::node::{self, Config};
use crate::pulse::Pulse;

/// Runs a command line, the program's own name first, until a signal; 0 when it ended because it was asked to.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let config = Config::from(Args::parse_from(words));
    let filter = EnvFilter::try_from_env("WHERRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    if let Err(error) = proto::peer::keep_memory_to_itself() {
        tracing::warn!(%error, "core dumps of this process cannot be ruled out: it holds secrets");
    }
    let ended =
        tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(config)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", proto::chain::in_one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let pulse = config.pulse.clone();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = tell_service_manager(&pulse) => {}
        }
        // Nothing is lost when it cannot be told: it sees the process end.
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        on_signal.cancel();
    });
    Ok(node::run(config, stop).await?)
}

/// Says when the node works, and as long as its loop turns, if there is a service manager that asks. Never returns.
async fn tell_service_manager(pulse: &Pulse) {
    pulse.beyond(0).await;
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager could not be told that the agent is ready");
    }
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        let seen = pulse.count();
        if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            tracing::warn!(%error, "the service manager could not be told");
        }
        tokio::time::sleep(limit / 3).await;
        pulse.beyond(seen).await;
    }
}
