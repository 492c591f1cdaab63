//! Sees that there is an authority, and that this server's own certificate is renewed long before it ends.

use proto::identity::{CertificateName, Subject};
use proto::revision::Wall;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::authority::{Authority, AuthorityError};
use super::seal::Sealer;
use crate::engine::Command;
use crate::raft::{Clock, ProposeError, RaftHandle};

/// Pause before a proposal that failed is made again.
const AGAIN: Duration = Duration::from_millis(200);

/// The cluster's authority. Founds it if there is none and this server leads; waits otherwise.
pub async fn authority(
    raft: &RaftHandle,
    sealer: &Sealer,
    clock: &dyn Clock,
) -> Result<Arc<Authority>, AuthorityError> {
    let mut states = raft.state();
    let mut leadership = raft.leadership();
    loop {
        let state = states.borrow_and_update().clone();
        let leads = leadership.borrow_and_update().leading().is_some();
        if let (Some(kept), Some(cluster)) = (state.authority(), state.cluster()) {
            return Ok(Arc::new(Authority::open(kept, cluster, sealer)?));
        }
        if let Some(cluster) = state.cluster().filter(|_| leads) {
            let authority = Authority::found(cluster, clock.wall(), sealer)?;
            let command = Command::FoundAuthority { authority };
            if command.version() <= state.version() {
                match raft.propose(None, command).await {
                    Ok(_) => {}
                    Err(error @ ProposeError::Stopped) => return Err(AuthorityError::Tls(error.to_string())),
                    Err(error) => {
                        tracing::warn!(%error, "the authority is not founded yet");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
                continue;
            }
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { break },
            changed = leadership.changed() => if changed.is_err() { break },
        }
    }
    Err(AuthorityError::Tls("the log was closed".to_owned()))
}

/// How this server's doors speak TLS from now on, for all time: a new key and certificate at about half the life of each.
pub fn server_tls(
    authority: Arc<Authority>,
    raft: RaftHandle,
    clock: Arc<dyn Clock>,
    life: Duration,
    stop: CancellationToken,
) -> Result<watch::Receiver<Arc<ServerConfig>>, AuthorityError> {
    let first = fresh(&authority, &raft, &*clock, life)?;
    let (sender, receiver) = watch::channel(Arc::new(first));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(renewal(life)) => {}
                () = stop.cancelled() => return,
                () = sender.closed() => return,
            }
            match fresh(&authority, &raft, &*clock, life) {
                Ok(config) => drop(sender.send_replace(Arc::new(config))),
                Err(error) => tracing::error!(%error, "this server's certificate is not renewed"),
            }
        }
    });
    Ok(receiver)
}

fn fresh(
    authority: &Authority,
    raft: &RaftHandle,
    clock: &dyn Clock,
    life: Duration,
) -> Result<ServerConfig, AuthorityError> {
    let state = raft.state().borrow().clone();
    let now = clock.wall();
    let cluster = state.cluster().ok_or_else(|| AuthorityError::Tls("there is no cluster yet".to_owned()))?;
    let subject = Subject::Server(raft.id());
    let name = CertificateName { cluster, subject, epoch: state.epoch(), until: ends(now, life) };
    authority.server_config(&name, now)
}

/// When a certificate issued now ends: in whole seconds, as certificates tell time.
pub fn ends(now: Wall, life: Duration) -> Wall {
    let ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    Wall(now.0.saturating_add(ms) / 1_000 * 1_000)
}

/// When the next one is due: between 40 and 60 hundredths of its life, so that not all are renewed at once.
fn renewal(life: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    life.mul_f64(0.4 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}
