//! Runs the health checks of running containers and brings the samples to the worker.
//!
//! Never judges: that is `engine::health`. A check that hangs is cut at its timeout and counts as failed.

use proto::spec::{HealthCheck, Probe};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine::health::{Sample, pause_ms};
use crate::runtime::ContainerRuntime;

/// Bytes of an HTTP answer that are read: its status line is all that counts.
const HTTP_READ_MAX: usize = 1_024;
/// Characters of a check's output that are kept.
const OUTPUT_MAX: usize = 400;

/// Whom to ask, and what.
#[derive(Debug, Clone)]
pub struct Target {
    /// The check.
    pub check: HealthCheck,
    /// The container.
    pub container: String,
    /// Its address.
    pub address: Option<IpAddr>,
    /// A check of this incarnation has passed before.
    pub passed: bool,
}

/// Asks at once and then again and again, until the receiver of samples is gone or the future is dropped.
pub async fn run(runtime: Arc<dyn ContainerRuntime>, target: Target, deliver: impl Fn(Sample) -> bool + Send) {
    let mut passed = target.passed;
    loop {
        let sample = ask(&*runtime, &target).await;
        passed |= sample.passed;
        if !deliver(sample) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(pause_ms(&target.check, passed))).await;
    }
}

/// One check, ended by its own timeout.
pub async fn ask(runtime: &dyn ContainerRuntime, target: &Target) -> Sample {
    let limit = Duration::from_millis(target.check.timeout_ms.max(1));
    let asked = async {
        match &target.check.probe {
            Probe::Exec { argv } => exec(runtime, target, argv).await,
            Probe::Http { port, path } => http(address(target, *port)?, path).await,
            Probe::Tcp { port } => {
                let address = address(target, *port)?;
                TcpStream::connect(address).await.map(drop).map_err(|e| format!("{address}: {e}"))
            }
        }
    };
    let result = match tokio::time::timeout(limit, asked).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} ms", target.check.timeout_ms)),
    };
    let output = result.as_ref().err().map(|text| text.trim().chars().take(OUTPUT_MAX).collect()).unwrap_or_default();
    Sample { passed: result.is_ok(), output }
}

fn address(target: &Target, port: u16) -> Result<SocketAddr, String> {
    target.address.map(|ip| SocketAddr::new(ip, port)).ok_or_else(|| "the task has no address".into())
}

async fn exec(runtime: &dyn ContainerRuntime, target: &Target, argv: &[String]) -> Result<(), String> {
    match runtime.exec(&target.container, argv, target.check.timeout_ms).await {
        Ok(outcome) if outcome.exit_code == 0 => Ok(()),
        Ok(outcome) => Err(format!("exit code {}: {}", outcome.exit_code, outcome.output)),
        Err(error) => Err(error.to_string()),
    }
}

async fn http(address: SocketAddr, path: &str) -> Result<(), String> {
    let said = |e: std::io::Error| format!("{address}: {e}");
    let mut stream = TcpStream::connect(address).await.map_err(said)?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: wherry-health\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(said)?;
    let mut answer = Vec::with_capacity(HTTP_READ_MAX);
    while answer.len() < HTTP_READ_MAX && !answer.contains(&b'\n') {
        if stream.read_buf(&mut answer).await.map_err(said)? == 0 {
            break;
        }
    }
    let line =
        String::from_utf8_lossy(answer.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default()).into_owned();
    match status_code(&line) {
        Some(200..=399) => Ok(()),
        Some(_) => Err(format!("GET {path} answered {line}")),
        None => Err(format!("GET {path} answered no HTTP: {line}")),
    }
}

fn status_code(line: &str) -> Option<u16> {
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answering(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 512];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn only_200_to_399_is_healthy() {
        let table: [(&[u8], bool); 5] = [
            (b"HTTP/1.1 200 OK\r\n\r\n", true),
            (b"HTTP/1.0 399 Odd\r\n\r\n", true),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", false),
            (b"SSH-2.0-OpenSSH\r\n", false),
            (b"", false),
        ];
        for (answer, healthy) in table {
            let result = http(answering(answer).await, "/health").await;
            assert_eq!(result.is_ok(), healthy, "{:?}: {result:?}", String::from_utf8_lossy(answer));
        }
    }

    #[tokio::test]
    async fn an_endless_line_is_not_read_to_its_end() {
        static ENDLESS: [u8; 1 << 16] = [b'x'; 1 << 16];
        assert!(http(answering(&ENDLESS).await, "/").await.is_err());
    }
}
