//! HTTP/1.1 as far as the examples need it: reading one request, writing one answer.
//!
//! Does: parse a request head and body within limits and before a deadline; render an answer.
//! Never: chunked bodies, upgrades, TLS. A connection carries one request, which makes balancing visible, unless its
//! client asks for more with `Connection: keep-alive`.
//! Called by: `server`, and the services for their answers.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Longest request line plus headers, in bytes.
pub const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Longest request body, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// One request, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path without its query, `/api/all`.
    pub path: String,
    /// The body, empty without a `Content-Length`.
    pub body: Vec<u8>,
    /// Its client asks to send more on this connection.
    pub keep_alive: bool,
}

/// One answer; the server adds length and connection headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code, 200.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// Why no request could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer closed before it sent anything: a probe, not a fault.
    #[error("the connection was closed before a request came")]
    Empty,
    /// The request is not HTTP/1.x as understood here.
    #[error("bad request: {0}")]
    Bad(&'static str),
    /// Head or body exceed their limit.
    #[error("the request is larger than {MAX_HEAD_BYTES} bytes of head or {MAX_BODY_BYTES} bytes of body")]
    TooLarge,
    /// The request did not come whole before its deadline.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// The connection broke.
    #[error("the connection broke while the request was read")]
    Io(#[source] io::Error),
}

// === impl Request ===

impl Request {
    /// Reads one request from `stream`; all of it must have come before `deadline`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(stream: &mut TcpStream, deadline: Instant) -> Result<Request, ReadError> {
        let mut received = Vec::with_capacity(1024);
        let head_len = loop {
            if let Some(at) = find(&received, b"\r\n\r\n") {
                break at;
            }
            if received.len() > MAX_HEAD_BYTES {
                return Err(ReadError::TooLarge);
            }
            if read_some(stream, &mut received, deadline)? == 0 {
                return Err(if received.is_empty() { ReadError::Empty } else { ReadError::Bad("cut short") });
            }
        };
        if head_len > MAX_HEAD_BYTES {
            return Err(ReadError::TooLarge);
        }
        let (mut request, body_len) = parse_head(&received[..head_len])?;
        let mut body = received.split_off(head_len + 4);
        while body.len() < body_len {
            if read_some(stream, &mut body, deadline)? == 0 {
                return Err(ReadError::Bad("the body was cut short"));
            }
        }
        // What a client sends before it was answered is not read: its connection ends with this answer.
        request.keep_alive &= body.len() == body_len;
        body.truncate(body_len);
        request.body = body;
        Ok(request)
    }
}

// === impl Response ===

impl Response {
    /// An answer in JSON.
    pub fn json(status: u16, value: &serde_json::Value) -> Response {
        let mut body = value.to_string().into_bytes();
        body.push(b'\n');
        Response { status, content_type: "application/json", body }
    }

    /// An answer in HTML.
    pub fn html(status: u16, page: String) -> Response {
        Response { status, content_type: "text/html; charset=utf-8", body: page.into_bytes() }
    }

    /// An answer in plain text.
    pub fn text(status: u16, text: &str) -> Response {
        Response { status, content_type: "text/plain; charset=utf-8", body: format!("{text}\n").into_bytes() }
    }

    /// What `/healthz` answers while the program serves.
    pub fn healthy() -> Response {
        Response::text(200, "ok")
    }

    /// There is nothing under this path.
    pub fn not_found() -> Response {
        Response::text(404, "not found")
    }

    /// Writes the answer; a `HEAD` request gets the head alone. `keep_alive`: more may come on this connection.
    ///
    /// # Errors
    /// Whatever the connection reports.
    pub fn write(&self, stream: &mut TcpStream, head_only: bool, keep_alive: bool) -> io::Result<()> {
        let mut out = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: {}\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" }
        )
        .into_bytes();
        if !head_only {
            out.extend_from_slice(&self.body);
        }
        stream.write_all(&out)
    }
}

/// The answer to a request that could not be read, if one is worth sending.
pub fn refusal(error: &ReadError) -> Option<Response> {
    let status = match error {
        ReadError::Empty | ReadError::Io(_) => return None,
        ReadError::Bad(_) => 400,
        ReadError::TooLarge => 413,
        ReadError::TooSlow => 408,
    };
    Some(Response::text(status, &error.to_string()))
}

/// The time left until `deadline`, or `None` when it has passed. Sockets refuse a timeout of zero.
pub fn time_left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// The first place of `needle` in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn read_some(stream: &mut TcpStream, into: &mut Vec<u8>, deadline: Instant) -> Result<usize, ReadError> {
    let left = time_left(deadline).ok_or(ReadError::TooSlow)?;
    stream.set_read_timeout(Some(left)).map_err(ReadError::Io)?;
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(count) => {
                into.extend_from_slice(&piece[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(ReadError::TooSlow);
            }
            Err(error) => return Err(ReadError::Io(error)),
        }
    }
}

/// Parses request line and headers; returns the request without its body, and the length of the body.
fn parse_head(head: &[u8]) -> Result<(Request, usize), ReadError> {
    let head = std::str::from_utf8(head).map_err(|_| ReadError::Bad("the head is not text"))?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ReadError::Bad("the request line is not METHOD PATH VERSION"));
    };
    if !version.starts_with("HTTP/1.") || method.is_empty() || !target.starts_with('/') {
        return Err(ReadError::Bad("the request line is not METHOD PATH HTTP/1.1"));
    }
    let (mut body_len, mut keep_alive) = (None, false);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(ReadError::Bad("a header has no colon"))?;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(ReadError::Bad("chunked bodies are not read"));
        }
        if name.eq_ignore_ascii_case("connection") {
            keep_alive = value.trim().eq_ignore_ascii_case("keep-alive");
        }
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse().map_err(|_| ReadError::Bad("content-length is not a number"))?;
            if body_len.replace(length).is_some_and(|before| before != length) {
                return Err(ReadError::Bad("two content-lengths differ"));
            }
        }
    }
    let body_len: usize = body_len.unwrap_or(0);
    if body_len > MAX_BODY_BYTES {
        return Err(ReadError::TooLarge);
    }
    let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
    Ok((Request { method: method.to_owned(), path, body: Vec::new(), keep_alive }, body_len))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        408 => "Request Timeout",
        413 => "Content Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_method_path_and_length() {
        let (request, length) = parse_head(b"POST /a/b?c=d HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 12").unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str(), length), ("POST", "/a/b", 12));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for head in [
            "GET /",
            "GET / HTTP/2.0",
            "GET x HTTP/1.1",
            "GET / HTTP/1.1 more",
            "GET / HTTP/1.1\r\nno colon",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked",
            "GET / HTTP/1.1\r\nContent-Length: -1",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
        ] {
            assert!(matches!(parse_head(head.as_bytes()), Err(ReadError::Bad(_))), "{head}");
        }
        let large = format!("POST / HTTP/1.1\r\nContent-Length: {}", MAX_BODY_BYTES + 1);
        assert!(matches!(parse_head(large.as_bytes()), Err(ReadError::TooLarge)));
    }

    #[test]
    fn a_refusal_names_its_cause_and_a_probe_gets_none() {
        assert_eq!(refusal(&ReadError::TooLarge).unwrap().status, 413);
        assert_eq!(refusal(&ReadError::TooSlow).unwrap().status, 408);
        assert!(refusal(&ReadError::Empty).is_none());
    }
}
