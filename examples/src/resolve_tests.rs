//! Tests of `resolve`: the files it reads, the packets it makes and takes, and a scripted server on loopback.
//!
//! Never: asks a server beyond this machine.

use std::thread;

use super::*;

fn resolver(servers: &[SocketAddr], search: &[&str]) -> Resolver {
    let search = search.iter().map(|domain| (*domain).to_owned()).collect();
    Resolver { servers: servers.to_vec(), search, ndots: 1, hosts: Vec::new() }
}

/// The name asked for, in dots.
fn asked_name(packet: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while packet[at] != 0 {
        let end = at + 1 + usize::from(packet[at]);
        labels.push(String::from_utf8_lossy(&packet[at + 1..end]).into_owned());
        at = end;
    }
    labels.join(".")
}

/// An answer to `question` with `rcode`, and the given records behind it.
fn reply(question: &[u8], rcode: u8, records: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = question.to_vec();
    packet[2] |= 0x80;
    packet[3] = 0x80 | rcode;
    packet[7] = records.len().try_into().unwrap();
    packet.extend(records.concat());
    packet
}

/// A record whose name points back at the question.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, 12];
    record.extend_from_slice(&kind.to_be_bytes());
    record.extend_from_slice(&[0, 1, 0, 0, 0, 1, 0, data.len().try_into().unwrap()]);
    record.extend_from_slice(data);
    record
}

/// A server that answers `count` questions by `script`, then ends and tells the names it was asked.
fn serve(
    count: usize,
    script: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<Vec<String>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let served = move || {
        let mut names = Vec::new();
        let mut packet = [0; 512];
        for _ in 0..count {
            let (length, peer) = socket.recv_from(&mut packet).unwrap();
            names.push(asked_name(&packet[..length]));
            for answer in script(&packet[..length]) {
                socket.send_to(&answer, peer).unwrap();
            }
        }
        names
    };
    (address, thread::spawn(served))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn files_are_read_as_everyone_reads_them() {
    let read = Resolver::parse(
        "# ours\nnameserver 10.0.0.2\nnameserver fd00::1 ; second\nnameserver fe80::1%eth0\nsearch shop.svc. svc\noptions edns0 ndots:2\n",
        "127.0.0.1 localhost\n10.1.1.1 Bank bank.example # till\n::1 ip6-localhost\n",
    );
    assert_eq!(read.servers, ["10.0.0.2:53".parse().unwrap(), "[fd00::1]:53".parse().unwrap()]);
    assert_eq!((read.search.clone(), read.ndots), (vec!["shop.svc".to_owned(), "svc".to_owned()], 2));
    assert_eq!(read.lookup("bank", soon()).unwrap(), [Ipv4Addr::new(10, 1, 1, 1)]);
    let empty = Resolver::parse("", "");
    assert_eq!(empty.servers, ["127.0.0.1:53".parse().unwrap()]);
    assert_eq!(empty.lookup("localhost", soon()).unwrap(), [Ipv4Addr::LOCALHOST]);
    assert_eq!(empty.lookup("10.2.3.4", soon()).unwrap(), [Ipv4Addr::new(10, 2, 3, 4)]);
}

#[test]
fn the_search_list_comes_first_for_short_names_only() {
    let with_search = resolver(&[], &["a", "b"]);
    assert_eq!(with_search.candidates("user"), ["user.a", "user.b", "user"]);
    assert_eq!(with_search.candidates("user.shop"), ["user.shop", "user.shop.a", "user.shop.b"]);
    assert_eq!(with_search.candidates("user."), ["user"]);
}

#[test]
fn a_name_is_found_through_the_search_list() {
    let (server, served) = serve(2, |question| {
        let known = asked_name(question) == "user.second";
        let cname = record(5, &[1, b'x', 0]);
        let records = [cname, record(TYPE_A, &[10, 0, 0, 7]), record(TYPE_A, &[10, 0, 0, 8])];
        vec![if known { reply(question, 0, &records) } else { reply(question, RCODE_NXDOMAIN, &[]) }]
    });
    let found = resolver(&[server], &["first", "second"]).lookup("user", soon()).unwrap();
    assert_eq!(found, [Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::new(10, 0, 0, 8)]);
    assert_eq!(served.join().unwrap(), ["user.first", "user.second"]);
}

#[test]
fn a_failing_server_hands_over_to_the_next() {
    let (broken, first) = serve(1, |question| vec![reply(question, 2, &[])]);
    let (sound, second) = serve(1, |question| vec![reply(question, 0, &[record(TYPE_A, &[10, 0, 0, 9])])]);
    let found = resolver(&[broken, sound], &[]).lookup("user", soon()).unwrap();
    assert_eq!(found, [Ipv4Addr::new(10, 0, 0, 9)]);
    assert_eq!((first.join().unwrap().len(), second.join().unwrap().len()), (1, 1));
}

#[test]
fn an_answer_to_another_question_is_passed_over() {
    let (server, served) = serve(1, |question| {
        let mut forged = reply(question, 0, &[record(TYPE_A, &[6, 6, 6, 6])]);
        forged[0] ^= 0xff;
        let mut other = reply(question, 0, &[record(TYPE_A, &[7, 7, 7, 7])]);
        other[13] ^= 0x01;
        vec![forged, other, vec![0; 3], reply(question, 0, &[record(TYPE_A, &[10, 0, 0, 1])])]
    });
    assert_eq!(resolver(&[server], &[]).lookup("user", soon()).unwrap(), [Ipv4Addr::new(10, 0, 0, 1)]);
    served.join().unwrap();
}

#[test]
fn absence_says_which_kind_it_is() {
    let (server, served) = serve(3, |question| {
        let rcode = if asked_name(question) == "gone" { RCODE_NXDOMAIN } else { 0 };
        vec![reply(question, rcode, &[])]
    });
    let asking = resolver(&[server], &["x"]);
    assert!(matches!(asking.lookup("user", soon()), Err(ResolveError::NoAddress(name)) if name == "user"));
    assert!(matches!(asking.lookup("gone.", soon()), Err(ResolveError::NoSuchName(_))));
    assert!(matches!(asking.lookup("a..b", soon()), Err(ResolveError::BadName(_))));
    assert_eq!(served.join().unwrap(), ["user.x", "user", "gone"]);
}

#[test]
fn no_prefix_of_an_answer_breaks_the_reader() {
    let question = encode_question(7, "user.shop").unwrap();
    let whole = reply(&question, 0, &[record(5, &[0xc0, 12]), record(TYPE_A, &[1, 2, 3, 4])]);
    assert_eq!(decode_answer(7, &question, &whole), Some(Ok(Answer::Addresses(vec![Ipv4Addr::new(1, 2, 3, 4)]))));
    for length in 0..whole.len() {
        let cut = decode_answer(7, &question, &whole[..length]);
        assert!(matches!(cut, None | Some(Ok(Answer::NoAddress))), "{length}: {cut:?}");
    }
}
