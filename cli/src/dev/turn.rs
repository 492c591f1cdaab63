//! New clusters choose their ranges one after the other: a range is seen to be in use only once the node's network
//! routes it, so the turn lasts from the choice until then.
//!
//! The turn is a socket in the kernel's abstract namespace: as wide as the routes are, gone with its process, no file.
//! Never blocks a start for good. Called by `cluster`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::time::Duration;

use proto::ranges::Cidr;
use tokio::time::{sleep, timeout};

use crate::client::Client;

const NAME: &str = "wherry-dev-ranges";
const POLL: Duration = Duration::from_millis(50);
/// Longest wait for others; then the choice is made beside them.
const WAIT: Duration = Duration::from_secs(15);
/// Longest wait for the own network: an engine that hangs must not hold up other clusters.
const HOLD: Duration = Duration::from_secs(10);

/// The turn, held until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _socket: Option<UnixListener>,
}

// === impl Turn ===

impl Turn {
    /// Waits until nobody else has it.
    pub async fn take() -> Turn {
        Turn::named(NAME).await
    }

    async fn named(name: &str) -> Turn {
        let taken = async {
            loop {
                match SocketAddr::from_abstract_name(name).and_then(|address| UnixListener::bind_addr(&address)) {
                    Ok(socket) => return Turn { _socket: Some(socket) },
                    Err(_) => sleep(POLL).await,
                }
            }
        };
        timeout(WAIT, taken).await.unwrap_or(Turn { _socket: None })
    }

    /// Gives it back when the range of the cluster behind that socket is routed.
    pub fn pass_when_routed(self, api_socket: PathBuf) {
        tokio::spawn(async move {
            // Without an answer the turn passes on.
            let _ = timeout(HOLD, routed(api_socket)).await;
            drop(self);
        });
    }
}

async fn routed(api_socket: PathBuf) {
    let range = async {
        let version = Client::connect(&api_socket).await.ok()?.version().await.ok()?;
        version.container_range.parse::<Cidr>().ok()
    };
    let Some(range) = range.await else { return };
    while !orchestrator::routes::used().is_ok_and(|nets| nets.iter().any(|net| net.overlaps(range))) {
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time() {
        let name = format!("wherry-test-turn-{}", std::process::id());
        let first = Turn::named(&name).await;
        let second = Turn::named(&name);
        tokio::pin!(second);
        assert!(timeout(POLL * 3, &mut second).await.is_err(), "it is taken");
        drop(first);
        let second = second.await;
        assert!(second._socket.is_some());
    }
}
