//! Calling another service by name: resolve, connect, ask, within one deadline.
//!
//! Does: try each address of a name; resolve again and retry, a little, while nothing was sent or the request may be
//! repeated (`GET`), so that a replica being replaced goes unnoticed.
//! Never: repeats a `POST` that may have been received; keeps connections.
//! Called by: `shop::front`, `shop::cart`, `greeting`, and the health check of `src/bin/shop.rs`.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::{
    http::{find, time_left},
    resolve::{ResolveError, Resolver, random_u16},
};

/// Largest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: u64 = 1024 * 1024;
/// Attempts for one call, the first included.
const ATTEMPTS: u32 = 3;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// An answer: its status code and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code, 200.
    pub status: u16,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The URL is not `http://HOST[:PORT][/PATH]`.
    #[error("not a http:// address: {0:?}")]
    BadUrl(String),
    /// The name gave no address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No address of the name accepted a connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// Whom.
        host: String,
        /// Why the last address failed.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or time ran out, after the request was sent.
    #[error("{host} did not answer")]
    Exchange {
        /// Whom.
        host: String,
        /// What broke.
        #[source]
        source: io::Error,
    },
}

/// `http://host:port/path`, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    host: &'a str,
    port: u16,
    path: &'a str,
}

// === impl Answer ===

impl Answer {
    /// The body as JSON, `null` if it is something else.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

// === impl CallError ===

impl CallError {
    /// The error and its causes in one line.
    pub fn explain(&self) -> String {
        match self {
            CallError::Connect { source, .. } | CallError::Exchange { source, .. } => format!("{self}: {source}"),
            CallError::BadUrl(_) | CallError::Resolve(_) => self.to_string(),
        }
    }
}

/// `GET url`, answered within `timeout`.
///
/// # Errors
/// See [`CallError`]. A status such as 503 is an answer.
pub fn get(url: &str, timeout: Duration) -> Result<Answer, CallError> {
    call("GET", url, &[], timeout)
}

/// `POST url` with a JSON body, answered within `timeout`.
///
/// # Errors
/// See [`CallError`]. After [`CallError::Exchange`] it is unknown whether the request was carried out.
pub fn post(url: &str, body: &serde_json::Value, timeout: Duration) -> Result<Answer, CallError> {
    call("POST", url, body.to_string().as_bytes(), timeout)
}

fn call(method: &str, url: &str, body: &[u8], timeout: Duration) -> Result<Answer, CallError> {
    let target = Url::parse(url).ok_or_else(|| CallError::BadUrl(url.to_owned()))?;
    let deadline = Instant::now() + timeout;
    let mut attempt = 1;
    loop {
        let result = call_once(method, &target, body, deadline);
        let out_of_time = time_left(deadline).is_none_or(|left| left <= PAUSE);
        if attempt == ATTEMPTS || out_of_time || !worth_repeating(method, &result) {
            return result;
        }
        attempt += 1;
        thread::sleep(PAUSE);
    }
}

/// Whether another attempt may fare better and does no harm: nothing was sent yet, or it may be sent twice.
fn worth_repeating(method: &str, result: &Result<Answer, CallError>) -> bool {
    match result {
        Err(CallError::Exchange { .. }) => method == "GET",
        Err(CallError::Resolve(ResolveError::NoAnswer(_) | ResolveError::NoAddress(_)) | CallError::Connect { .. }) => {
            true
        }
        Ok(_) | Err(CallError::BadUrl(_) | CallError::Resolve(_)) => false,
    }
}

fn call_once(method: &str, target: &Url<'_>, body: &[u8], deadline: Instant) -> Result<Answer, CallError> {
    let host = format!("{}:{}", target.host, target.port);
    let mut addresses = Resolver::from_system().lookup(target.host, deadline)?;
    // Not every server shuffles its answers: begin anywhere, so that replicas share the calls.
    let begin = usize::from(random_u16()) % addresses.len().max(1);
    addresses.rotate_left(begin);
    let mut failed = io::Error::from(io::ErrorKind::TimedOut);
    for ip in addresses {
        let Some(left) = time_left(deadline) else { break };
        match TcpStream::connect_timeout(&SocketAddr::from((ip, target.port)), left) {
            Ok(stream) => {
                return exchange(stream, method, target, body, deadline)
                    .map_err(|source| CallError::Exchange { host, source });
            }
            Err(error) => failed = error,
        }
    }
    Err(CallError::Connect { host, source: failed })
}

fn exchange(
    mut stream: TcpStream,
    method: &str,
    target: &Url<'_>,
    body: &[u8],
    deadline: Instant,
) -> io::Result<Answer> {
    let mut request = format!(
        "{method} {} HTTP/1.1\r\nHost: {}:{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        target.path,
        target.host,
        target.port,
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    stream.set_write_timeout(Some(time_left(deadline).ok_or(io::ErrorKind::TimedOut)?))?;
    stream.write_all(&request)?;
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream.set_read_timeout(Some(time_left(deadline).ok_or(io::ErrorKind::TimedOut)?))?;
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return parse_answer(&received).ok_or_else(|| io::Error::other("the answer was cut short"));
        }
        received.extend_from_slice(&piece[..count]);
        if received.len() as u64 > MAX_ANSWER_BYTES {
            return Err(io::Error::other("the answer is too large"));
        }
    }
}

// === impl Url ===

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Option<Url<'a>> {
        let rest = url.strip_prefix("http://")?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, 80),
        };
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let path = if path.is_empty() { "/" } else { path };
        (!host.is_empty() && plain(host) && plain(path)).then_some(Url { host, port, path })
    }
}

/// Status and body of a whole answer; `None` if it is not whole.
fn parse_answer(received: &[u8]) -> Option<Answer> {
    let head_len = find(received, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..head_len]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut body = &received[head_len + 4..];
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            body = body.get(..value.trim().parse().ok()?)?;
        }
    }
    Some(Answer { status, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(Url::parse("http://backend:5000"), Some(Url { host: "backend", port: 5000, path: "/" }));
        assert_eq!(Url::parse("http://a.b/c?d=e"), Some(Url { host: "a.b", port: 80, path: "/c?d=e" }));
        for bad in ["https://x", "backend:5000", "http://", "http://x:port/", "http://x:70000", "http://x/a b"] {
            assert_eq!(Url::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_cut_short_is_no_answer() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
        assert_eq!(parse_answer(whole), Some(Answer { status: 503, body: b"busy".to_vec() }));
        for length in 0..whole.len() {
            assert_eq!(parse_answer(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_refused_connection_says_whom() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = get(&format!("http://{unused}/"), Duration::from_secs(5)).unwrap_err();
        assert!(matches!(&error, CallError::Connect { host, .. } if *host == unused.to_string()), "{error}");
        assert!(error.explain().contains("refused"), "{}", error.explain());
    }
}
