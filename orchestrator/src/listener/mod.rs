//! A TLS listener that strangers cannot wear down: our own accept loop, with limits from the first byte on.
//!
//! Never ends on an error, never gives its server one; knows nothing of gRPC, of roles or of who may do what: it says
//! from where a peer came and which certificate it showed, verified by the configuration it was given. Called by the
//! composition root for each door on the network.
//!
//! # Flow
//!
//! `accept` takes a socket and asks `guard` (pure) whether it may stay; each handshake is a task of its own; whoever
//! finishes in time is handed on as a [`Conn`], which leaves the guard's books when it is dropped.
//!
//! # Guarantees
//!
//! - Handshakes are bounded in number and time, in all and per address. A share is kept for peers with a certificate.
//! - Strangers (no certificate) are bounded in all and per address, and closed when nothing is heard of them.
//! - The TLS configuration in force when a socket is accepted is the one used: a new one needs no restart. TLS 1.3 only.
//! - Out of descriptors, it sheds unfinished handshakes and silent strangers, and goes on accepting.
//!
//! # Caveats
//!
//! A resumed session shows the certificate that was verified when it began: whoever wants each connection verified turns
//! tickets off (`send_tls13_tickets = 0`). A door that keeps strangers waiting must ping them more often than
//! [`limits::STRANGER_IDLE_MS`].

mod accept;
mod conn;
mod guard;
pub mod limits;
mod meter;
mod room;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::Stream;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

pub use conn::{Conn, Peer};
pub use guard::{Limit, Open};
pub use limits::Limits;
pub use meter::{Counts, Meter};
use room::Room;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: u32 = 1_024;
/// Finished handshakes that wait for the server to take them.
const WAITING_MAX: usize = 64;

/// A socket that listens, and what it needs to let peers in.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: watch::Receiver<Arc<rustls::ServerConfig>>,
    room: Arc<Room>,
    stop: CancellationToken,
}

/// Listens on an address. The limits shrink to the descriptors of this process, whose soft limit is raised to the hard
/// one. Nothing is accepted before [`Listener::into_incoming`]. Needs a runtime.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen(
    address: SocketAddr,
    tls: watch::Receiver<Arc<rustls::ServerConfig>>,
    limits: Limits,
    stop: CancellationToken,
) -> io::Result<Listener> {
    let fitting = limits.within(descriptors());
    if fitting != limits {
        tracing::warn!(
            connections = fitting.connections,
            asked = limits.connections,
            "few open files are allowed: the listener takes fewer connections; raise LimitNOFILE"
        );
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let socket = socket.listen(BACKLOG)?;
    let address = socket.local_addr()?;
    Ok(Listener { socket, address, tls, room: Arc::new(Room::new(fitting)), stop })
}

/// How many descriptors this process may open, after asking for as many as it may ask for.
fn descriptors() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let asked = limit.current;
    limit.current = limit.maximum;
    let granted = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { asked };
    // Absent: no limit.
    granted.unwrap_or(u64::MAX)
}

// === impl Listener ===

impl Listener {
    /// Where it listens: the port that was given for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What is counted; outlives the listener.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter::new(self.room.clone())
    }

    /// Accepts from now on, in a task of its own, until `stop` or until the stream is dropped. The stream has no errors.
    pub fn into_incoming(self) -> impl Stream<Item = io::Result<Conn>> + Send {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        tokio::spawn(accept::run(self.socket, self.tls, self.room, self.stop, sender));
        ReceiverStream::new(receiver).map(Ok)
    }
}
