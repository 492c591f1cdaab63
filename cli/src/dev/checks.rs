//! What a dev cluster needs of this machine, checked before anything is made: root, and a Docker Engine that answers.
//!
//! Never changes anything. Called by `command/dev`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::exit::Failure;

const PING_DEADLINE: Duration = Duration::from_secs(5);

/// Root: the resolver listens on port 53, secrets live in memory file systems, routes are set.
pub fn root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::refused("`ctl dev` needs root: its resolver listens on port 53 and it mounts files for secrets")
        .hint("run `sudo ctl dev`"))
}

/// The Docker Engine answers.
pub async fn docker(endpoint: &str) -> Result<(), Failure> {
    let Some(path) = endpoint.strip_prefix("unix://") else {
        return Err(
            Failure::usage(format!("`{endpoint}` is no unix socket")).hint("write it as unix:///var/run/docker.sock")
        );
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
