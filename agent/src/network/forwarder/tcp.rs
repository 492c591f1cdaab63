//! TCP of a published port: accept, find an endpoint that accepts, copy both ways.
//!
//! Never closes a client's connection while another ready endpoint might take it. `forwarder` spawns `accept`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;

/// Connections of one published port at a time; further ones wait in the kernel.
pub(super) const CONNECTIONS_MAX: usize = 4_096;
/// How long one endpoint may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long a client waits for a first ready endpoint.
pub(super) const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long a client waits after every ready endpoint refused: a crashed one may just be restarting.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(1);
/// Pause before endpoints that refused are tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long a client waits in all, however many endpoints are silent.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Bytes in flight in one direction of one connection.
const BUFFER_BYTES: usize = 16 << 10;
/// Silence after which a peer is asked whether it is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Time between such questions.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// Pause after the kernel refuses a connection, for want of file descriptors mostly.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// What the listeners of one published port share.
#[derive(Debug)]
pub(super) struct Port {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    stop_connections: CancellationToken,
}

impl Port {
    pub(super) fn new(shared: Arc<Shared>, connections: TaskTracker, stop: CancellationToken) -> Arc<Port> {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Arc::new(Port { shared, places, connections, stop_connections: stop })
    }
}

/// Accepts until `stop`. Connections go on after it.
pub(super) async fn accept(listener: TcpListener, port: Arc<Port>, stop: CancellationToken) {
    while let Some(next) = stop.run_until_cancelled(next(&listener, &port.places)).await {
        match next {
            Ok((client, place)) => {
                let (shared, stop) = (Arc::clone(&port.shared), port.stop_connections.clone());
                port.connections.spawn(async move {
                    stop.run_until_cancelled(Box::pin(serve(client, &shared))).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to a published port");
                sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn next(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (client, _) = listener.accept().await?;
    Ok((client, place))
}

async fn serve(mut client: TcpStream, shared: &Shared) {
    let Some(mut endpoint) = connect(shared).await else {
        return reset(&client);
    };
    tune(&client);
    tune(&endpoint);
    // Each direction ends by itself: a client that has said everything still hears the rest.
    let copied = copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER_BYTES, BUFFER_BYTES).await;
    if copied.is_err() {
        // A broken connection must not look like one that ended well.
        reset(&client);
        reset(&endpoint);
    }
}

/// A connection to a ready endpoint; `None` when none accepts in time.
async fn connect(shared: &Shared) -> Option<TcpStream> {
    let (mut zone, mut route) = (shared.zone.clone(), shared.route.clone());
    let started = Instant::now();
    let mut refused_until = None;
    loop {
        zone.mark_unchanged();
        route.mark_unchanged();
        let (addresses, target) = shared.targets();
        let none_ready = addresses.is_empty();
        for address in addresses {
            match timeout(CONNECT_WITHIN, TcpStream::connect(SocketAddr::new(address, target))).await {
                Ok(Ok(stream)) => return Some(stream),
                _ => shared.balance.failed(address),
            }
            if started.elapsed() >= GIVE_UP_AFTER {
                return None;
            }
        }
        let deadline = match none_ready {
            true => started + READY_WITHIN,
            false => *refused_until.get_or_insert_with(|| Instant::now() + REFUSED_FOR),
        };
        tokio::select! {
            biased;
            () = sleep_until(deadline) => return None,
            Ok(()) = zone.changed() => {}
            Ok(()) = route.changed() => {}
            () = sleep(RETRY_AFTER), if !none_ready => {}
        }
    }
}

/// No waiting for more bytes, and a peer that vanished is noticed.
fn tune(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    let tuned = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = tuned {
        tracing::debug!(%error, "cannot tune a forwarded connection");
    }
}

/// Makes the coming close an error for the peer, not an end.
fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "cannot reset a forwarded connection");
    }
}
