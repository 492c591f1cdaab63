//! The accept loop, and one handshake.
//!
//! Thin: `guard` decides. Never ends but when told to, or when nobody takes connections any more. Called by
//! `Listener::into_incoming`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::{ProtocolVersion, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::conn::{Conn, Peer, Seat};
use super::room::{Ended, Room};

/// First and longest wait after the kernel could give no socket.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Connections closed at each such time, of those that matter least.
const SHED_COUNT: usize = 32;
/// A peer that vanished is noticed after some 25 s without a word from it: probes begin after the first, follow each
/// other after the second, and so many may stay unanswered.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_COUNT: u32 = 3;
/// The same for what we sent and it neither took nor acknowledged.
const UNACKNOWLEDGED_MAX_MS: u32 = 20_000;
/// A peer whose handshake failed may read why for so long.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// After a failed accept: when the next may be tried.
#[derive(Debug, Default)]
struct Backoff {
    wait: Option<Duration>,
    until: Option<Instant>,
}

pub(super) async fn run(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    room: Arc<Room>,
    stop: CancellationToken,
    conns: mpsc::Sender<Conn>,
) {
    let mut backoff = Backoff::default();
    loop {
        let deadline = room.next_deadline();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = conns.closed() => break,
            () = at(deadline) => room.end_due(),
            () = at(backoff.until) => backoff.until = None,
            () = room.changed.notified() => {}
            accepted = listener.accept(), if backoff.until.is_none() => match accepted {
                Ok((socket, address)) => {
                    backoff.is_over();
                    let config = tls.borrow().clone();
                    begin(socket, address, config, &room, &conns);
                }
                Err(error) => {
                    room.not_accepted();
                    if is_of_one_socket(&error) {
                        continue;
                    }
                    backoff.failed(&error);
                    room.shed(SHED_COUNT);
                }
            },
        }
    }
    room.end_handshakes();
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Errors that say something of the socket that was to be accepted, not of the next one (accept(2)).
fn is_of_one_socket(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let one = [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::PERM,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NONET,
        Errno::INTR,
    ];
    Errno::from_io_error(error).is_some_and(|errno| one.contains(&errno))
}

/// Gives a socket to a task of its own, or frees it at once.
fn begin(
    socket: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    room: &Arc<Room>,
    conns: &mpsc::Sender<Conn>,
) {
    prepare(&socket);
    let Some((ticket, ended)) = room.arrive(address.ip()) else { return };
    let seat = Seat::new(room.clone(), ticket);
    let conns = conns.clone();
    tokio::spawn(async move {
        if let Some(conn) = greet(socket, address, config, seat, ended).await {
            // Nobody takes it: the server is closing.
            let _ = conns.send(conn).await;
        }
    });
}

/// An option that cannot be set is that of a socket which is reset already: its handshake will say so.
fn prepare(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    // Until the handshake is done it is closed without ceremony, so that the kernel keeps nothing of it.
    let _ = socket.set_zero_linger();
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(socket, KEEPALIVE_COUNT);
    let _ = sockopt::set_tcp_user_timeout(socket, UNACKNOWLEDGED_MAX_MS);
}

/// The handshake, until it is done, fails, or the guard ends it.
async fn greet(
    socket: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    seat: Seat,
    mut ended: Ended,
) -> Option<Conn> {
    let handshake = TlsAcceptor::from(config).accept(socket).into_fallible();
    let done = tokio::select! {
        biased;
        _ = &mut ended => return None,
        done = handshake => done,
    };
    let stream = match done {
        Ok(stream) => stream,
        Err((error, socket)) => {
            tracing::debug!(%address, %error, "handshake failed");
            seat.room().failed();
            tokio::select! {
                biased;
                _ = ended => {}
                () = farewell(socket) => {}
            }
            return None;
        }
    };
    let (socket, session) = stream.get_ref();
    if session.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        seat.room().failed();
        return None;
    }
    let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
    if !seat.room().greet(seat.ticket(), certificate.is_some()) {
        return None;
    }
    let _ = sockopt::set_socket_linger(socket, None);
    Some(Conn::new(stream, Peer { address, certificate }, seat, ended))
}

/// Lets a peer read the alert that says why: closed with something unread, the kernel would send a reset instead.
async fn farewell(mut socket: TcpStream) {
    let _ = sockopt::set_socket_linger(&socket, None);
    let read_on = async {
        socket.shutdown().await?;
        let mut rest = [0_u8; 1_024];
        while socket.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(FAREWELL_MAX, read_on).await;
}

// === impl Backoff ===

impl Backoff {
    fn failed(&mut self, error: &io::Error) {
        if self.wait.is_none() {
            tracing::error!(%error, "no connection can be accepted; trying on, and closing unfinished ones");
        }
        let wait = self.wait.map_or(BACKOFF_FIRST, |wait| (wait * 2).min(BACKOFF_MAX));
        self.wait = Some(wait);
        self.until = Some(Instant::now() + wait);
    }

    fn is_over(&mut self) {
        if self.wait.take().is_some() {
            tracing::info!("connections are accepted again");
        }
    }
}
