//! One GET on the engine's socket, its body read into a shape of ours.
//!
//! Used only where the typed client could not read an answer: an engine newer than the client may say a word the
//! client does not know, and then the whole list would be lost. Never used to change anything.

use bollard::errors::Error;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Largest answer read, in bytes.
const ANSWER_MAX: u64 = 64 << 20;

/// Asks for `path` (with its query, encoded) and reads the JSON. HTTP/1.0, so that the body ends with the connection.
pub async fn get<T: DeserializeOwned>(socket: &str, path: &str) -> Result<T, Error> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    let (status, body) = split(&answer).ok_or_else(|| bad("the answer is not HTTP"))?;
    if status == 200 {
        return Ok(serde_json::from_slice(body)?);
    }
    let message = String::from_utf8_lossy(body).into_owned();
    Err(Error::DockerResponseServerError { status_code: status, message })
}

fn bad(message: &str) -> Error {
    Error::JsonDataError { message: message.to_owned(), column: 0 }
}

/// Status and body.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let line = std::str::from_utf8(&answer[..head]).ok()?.lines().next()?;
    let status = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, &answer[head + 4..]))
}

/// A value for a query: everything but letters, digits and `-._~` as `%XX`.
pub fn encode(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let ok = b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n[1]";
        assert_eq!(split(ok), Some((200, b"[1]".as_slice())));
        assert_eq!(split(b"HTTP/1.1 404 Not Found\r\n\r\n"), Some((404, b"".as_slice())));
        for bad in [b"".as_slice(), b"garbage\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.0 200 OK\r\nA: b"] {
            assert_eq!(split(bad), None);
        }
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode(r#"{"a":["b=c d"]}"#), "%7B%22a%22%3A%5B%22b%3Dc%20d%22%5D%7D");
    }
}
