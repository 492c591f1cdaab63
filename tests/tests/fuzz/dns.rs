//! Packets at the resolver: every one is answered by something sound, forwarded or dropped.

use std::collections::BTreeMap;
use std::net::IpAddr;

use agent::dns::packet::{Step, Transport, UDP_MAX_BYTES, respond};
use agent::dns::zone::{OwnView, Zone};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use proto::endpoint::{Endpoint, EndpointState, EndpointTable, NamedPort, ServiceEndpoints};
use proto::id::{NodeId, ServiceKey, Slot, TaskId};
use proto::spec::Protocol;
use tests::sim::rng::Rng;

use super::mutate;
use super::run::Target;

const NAMES: [&str; 12] = [
    "web.",
    "web.shop.",
    "web.shop.svc.cluster.local.",
    "1.web.shop.svc.cluster.local.",
    "_http._tcp.web.shop.svc.cluster.local.",
    "idle.shop.svc.cluster.local.",
    "none.shop.svc.cluster.local.",
    "svc.cluster.local.",
    "cluster.local.",
    "1.1.210.10.in-addr.arpa.",
    "example.com.",
    ".",
];

#[derive(Debug)]
pub struct Packets {
    zone: Zone,
    sound: Vec<Vec<u8>>,
}

impl Packets {
    pub fn new() -> Packets {
        let types = [
            RecordType::A,
            RecordType::AAAA,
            RecordType::SRV,
            RecordType::PTR,
            RecordType::ANY,
            RecordType::TXT,
            RecordType::SOA,
            RecordType::AXFR,
        ];
        let mut sound = Vec::new();
        for name in NAMES {
            for record_type in types {
                for edns in [None, Some(0), Some(512), Some(4_096)] {
                    sound.push(query(name, record_type, edns));
                }
            }
        }
        Packets { zone: Zone::new(&table(), NodeId(1), &OwnView::default()), sound }
    }
}

fn query(name: &str, record_type: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    let mut question = Query::query(name.parse::<Name>().expect("a name"), record_type);
    question.set_query_class(DNSClass::IN);
    message.add_query(question);
    if let Some(size) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.edns = Some(edns);
    }
    message.to_vec().expect("it is sound")
}

fn table() -> EndpointTable {
    let service = |count: u32| {
        let endpoint = |n: u32| Endpoint {
            task: TaskId(n.into()),
            slot: Slot(n),
            node: NodeId(1),
            addresses: vec![IpAddr::from([10, 210, 1, n as u8])],
            state: EndpointState::Ready,
            incarnation: 1,
            sequence: 1,
        };
        let ports = vec![NamedPort { name: "http".to_owned(), port: 80, protocol: Protocol::Tcp }];
        ServiceEndpoints { ports, endpoints: (1..=count).map(endpoint).collect(), ..ServiceEndpoints::default() }
    };
    let key =
        |name: &str| ServiceKey { project: "shop".parse().expect("a name"), service: name.parse().expect("a name") };
    // More of them than a reply over UDP can hold.
    let services = BTreeMap::from([(key("web"), service(90)), (key("idle"), service(0))]);
    EndpointTable { services, ..EndpointTable::default() }
}

impl Target for Packets {
    fn input(&self, rng: &mut Rng) -> Vec<u8> {
        const WORDS: [&[u8]; 9] = [
            b"\x03web",
            b"\x04shop",
            b"\x03svc\x07cluster\x05local\x00",
            b"\xc0\x0c",
            b"\xc0\x00",
            b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00",
            b"\x00\x00\xff\x00\xff",
            b"\x3f",
            b"\x00\x01\x00\x00\x00\x00\x00\x00",
        ];
        let mut packet = mutate::bytes(rng, &self.sound, &WORDS);
        // Most must get past the header to say anything.
        if rng.chance(700) && packet.len() > 10 {
            packet[2] &= 0x01;
            packet[4..10].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
        }
        packet
    }

    fn run(&self, packet: &[u8]) {
        let mut out = Vec::new();
        for (transport, most) in [(Transport::Udp, UDP_MAX_BYTES), (Transport::Tcp, usize::from(u16::MAX))] {
            let client = Some(IpAddr::from([10, 210, 1, 1]));
            if respond(&self.zone, client, packet, transport, 7, &mut out) == Step::Reply {
                assert!(out.len() <= most, "{} bytes by {transport:?}", out.len());
                assert_eq!(out[..2], packet[..2], "the id is that of the query");
                assert!(out[2] & 0x80 != 0, "a reply says that it is one");
                Message::from_vec(&out).expect("a reply can be read");
            }
        }
    }
}
