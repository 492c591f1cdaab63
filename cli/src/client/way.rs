//! The way to a cluster: one channel over a socket of this host, or, to other hosts, whichever shows the present certificate.
//!
//! Never judges an answer. Called by `client`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proto::peer::Remote;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Between pings of a server on another host, and the longest wait for one to come back.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Which cluster a client talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A server of this host.
    Socket(PathBuf),
    /// Servers of other hosts.
    Context {
        /// The context's name.
        name: String,
        /// Their addresses.
        servers: String,
    },
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Socket(path) => write!(f, "{}", path.display()),
            Place::Context { name, servers } => write!(f, "{servers} (context {name})"),
        }
    }
}

/// How calls get there.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Over a socket of this host.
    Local(Channel),
    /// Over TLS, seen as whom the context says.
    Remote(Arc<Remote>),
}

/// What a stream brings. One that has no end of its own ends when another certificate is shown: it is to be opened again,
/// with that one, before the right of the earlier one is over.
#[derive(Debug)]
pub struct Incoming<A> {
    stream: Streaming<A>,
    shown: Option<watch::Receiver<u64>>,
}

// === impl Way ===

impl Way {
    /// The channel that calls made now take.
    pub(super) fn channel(&self) -> Channel {
        match self {
            Way::Local(channel) => channel.clone(),
            Way::Remote(remote) => remote.channel(
                Endpoint::from_static("http://server.wherry")
                    .http2_keep_alive_interval(KEEPALIVE)
                    .keep_alive_timeout(KEEPALIVE),
            ),
        }
    }

    /// Changes whenever another certificate is shown than now; to be asked before a stream is opened.
    pub(super) fn shown(&self) -> Option<watch::Receiver<u64>> {
        match self {
            Way::Local(_) => None,
            Way::Remote(remote) => Some(remote.shown_now()),
        }
    }
}

// === impl Incoming ===

impl<A> Incoming<A> {
    /// `shown`: for a stream without an end of its own.
    pub(super) fn new(stream: Streaming<A>, shown: Option<watch::Receiver<u64>>) -> Incoming<A> {
        Incoming { stream, shown }
    }

    /// The next, or the end. Safe to drop and call again.
    ///
    /// # Errors
    /// What the server says; *unavailable* when it is time to open the stream anew.
    pub async fn message(&mut self) -> Result<Option<A>, Status> {
        let Some(shown) = &mut self.shown else { return self.stream.message().await };
        tokio::select! {
            biased;
            got = self.stream.message() => got,
            changed = shown.changed() => match changed {
                Ok(()) => Err(Status::unavailable("it goes on with a new certificate")),
                Err(_) => self.stream.message().await,
            },
        }
    }
}
