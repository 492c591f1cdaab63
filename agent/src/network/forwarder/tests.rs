//! The real forwarder on loopback: endpoints are addresses of 127.0.0.0/8.

use std::net::Ipv4Addr;

use proto::endpoint::EndpointState::{self, Draining, Ready, Starting};
use proto::spec::PortSpec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::dns::fixture::{key, service_of, zone_of};

const A: &str = "127.0.1.1";
const B: &str = "127.0.1.2";

struct Running {
    wanted: watch::Sender<Vec<Forward>>,
    zone: watch::Sender<Arc<Zone>>,
    status: watch::Receiver<Vec<ForwardStatus>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn zone(endpoints: &[(&str, EndpointState)]) -> Arc<Zone> {
    Arc::new(zone_of(&service_of("shop/web", endpoints)))
}

fn forward(service: &str, published: u16, target: u16, protocol: Protocol) -> Forward {
    let host_ip = Some(Ipv4Addr::LOCALHOST.into());
    let port = PortSpec { name: None, target, published, host_ip, protocol, mode: PortMode::Ingress };
    Forward { service: key(service), port }
}

fn tcp_to(target: u16) -> Vec<Forward> {
    vec![forward("shop/web", 0, target, Protocol::Tcp)]
}

impl Running {
    async fn start(wanted: Vec<Forward>, endpoints: &[(&str, EndpointState)]) -> Running {
        let (zone, zones) = watch::channel(zone(endpoints));
        let (wanted, wanteds) = watch::channel(wanted);
        let (statuses, mut status) = watch::channel(Vec::new());
        let stop = CancellationToken::new();
        let task = tokio::spawn(Forwarder::run(wanteds, zones, statuses, stop.clone()));
        status.changed().await.expect("runs");
        Running { wanted, zone, status, stop, task }
    }

    /// Where the n-th port is published.
    fn address(&self, n: usize) -> SocketAddr {
        let status = &self.status.borrow()[n];
        assert_eq!(status.problem, "");
        (Ipv4Addr::LOCALHOST, status.bound).into()
    }

    async fn want(&mut self, wanted: Vec<Forward>) {
        self.status.mark_unchanged();
        self.wanted.send_replace(wanted);
        self.status.changed().await.expect("runs");
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address(0)).await.expect("the published port accepts")
    }
}

use std::net::SocketAddr;

/// What an endpoint does with a connection.
#[derive(Clone, Copy)]
enum Manner {
    /// Says its name, then echoes.
    Echo,
    /// Reads to the end, then says how many bytes there were.
    Count,
    /// Says its name, waits for a byte, then breaks the connection off.
    Break,
}

/// A port on which all of `addresses` listen; the others of 127.0.0.0/8 refuse.
async fn endpoints(addresses: &[&'static str], manner: Manner) -> u16 {
    let (listeners, port) = 'port: loop {
        let first = TcpListener::bind((addresses[0], 0)).await.expect("binds");
        let port = first.local_addr().expect("bound").port();
        let mut listeners = vec![first];
        for address in &addresses[1..] {
            match TcpListener::bind((*address, port)).await {
                Ok(listener) => listeners.push(listener),
                Err(_) => continue 'port,
            }
        }
        break (listeners, port);
    };
    for (listener, name) in listeners.into_iter().zip(addresses.to_vec()) {
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(behave(stream, name, manner));
            }
        });
    }
    port
}

async fn behave(mut stream: TcpStream, name: &str, manner: Manner) -> io::Result<()> {
    match manner {
        Manner::Echo => {
            stream.write_all(name.as_bytes()).await?;
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await?;
        }
        Manner::Count => {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await?;
            stream.write_all(all.len().to_string().as_bytes()).await?;
        }
        Manner::Break => {
            stream.write_all(name.as_bytes()).await?;
            stream.read_u8().await?;
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
    }
    Ok(())
}

/// The name that the endpoint behind a connection says.
async fn name(stream: &mut TcpStream) -> String {
    let mut name = [0; A.len()];
    stream.read_exact(&mut name).await.expect("an endpoint speaks");
    String::from_utf8(name.to_vec()).expect("a name")
}

async fn echoes(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.expect("writes");
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).await.expect("reads");
    assert_eq!(heard, text);
}

#[tokio::test]
async fn connections_take_turns_over_ready_endpoints_only() {
    let target = endpoints(&[A, B, "127.0.1.3"], Manner::Echo).await;
    let running = Running::start(tcp_to(target), &[(A, Ready), (B, Ready), ("127.0.1.3", Starting)]).await;
    let mut names = Vec::new();
    for _ in 0..4 {
        let mut stream = running.connect().await;
        names.push(name(&mut stream).await);
        echoes(&mut stream, b"hello").await;
    }
    assert_eq!(names, [A, B, A, B]);
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let target = endpoints(&[B], Manner::Echo).await;
    let running = Running::start(tcp_to(target), &[(A, Ready), (B, Ready)]).await;
    for _ in 0..4 {
        assert_eq!(name(&mut running.connect().await).await, B);
    }
}

#[tokio::test]
async fn a_client_waits_for_the_first_ready_endpoint() {
    let target = endpoints(&[A], Manner::Echo).await;
    let running = Running::start(tcp_to(target), &[(A, Starting)]).await;
    let mut stream = running.connect().await;
    stream.write_all(b"early").await.expect("the kernel holds it");
    running.zone.send_replace(zone(&[(A, Ready)]));
    assert_eq!(name(&mut stream).await, A);
    let mut early = [0; 5];
    stream.read_exact(&mut early).await.expect("what was sent before is echoed");
    assert_eq!(&early, b"early");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_in_vain_sees_an_error() {
    for (endpoints, wait) in [(&[(A, Starting)][..], tcp::READY_WITHIN), (&[(A, Ready)], tcp::REFUSED_FOR)] {
        let refusing = TcpListener::bind((A, 0)).await.expect("binds").local_addr().expect("bound").port();
        let running = Running::start(tcp_to(refusing), endpoints).await;
        let started = Instant::now();
        let error = running.connect().await.read_u8().await.expect_err("no endpoint");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(started.elapsed().as_secs(), wait.as_secs());
    }
}

#[tokio::test]
async fn a_half_closed_connection_still_brings_the_answer() {
    let target = endpoints(&[A], Manner::Count).await;
    let running = Running::start(tcp_to(target), &[(A, Ready)]).await;
    let mut stream = running.connect().await;
    stream.write_all(&vec![b'x'; 1_000_000]).await.expect("writes");
    stream.shutdown().await.expect("half-closes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a clean end");
    assert_eq!(answer, "1000000");
}

#[tokio::test]
async fn a_connection_that_breaks_does_not_look_like_one_that_ended() {
    let target = endpoints(&[A], Manner::Break).await;
    let running = Running::start(tcp_to(target), &[(A, Ready)]).await;
    let mut stream = running.connect().await;
    assert_eq!(name(&mut stream).await, A);
    stream.write_all(b"!").await.expect("writes");
    let error = stream.read_u8().await.expect_err("broken off");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn open_connections_outlive_endpoints_and_ports() {
    let target = endpoints(&[A, B], Manner::Echo).await;
    let mut running = Running::start(tcp_to(target), &[(A, Ready)]).await;
    let published = running.address(0);
    let mut stream = running.connect().await;
    assert_eq!(name(&mut stream).await, A);
    for state in [Draining, Starting] {
        running.zone.send_replace(zone(&[(A, state), (B, Ready)]));
        echoes(&mut stream, b"still here").await;
        assert_eq!(name(&mut running.connect().await).await, B, "new ones go elsewhere");
    }
    running.zone.send_replace(zone(&[]));
    running.want(Vec::new()).await;
    echoes(&mut stream, b"and still").await;
    let error = TcpStream::connect(published).await.expect_err("nobody listens any more");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_port_moves_to_another_target_without_being_closed() {
    let (old, new) = (endpoints(&[A], Manner::Echo).await, endpoints(&[B], Manner::Echo).await);
    let mut running = Running::start(tcp_to(old), &[(A, Ready), (B, Ready)]).await;
    let port = running.address(0).port();
    running.want(vec![forward("shop/web", port, old, Protocol::Tcp)]).await;
    let mut stream = running.connect().await;
    assert_eq!(name(&mut stream).await, A);
    // What is in the listener's queue when the target changes is accepted after it: nothing was closed.
    let mut queued = running.connect().await;
    running.want(vec![forward("shop/web", port, new, Protocol::Tcp)]).await;
    assert!([A, B].contains(&name(&mut queued).await.as_str()));
    assert_eq!(name(&mut running.connect().await).await, B);
    echoes(&mut stream, b"old ones stay").await;
}

#[tokio::test]
async fn a_taken_port_is_reported_and_bound_once_it_is_free() {
    let target = endpoints(&[A], Manner::Echo).await;
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = tcp.local_addr().expect("bound").port();
    let udp = std::net::UdpSocket::bind(("127.0.0.1", port)).expect("binds");
    let protocols = [Protocol::Tcp, Protocol::Udp];
    let wanted = protocols.map(|protocol| forward("shop/web", port, target, protocol)).to_vec();
    let mut running = Running::start(wanted, &[(A, Ready)]).await;
    let statuses = running.status.borrow_and_update().clone();
    for (status, protocol) in statuses.iter().zip(protocols) {
        assert_eq!(status.bound, 0);
        let start = format!("port {port}/{} is already in use by another program", protocol.as_str());
        assert!(status.problem.starts_with(&start), "{}", status.problem);
    }
    drop((tcp, udp));
    let free = |statuses: &Vec<ForwardStatus>| statuses.iter().all(|s| s.bound == port && s.problem.is_empty());
    running.status.wait_for(free).await.expect("runs");
    assert_eq!(name(&mut running.connect().await).await, A);
}

#[tokio::test]
async fn an_address_of_another_host_is_named() {
    let mut elsewhere = forward("shop/web", 8_080, 80, Protocol::Tcp);
    elsewhere.port.host_ip = Some("192.0.2.77".parse().expect("an address"));
    let running = Running::start(vec![elsewhere], &[]).await;
    let problem = running.status.borrow()[0].problem.clone();
    assert!(problem.contains("has no address 192.0.2.77"), "{problem}");
}

#[tokio::test]
async fn two_services_on_one_port_are_told_of_each_other() {
    let target = endpoints(&[A], Manner::Echo).await;
    let mut running = Running::start(tcp_to(target), &[(A, Ready)]).await;
    let port = running.address(0).port();
    let first = forward("shop/web", port, target, Protocol::Tcp);
    let second = forward("shop/zoo", port, target, Protocol::Tcp);
    let mut everywhere = forward("shop/zoo", port, target, Protocol::Tcp);
    everywhere.port.host_ip = None;
    for rival in [second, everywhere] {
        running.want(vec![first.clone(), rival.clone()]).await;
        let status = running.status.borrow().clone();
        assert_eq!((status[0].bound, status[0].problem.as_str()), (port, ""));
        assert!(status[1].problem.contains("already published by shop/web"), "{}", status[1].problem);
        // Once the first is gone, the other has the port.
        running.want(vec![rival]).await;
        assert_eq!(running.status.borrow()[0].bound, port);
    }
}

#[tokio::test]
async fn ports_of_docker_are_passed_over_and_any_port_is_kept() {
    let target = endpoints(&[A], Manner::Echo).await;
    let mut docker = forward("shop/web", 9, target, Protocol::Tcp);
    docker.port.mode = PortMode::Host;
    let mut running = Running::start([vec![docker], tcp_to(target)].concat(), &[(A, Ready)]).await;
    assert_eq!(running.status.borrow().len(), 1);
    let before = running.address(0);
    running.want([tcp_to(target), vec![forward("shop/web", 0, target, Protocol::Udp)]].concat()).await;
    assert_eq!(running.address(0), before);
    assert_ne!(running.status.borrow()[1].bound, 0);
}

#[tokio::test]
async fn without_an_address_both_families_are_published() {
    let target = endpoints(&[A], Manner::Echo).await;
    let mut everywhere = forward("shop/web", 0, target, Protocol::Tcp);
    everywhere.port.host_ip = None;
    let running = Running::start(vec![everywhere], &[(A, Ready)]).await;
    assert_eq!(name(&mut running.connect().await).await, A);
    if TcpListener::bind("[::1]:0").await.is_ok() {
        let port = running.address(0).port();
        let mut stream = TcpStream::connect(("::1", port)).await.expect("IPv6 is published, too");
        assert_eq!(name(&mut stream).await, A);
    }
}

#[tokio::test]
async fn a_stop_ends_everything() {
    let target = endpoints(&[A], Manner::Echo).await;
    let running = Running::start(tcp_to(target), &[(A, Ready)]).await;
    let mut stream = running.connect().await;
    assert_eq!(name(&mut stream).await, A);
    let published = running.address(0);
    running.stop.cancel();
    running.task.await.expect("ends");
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(published).await.is_err());
}

// === UDP ===

/// Endpoints on one UDP port that answer each packet with their name and the packet.
async fn udp_endpoints(addresses: &[&'static str]) -> u16 {
    let (sockets, port) = 'port: loop {
        let first = UdpSocket::bind((addresses[0], 0)).await.expect("binds");
        let port = first.local_addr().expect("bound").port();
        let mut sockets = vec![first];
        for address in &addresses[1..] {
            match UdpSocket::bind((*address, port)).await {
                Ok(socket) => sockets.push(socket),
                Err(_) => continue 'port,
            }
        }
        break (sockets, port);
    };
    for (socket, address) in sockets.into_iter().zip(addresses.to_vec()) {
        tokio::spawn(async move {
            let mut packet = [0; 2_048];
            while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
                let reply = [address.as_bytes(), &packet[..length]].concat();
                socket.send_to(&reply, peer).await.expect("sends");
            }
        });
    }
    port
}

async fn udp_client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    socket.connect(server).await.expect("connects");
    socket
}

/// Sends a packet; which endpoint answered it. Only the published port is heard: the socket is connected to it.
async fn udp_name(client: &UdpSocket) -> String {
    client.send(b"?").await.expect("sends");
    let mut reply = [0; 2_048];
    let length = client.recv(&mut reply).await.expect("receives");
    String::from_utf8(reply[..length].to_vec()).expect("a name").trim_end_matches('?').to_owned()
}

fn udp_to(target: u16) -> Vec<Forward> {
    vec![forward("shop/web", 0, target, Protocol::Udp)]
}

#[tokio::test]
async fn udp_clients_keep_their_endpoint_while_it_may_be_used() {
    let target = udp_endpoints(&[A, B]).await;
    let running = Running::start(udp_to(target), &[(A, Ready), (B, Ready)]).await;
    let (first, second) = (udp_client(running.address(0)).await, udp_client(running.address(0)).await);
    for _ in 0..3 {
        assert_eq!(udp_name(&first).await, A);
        assert_eq!(udp_name(&second).await, B);
    }
    running.zone.send_replace(zone(&[(A, Draining), (B, Ready)]));
    assert_eq!(udp_name(&first).await, A, "draining keeps what is open");
    running.zone.send_replace(zone(&[(A, Starting), (B, Ready)]));
    assert_eq!(udp_name(&first).await, B, "unready does not");
}

#[tokio::test]
async fn a_udp_endpoint_that_refuses_is_left() {
    let target = udp_endpoints(&[B]).await;
    let running = Running::start(udp_to(target), &[(A, Ready), (B, Ready)]).await;
    let client = udp_client(running.address(0)).await;
    // The first packet finds out; like any of UDP, it may be lost.
    let answered = async {
        loop {
            client.send(b"?").await.expect("sends");
            let heard = tokio::time::timeout(Duration::from_millis(20), client.readable()).await;
            if heard.is_ok() && client.try_recv(&mut [0; 64]).is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered).await.expect("the other endpoint answers");
    assert_eq!(udp_name(&client).await, B);
}

#[tokio::test(start_paused = true)]
async fn a_silent_udp_flow_is_forgotten() {
    let target = udp_endpoints(&[A, B]).await;
    let running = Running::start(udp_to(target), &[(A, Ready), (B, Ready)]).await;
    let client = udp_client(running.address(0)).await;
    assert_eq!(udp_name(&client).await, A);
    tokio::time::sleep(udp::IDLE / 2).await;
    assert_eq!(udp_name(&client).await, A);
    tokio::time::sleep(udp::IDLE + Duration::from_secs(1)).await;
    assert_eq!(udp_name(&client).await, B, "a new flow, the next endpoint");
}
