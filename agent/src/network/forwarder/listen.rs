//! Binding a published port, and saying why it cannot be bound.
//!
//! Never reads from a socket. `forwarder` calls it.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proto::id::ServiceKey;
use proto::spec::PortSpec;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

/// Connections the kernel holds for a listener that is behind.
const BACKLOG: i32 = 1_024;
/// Bytes the kernel may hold for a UDP port that is behind, as far as its limit allows.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// How often a port that is free for both families is looked for, when any port will do.
const ANY_PORT_ATTEMPTS: usize = 16;

/// Listeners on `port` of `host_ip`, or of all addresses of both families, and the port that was bound.
pub(super) fn tcp(host_ip: Option<IpAddr>, port: u16) -> io::Result<(Vec<TcpListener>, u16)> {
    let (sockets, port) = all(host_ip, port, |address| {
        let socket = new(address, Type::STREAM)?;
        // Connections of a previous listener that are still closing must not keep the port.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    })?;
    let listeners = sockets.into_iter().map(|s| TcpListener::from_std(s.into())).collect::<io::Result<_>>()?;
    Ok((listeners, port))
}

/// Sockets on `port` of `host_ip`, or of all addresses of both families, and the port that was bound.
pub(super) fn udp(host_ip: Option<IpAddr>, port: u16) -> io::Result<(Vec<UdpSocket>, u16)> {
    let (sockets, port) = all(host_ip, port, |address| {
        let socket = new(address, Type::DGRAM)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        socket.bind(&address.into())?;
        Ok(socket)
    })?;
    let sockets = sockets.into_iter().map(|s| UdpSocket::from_std(s.into())).collect::<io::Result<_>>()?;
    Ok((sockets, port))
}

fn new(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own, so that clients and errors keep their family.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

type Sockets = (Vec<Socket>, u16);

fn all(host_ip: Option<IpAddr>, port: u16, bind: impl Fn(SocketAddr) -> io::Result<Socket>) -> io::Result<Sockets> {
    let mut attempts = if port == 0 { ANY_PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let outcome = match host_ip {
            Some(ip) => one(bind(SocketAddr::new(ip, port))?),
            None => both(port, &bind),
        };
        match outcome {
            Err(error) if error.kind() == ErrorKind::AddrInUse && attempts > 0 => {}
            outcome => return outcome,
        }
    }
}

fn one(socket: Socket) -> io::Result<Sockets> {
    let port = port_of(&socket)?;
    Ok((vec![socket], port))
}

/// IPv4 always, IPv6 where the host has it.
fn both(port: u16, bind: impl Fn(SocketAddr) -> io::Result<Socket>) -> io::Result<Sockets> {
    let v4 = bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    let port = port_of(&v4)?;
    match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        Ok(v6) => Ok((vec![v4, v6], port)),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Err(error),
        Err(error) => {
            tracing::debug!(%error, port, "published on IPv4 only");
            Ok((vec![v4], port))
        }
    }
}

fn port_of(socket: &Socket) -> io::Result<u16> {
    let address = socket.local_addr()?;
    Ok(address.as_socket().map_or(0, |address| address.port()))
}

// === Problems ===

/// Why `port` could not be bound, and what to do.
pub(super) fn problem(port: &PortSpec, error: &io::Error) -> String {
    let number = port.published;
    let named = format!("port {number}/{}", port.protocol.as_str());
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "{named} is already in use by another program on this host: stop it (`ss -lnptu 'sport = :{number}'` shows \
             it) or publish another port; it is tried again every second"
        ),
        ErrorKind::PermissionDenied => {
            format!("{named} needs a privilege: run the agent as root or publish a port above 1023")
        }
        ErrorKind::AddrNotAvailable => {
            let ip = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
            format!("{named}: this host has no address {ip}: add it or leave the address out to publish on all")
        }
        _ => format!("{named} cannot be bound: {error}"),
    }
}

/// Two services want the same port of a host.
pub(super) fn already_published(port: &PortSpec, holder: &ServiceKey) -> String {
    let (number, protocol) = (port.published, port.protocol.as_str());
    format!(
        "port {number}/{protocol} is already published by {holder} on this host: publish another port for one of them"
    )
}
