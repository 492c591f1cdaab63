//! The sockets of the resolver: UDP here, TCP in `tcp`.
//!
//! Flow: packet in, `packet::respond` against the zone of this moment, packet out. Only a relayed query gets a task.
//! Guarantees: a new zone is seen by the very next query. Assumption: the address is already on an interface; whoever
//! calls `bind` before the bridge is up gets an error and tries again.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::ranges::Cidr;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::DnsError;
use super::packet::{Step, Transport, respond};
use super::tcp;
use super::upstream::{OwnServers, Resolvers, Upstreams};
use super::zone::Zone;

/// Bytes read of a datagram: longer queries do not exist, and the rest of one is refused as malformed.
const DATAGRAM_MAX_BYTES: usize = 4_096;
/// Bytes the kernel may hold for a socket that is behind: some thousand queries, as far as its limit allows.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;
/// Sockets that share the UDP port at most, each with its task.
const UDP_SOCKETS_MAX: usize = 4;
/// How often a port that is free for TCP is looked for, when any port will do.
const ANY_PORT_ATTEMPTS: usize = 16;
/// Pause after the kernel refuses to receive.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// How to answer.
#[derive(Debug)]
pub struct DnsConfig {
    /// Address and port to listen on; port 0 takes any free one.
    pub address: SocketAddr,
    /// Who is asked for names that are not ours.
    pub resolvers: Resolvers,
    /// Whose queries are answered, besides those from loopback and the node's own address; empty: everyone's. An open
    /// resolver is a tool for attacking others.
    pub clients: Vec<Cidr>,
    /// Who is asked instead for single clients.
    pub own_servers: watch::Receiver<Arc<OwnServers>>,
}

/// A bound resolver.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    udp: Vec<UdpSocket>,
    tcp: TcpListener,
    shared: Arc<Shared>,
}

/// What all sockets share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) zone: watch::Receiver<Arc<Zone>>,
    pub(super) upstreams: Upstreams,
    pub(super) connections: Mutex<HashMap<IpAddr, usize>>,
    clients: Vec<Cidr>,
    own: SocketAddr,
    own_servers: watch::Receiver<Arc<OwnServers>>,
}

impl Shared {
    /// The resolvers of this client alone; empty when it has none. Never ourselves: that would not end.
    pub(super) fn own_servers(&self, client: IpAddr) -> Vec<SocketAddr> {
        let all = self.own_servers.borrow();
        let of_client = all.get(&client).into_iter().flatten();
        of_client.filter(|server| **server != self.own).copied().collect()
    }

    /// May `client` ask?
    pub(super) fn serves(&self, client: IpAddr) -> bool {
        if self.clients.is_empty() || client.is_loopback() || client == self.own.ip() {
            return true;
        }
        let is_container = matches!(client, IpAddr::V4(c) if self.clients.iter().any(|net| net.contains(c)));
        is_container || is_of_this_host(client)
    }
}

/// A query of the host itself may come from any of its addresses: Docker masquerades those sent from the bridge's.
fn is_of_this_host(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

// === impl DnsServer ===

impl DnsServer {
    /// Binds UDP and TCP on the same port. Must be called inside a Tokio runtime.
    pub fn bind(config: DnsConfig, zone: watch::Receiver<Arc<Zone>>) -> Result<DnsServer, DnsError> {
        let (address, tcp, udp) = bind_both(config.address)?;
        let shared = Arc::new(Shared {
            zone,
            upstreams: Upstreams::new(config.resolvers),
            connections: Mutex::default(),
            clients: config.clients,
            own: address,
            own_servers: config.own_servers,
        });
        Ok(DnsServer { address, udp, tcp, shared })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`; then ends relayed queries and connections, too.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        for socket in self.udp {
            tasks.spawn(serve_udp(Arc::new(socket), Arc::clone(&self.shared), tasks.clone(), stop.clone()));
        }
        tasks.spawn(tcp::serve(self.tcp, self.shared, tasks.clone(), stop));
        tasks.close();
        tasks.wait().await;
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>, tasks: TaskTracker, stop: CancellationToken) {
    let mut packet = vec![0; DATAGRAM_MAX_BYTES];
    let mut reply = Vec::with_capacity(DATAGRAM_MAX_BYTES);
    let mut seed = first_seed();
    let stopped = stop.cancelled();
    tokio::pin!(stopped);
    loop {
        let received = tokio::select! {
            biased;
            () = &mut stopped => return,
            received = socket.recv_from(&mut packet) => received,
        };
        let (query, peer) = match received {
            Ok((length, peer)) => (&packet[..length], peer),
            Err(error) => {
                tracing::warn!(%error, "cannot receive queries");
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        let client = peer.ip().to_canonical();
        if !shared.serves(client) {
            continue;
        }
        seed = seed.wrapping_add(1);
        let step = respond(&shared.zone.borrow(), Some(client), query, Transport::Udp, seed, &mut reply);
        match step {
            Step::Drop => {}
            Step::Reply => send(&socket, &reply, peer).await,
            Step::Forward { limit } => {
                let (socket, shared, query) = (Arc::clone(&socket), Arc::clone(&shared), query.to_vec());
                let relay = async move {
                    let own = shared.own_servers(client);
                    let reply = shared.upstreams.ask(&query, Transport::Udp, limit, &own).await;
                    send(&socket, &reply, peer).await;
                };
                let stop = stop.clone();
                tasks.spawn(async move { stop.run_until_cancelled(relay).await });
            }
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], peer: SocketAddr) {
    if let Err(error) = socket.send_to(reply, peer).await {
        tracing::debug!(%peer, %error, "cannot send a reply");
    }
}

/// Where the order of answers begins: not the same after each start, nor on each socket.
pub(super) fn first_seed() -> u32 {
    getrandom::u32().unwrap_or_default()
}

// === Binding ===

type Bound = (SocketAddr, TcpListener, Vec<UdpSocket>);

fn bind_both(wanted: SocketAddr) -> Result<Bound, DnsError> {
    let mut attempts = if wanted.port() == 0 { ANY_PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match try_bind_both(wanted) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && attempts > 0 => {}
            outcome => return outcome.map_err(|error| DnsError::from_bind(wanted, error)),
        }
    }
}

fn try_bind_both(wanted: SocketAddr) -> std::io::Result<Bound> {
    let listener = socket(wanted, Type::STREAM)?;
    // Connections of a previous run that are still closing must not keep the port.
    listener.set_reuse_address(true)?;
    listener.bind(&wanted.into())?;
    listener.listen(128)?;
    let tcp = TcpListener::from_std(listener.into())?;
    let address = tcp.local_addr()?;
    // Sockets that share a port would also share it with a second agent; a first one that does not, notices it.
    socket(address, Type::DGRAM)?.bind(&address.into())?;
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(UDP_SOCKETS_MAX);
    let udp = (0..count).map(|_| udp_socket(address)).collect::<std::io::Result<_>>()?;
    Ok((address, tcp, udp))
}

fn udp_socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM)?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn socket(address: SocketAddr, kind: Type) -> std::io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
