//! The real server on loopback, with hickory as the client.

use std::net::Ipv4Addr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use proto::endpoint::EndpointState::{Ready, Starting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::dns::fixture::{service_of, zone, zone_of};
use crate::dns::tcp::{CONNECTIONS_PER_CLIENT_MAX, IDLE};

struct Running {
    address: SocketAddr,
    zone: watch::Sender<Arc<Zone>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn config(resolvers: &[SocketAddr]) -> DnsConfig {
    DnsConfig {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        resolvers: Resolvers::Fixed(resolvers.to_vec()),
        clients: Vec::new(),
        own_servers: watch::channel(Arc::default()).1,
    }
}

fn start_with(zone: Zone, resolvers: &[SocketAddr]) -> Running {
    let (sender, receiver) = watch::channel(Arc::new(zone));
    let server = DnsServer::bind(config(resolvers), receiver).expect("binds");
    let (address, stop) = (server.local_addr(), CancellationToken::new());
    Running { address, zone: sender, task: tokio::spawn(server.run(stop.clone())), stop }
}

fn start() -> Running {
    start_with(zone(), &[])
}

fn query(id: u16, name: &str, rtype: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), rtype));
    message
}

fn bytes(message: &Message) -> Vec<u8> {
    message.to_vec().expect("encodes")
}

async fn client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    socket.connect(server).await.expect("connects");
    socket
}

async fn receive(socket: &UdpSocket) -> Message {
    let mut packet = [0; 4_096];
    let length = socket.recv(&mut packet).await.expect("receives");
    Message::from_vec(&packet[..length]).expect("a message")
}

async fn ask(server: SocketAddr, message: Message) -> Message {
    let socket = client(server).await;
    socket.send(&bytes(&message)).await.expect("sends");
    let reply = receive(&socket).await;
    assert_eq!(reply.metadata.id, message.metadata.id);
    reply
}

fn framed(message: &Message) -> Vec<u8> {
    let bytes = bytes(message);
    [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
}

async fn receive_framed(stream: &mut TcpStream) -> Message {
    let mut packet = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
    stream.read_exact(&mut packet).await.expect("a reply");
    Message::from_vec(&packet).expect("a message")
}

#[tokio::test]
async fn all_kinds_of_questions_over_udp() {
    let server = start();
    let cases = [
        ("web.shop.svc.cluster.local.", RecordType::A, ResponseCode::NoError, 2),
        ("web.shop.svc.cluster.local.", RecordType::AAAA, ResponseCode::NoError, 0),
        ("3.web.shop.svc.cluster.local.", RecordType::A, ResponseCode::NoError, 1),
        ("nothing.shop.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain, 0),
        ("_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV, ResponseCode::NoError, 2),
        ("1.1.210.10.in-addr.arpa.", RecordType::PTR, ResponseCode::NoError, 1),
        ("example.com.", RecordType::A, ResponseCode::ServFail, 0),
    ];
    for (name, rtype, rcode, answers) in cases {
        let reply = ask(server.address, query(1, name, rtype)).await;
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (rcode, answers), "{name} {rtype}");
    }
}

#[tokio::test]
async fn junk_and_responses_get_no_reply_and_do_no_harm() {
    let server = start();
    let socket = client(server.address).await;
    let mut response = bytes(&query(1, "web.shop.", RecordType::A));
    response[2] |= 0x80;
    for packet in [&b""[..], b"junk", &[0xff; 600], &response] {
        socket.send(packet).await.expect("sends");
    }
    socket.send(&bytes(&query(2, "web.shop.", RecordType::A))).await.expect("sends");
    // One client's packets are read in order: the first reply is to the last of them.
    assert_eq!(receive(&socket).await.metadata.id, 2);
}

#[tokio::test]
async fn edns_of_a_later_version_is_refused() {
    let server = start();
    let mut message = query(1, "web.shop.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    message.set_edns(edns);
    let reply = ask(server.address, message).await;
    assert_eq!((u16::from(reply.metadata.response_code), reply.edns.is_some()), (16, true));
}

#[tokio::test]
async fn what_is_truncated_over_udp_is_whole_over_tcp() {
    let addresses: Vec<String> = (1..=200).map(|i| format!("10.210.1.{i}")).collect();
    let endpoints: Vec<_> = addresses.iter().map(|a| (a.as_str(), Ready)).collect();
    let server = start_with(zone_of(&service_of("shop/web", &endpoints)), &[]);
    let reply = ask(server.address, query(1, "web.shop.", RecordType::A)).await;
    assert!(reply.metadata.truncation && !reply.answers.is_empty());
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(&framed(&query(2, "web.shop.", RecordType::A))).await.expect("writes");
    let reply = receive_framed(&mut stream).await;
    assert_eq!((reply.metadata.truncation, reply.answers.len()), (false, 200));
}

#[tokio::test]
async fn the_very_next_query_sees_a_new_zone() {
    let server = start();
    let socket = client(server.address).await;
    for (id, state) in (0..50).map(|i| (i, if i % 2 == 0 { Ready } else { Starting })) {
        server.zone.send_replace(Arc::new(zone_of(&service_of("shop/web", &[("10.210.1.1", state)]))));
        socket.send(&bytes(&query(id, "web.shop.", RecordType::A))).await.expect("sends");
        let reply = receive(&socket).await;
        assert_eq!((reply.metadata.id, reply.answers.len()), (id, usize::from(state == Ready)));
    }
}

#[tokio::test]
async fn answers_take_turns() {
    let server = start();
    let mut first = std::collections::BTreeSet::new();
    let socket = client(server.address).await;
    for id in 0..4 {
        socket.send(&bytes(&query(id, "web.shop.", RecordType::A))).await.expect("sends");
        first.insert(receive(&socket).await.answers[0].data.to_string());
    }
    assert_eq!(first.len(), 2);
}

#[tokio::test]
async fn one_connection_carries_many_queries_in_any_pieces() {
    let server = start();
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.set_nodelay(true).expect("sets");
    let mut all: Vec<u8> = (0..500).flat_map(|id| framed(&query(id, "web.shop.", RecordType::A))).collect();
    let rest = all.split_off(777);
    stream.write_all(&all).await.expect("writes");
    assert_eq!(receive_framed(&mut stream).await.metadata.id, 0);
    stream.write_all(&rest).await.expect("writes");
    stream.shutdown().await.expect("half-closes");
    for id in 1..500 {
        assert_eq!(receive_framed(&mut stream).await.metadata.id, id);
    }
    assert_eq!(stream.read(&mut [0]).await.expect("reads"), 0, "closed after the last reply");
}

/// A resolver that refuses every query, but only once `held` of them wait for it.
async fn resolver(held: usize) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut packet = [0; 512];
        loop {
            let mut waiting = Vec::new();
            while waiting.len() < held {
                let (length, peer) = socket.recv_from(&mut packet).await.expect("receives");
                waiting.push((packet[..length].to_vec(), peer));
            }
            for (mut query, peer) in waiting {
                query[2] |= 0x80;
                query[3] = 3;
                socket.send_to(&query, peer).await.expect("sends");
            }
        }
    });
    address
}

#[tokio::test]
async fn a_relayed_query_does_not_hold_up_our_own_names() {
    let server = start_with(zone(), &[resolver(2).await]);
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(&framed(&query(1, "example.com.", RecordType::TXT))).await.expect("writes");
    stream.write_all(&framed(&query(2, "web.shop.", RecordType::A))).await.expect("writes");
    assert_eq!(receive_framed(&mut stream).await.metadata.id, 2);
    let reply = ask(server.address, query(3, "example.org.", RecordType::A)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    let reply = receive_framed(&mut stream).await;
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (1, ResponseCode::NXDomain));
}

#[tokio::test]
async fn more_relayed_queries_on_a_connection_than_run_at_a_time_are_all_answered() {
    let server = start_with(zone(), &[resolver(1).await]);
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let all: Vec<u8> = (0..200).flat_map(|id| framed(&query(id, "example.com.", RecordType::A))).collect();
    stream.write_all(&all).await.expect("writes");
    stream.shutdown().await.expect("half-closes");
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..200 {
        ids.insert(receive_framed(&mut stream).await.metadata.id);
    }
    assert_eq!(ids.len(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let server = start();
    let started = tokio::time::Instant::now();
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(&[0]).await.expect("half a length is no sign of life");
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(started.elapsed() >= IDLE);
}

#[tokio::test]
async fn one_client_cannot_take_all_connections() {
    let server = start();
    let mut held = Vec::new();
    for id in 0..CONNECTIONS_PER_CLIENT_MAX {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(&framed(&query(id as u16, "web.shop.", RecordType::A))).await.expect("writes");
        receive_framed(&mut stream).await;
        held.push(stream);
    }
    let mut one_more = TcpStream::connect(server.address).await.expect("the kernel accepts");
    assert_eq!(one_more.read(&mut [0]).await.unwrap_or(0), 0, "closed at once");
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("binds");
    let mut other = socket.connect(server.address).await.expect("connects");
    other.write_all(&framed(&query(9, "web.shop.", RecordType::A))).await.expect("writes");
    assert_eq!(receive_framed(&mut other).await.metadata.id, 9);
}

/// A resolver that answers every query with its own address.
async fn resolver_that_says(address: Ipv4Addr) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
    let at = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
            let mut reply = Message::from_vec(&packet[..length]).expect("a query");
            reply.metadata.message_type = MessageType::Response;
            let name = reply.queries[0].name().clone();
            reply.add_answer(hickory_proto::rr::Record::from_rdata(
                name,
                1,
                hickory_proto::rr::RData::A(address.into()),
            ));
            let _ = socket.send_to(&reply.to_vec().expect("encodes"), peer).await;
        }
    });
    at
}

#[tokio::test]
async fn a_client_with_resolvers_of_its_own_asks_them_for_what_is_not_ours() {
    let (for_all, for_one) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let (all, one) = (resolver_that_says(for_all).await, resolver_that_says(for_one).await);
    let (own, own_servers) = watch::channel(Arc::new(OwnServers::new()));
    let (_zone, receiver) = watch::channel(Arc::new(zone()));
    let server = DnsServer::bind(DnsConfig { own_servers, ..config(&[all]) }, receiver).expect("binds");
    let (address, stop) = (server.local_addr(), CancellationToken::new());
    let task = tokio::spawn(server.run(stop.clone()));
    let ask = async |name: &str| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("binds");
        socket.send_to(&query(5, name, RecordType::A).to_vec().expect("encodes"), address).await.expect("sends");
        let mut packet = [0; 512];
        let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut packet)).await.expect("in time");
        let reply = Message::from_vec(&packet[..length.expect("received")]).expect("a reply");
        reply.answers.iter().map(|answer| answer.data.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ask("example.com.").await, [for_all.to_string()]);
    let ours = ask("web.shop.").await;
    own.send_replace(Arc::new(OwnServers::from([(Ipv4Addr::LOCALHOST.into(), vec![one])])));
    assert_eq!(ask("example.com.").await, [for_one.to_string()], "its own");
    let mut still = ask("web.shop.").await;
    still.sort();
    assert_eq!(still.len(), ours.len(), "services are answered by us all the same");
    assert!(!still.contains(&for_one.to_string()), "{still:?}");
    stop.cancel();
    task.await.expect("ends");
}

#[tokio::test]
async fn strangers_are_not_served() {
    let shared = |clients: &[&str]| Shared {
        zone: watch::channel(Arc::new(zone())).1,
        upstreams: Upstreams::new(Resolvers::Fixed(Vec::new())),
        connections: Mutex::default(),
        clients: clients.iter().map(|net| net.parse().expect("a net")).collect(),
        own: "192.0.2.1:53".parse().expect("an address"),
        own_servers: watch::channel(Arc::default()).1,
    };
    let serves = |clients: &[&str], client: &str| shared(clients).serves(client.parse().expect("an address"));
    assert!(serves(&["10.210.0.0/16"], "10.210.3.4"));
    assert!(serves(&["10.210.0.0/16"], "127.0.0.1"));
    assert!(serves(&["10.210.0.0/16"], "192.0.2.1"));
    assert!(!serves(&["10.210.0.0/16"], "198.51.100.77"));
    assert!(!serves(&["10.210.0.0/16"], "2001:db8::1"));
    assert!(serves(&[], "198.51.100.77"));
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_remedy() {
    let server = start();
    let (_zone, receiver) = watch::channel(Arc::new(zone()));
    let again = DnsConfig { address: server.address, ..config(&[]) };
    let error = DnsServer::bind(again, receiver.clone()).expect_err("a second server on the same port");
    let text = error.to_string();
    assert!(text.contains(&server.address.to_string()) && text.contains("ss -lnptu"), "{text}");

    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let again = DnsConfig { address: udp.local_addr().expect("bound"), ..config(&[]) };
    let error = DnsServer::bind(again, receiver.clone()).expect_err("only UDP is taken");
    assert!(matches!(error, DnsError::Taken { .. }), "{error}");

    let elsewhere = DnsConfig { address: "192.0.2.77:0".parse().expect("an address"), ..config(&[]) };
    let error = DnsServer::bind(elsewhere, receiver).expect_err("not an address of this host");
    assert!(error.to_string().contains("no interface"), "{error}");
}

#[tokio::test]
async fn a_stop_ends_connections_and_relayed_queries() {
    let server = start_with(zone(), &[resolver(usize::MAX).await]);
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(&framed(&query(1, "example.com.", RecordType::A))).await.expect("writes");
    stream.write_all(&framed(&query(2, "web.shop.", RecordType::A))).await.expect("writes");
    receive_framed(&mut stream).await;
    server.stop.cancel();
    server.task.await.expect("ends");
    assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
}
