//! Relays what is not ours to the host's resolvers, byte for byte but for the id.
//!
//! Never decodes a record and never caches. The listeners call `Upstreams::ask` for each query that the zone leaves alone.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::host_resolvers::HostResolvers;
use super::packet::{HEADER_BYTES, Transport, UDP_RELAYED_MAX_BYTES, failure, question};

/// How long one resolver has for its reply.
pub const REPLY_WITHIN: Duration = Duration::from_secs(2);
/// Queries that may wait for resolvers at a time: bounds memory and sockets.
pub const OUTSTANDING_MAX: usize = 1_024;
/// Resolvers asked for one query: what glibc asks, too.
const RESOLVERS_ASKED_MAX: usize = 3;

/// Where resolvers are taken from.
#[derive(Debug)]
pub enum Resolvers {
    /// These, as the operator wrote them.
    Fixed(Vec<SocketAddr>),
    /// Those of the host.
    Host(Box<HostResolvers>),
}

/// Resolvers of single clients, instead of those for all, by the client's address.
pub type OwnServers = HashMap<IpAddr, Vec<SocketAddr>>;

/// The way to the resolvers.
#[derive(Debug)]
pub struct Upstreams {
    resolvers: Resolvers,
    outstanding: Semaphore,
    /// Number of the resolver that answered last: a dead first one costs its timeout once, not for each query.
    preferred: AtomicUsize,
}

impl Upstreams {
    /// A way to `resolvers` for `OUTSTANDING_MAX` queries at a time.
    pub fn new(resolvers: Resolvers) -> Upstreams {
        Upstreams { resolvers, outstanding: Semaphore::new(OUTSTANDING_MAX), preferred: AtomicUsize::new(0) }
    }

    #[cfg(test)]
    pub(super) fn with_outstanding(resolvers: Resolvers, max: usize) -> Upstreams {
        Upstreams { outstanding: Semaphore::new(max), ..Upstreams::new(resolvers) }
    }

    /// The reply to `query`, at most `limit` bytes when it goes over UDP; SERVFAIL when no resolver gives one.
    /// `own`: the resolvers of this client alone; empty when it has none.
    pub async fn ask(&self, query: &[u8], transport: Transport, limit: usize, own: &[SocketAddr]) -> Vec<u8> {
        let relayed = match self.outstanding.try_acquire() {
            Ok(_permit) if !own.is_empty() => relay(query, transport, own, 0, |_| ()).await,
            Ok(_permit) => self.relay(query, transport).await,
            Err(_) => None,
        };
        let mut reply = relayed.unwrap_or_else(|| {
            let mut out = Vec::new();
            failure(query, ResponseCode::ServFail, &mut out);
            out
        });
        if transport == Transport::Udp && reply.len() > limit {
            truncate(&mut reply);
        }
        reply[..2].copy_from_slice(&query[..2]);
        reply
    }

    /// Asks one resolver after the other. One that is unable or unwilling is passed over; its word counts if there is
    /// no better one.
    async fn relay(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let servers = match &self.resolvers {
            Resolvers::Fixed(servers) => servers.clone(),
            Resolvers::Host(host) => host.current(),
        };
        let first = self.preferred.load(Ordering::Relaxed);
        relay(query, transport, &servers, first, |at| self.preferred.store(at, Ordering::Relaxed)).await
    }
}

/// Asks `servers` from number `first` on; `answered` is told the number of the one that answered.
async fn relay(
    query: &[u8],
    transport: Transport,
    servers: &[SocketAddr],
    first: usize,
    answered: impl Fn(usize),
) -> Option<Vec<u8>> {
    let mut refusal = None;
    for i in 0..servers.len().min(RESOLVERS_ASKED_MAX) {
        let at = (first + i) % servers.len();
        match exchange(query, servers[at], transport).await {
            Ok(reply) if is_refusal(&reply) => refusal = Some(reply),
            Ok(reply) => {
                answered(at);
                return Some(reply);
            }
            Err(error) => tracing::debug!(server = %servers[at], %error, "a resolver did not answer"),
        }
    }
    refusal
}

/// SERVFAIL, NOTIMP or REFUSED.
fn is_refusal(reply: &[u8]) -> bool {
    matches!(reply[3] & 0x0f, 2 | 4 | 5)
}

/// Leaves the header and the question, and says that there was more.
fn truncate(reply: &mut Vec<u8>) {
    let end = question(reply).map_or(HEADER_BYTES, |q| HEADER_BYTES + q.len());
    reply.truncate(end);
    reply[2] |= 0x02;
    reply[6..HEADER_BYTES].fill(0);
}

/// One resolver's reply. A client that came over TCP wants the whole answer, so a truncated one is asked for again.
async fn exchange(query: &[u8], server: SocketAddr, transport: Transport) -> io::Result<Vec<u8>> {
    let mut query = query.to_vec();
    getrandom::fill(&mut query[..2]).map_err(|error| io::Error::other(error.to_string()))?;
    let reply = within(exchange_udp(&query, server)).await?;
    let truncated = reply[2] & 0x02 != 0;
    if truncated && transport == Transport::Tcp {
        return within(exchange_tcp(&query, server)).await;
    }
    Ok(reply)
}

async fn within(exchange: impl Future<Output = io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    timeout(REPLY_WITHIN, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A new socket for each query, so that its port is one more thing a forger must guess; whatever does not answer this
/// query is passed over.
async fn exchange_udp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut reply = vec![0; UDP_RELAYED_MAX_BYTES + 1];
    loop {
        let length = socket.recv(&mut reply).await?;
        if answers(&reply[..length], query) {
            reply.truncate(length);
            return Ok(reply);
        }
    }
}

async fn exchange_tcp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    if !answers(&reply, query) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the reply is to another question"));
    }
    Ok(reply)
}

/// Is `reply` a response with the id and the question of `query`? An error may leave the question out.
fn answers(reply: &[u8], query: &[u8]) -> bool {
    let Some(header) = reply.first_chunk::<HEADER_BYTES>() else { return false };
    if header[..2] != query[..2] || header[2] & 0xf8 != 0x80 {
        return false;
    }
    if header[4..6] == [0, 0] {
        return header[3] & 0x0f != 0;
    }
    match (question(reply), question(query)) {
        (Some(theirs), Some(ours)) => theirs.eq_ignore_ascii_case(ours),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
