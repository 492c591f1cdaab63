//! The room from outside: openraft's own suite, crashes, damage, batching, snapshots, three servers.
//!
//! Never depends on what commands mean: that is in `sample`.

mod cluster;
mod conformance;
mod crash;
mod fixtures;
mod one_server;
mod refusals;
mod sample;

use std::path::Path;
use std::time::Duration;

use super::{RaftError, RaftHandle, RaftOptions, Term};

/// Far more than anything here takes; only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

/// Resolves with the value, or fails the test when it hangs.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// Polls until the condition holds, or fails the test when it never does.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    in_time(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn leading(raft: &RaftHandle) -> Term {
    let mut leadership = raft.leadership();
    let led = in_time("leading", leadership.wait_for(|l| l.leading().is_some())).await.expect("is open");
    *led.leading().expect("leads")
}

/// A one-server cluster in this directory that leads.
async fn open_leading(options: RaftOptions) -> RaftHandle {
    let raft = RaftHandle::open(options).await.expect("opens");
    if !raft.is_bootstrapped().await.expect("answers") {
        raft.bootstrap("127.0.0.1:7421").await.expect("is new");
    }
    leading(&raft).await;
    raft
}

async fn refusal(dir: &Path) -> RaftError {
    RaftHandle::open(RaftOptions::new(dir)).await.expect_err("must be refused")
}
