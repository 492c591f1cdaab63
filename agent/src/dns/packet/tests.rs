//! Packets in, packets out, with hickory as the other side; and the fast path held to the general one.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use proptest::prelude::*;
use proto::endpoint::EndpointState::Ready;

use super::*;
use crate::dns::fixture::{ip, service_of, zone, zone_of};

fn query(name: &str, rtype: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), rtype));
    message
}

fn with_edns(mut message: Message, size: u16, version: u8) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(size).set_version(version);
    message.set_edns(edns);
    message
}

fn exchange(zone: &Zone, packet: &[u8], transport: Transport) -> (Step, Vec<u8>) {
    let mut out = b"left over".to_vec();
    let step = respond(zone, Some(ip("10.210.1.1")), packet, transport, 0, &mut out);
    (step, out)
}

fn reply(zone: &Zone, message: &Message, transport: Transport) -> Message {
    let (step, out) = exchange(zone, &message.to_vec().expect("encodes"), transport);
    assert_eq!(step, Step::Reply);
    Message::from_vec(&out).expect("a message")
}

#[test]
fn a_reply_repeats_the_question_and_says_who_speaks() {
    for rtype in [RecordType::A, RecordType::MX] {
        let reply = reply(&zone(), &query("wEb.shop.", rtype), Transport::Udp);
        assert_eq!((reply.metadata.id, reply.metadata.message_type), (0x1234, MessageType::Response));
        assert!(reply.metadata.authoritative && reply.metadata.recursion_available && reply.metadata.recursion_desired);
        assert!(reply.queries[0].name.eq_case(&Name::from_ascii("wEb.shop.").expect("a name")));
        assert!(reply.edns.is_none(), "no OPT unless the client sent one");
    }
}

#[test]
fn edns_is_answered_in_kind() {
    let answered = |message| reply(&zone(), &message, Transport::Udp).edns.expect("OPT");
    assert_eq!(answered(with_edns(query("web.shop.", RecordType::A), 4_096, 0)).max_payload(), 1_232);
    assert_eq!(answered(with_edns(query("web.shop.", RecordType::MX), 4_096, 0)).max_payload(), 1_232);
    let bad = reply(&zone(), &with_edns(query("web.shop.", RecordType::A), 4_096, 1), Transport::Udp);
    assert_eq!(u16::from(bad.metadata.response_code), 16, "BADVERS shares its number with BADSIG");
    assert_eq!(bad.edns.expect("OPT").version(), 0);
    assert!(bad.answers.is_empty());
}

#[test]
fn what_does_not_fit_is_left_out_and_marked() {
    let addresses: Vec<String> = (1..=200).map(|i| format!("10.210.1.{i}")).collect();
    let endpoints: Vec<_> = addresses.iter().map(|a| (a.as_str(), Ready)).collect();
    let zone = zone_of(&service_of("shop/web", &endpoints));
    let name = "web.shop.svc.cluster.local.";
    for (offered, limit) in [(None, 512), (Some(600), 600), (Some(100), 512), (Some(65_535), 1_232)] {
        let mut message = query(name, RecordType::A);
        if let Some(size) = offered {
            message = with_edns(message, size, 0);
        }
        let mut packet = message.to_vec().expect("encodes");
        if offered == Some(100) {
            let size_at = packet.len() - 8; // hickory writes no less than 512.
            packet[size_at..size_at + 2].copy_from_slice(&100_u16.to_be_bytes());
        }
        let (_, out) = exchange(&zone, &packet, Transport::Udp);
        let reply = Message::from_vec(&out).expect("a message");
        assert!(reply.metadata.truncation, "{offered:?}");
        assert!(out.len() <= limit && out.len() > limit - 30, "{} bytes of {limit}", out.len());
        assert_eq!(reply.edns.is_some(), offered.is_some(), "OPT survives");
    }
    let reply = reply(&zone, &query(name, RecordType::A), Transport::Tcp);
    assert!(!reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 200);
}

#[test]
fn what_is_no_query_gets_no_reply() {
    let mut response = query("web.shop.", RecordType::A).to_vec().expect("encodes");
    response[2] |= 0x80;
    for packet in [&[][..], &[0; 11], &response] {
        assert_eq!(exchange(&zone(), packet, Transport::Udp).0, Step::Drop);
    }
}

#[test]
fn what_is_not_understood_is_said_so() {
    let good = query("web.shop.", RecordType::A).to_vec().expect("encodes");
    let changed = |at: usize, to: u8| {
        let mut packet = good.clone();
        packet[at] = to;
        packet
    };
    let mut trailing_pointer = good[..12].to_vec();
    trailing_pointer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
    let long_name = [&good[..12], &[b"\x3f", &[b'a'; 63][..]].concat().repeat(4), &good[good.len() - 5..]].concat();
    let cases = [
        ("a name of more than 255 bytes", long_name, ResponseCode::FormErr, 0),
        ("opcode status", changed(2, 2 << 3), ResponseCode::NotImp, 1),
        ("opcode update", changed(2, 5 << 3), ResponseCode::NotImp, 1),
        ("no question", [&good[..5], &[0; 7][..]].concat(), ResponseCode::FormErr, 0),
        ("two questions", changed(5, 2), ResponseCode::FormErr, 0),
        ("an answer", changed(7, 1), ResponseCode::FormErr, 1),
        ("cut off", good[..good.len() - 3].to_vec(), ResponseCode::FormErr, 0),
        ("a name that points at itself", trailing_pointer, ResponseCode::FormErr, 0),
        ("a promised OPT that is absent", changed(11, 1), ResponseCode::FormErr, 1),
        ("class chaos", changed(good.len() - 1, 3), ResponseCode::Refused, 1),
    ];
    for (what, packet, rcode, questions) in cases {
        let (step, out) = exchange(&zone(), &packet, Transport::Udp);
        assert_eq!(step, Step::Reply, "{what}");
        let reply = Message::from_vec(&out).expect("a message");
        assert_eq!((reply.metadata.response_code, reply.queries.len()), (rcode, questions), "{what}");
        assert_eq!((reply.metadata.id, reply.answers.len()), (0x1234, 0), "{what}");
        assert!(out.len() <= packet.len().max(HEADER_BYTES), "{what}: a reply to nonsense is not larger than it");
    }
    for rtype in [RecordType::AXFR, RecordType::IXFR] {
        let reply = reply(&zone(), &query("cluster.local.", rtype), Transport::Tcp);
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    }
}

#[test]
fn what_is_not_ours_is_forwarded_with_the_clients_limit() {
    let packet = |message: Message| message.to_vec().expect("encodes");
    let world = || query("example.com.", RecordType::TXT);
    let step = |packet: Vec<u8>, transport| exchange(&zone(), &packet, transport).0;
    assert_eq!(step(packet(world()), Transport::Udp), Step::Forward { limit: 512 });
    assert_eq!(step(packet(with_edns(world(), 1_400, 0)), Transport::Udp), Step::Forward { limit: 1_400 });
    assert_eq!(step(packet(with_edns(world(), 65_000, 0)), Transport::Udp), Step::Forward { limit: 4_096 });
    assert_eq!(step(packet(world()), Transport::Tcp), Step::Forward { limit: 65_535 });
}

#[test]
fn the_fast_path_is_taken_for_what_is_asked_most() {
    let zone = zone();
    let (mut out, client) = (Vec::new(), Some(ip("10.210.1.1")));
    for name in ["web.", "web.shop.", "WEB.shop.svc.cluster.local.", "3.web.", "9.web.", "idle."] {
        for rtype in [RecordType::A, RecordType::AAAA] {
            for message in [query(name, rtype), with_edns(query(name, rtype), 1_232, 0)] {
                let packet = message.to_vec().expect("encodes");
                out.clear();
                assert!(fast::respond(&zone, client, &packet, Transport::Udp, 0, &mut out), "{name} {rtype}");
            }
        }
    }
    let packet = query("web.", RecordType::MX).to_vec().expect("encodes");
    out.clear();
    assert!(!fast::respond(&zone, client, &packet, Transport::Udp, 0, &mut out));
    assert!(out.is_empty(), "what is left alone is left untouched");
}

/// Both paths say the same, or the fast one says nothing.
fn compare(packet: &[u8], client: Option<IpAddr>, transport: Transport, seed: u32) -> Result<(), TestCaseError> {
    let zone = zone();
    let (mut quick, mut general) = (Vec::new(), Vec::new());
    let step = respond_generally(&zone, client, packet, transport, seed, &mut general);
    if fast::respond(&zone, client, packet, transport, seed, &mut quick) {
        prop_assert_eq!(step, Step::Reply);
        let quick = Message::from_vec(&quick).expect("a message");
        let general = Message::from_vec(&general).expect("a message");
        prop_assert!(quick.queries[0].name.eq_case(&general.queries[0].name));
        prop_assert_eq!(quick, general);
    }
    Ok(())
}

fn some_name() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        Just("web"),
        Just("WEB"),
        Just("shop"),
        Just("blog"),
        Just("1"),
        Just("3"),
        Just("idle"),
        Just("My_db"),
        Just("_http"),
        Just("_tcp"),
        Just("localhost"),
        Just("com"),
    ];
    let suffix = prop_oneof![Just(""), Just("svc.cluster.local."), Just("SVC.cluster.Local."), Just("cluster.local.")];
    (proptest::collection::vec(label, 0..5), suffix).prop_map(|(labels, suffix)| {
        let text = labels.into_iter().map(|l| format!("{l}.")).collect::<String>() + suffix;
        if text.is_empty() { ".".to_owned() } else { text }
    })
}

proptest! {
    #[test]
    fn the_fast_path_says_what_the_general_path_says(
        name in some_name(),
        rtype in prop_oneof![Just(RecordType::A), Just(RecordType::AAAA), Just(RecordType::SRV), Just(RecordType::ANY)],
        class in prop_oneof![9 => Just(DNSClass::IN), 1 => Just(DNSClass::CH)],
        edns in proptest::option::of((0_u16.., 0_u8..2, any::<bool>())),
        client in prop_oneof![Just(None), Just(Some("10.210.1.1")), Just(Some("10.210.2.9")), Just(Some("192.0.2.1"))],
        flags in (any::<bool>(), any::<bool>(), any::<bool>()),
        tcp in any::<bool>(),
        seed in any::<u32>(),
    ) {
        let mut message = query(&name, rtype);
        message.queries[0].set_query_class(class);
        message.metadata.recursion_desired = flags.0;
        message.metadata.checking_disabled = flags.1;
        message.metadata.authentic_data = flags.2;
        if let Some((size, version, dnssec_ok)) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size).set_version(version).set_dnssec_ok(dnssec_ok);
            message.set_edns(edns);
        }
        let transport = if tcp { Transport::Tcp } else { Transport::Udp };
        compare(&message.to_vec().expect("encodes"), client.map(ip), transport, seed)?;
    }

    #[test]
    fn no_bytes_panic(packet in proptest::collection::vec(any::<u8>(), 0..80), seed in any::<u32>()) {
        compare(&packet, Some(ip("10.210.1.1")), Transport::Udp, seed)?;
        let mut out = Vec::new();
        failure(&packet, ResponseCode::ServFail, &mut out);
    }

    #[test]
    fn no_damaged_query_panics(
        name in some_name(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in 0_usize..8,
    ) {
        let mut packet = with_edns(query(&name, RecordType::A), 1_232, 0).to_vec().expect("encodes");
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        packet.truncate(packet.len() - cut);
        compare(&packet, Some(ip("10.210.1.1")), Transport::Udp, 0)?;
    }
}
