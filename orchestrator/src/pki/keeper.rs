//! Sees that there is an authority, and that this server's own certificate is renewed long before it ends.

use proto::identity::{CertificateName, Subject};
use proto::peer::PrivateKey;
use proto::revision::Wall;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use zeroize::Zeroizing;

use super::authority::{Authority, AuthorityError, server_config};
use super::seal::SealError;
use super::sealer::Sealer;
use crate::engine::Command;
use crate::raft::{Clock, PeerIdentity, Peers, ProposeError, RaftHandle};

/// Pause before a proposal that failed is made again.
const AGAIN: Duration = Duration::from_millis(200);

/// The authority, from the moment on at which this server knows it.
#[derive(Debug, Clone)]
pub struct Founded(watch::Receiver<Option<Arc<Authority>>>);

// === impl Founded ===

impl Founded {
    /// The one in State now, or the first there will be. `is_alone`: State is as new as it will be, and what does not open
    /// never will; otherwise the other servers may tell a newer one, or give the key.
    pub fn follow(
        raft: RaftHandle,
        sealer: Arc<Sealer>,
        clock: Arc<dyn Clock>,
        is_alone: bool,
        stop: CancellationToken,
    ) -> Result<Founded, AuthorityError> {
        let (sender, receiver) = watch::channel(None);
        let state = raft.state().borrow().clone();
        let opened = match (state.authority(), state.cluster()) {
            (Some(kept), Some(cluster)) => match Authority::open(kept, cluster, &sealer) {
                Err(AuthorityError::Seal(SealError::OtherKey { .. })) if !is_alone => None,
                opened => Some(Arc::new(opened?)),
            },
            _ => None,
        };
        if opened.is_some() {
            sender.send_replace(opened);
        } else {
            tokio::spawn(async move {
                tokio::select! {
                    found = authority(&raft, &sealer, &*clock) => match found {
                        Ok(authority) => drop(sender.send_replace(Some(authority))),
                        Err(error) => tracing::error!(%error, "the cluster's authority is not known"),
                    },
                    () = stop.cancelled() => {}
                }
            });
        }
        Ok(Founded(receiver))
    }

    /// It, if it is known.
    pub fn now(&self) -> Result<Arc<Authority>, Status> {
        let known = self.0.borrow().clone();
        known.ok_or_else(|| Status::unavailable("this server does not know the cluster's authority yet; try again"))
    }

    /// It, once it is known; `None`: it never will be.
    pub async fn wait(&self) -> Option<Arc<Authority>> {
        let mut known = self.0.clone();
        let found = known.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }
}

/// The cluster's authority. Founds it if there is none and this server leads; waits otherwise.
async fn authority(raft: &RaftHandle, sealer: &Sealer, clock: &dyn Clock) -> Result<Arc<Authority>, AuthorityError> {
    let mut states = raft.state();
    let mut leadership = raft.leadership();
    let mut held = sealer.held();
    let mut is_told = false;
    loop {
        held.borrow_and_update();
        let state = states.borrow_and_update().clone();
        let leads = leadership.borrow_and_update().leading().is_some();
        if let (Some(kept), Some(cluster)) = (state.authority(), state.cluster()) {
            match Authority::open(kept, cluster, sealer) {
                Err(AuthorityError::Seal(error @ SealError::OtherKey { .. })) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(%error, "the cluster's authority does not open here yet");
                    }
                }
                opened => return opened.map(Arc::new),
            }
        } else if let Some(cluster) = state.cluster().filter(|_| leads) {
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
            changed = held.changed() => if changed.is_err() { break },
        }
    }
    Err(AuthorityError::Tls("the log was closed".to_owned()))
}

/// What this server's certificates are made with.
#[derive(Debug)]
pub struct Own {
    /// The authority.
    pub founded: Founded,
    /// This server's log.
    pub raft: RaftHandle,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Life of a certificate.
    pub life: Duration,
    /// Who is shown it when this server calls.
    pub peers: Arc<Peers>,
}

// === impl Own ===

impl Own {
    /// How this server's doors speak TLS from now on, for all time: a new key and certificate at about half the life of
    /// each. `given`: the first, for a server that joins and does not know the authority yet.
    pub async fn tls(
        self,
        given: Option<PeerIdentity>,
        stop: CancellationToken,
    ) -> Result<watch::Receiver<Arc<ServerConfig>>, AuthorityError> {
        let is_given = given.is_some();
        let first = match given {
            Some(given) => given,
            None => self.fresh().await?,
        };
        let (sender, receiver) = watch::channel(Arc::new(self.shown(first)?));
        tokio::spawn(async move {
            // One that was given is replaced as soon as it can be: its end is not known here.
            let mut pause = if is_given { Duration::ZERO } else { renewal(self.life) };
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                    () = sender.closed() => return,
                }
                let renewed = tokio::select! {
                    renewed = self.fresh() => renewed,
                    () = stop.cancelled() => return,
                };
                match renewed.and_then(|identity| self.shown(identity)) {
                    Ok(config) => drop(sender.send_replace(Arc::new(config))),
                    Err(error) => tracing::error!(%error, "this server's certificate is not renewed"),
                }
                pause = renewal(self.life);
            }
        });
        Ok(receiver)
    }

    fn shown(&self, identity: PeerIdentity) -> Result<ServerConfig, AuthorityError> {
        let config = server_config(&identity)?;
        self.peers.show(identity)?;
        Ok(config)
    }

    async fn fresh(&self) -> Result<PeerIdentity, AuthorityError> {
        let unknown = || AuthorityError::Tls("there is no cluster yet".to_owned());
        let authority = self.founded.wait().await.ok_or_else(unknown)?;
        let state = self.raft.state().borrow().clone();
        let cluster = state.cluster().ok_or_else(unknown)?;
        let now = self.clock.wall();
        let subject = Subject::Server(self.raft.id());
        let name = CertificateName { cluster, subject, epoch: state.epoch(), until: ends(now, self.life) };
        let key = PrivateKey::generate()?;
        Ok(PeerIdentity {
            cluster,
            authority: authority.certificate().to_vec(),
            certificate: authority.issue(&name, &key.public(), now)?,
            key: Zeroizing::new(key.pkcs8().to_vec()),
        })
    }
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
