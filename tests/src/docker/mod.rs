//! The harness of the tests that run the real `ctl` on the real Docker Engine, one dev cluster per test.
//!
//! `dev` starts and removes clusters, `engine` looks at Docker from outside Wherry, `traces` lists what a cluster has on
//! this machine, `wire` asks published ports and the resolver, `load` does so all the time, `private_engine` and `proxy` are an
//! engine to break and what stands before it, `figures` keeps what was measured.
//! Never skips: without an engine, without `ctl` or the example images a test fails and says what to do.

pub mod dev;
pub mod engine;
pub mod figures;
pub mod load;
pub mod private_engine;
pub mod proxy;
pub mod traces;
pub mod wire;

use std::time::{Duration, Instant};

/// The image all tests run: examples/build-images makes it; it holds the shop and busybox.
pub const IMAGE: &str = "wherry/shop:dev";
/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within [`PATIENCE`].
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(POLL);
    }
}

/// Waits until something holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
#[track_caller]
pub fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, || holds().then_some(()));
}
