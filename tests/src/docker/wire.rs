//! Requests as a client of the services makes them: HTTP to published ports, questions to the node's resolver.
//!
//! Never retries by itself: what a test wants to hold without a gap must be asked without one.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::Value;

use super::engine::wall_ns;

const DEADLINE: Duration = Duration::from_secs(5);

/// A port nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Body of `GET path`, when the status is 200.
///
/// # Errors
/// Why there is no such answer.
pub fn get(address: impl Into<SocketAddr>, path: &str) -> Result<String, String> {
    let address = address.into();
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|e| format!("{address}{path}: {e}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(format!("{address}{path}: {answer:?}")),
    }
}

/// `get` from this machine's own address.
///
/// # Errors
/// Why there is no such answer.
pub fn get_local(port: u16, path: &str) -> Result<String, String> {
    get((Ipv4Addr::LOCALHOST, port), path)
}

/// `get_local`, as JSON.
///
/// # Panics
/// When there is no answer, or it is not JSON.
#[track_caller]
pub fn get_json(port: u16, path: &str) -> Value {
    let body = get_local(port, path).unwrap_or_else(|e| panic!("{e}"));
    serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"))
}

/// Requests, one after the other without a pause, until it is told to stop.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

// === impl Load ===

impl Load {
    /// Begins.
    pub fn on(port: u16, path: &'static str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut good, mut failed) = (0, Vec::new());
            while !told.load(Ordering::Relaxed) {
                match get_local(port, path) {
                    Ok(_) => good += 1,
                    Err(why) => failed.push(why),
                }
            }
            (good, failed)
        });
        Load { stop, thread }
    }

    /// Ends: how many were answered, and what the others came to.
    ///
    /// # Panics
    /// When the requests' thread did.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the requests' thread does not panic")
    }
}

/// One question and what was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// When it was sent, in nanoseconds since 1970.
    pub sent_ns: u128,
    /// The response code's name.
    pub code: String,
    /// The addresses in the answer.
    pub addresses: Vec<IpAddr>,
}

/// Asks a resolver for the addresses of a name, again and again at an even pace.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Vec<u128>>,
    receiver: JoinHandle<Vec<(u16, Message)>>,
}

// === impl Probe ===

impl Probe {
    /// Begins, with so many questions a second.
    ///
    /// # Panics
    /// When the machine has no socket to give.
    pub fn on(resolver: IpAddr, name: &str, per_second: u32) -> Probe {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        socket.connect((resolver, 53)).expect("a UDP socket connects at once");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout that is not zero");
        let (stop, name) = (Arc::new(AtomicBool::new(false)), name.to_owned());
        let (told, told_too) = (stop.clone(), stop.clone());
        let incoming = socket.try_clone().expect("a socket can be shared");
        let sender = std::thread::spawn(move || {
            let (begun, mut sent) = (Instant::now(), Vec::new());
            while !told.load(Ordering::Relaxed) {
                let id = u16::try_from(sent.len()).expect("fewer questions than ids");
                sent.push(wall_ns());
                // One that cannot be sent is one without an answer.
                let _ = socket.send(&question(id, &name));
                let next = begun + Duration::from_secs(1) * u32::from(id + 1) / per_second;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            sent
        });
        let receiver = std::thread::spawn(move || {
            let (mut answers, mut packet) = (Vec::new(), [0; 4096]);
            loop {
                match incoming.recv(&mut packet) {
                    Ok(size) => answers.extend(Message::from_vec(&packet[..size]).ok().map(|m| (m.metadata.id, m))),
                    Err(_) if told_too.load(Ordering::Relaxed) => return answers,
                    Err(_) => {}
                }
            }
        });
        Probe { stop, sender, receiver }
    }

    /// Ends: how many questions were sent, and the answers in the order of sending.
    ///
    /// # Panics
    /// When one of its threads did.
    pub fn stop(self) -> (usize, Vec<Answer>) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender does not panic");
        let answers = self.receiver.join().expect("the receiver does not panic");
        let mut answers: Vec<Answer> = answers.iter().map(|(id, m)| answer(sent[usize::from(*id)], m)).collect();
        answers.sort_by_key(|a| a.sent_ns);
        (sent.len(), answers)
    }
}

/// One question, one answer.
///
/// # Panics
/// When there is no answer in time.
#[track_caller]
pub fn lookup(resolver: IpAddr, name: &str) -> Answer {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout that is not zero");
    let sent_ns = wall_ns();
    socket.send_to(&question(1, name), (resolver, 53)).expect("the question is sent");
    let mut packet = [0; 4096];
    let size = socket.recv(&mut packet).unwrap_or_else(|e| panic!("{resolver} does not answer for {name}: {e}"));
    answer(sent_ns, &Message::from_vec(&packet[..size]).expect("a message of DNS"))
}

pub(super) fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{name}.")).expect("a name");
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().expect("a short question")
}

fn answer(sent_ns: u128, message: &Message) -> Answer {
    let addresses = message.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    });
    Answer { sent_ns, code: format!("{:?}", message.metadata.response_code), addresses: addresses.collect() }
}
