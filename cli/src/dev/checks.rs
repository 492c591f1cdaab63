//! What an agent needs of this machine, checked before anything is made: root, and a Docker Engine that answers.
//!
//! Never changes anything. Called by `command/dev` and `command/cluster`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::exit::Failure;

const PING_DEADLINE: Duration = Duration::from_secs(5);
/// The Docker Engine where none is named.
pub const DOCKER_DEFAULT: &str = "unix:///var/run/docker.sock";

/// Root: the resolver listens on port 53, secrets live in memory file systems, routes are set.
pub fn root(what: &str, hint: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let why = "its resolver listens on port 53 and it mounts files for secrets";
    Err(Failure::refused(format!("{what} needs root: {why}")).hint(hint))
}

/// The Docker Engine answers.
pub async fn docker(endpoint: &str) -> Result<(), Failure> {
    let Some(path) = endpoint.strip_prefix("unix://") else {
        return Err(Failure::usage(format!(
            "the Docker Engine at `{endpoint}` is not on a unix socket of this machine"
        ))
        .hint("write --docker unix:///var/run/docker.sock (DOCKER_HOST is used without it)"));
    };
    let answer = match timeout(PING_DEADLINE, ping(path)).await {
        Ok(answer) => answer,
        Err(_) => Err(std::io::Error::other(format!("no answer within {} s", PING_DEADLINE.as_secs()))),
    };
    answer.map_err(|e| {
        Failure::refused(format!("the Docker Engine at {endpoint} does not answer: {e}"))
            .hint("start it (`systemctl start docker`), or name its socket with --docker unix:///PATH")
    })
}

async fn ping(path: &str) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n").await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    match &head[8..] {
        b" 200" => Ok(()),
        _ => Err(std::io::Error::other(format!("it said {:?}", String::from_utf8_lossy(&head)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of an engine that answers so.
    async fn judged(answer: &'static [u8]) -> Result<(), String> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("docker.sock");
        let listener = tokio::net::UnixListener::bind(&path).expect("can listen");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("somebody comes");
            let mut question = [0; 16];
            let _ = stream.read_exact(&mut question).await;
            let _ = stream.write_all(answer).await;
        });
        docker(&format!("unix://{}", path.display())).await.map_err(|failure| failure.message)
    }

    #[tokio::test]
    async fn an_engine_must_say_that_it_is_well() {
        assert_eq!(judged(b"HTTP/1.0 200 OK\r\n\r\nOK").await, Ok(()));
        let sick = judged(b"HTTP/1.0 500 Internal Server Error\r\n\r\n").await.expect_err("it is not well");
        assert!(sick.contains("HTTP/1.0 500"), "{sick}");
        assert!(judged(b"").await.is_err());
        assert_eq!(docker("tcp://1.2.3.4:2375").await.expect_err("no socket").exit, crate::exit::Exit::Usage);
        let absent = docker("unix:///nonexistent/docker.sock").await.expect_err("nobody");
        assert!(absent.hints[0].contains("--docker"), "{:?}", absent.hints);
    }
}
