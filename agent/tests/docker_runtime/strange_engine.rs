//! An engine that misbehaves: it answers its version, and then whatever a test tells it to.

use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// What comes back for a path.
#[derive(Clone, Copy)]
pub enum Answer {
    /// A status and a body, whole.
    Whole(u16, &'static str),
    /// Headers that promise more than ever comes.
    Stalls(&'static str),
    /// Not even headers.
    Silent,
    /// The connection ends in the middle of the body.
    CutShort(&'static str),
    /// Not HTTP.
    Noise(&'static str),
}

pub struct StrangeEngine {
    pub socket: PathBuf,
    _dir: tempfile::TempDir,
    task: tokio::task::JoinHandle<()>,
}

impl StrangeEngine {
    /// `answer` is asked with the path of each request but `/version`.
    pub fn start(answer: fn(&str) -> Answer) -> StrangeEngine {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer));
            }
        });
        StrangeEngine { socket, _dir: dir, task }
    }

    pub fn endpoint(&self) -> String {
        self.socket.to_str().unwrap().to_owned()
    }
}

impl Drop for StrangeEngine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: UnixStream, answer: fn(&str) -> Answer) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let answer = match path {
        "/version" => Answer::Whole(200, r#"{"ApiVersion":"1.41","Version":"strange"}"#),
        other => answer(other),
    };
    let headers = |status: u16, length: usize| {
        format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
    };
    let (text, hold) = match answer {
        Answer::Whole(status, body) => (format!("{}{body}", headers(status, body.len())), false),
        Answer::Stalls(body) => (format!("{}{body}", headers(200, body.len() + 100)), true),
        Answer::CutShort(body) => (format!("{}{body}", headers(200, body.len() + 100)), false),
        Answer::Silent => (String::new(), true),
        Answer::Noise(noise) => (noise.to_owned(), false),
    };
    let _ = stream.write_all(text.as_bytes()).await;
    if hold {
        std::future::pending::<()>().await;
    }
}
