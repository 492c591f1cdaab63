//! `ctl dns lookup`: asks a node's resolver with a real packet, as a container would, and prints what it answers.
//!
//! The name is completed here, as a container's search domain does there.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use proto::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::args::{LookupArgs, RecordKind};
use crate::exit::{Exit, Failure};
use crate::name::{self, Scope};
use crate::output::style::{DIM, paint};
use crate::output::table::Table;
use crate::session::Session;

/// The cluster's zone.
const ZONE: &str = "svc.cluster.local";
const PORT: u16 = 53;
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
const TRIES: usize = 2;

/// `ctl dns lookup`.
pub async fn lookup(session: &mut Session, args: &LookupArgs) -> Result<Exit, Failure> {
    let scope = session.scope(&args.scope);
    let client = session.client().await?;
    let snapshot = client.snapshot("", 0).await?;
    let (node, server) = resolver(&snapshot, args.node.as_deref())?;
    let (name, kind) = question(&args.name, args.kind, &scope, &snapshot)?;
    let answer = ask(server, &name, kind).await?;
    show(session, &answer, &name, kind, &format!("{node} ({server})"))
}

/// The name of a node and the address of its resolver.
fn resolver(snapshot: &v1::Snapshot, asked: Option<&str>) -> Result<(String, SocketAddr), Failure> {
    let info = |n: &v1::Node| n.info.clone().unwrap_or_default();
    let is_it = |n: &&v1::Node| match asked {
        Some(name) => info(n).hostname == name || info(n).id == name,
        None => n.state == "ready",
    };
    let node = snapshot.nodes.iter().find(is_it).ok_or_else(|| match asked {
        Some(name) => name::not_found("node", name).hint("see `ctl get nodes`"),
        None => Failure::refused("no node is ready, so no resolver can be asked").hint("see `ctl get nodes`"),
    })?;
    let bad = || Failure::refused(format!("node {} has no gateway address", info(node).hostname));
    let gateway: IpAddr = node.gateway.parse().map_err(|_| bad())?;
    Ok((info(node).hostname, SocketAddr::new(gateway, PORT)))
}

fn question(
    text: &str,
    kind: Option<RecordKind>,
    scope: &Scope,
    snapshot: &v1::Snapshot,
) -> Result<(Name, RecordType), Failure> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((Name::from(address), kind.map_or(RecordType::PTR, record_type)));
    }
    let full = complete(text, scope, snapshot)?;
    let default = if full.starts_with('_') { RecordType::SRV } else { RecordType::A };
    let name = Name::from_str(&full).map_err(|e| Failure::usage(format!("`{text}` is no name: {e}")))?;
    Ok((name, kind.map_or(default, record_type)))
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Srv => RecordType::SRV,
        RecordKind::Ptr => RecordType::PTR,
        RecordKind::Txt => RecordType::TXT,
    }
}

/// The full name, with its last dot: `web` and `web.shop` become names of the cluster's zone, `example.com` does not.
fn complete(text: &str, scope: &Scope, snapshot: &v1::Snapshot) -> Result<String, Failure> {
    let text = dotted(&text.to_lowercase());
    if text.ends_with('.') {
        return Ok(text);
    }
    if text.ends_with(&format!(".{ZONE}")) {
        return Ok(format!("{text}."));
    }
    if text.ends_with(".svc") {
        return Ok(format!("{text}.cluster.local."));
    }
    let last = text.rsplit('.').next().unwrap_or_default();
    let labels: Vec<&str> = text.split('.').collect();
    let project_follows = labels.len() > 1 && snapshot.projects.iter().any(|p| p.name == last);
    let short = is_short(&labels);
    if project_follows && !short {
        return Ok(format!("{text}.{ZONE}."));
    }
    if !short {
        return Ok(format!("{text}."));
    }
    let found = name::find(last, scope, snapshot).map(|found| found.key.project);
    match (found, scope.project(), project_follows) {
        (Ok(project), _, _) => Ok(format!("{text}.{project}.{ZONE}.")),
        (Err(_), _, true) => Ok(format!("{text}.{ZONE}.")),
        (Err(_), Some(project), _) => Ok(format!("{text}.{project}.{ZONE}.")),
        (Err(failure), None, _) => Err(failure),
    }
}

/// Names as the other commands take them, `shop/web.1`, in the resolver's order: `1.web.shop`. No such name is one of DNS:
/// there is no top-level domain of digits.
fn dotted(text: &str) -> String {
    let (project, rest) = text.split_once('/').map_or((None, text), |(project, rest)| (Some(project), rest));
    let is_slot = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    let rest = match rest.rsplit_once('.') {
        Some((service, slot)) if is_slot(slot) => format!("{slot}.{service}"),
        _ => rest.to_owned(),
    };
    project.map_or(rest.clone(), |project| format!("{rest}.{project}"))
}

/// `web`, `1.web`, `_http._tcp.web`: a service's name without a project.
fn is_short(labels: &[&str]) -> bool {
    match labels {
        [_] => true,
        [slot, _] => !slot.is_empty() && slot.chars().all(|c| c.is_ascii_digit()),
        [service, transport, _] => service.starts_with('_') && transport.starts_with('_'),
        _ => false,
    }
}

async fn ask(server: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, Failure> {
    let bug = |e: String| Failure::refused(format!("the question cannot be encoded: {e}"));
    let id = getrandom::u32().map_or(1, |n| n as u16);
    let mut query = Message::new(id, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind));
    let packet = query.to_vec().map_err(|e| bug(e.to_string()))?;
    let mut problem = String::new();
    for _ in 0..TRIES {
        match timeout(ANSWER_DEADLINE, over_udp(server, &packet, id)).await {
            Ok(Ok(answer)) if answer.metadata.truncation => {
                let whole = timeout(ANSWER_DEADLINE, over_tcp(server, &packet)).await;
                return whole.unwrap_or_else(|_| Err(timed_out())).map_err(|e| unreachable(server, &e.to_string()));
            }
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(e)) => problem = e.to_string(),
            Err(_) => problem = timed_out().to_string(),
        }
    }
    Err(unreachable(server, &problem))
}

fn timed_out() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {} s", ANSWER_DEADLINE.as_secs()))
}

fn unreachable(server: SocketAddr, problem: &str) -> Failure {
    Failure::new(Exit::Unreachable, format!("the resolver at {server} does not answer: {problem}"))
        .hint("it can be asked from its own node only, and while its agent runs")
}

async fn over_udp(server: SocketAddr, packet: &[u8], id: u16) -> std::io::Result<Message> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = Message::from_vec(&buffer[..length]).map_err(nonsense)?;
        if answer.metadata.id == id {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, packet: &[u8]) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(nonsense)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(packet).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    Message::from_vec(&buffer).map_err(nonsense)
}

fn nonsense(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("its answer cannot be understood: {error}"))
}

fn show(session: &mut Session, answer: &Message, name: &Name, kind: RecordType, server: &str) -> Result<Exit, Failure> {
    let code = answer.metadata.response_code;
    let records: Vec<&Record> = answer.answers.iter().collect();
    let words = match (code, records.is_empty()) {
        (ResponseCode::NoError, true) => "NODATA: the name exists, it has no such record now".to_owned(),
        (code, _) => rcode(code),
    };
    let whence = format!("{name} {kind}: {words}, from {server}");
    if records.is_empty() {
        let failure = Failure::refused(whence);
        return Err(match code {
            ResponseCode::NoError => failure.hint("a service without a ready container answers so: see `ctl ps`"),
            ResponseCode::NXDomain if name.to_string().ends_with(&format!(".{ZONE}.")) => failure.hint(absent(kind)),
            _ => failure,
        });
    }
    let mut table = Table::new(&["NAME", "TTL", "TYPE", "DATA"]);
    for record in records.iter().copied().chain(answer.additionals.iter()) {
        let kind = record.record_type().to_string();
        table.row(vec![
            record.name.to_string().into(),
            record.ttl.to_string().into(),
            kind.into(),
            record.data.to_string().into(),
        ]);
    }
    let width = session.terminal.width;
    session.terminal.print(&table.render(width))?;
    session.terminal.say(&paint(DIM, &whence));
    Ok(Exit::Done)
}

fn absent(kind: RecordType) -> &'static str {
    match kind {
        RecordType::SRV => "SRV records bear the names of ports: `- name: http` beside `target:` in the Compose file",
        _ => "see `ctl get services` for the names there are",
    }
}

/// The word resolvers print for a response code.
fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN: there is no such name".to_owned(),
        ResponseCode::ServFail => "SERVFAIL: the resolver could not find out".to_owned(),
        ResponseCode::Refused => "REFUSED: the resolver does not answer us".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> v1::Snapshot {
        let key = |p: &str, s: &str| Some(v1::ServiceKey { project: p.into(), service: s.into() });
        let service = |p: &str, s: &str| v1::Service { key: key(p, s), replicas: 1, ..Default::default() };
        let project = |p: &str| v1::Project { name: p.into(), ..Default::default() };
        v1::Snapshot {
            projects: vec![project("shop"), project("blog")],
            services: vec![service("shop", "web"), service("blog", "web"), service("shop", "db")],
            ..Default::default()
        }
    }

    #[track_caller]
    fn check(text: &str, here: Option<&str>, want: &str) {
        let scope = Scope { asked: None, here: here.map(str::to_owned) };
        let got = complete(text, &scope, &snapshot()).unwrap_or_else(|failure| failure.message);
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn names_are_completed_as_in_a_container() {
        check("db", None, "db.shop.svc.cluster.local.");
        check("web", Some("blog"), "web.blog.svc.cluster.local.");
        check("WEB", Some("blog"), "web.blog.svc.cluster.local.");
        check("web", None, "`web` is a service of 2 projects");
        check("web.shop", None, "web.shop.svc.cluster.local.");
        check("1.web.shop", None, "1.web.shop.svc.cluster.local.");
        check("2.web", Some("shop"), "2.web.shop.svc.cluster.local.");
        check("_http._tcp.web", Some("shop"), "_http._tcp.web.shop.svc.cluster.local.");
        check("web.shop.svc", None, "web.shop.svc.cluster.local.");
        check("shop/db", Some("blog"), "db.shop.svc.cluster.local.");
        check("shop/web.2", None, "2.web.shop.svc.cluster.local.");
        check("web.2", Some("blog"), "2.web.blog.svc.cluster.local.");
        check("web.shop.svc.cluster.local", None, "web.shop.svc.cluster.local.");
    }

    #[test]
    fn other_names_are_left_alone() {
        check("example.com", Some("shop"), "example.com.");
        check("web.", Some("shop"), "web.");
        check("gone", Some("shop"), "gone.shop.svc.cluster.local.");
    }

    #[test]
    fn addresses_ask_for_their_names() {
        let (name, kind) = question("10.210.0.5", None, &Scope::default(), &snapshot()).expect("an address");
        assert_eq!((name.to_string().as_str(), kind), ("5.0.210.10.in-addr.arpa.", RecordType::PTR));
        let (_, kind) = question("_http._tcp.web.shop", None, &Scope::default(), &snapshot()).expect("a service");
        assert_eq!(kind, RecordType::SRV);
    }

    /// The answer to `packet`, with one address unless it is cut short.
    fn answer(packet: &[u8], truncated: bool) -> Vec<u8> {
        let mut message = Message::from_vec(packet).expect("a question").into_response();
        message.metadata.truncation = truncated;
        let name = message.queries[0].name.clone();
        let address = hickory_proto::rr::RData::A(hickory_proto::rr::rdata::A::new(10, 210, 0, 11));
        if !truncated {
            message.add_answer(Record::from_rdata(name, 1, address));
        }
        message.to_vec().expect("encodes")
    }

    /// A port that is free of both: one that UDP was given may be taken over TCP, so others are tried.
    async fn one_port_of_both() -> (UdpSocket, tokio::net::TcpListener, SocketAddr) {
        for _ in 0..1000 {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
            let server = udp.local_addr().expect("has an address");
            match tokio::net::TcpListener::bind(server).await {
                Ok(tcp) => return (udp, tcp, server),
                Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::AddrInUse, "{e}"),
            }
        }
        panic!("no port of 1000 is free of both");
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_asked_for_over_tcp() {
        let (udp, tcp, server) = one_port_of_both().await;
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, from) = udp.recv_from(&mut buffer).await.expect("a question");
            let _ = udp.send_to(&answer(&buffer[..length], true), from).await;
            let (mut stream, _) = tcp.accept().await.expect("the same again");
            let length = usize::from(stream.read_u16().await.expect("a length"));
            stream.read_exact(&mut buffer[..length]).await.expect("a question");
            let whole = answer(&buffer[..length], false);
            stream.write_u16(whole.len() as u16).await.expect("writes");
            stream.write_all(&whole).await.expect("writes");
        });
        let name = Name::from_str("web.shop.svc.cluster.local.").expect("a name");
        let message = ask(server, &name, RecordType::A).await.expect("an answer");
        let (mut session, out, err) = crate::command::fake::session("/".into(), None);
        let exit = show(&mut session, &message, &name, RecordType::A, "alpha").expect("has records");
        assert_eq!(exit, Exit::Done);
        let want = "\
NAME                         TTL  TYPE  DATA
web.shop.svc.cluster.local.  1    A     10.210.0.11
";
        assert_eq!(out.text(), want);
        assert_eq!(err.text(), "web.shop.svc.cluster.local. A: NOERROR, from alpha\n");
    }
}
