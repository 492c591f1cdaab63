//! Names to IPv4 addresses: `/etc/hosts`, then A questions over UDP, as `/etc/resolv.conf` says.
//!
//! A static glibc program cannot call `getaddrinfo` in an image without glibc's own shared objects, so the examples ask
//! for themselves. Does: search list, `ndots`, several servers, retries, CNAMEs followed by the server.
//! Never: caches (a cached address is a dead address one second later), asks for AAAA, falls back to TCP: an answer cut
//! to fit a datagram is used as far as it goes.
//! Called by: `client`, once for each attempt.

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crate::http::time_left;

/// Servers that are asked, as in the C library.
const MAX_SERVERS: usize = 3;
/// Rounds over all servers before a name is given up.
const ROUNDS: usize = 2;
/// One server's time for one question.
const SERVER_TIMEOUT: Duration = Duration::from_millis(500);

const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
const RCODE_NXDOMAIN: u8 = 3;

/// How names are looked up here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    hosts: Vec<(String, Ipv4Addr)>,
}

/// Why a name gave no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No server knows the name.
    #[error("no such name: {0}")]
    NoSuchName(String),
    /// The name exists, nothing is behind it now.
    #[error("{0} has no address at the moment")]
    NoAddress(String),
    /// No server gave a usable answer in time.
    #[error("no name server answered for {0}")]
    NoAnswer(String),
    /// The name cannot be put in a question.
    #[error("not a host name: {0:?}")]
    BadName(String),
}

/// What one server said about one full name.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Addresses(Vec<Ipv4Addr>),
    NoSuchName,
    NoAddress,
}

// === impl Resolver ===

impl Resolver {
    /// The resolver of this machine or container. Missing files leave it with what every machine knows: `localhost`.
    pub fn from_system() -> Resolver {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Resolver::parse(&read("/etc/resolv.conf"), &read("/etc/hosts"))
    }

    /// A resolver from the text of `resolv.conf` and `hosts`; lines that are not understood are passed over, as every
    /// resolver does.
    pub fn parse(resolv_conf: &str, hosts: &str) -> Resolver {
        let mut resolver = Resolver { servers: Vec::new(), search: Vec::new(), ndots: 1, hosts: parse_hosts(hosts) };
        for line in resolv_conf.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone index (fe80::1%eth0) cannot be used without the interface's number.
                    let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver.servers.extend(ip.map(|ip| SocketAddr::new(ip, 53)));
                }
                Some("search" | "domain") => resolver.search = words.map(|word| trim_dot(word).to_owned()).collect(),
                Some("options") => {
                    let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    resolver.ndots = ndots.unwrap_or(resolver.ndots);
                }
                _ => {}
            }
        }
        resolver.search.retain(|domain| !domain.is_empty());
        resolver.servers.truncate(MAX_SERVERS);
        if resolver.servers.is_empty() {
            resolver.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
        }
        resolver
    }

    /// The addresses of `name`, in the order the server gave them, at least one.
    ///
    /// # Errors
    /// See [`ResolveError`]; nothing is asked after `deadline`.
    pub fn lookup(&self, name: &str, deadline: Instant) -> Result<Vec<Ipv4Addr>, ResolveError> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let known = self.known(trim_dot(name));
        if !known.is_empty() {
            return Ok(known);
        }
        let mut exists = false;
        for candidate in self.candidates(name) {
            match self.ask(&candidate, deadline)? {
                Answer::Addresses(addresses) => return Ok(addresses),
                Answer::NoAddress => exists = true,
                Answer::NoSuchName => {}
            }
        }
        let name = name.to_owned();
        Err(if exists { ResolveError::NoAddress(name) } else { ResolveError::NoSuchName(name) })
    }

    /// What needs no server.
    fn known(&self, name: &str) -> Vec<Ipv4Addr> {
        let listed = self.hosts.iter().filter(|(host, _)| host.eq_ignore_ascii_case(name)).map(|(_, ip)| *ip);
        let listed: Vec<_> = listed.collect();
        if listed.is_empty() && name.eq_ignore_ascii_case("localhost") { vec![Ipv4Addr::LOCALHOST] } else { listed }
    }

    /// The full names to try, in order: a name with enough dots as it stands first, any other last.
    fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut names: Vec<_> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        let dots = name.matches('.').count();
        let at = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(at, name.to_owned());
        names
    }

    /// Asks the servers in turn until one answers.
    fn ask(&self, name: &str, deadline: Instant) -> Result<Answer, ResolveError> {
        for _ in 0..ROUNDS {
            for server in &self.servers {
                let id = random_u16();
                let question = encode_question(id, name).ok_or_else(|| ResolveError::BadName(name.to_owned()))?;
                if let Ok(answer) = exchange(*server, id, &question, deadline) {
                    return Ok(answer);
                }
            }
        }
        Err(ResolveError::NoAnswer(name.to_owned()))
    }
}

/// One question to one server. An error stands for anything that makes the next server worth asking.
fn exchange(server: SocketAddr, id: u16, question: &[u8], deadline: Instant) -> io::Result<Answer> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    // A connected socket takes datagrams from that server only.
    socket.connect(server)?;
    socket.send(question)?;
    let until = deadline.min(Instant::now() + SERVER_TIMEOUT);
    let mut datagram = [0; 4096];
    loop {
        let left = time_left(until).ok_or(io::ErrorKind::TimedOut)?;
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut datagram)?;
        match decode_answer(id, question, &datagram[..length]) {
            // Not ours, or not understood: the real answer may still come.
            None => {}
            Some(Err(())) => return Err(io::ErrorKind::InvalidData.into()),
            Some(Ok(answer)) => return Ok(answer),
        }
    }
}

/// A standard question for `name`'s A records, recursion desired (RFC 1035, section 4.1). None if the name has an empty
/// or overlong label.
fn encode_question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(18 + name.len());
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(&[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        packet.push(length);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&TYPE_A.to_be_bytes());
    packet.extend_from_slice(&CLASS_IN.to_be_bytes());
    // 12 bytes of header, 4 of type and class, and a name of at most 255.
    (packet.len() <= 12 + 255 + 4).then_some(packet)
}

/// Reads an answer to `question`. `None`: not an answer to it; `Some(Err)`: the server could not answer.
fn decode_answer(id: u16, question: &[u8], packet: &[u8]) -> Option<Result<Answer, ()>> {
    let asked = &question[12..];
    let echoed = packet.get(12..12 + asked.len())?;
    let is_answer = packet[2] & 0x80 != 0;
    if packet[..2] != id.to_be_bytes() || !is_answer || !echoed.eq_ignore_ascii_case(asked) {
        return None;
    }
    match packet[3] & 0x0f {
        0 => {}
        RCODE_NXDOMAIN => return Some(Ok(Answer::NoSuchName)),
        _ => return Some(Err(())),
    }
    let records = u16::from_be_bytes([packet[6], packet[7]]);
    let mut at = 12 + asked.len();
    let mut addresses = Vec::new();
    for _ in 0..records {
        // A packet cut short ends the list.
        let Some((address, next)) = decode_record(packet, at) else { break };
        addresses.extend(address);
        at = next;
    }
    Some(Ok(if addresses.is_empty() { Answer::NoAddress } else { Answer::Addresses(addresses) }))
}

/// The record at `at`: its address if it is an A record, and where the next one begins.
fn decode_record(packet: &[u8], at: usize) -> Option<(Option<Ipv4Addr>, usize)> {
    let fixed = skip_name(packet, at)?;
    let word =
        |offset: usize| Some(u16::from_be_bytes([*packet.get(fixed + offset)?, *packet.get(fixed + offset + 1)?]));
    let (kind, class, length) = (word(0)?, word(2)?, usize::from(word(8)?));
    let data = packet.get(fixed + 10..fixed + 10 + length)?;
    let address = match data {
        &[a, b, c, d] if kind == TYPE_A && class == CLASS_IN => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    };
    Some((address, fixed + 10 + length))
}

/// Where the name at `at` ends: after a zero, or after a pointer.
fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

fn parse_hosts(hosts: &str) -> Vec<(String, Ipv4Addr)> {
    let mut listed = Vec::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let Some(address) = words.next().and_then(|word| word.parse::<Ipv4Addr>().ok()) {
            listed.extend(words.map(|name| (name.to_owned(), address)));
        }
    }
    listed
}

fn trim_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// A number an outsider cannot guess: std seeds its hash maps from the system's randomness.
pub fn random_u16() -> u16 {
    let bits = RandomState::new().build_hasher().finish().to_be_bytes();
    u16::from_be_bytes([bits[0], bits[1]])
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
