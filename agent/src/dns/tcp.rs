//! Queries over connections: several on each, answered as they are ready (RFC 7766).
//!
//! Never waits for a slow client without a limit. `server` spawns it.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::packet::{Step, Transport, respond};
use super::server::{Shared, first_seed};

/// How long a connection may be silent; also how long a client may take to read a reply.
pub const IDLE: Duration = Duration::from_secs(10);
/// Connections at a time.
pub const CONNECTIONS_MAX: usize = 256;
/// Connections of one client at a time: one container cannot take them all.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 32;
/// Relayed queries of one connection at a time; more are not read.
const RELAYED_MAX: usize = 32;
/// Bytes of replies collected before they are written.
const WRITE_MAX_BYTES: usize = 128 << 10;
/// Bytes asked of the kernel at a time.
const READ_BYTES: usize = 4 << 10;
/// Pause after the kernel refuses a connection, for want of file descriptors mostly.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = Place::take(&shared, peer.ip().to_canonical()) else { continue };
                let connection = Connection::new(place, stream);
                let stop = stop.clone();
                tasks.spawn(async move { stop.run_until_cancelled(connection.serve()).await });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for queries");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// A connection's place among those allowed; given back when dropped.
struct Place {
    shared: Arc<Shared>,
    client: IpAddr,
}

impl Place {
    fn take(shared: &Arc<Shared>, client: IpAddr) -> Option<Place> {
        if !shared.serves(client) {
            return None;
        }
        let mut held = shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = held.values().sum();
        let of_client = held.entry(client).or_default();
        if total >= CONNECTIONS_MAX || *of_client >= CONNECTIONS_PER_CLIENT_MAX {
            if *of_client == 0 {
                held.remove(&client);
            }
            return None;
        }
        *of_client += 1;
        Some(Place { shared: Arc::clone(shared), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.client);
            }
        }
    }
}

/// One connection.
struct Connection {
    place: Place,
    stream: TcpStream,
    received: Vec<u8>,
    replies: Vec<u8>,
    relayed: FuturesUnordered<BoxFuture<'static, Vec<u8>>>,
    seed: u32,
}

impl Connection {
    fn new(place: Place, stream: TcpStream) -> Connection {
        let (received, replies, relayed) = (Vec::new(), Vec::new(), FuturesUnordered::new());
        Connection { place, stream, received, replies, relayed, seed: first_seed() }
    }

    /// Answers until the client closes, is silent for too long or does not read. Bytes of an unfinished query do not
    /// count as a sign of life.
    async fn serve(mut self) {
        let mut ended = false;
        let mut deadline = Instant::now() + IDLE;
        while !(ended && self.relayed.is_empty()) {
            self.received.reserve(READ_BYTES);
            let may_read = !ended && self.relayed.len() < RELAYED_MAX;
            tokio::select! {
                Some(reply) = self.relayed.next() => self.push(&reply),
                read = self.stream.read_buf(&mut self.received), if may_read => match read {
                    Ok(0) => ended = true,
                    Ok(_) => {}
                    Err(_) => return,
                },
                () = sleep_until(deadline), if self.relayed.is_empty() => return,
            }
            loop {
                self.answer_received();
                if self.replies.is_empty() {
                    break;
                }
                match timeout(IDLE, self.stream.write_all(&self.replies)).await {
                    Ok(Ok(())) => self.replies.clear(),
                    _ => return,
                }
                deadline = Instant::now() + IDLE;
            }
        }
    }

    /// Judges the queries that are complete, until enough replies are collected or enough queries are relayed.
    fn answer_received(&mut self) {
        let mut read = 0;
        let mut reply = Vec::new();
        while self.relayed.len() < RELAYED_MAX && self.replies.len() < WRITE_MAX_BYTES {
            let Some((query, length)) = frame(&self.received[read..]) else { break };
            self.seed = self.seed.wrapping_add(1);
            let zone = self.place.shared.zone.borrow();
            let step = respond(&zone, Some(self.place.client), query, Transport::Tcp, self.seed, &mut reply);
            drop(zone);
            match step {
                Step::Drop => {}
                Step::Reply => push_frame(&mut self.replies, &reply),
                Step::Forward { limit } => {
                    let (shared, query) = (Arc::clone(&self.place.shared), query.to_vec());
                    let own = shared.own_servers(self.place.client);
                    let relay = async move { shared.upstreams.ask(&query, Transport::Tcp, limit, &own).await };
                    self.relayed.push(Box::pin(relay));
                }
            }
            read += length;
        }
        self.received.drain(..read);
    }

    fn push(&mut self, reply: &[u8]) {
        push_frame(&mut self.replies, reply);
    }
}

/// The first complete message of `bytes` and how many bytes it takes with its length.
fn frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    Some((rest.get(..length)?, 2 + length))
}

fn push_frame(replies: &mut Vec<u8>, reply: &[u8]) {
    if let Ok(length) = u16::try_from(reply.len()) {
        replies.extend_from_slice(&length.to_be_bytes());
        replies.extend_from_slice(reply);
    }
}
