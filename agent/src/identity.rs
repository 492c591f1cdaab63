//! Who this node is to a cluster on other hosts: joins by a token, keeps key and certificate, renews in time.
//!
//! # Guarantees
//! The key is made here and leaves the data directory never; it is on disk before it is shown, so that an answer that
//! was lost is asked for again with the same one. Once the node is known, what runs does not wait for a server: a
//! certificate that has expired is replaced in the background, with a fresh token.

use proto::id::NodeId;
use proto::join_token::{JoinToken, TokenError, TokenKind};
use proto::limits::{JOIN_TOKEN_MAX_BYTES, MESSAGE_MAX_BYTES};
use proto::peer::{EnrolError, Kept, KeptError, KeyError, PrivateKey, Remote, enrol, renew};
use proto::v1::agents_client::AgentsClient;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::ledger::{Ledger, LedgerError};
use crate::session::Link;

/// Variable that holds a token when no file is named.
const TOKEN_VARIABLE: &str = "WHERRY_TOKEN";
/// Longest pause before joining or renewing is tried again.
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// Shortest.
const AGAIN_MIN: Duration = Duration::from_millis(500);
/// Longest sleep: clocks may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// How a node finds its cluster on other hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// `HOST:PORT` of the agents' door of each server; empty: those of the last time.
    pub servers: Vec<String>,
    /// The file with the join token; needed until the node is known, and after its certificate has expired.
    pub token_file: Option<PathBuf>,
}

/// Why a node is not known.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No randomness.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No token.
    #[error(
        "this node is not known to a cluster yet and has no join token: name a file with --token-file, or set {TOKEN_VARIABLE}; `ctl token create agent` makes one"
    )]
    NoToken,
    /// No server.
    #[error("this node is not known to a cluster yet: name its servers with --join HOST:PORT")]
    NoServers,
    /// The file is not there.
    #[error("the join token in {path} cannot be read: {cause}")]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// It is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The cluster says no.
    #[error("cannot join: {0}")]
    Enrol(#[from] EnrolError),
    /// What was kept is no identity.
    #[error("the identity in {dir} cannot be used: {cause}; a fresh join token repairs it")]
    Kept {
        /// The data directory.
        dir: PathBuf,
        /// Why.
        cause: KeptError,
    },
    /// Asked to end.
    #[error("stopped before the node was known")]
    Stopped,
}

/// A node that is known, and what it needs to stay so.
#[derive(Debug)]
pub struct Known {
    kept: Kept,
    remote: Arc<Remote>,
    join: Join,
    node: NodeId,
    ledger: Arc<Ledger>,
}

/// The node's identity. Asks a server only if there is none yet, and then until it answers or refuses.
pub async fn establish(
    join: &Join,
    ledger: &Arc<Ledger>,
    node: NodeId,
    stop: &CancellationToken,
) -> Result<Known, IdentityError> {
    let unusable = |cause| IdentityError::Kept { dir: ledger.dir().to_owned(), cause };
    let kept = match ledger.identity()? {
        Some(bytes) => match Kept::read(&bytes) {
            Ok(kept) => Some(kept),
            Err(cause @ KeptError::Newer(_)) => return Err(unusable(cause)),
            Err(cause) => {
                tracing::error!(%cause, "the node's identity is damaged; a join token is needed");
                None
            }
        },
        None => None,
    };
    let kept = match kept {
        Some(mut kept) => {
            if !join.servers.is_empty() {
                kept.servers.clone_from(&join.servers);
            }
            kept
        }
        None => first(join, ledger, node, stop).await?,
    };
    let remote = kept.remote().map_err(unusable)?;
    remote.learn(ledger.servers()?);
    Ok(Known { kept, remote, join: join.clone(), node, ledger: Arc::clone(ledger) })
}

async fn first(join: &Join, ledger: &Ledger, node: NodeId, stop: &CancellationToken) -> Result<Kept, IdentityError> {
    let token = token(join)?.ok_or(IdentityError::NoToken)?;
    if join.servers.is_empty() {
        return Err(IdentityError::NoServers);
    }
    loop {
        let joined = tokio::select! {
            joined = enrolled(join.servers.clone(), &token, ledger, node) => joined,
            () = stop.cancelled() => return Err(IdentityError::Stopped),
        };
        match joined {
            Err(IdentityError::Enrol(error)) if error.may_pass() => {
                tracing::warn!(%error, "not joined yet; tried again");
                tokio::time::sleep(AGAIN_MIN * 2).await;
            }
            other => return other,
        }
    }
}

/// Joins with the key that is kept, or a new one.
async fn enrolled(
    servers: Vec<String>,
    token: &JoinToken,
    ledger: &Ledger,
    node: NodeId,
) -> Result<Kept, IdentityError> {
    let key = match ledger.key()? {
        Some(bytes) => PrivateKey::from_pkcs8(&bytes)?,
        None => {
            let key = PrivateKey::generate()?;
            ledger.keep_key(key.pkcs8())?;
            key
        }
    };
    let kept = enrol(servers, token, &key, &node.to_string()).await?;
    ledger.keep_identity(&kept.write())?;
    tracing::info!(%node, "joined");
    Ok(kept)
}

/// The token there is, from the file or the environment.
fn token(join: &Join) -> Result<Option<JoinToken>, IdentityError> {
    let text = match &join.token_file {
        Some(path) => bounded(path).map_err(|cause| IdentityError::TokenFile { path: path.clone(), cause })?,
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(text) => text,
            Err(_) => return Ok(None),
        },
    };
    Ok(Some(JoinToken::read(&text, TokenKind::Agent)?))
}

/// What is longer than a token is another file.
fn bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(JOIN_TOKEN_MAX_BYTES as u64).read_to_string(&mut text)?;
    Ok(text)
}

// === impl Known ===

impl Known {
    /// The way to the servers.
    pub fn link(&self) -> Link {
        Link::Remote(Arc::clone(&self.remote))
    }

    /// Keeps the certificate young until `stop`.
    pub async fn keep(mut self, stop: CancellationToken) {
        let mut due = self.due();
        loop {
            let left = Duration::from_millis(due.saturating_sub(now_ms())).min(SLEEP_MAX);
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = stop.cancelled() => return,
            }
            if now_ms() < due {
                continue;
            }
            let again = tokio::select! {
                again = self.again() => again,
                () = stop.cancelled() => return,
            };
            due = match again {
                Ok(()) => self.due(),
                Err(error) => {
                    tracing::error!(%error, "this node's certificate is not renewed; what runs goes on");
                    now_ms() + u64::try_from(self.pause().as_millis()).unwrap_or(u64::MAX)
                }
            };
        }
    }

    /// When there is something to do: now, if the certificate has ended or a fresh token is there.
    fn due(&self) -> u64 {
        if self.kept.is_over(now_ms()) || self.fresh_token().is_some() {
            return 0;
        }
        // At about half of its life, each node at another moment.
        let life = self.kept.until_unix_ms.saturating_sub(self.kept.from_unix_ms);
        let spread = u64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) * (life / 5) / u64::from(u32::MAX);
        self.kept.half_unix_ms() - life / 10 + spread
    }

    fn pause(&self) -> Duration {
        let life = self.kept.until_unix_ms.saturating_sub(self.kept.from_unix_ms);
        Duration::from_millis(life / 20).clamp(AGAIN_MIN, AGAIN_MAX)
    }

    /// Another token than the one it joined by: the operator's word to join again.
    fn fresh_token(&self) -> Option<JoinToken> {
        token(&self.join).ok().flatten().filter(|token| token.id != self.kept.token())
    }

    async fn again(&mut self) -> Result<(), IdentityError> {
        let dir = self.ledger.dir().to_owned();
        let unusable = |cause| IdentityError::Kept { dir, cause };
        let renewed = match self.fresh_token() {
            Some(token) => enrolled(self.remote.addresses(), &token, &self.ledger, self.node).await?,
            None => {
                let renewed = renew(&self.kept, &self.remote).await?;
                self.ledger.keep_identity(&renewed.write())?;
                renewed
            }
        };
        self.remote.show(renewed.credentials().map_err(unusable)?);
        self.kept = renewed;
        tracing::info!("this node's certificate is renewed");
        Ok(())
    }
}

/// A client of the agents' door.
pub(crate) fn client(channel: Channel) -> AgentsClient<Channel> {
    AgentsClient::new(channel).max_decoding_message_size(MESSAGE_MAX_BYTES).max_encoding_message_size(MESSAGE_MAX_BYTES)
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
