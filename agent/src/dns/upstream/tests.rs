//! Relaying, with resolvers played on loopback.

use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::TcpListener;

use super::*;

fn query(id: u16) -> Vec<u8> {
    let mut message = Message::new(id, hickory_proto::op::MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii("Example.com.").expect("a name"), RecordType::A));
    message.to_vec().expect("encodes")
}

/// What a resolver says to `packet`: one address.
fn answer(packet: &[u8], address: [u8; 4]) -> Message {
    let query = Message::from_vec(packet).expect("a query");
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    let name = query.queries[0].name.clone();
    reply.queries = query.queries;
    reply.add_answer(Record::from_rdata(name, 60, RData::A(A(address.into()))));
    reply
}

/// A resolver that answers each query with the packets that `play` makes of it.
async fn resolver(play: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
            for reply in play(&packet[..length]) {
                socket.send_to(&reply, peer).await.expect("sends");
            }
        }
    });
    address
}

fn honest(last: u8) -> impl Fn(&[u8]) -> Vec<Vec<u8>> {
    move |packet| vec![answer(packet, [192, 0, 2, last]).to_vec().expect("encodes")]
}

/// An address where nobody listens: the kernel refuses at once.
async fn closed() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("bound")
}

fn upstreams(servers: &[SocketAddr]) -> Upstreams {
    Upstreams::new(Resolvers::Fixed(servers.to_vec()))
}

/// The last octet of the address in the reply, or its code.
fn gist(reply: &[u8]) -> Result<u8, ResponseCode> {
    let message = Message::from_vec(reply).expect("a message");
    assert_eq!(message.metadata.id, 77, "the client's own id");
    assert_eq!(message.queries.len(), 1, "the client's question");
    match message.answers.first().map(|record| &record.data) {
        Some(RData::A(A(address))) => Ok(address.octets()[3]),
        _ => Err(message.metadata.response_code),
    }
}

async fn ask(upstreams: &Upstreams) -> Result<u8, ResponseCode> {
    gist(&upstreams.ask(&query(77), Transport::Udp, 512, &[]).await)
}

#[tokio::test]
async fn the_first_that_answers_is_believed_and_asked_first_from_then_on() {
    let upstreams = upstreams(&[closed().await, resolver(honest(1)).await, resolver(honest(2)).await]);
    assert_eq!(ask(&upstreams).await, Ok(1));
    assert_eq!(upstreams.preferred.load(Ordering::Relaxed), 1);
    assert_eq!(ask(&upstreams).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_has_two_seconds() {
    let silent = resolver(|_| Vec::new()).await;
    let upstreams = upstreams(&[silent, resolver(honest(1)).await]);
    let asked = tokio::time::Instant::now();
    assert_eq!(ask(&upstreams).await, Ok(1));
    assert_eq!(asked.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn what_answers_another_query_is_passed_over() {
    let forger = resolver(|packet| {
        let reply = |change: fn(&mut Message)| {
            let mut reply = answer(packet, [192, 0, 2, 66]);
            change(&mut reply);
            reply.to_vec().expect("encodes")
        };
        let other_name = |m: &mut Message| m.queries[0].name = Name::from_ascii("evil.com.").expect("a name");
        vec![
            reply(|m| m.metadata.id ^= 1),
            reply(other_name),
            reply(|m| m.queries[0].query_type = RecordType::AAAA),
            reply(|m| m.metadata.message_type = hickory_proto::op::MessageType::Query),
            reply(|m| m.queries.clear()),
            b"junk".to_vec(),
            Vec::new(),
            answer(packet, [192, 0, 2, 5]).to_vec().expect("encodes"),
        ]
    });
    assert_eq!(ask(&upstreams(&[forger.await])).await, Ok(5));
}

#[tokio::test]
async fn the_id_on_the_wire_is_not_the_clients() {
    // 16 queries with the client's id by chance: once in 2^256 runs.
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let ids = std::sync::Arc::clone(&seen);
    let server = resolver(move |packet| {
        ids.lock().expect("not poisoned").push([packet[0], packet[1]]);
        honest(1)(packet)
    });
    let upstreams = upstreams(&[server.await]);
    for _ in 0..16 {
        assert_eq!(ask(&upstreams).await, Ok(1));
    }
    assert!(seen.lock().expect("not poisoned").iter().any(|id| *id != [0, 77]));
}

fn refusing(rcode: ResponseCode) -> impl Fn(&[u8]) -> Vec<Vec<u8>> {
    move |packet| {
        let mut reply = answer(packet, [0; 4]);
        reply.answers.clear();
        reply.metadata.response_code = rcode;
        vec![reply.to_vec().expect("encodes")]
    }
}

#[tokio::test]
async fn a_refusal_is_passed_over_and_counts_if_there_is_nothing_better() {
    let refuser = resolver(refusing(ResponseCode::Refused)).await;
    assert_eq!(ask(&upstreams(&[refuser, resolver(honest(1)).await])).await, Ok(1));
    assert_eq!(ask(&upstreams(&[refuser, closed().await])).await, Err(ResponseCode::Refused));
    let nothing = resolver(refusing(ResponseCode::NXDomain)).await;
    assert_eq!(ask(&upstreams(&[nothing, resolver(honest(1)).await])).await, Err(ResponseCode::NXDomain));
}

#[tokio::test]
async fn nobody_to_ask_is_a_failure_at_once() {
    assert_eq!(ask(&upstreams(&[])).await, Err(ResponseCode::ServFail));
    assert_eq!(ask(&upstreams(&[closed().await, closed().await])).await, Err(ResponseCode::ServFail));
    let full = Upstreams::with_outstanding(Resolvers::Fixed(vec![resolver(honest(1)).await]), 0);
    assert_eq!(ask(&full).await, Err(ResponseCode::ServFail));
}

/// A resolver that says "truncated" over UDP and everything over TCP.
async fn truncating() -> SocketAddr {
    let (listener, socket) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().expect("bound")).await {
            break (listener, socket);
        }
    };
    let address = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
            let mut reply = answer(&packet[..length], [192, 0, 2, 1]);
            reply.answers.clear();
            reply.metadata.truncation = true;
            socket.send_to(&reply.to_vec().expect("encodes"), peer).await.expect("sends");
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut packet = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
            stream.read_exact(&mut packet).await.expect("a query");
            let reply = answer(&packet, [192, 0, 2, 9]).to_vec().expect("encodes");
            stream.write_u16(reply.len() as u16).await.expect("writes");
            stream.write_all(&reply).await.expect("writes");
        }
    });
    address
}

#[tokio::test]
async fn a_truncated_reply_is_fetched_whole_only_for_a_client_that_came_over_tcp() {
    let upstreams = upstreams(&[truncating().await]);
    let reply = upstreams.ask(&query(77), Transport::Tcp, 65_535, &[]).await;
    assert_eq!(gist(&reply), Ok(9));
    let reply = upstreams.ask(&query(77), Transport::Udp, 512, &[]).await;
    assert!(Message::from_vec(&reply).expect("a message").metadata.truncation);
}

#[tokio::test]
async fn a_reply_larger_than_the_client_can_take_is_truncated() {
    let talkative = resolver(|packet| {
        let mut reply = answer(packet, [192, 0, 2, 1]);
        let record = reply.answers[0].clone();
        reply.add_answers(std::iter::repeat_n(record, 40));
        vec![reply.to_vec().expect("encodes")]
    });
    let upstreams = upstreams(&[talkative.await]);
    let reply = upstreams.ask(&query(77), Transport::Udp, 512, &[]).await;
    let message = Message::from_vec(&reply).expect("a message");
    assert!(message.metadata.truncation && message.answers.is_empty() && reply.len() <= 512);
    let reply = upstreams.ask(&query(77), Transport::Udp, 1_232, &[]).await;
    assert_eq!(Message::from_vec(&reply).expect("a message").answers.len(), 41);
}
