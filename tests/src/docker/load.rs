//! Load on a service, made as its clients make it: through a published port or through the service's name, a connection
//! for each request or one that is kept.
//!
//! Never retries: not a refused connection, not another address of the name, not a kept connection that broke. A name is
//! asked for again when its answer's time to live is over, and only then. Called by the tests of updates.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;
use hickory_proto::rr::RData;

use super::wire::question;

/// Longest wait for a connection, and for each part of an answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Each client rests so long after a request: four of them leave the machine room for what they measure.
const REST: Duration = Duration::from_millis(4);
/// A question that got no answer is sent once more after so long, as every stub resolver does.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How a client finds the service.
#[derive(Debug, Clone)]
pub enum Way {
    /// A published port of this machine.
    Port(u16),
    /// The service's name, asked of the node's resolver, and the port inside.
    Name {
        /// Who answers.
        resolver: IpAddr,
        /// The whole name.
        name: String,
        /// Port inside.
        port: u16,
    },
}

/// What came of all requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests answered, by the kind of client.
    pub answered: BTreeMap<String, u64>,
    /// Requests answered, by the answer's first word: which release it was.
    pub releases: BTreeMap<String, u64>,
    /// What the others came to.
    pub failed: Vec<String>,
}

/// Clients at work: for each way one that keeps its connection and one that does not.
#[derive(Debug)]
pub struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<(String, JoinHandle<Tally>)>,
}

// === impl Clients ===

impl Clients {
    /// Begins to ask for `/`.
    pub fn on(ways: &[Way]) -> Clients {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        for way in ways {
            for keeps in [false, true] {
                let words = match way {
                    Way::Port(_) => "port",
                    Way::Name { .. } => "name",
                };
                let kind = format!("{words}, {}", if keeps { "kept connections" } else { "a connection each" });
                let client =
                    Client { way: way.clone(), keeps, known: None, turn: 0, kept: None, begun: Instant::now() };
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                threads.push((kind, std::thread::spawn(move || client.work(&stop, &answered))));
            }
        }
        Clients { stop, answered, threads }
    }

    /// Requests answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Ends.
    ///
    /// # Panics
    /// When a client did.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for (kind, thread) in self.threads {
            let one = thread.join().expect("a client does not panic");
            all.answered.insert(kind.clone(), one.releases.values().sum());
            one.releases.into_iter().for_each(|(release, n)| *all.releases.entry(release).or_default() += n);
            all.failed.extend(one.failed.into_iter().map(|why| format!("{kind}: {why}")));
        }
        all
    }
}

// === impl Tally ===

impl Tally {
    /// Requests answered in all.
    pub fn total(&self) -> u64 {
        self.answered.values().sum()
    }

    /// Every client had answers, and none of them had a failure.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn assert_spotless(&self) {
        assert!(self.answered.values().all(|n| *n > 0), "a client without an answer proves nothing: {self:?}");
        let some = &self.failed[..self.failed.len().min(20)];
        assert!(self.failed.is_empty(), "{} of {} failed, such as {some:#?}", self.failed.len(), self.total());
    }
}

/// One client.
struct Client {
    way: Way,
    keeps: bool,
    /// What the name meant, and until when that may be believed.
    known: Option<(Vec<IpAddr>, Instant)>,
    turn: usize,
    kept: Option<BufReader<TcpStream>>,
    begun: Instant,
}

impl Client {
    fn work(mut self, stop: &AtomicBool, answered: &AtomicU64) -> Tally {
        let mut tally = Tally::default();
        while !stop.load(Ordering::Relaxed) {
            let at = self.begun.elapsed();
            match self.request() {
                Ok(body) => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    let release = body.split([' ', ',']).next().unwrap_or_default().to_owned();
                    *tally.releases.entry(release).or_default() += 1;
                }
                Err(why) => {
                    self.kept = None;
                    tally.failed.push(format!("at {at:.3?}: {why}"));
                }
            }
            std::thread::sleep(REST);
        }
        tally
    }

    fn request(&mut self) -> Result<String, String> {
        let again = if self.kept.is_some() { ", on a kept connection" } else { "" };
        let mut stream = match self.kept.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let peer = stream.get_ref().peer_addr().map(|a| a.to_string()).unwrap_or_default();
        let (body, stays) = exchange(&mut stream, self.keeps).map_err(|why| format!("{peer}{again}: {why}"))?;
        self.kept = (self.keeps && stays).then_some(stream);
        Ok(body)
    }

    fn connect(&mut self) -> Result<BufReader<TcpStream>, String> {
        let address = self.address()?;
        let stream = TcpStream::connect_timeout(&address, DEADLINE).map_err(|e| format!("{address}: connect: {e}"))?;
        let set = stream.set_read_timeout(Some(DEADLINE)).and_then(|()| stream.set_nodelay(true));
        set.map_err(|e| format!("{address}: {e}"))?;
        Ok(BufReader::new(stream))
    }

    fn address(&mut self) -> Result<SocketAddr, String> {
        let (resolver, name, port) = match &self.way {
            Way::Port(port) => return Ok((Ipv4Addr::LOCALHOST, *port).into()),
            Way::Name { resolver, name, port } => (*resolver, name.clone(), *port),
        };
        if self.known.as_ref().is_none_or(|(_, until)| Instant::now() >= *until) {
            let (addresses, ttl) = resolve(resolver, &name)?;
            self.known = Some((addresses, Instant::now() + ttl));
        }
        let addresses = self.known.as_ref().map(|(addresses, _)| addresses.as_slice()).unwrap_or_default();
        self.turn += 1;
        let chosen = addresses.get(self.turn % addresses.len().max(1));
        Ok((*chosen.ok_or_else(|| format!("{name} has no address"))?, port).into())
    }
}

/// One request and its answer, and whether the connection may be used for another.
fn exchange(stream: &mut BufReader<TcpStream>, keep: bool) -> Result<(String, bool), String> {
    let connection = if keep { "keep-alive" } else { "close" };
    let ask = format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: {connection}\r\n\r\n");
    stream.get_mut().write_all(ask.as_bytes()).map_err(|e| format!("write: {e}"))?;
    let (mut length, mut stays, mut status) = (0, false, String::new());
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line) {
            Ok(0) => return Err(format!("closed before the answer was whole, after {status:?}")),
            Ok(_) => {}
            Err(e) => return Err(format!("read: {e}, after {status:?}")),
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            _ if status.is_empty() => status = line,
            _ if line.is_empty() => break,
            Some(("content-length", value)) => length = value.parse().map_err(|e| format!("{line}: {e}"))?,
            Some(("connection", value)) => stays = value == "keep-alive",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(|e| format!("read: {e}, after the head"))?;
    match status.split(' ').nth(1) {
        Some("200") => Ok((String::from_utf8_lossy(&body).into_owned(), stays)),
        _ => Err(format!("answered {status:?}")),
    }
}

/// The addresses of a name and for how long they may be believed.
fn resolve(resolver: IpAddr, name: &str) -> Result<(Vec<IpAddr>, Duration), String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|e| e.to_string())?;
    socket.set_read_timeout(Some(ASK_AGAIN_AFTER)).map_err(|e| e.to_string())?;
    socket.connect((resolver, 53)).map_err(|e| e.to_string())?;
    let mut packet = [0; 4096];
    let mut ask = || -> std::io::Result<usize> {
        socket.send(&question(1, name))?;
        socket.recv(&mut packet)
    };
    let size = ask().or_else(|_| ask()).map_err(|e| format!("{resolver} does not answer for {name}: {e}"))?;
    let message = Message::from_vec(&packet[..size]).map_err(|e| e.to_string())?;
    let found = message.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some((IpAddr::V4(address.0), record.ttl)),
        _ => None,
    });
    let (addresses, ttls): (Vec<IpAddr>, Vec<u32>) = found.unzip();
    let ttl = ttls.iter().min().copied().unwrap_or(0);
    Ok((addresses, Duration::from_secs(ttl.into())))
}
