//! kill -9 at random moments: what was acknowledged is there afterwards.
//!
//! The test starts itself as a child that writes as fast as it can and prints what was acknowledged; then it kills it,
//! proves that the signal did it, opens the directory and looks. Kills hit opening, bootstrap, writing and snapshots.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{DEADLINE, open_leading, sample};
use crate::raft::{RaftOptions, SnapshotRule};

const CYCLES: u64 = 15;
const CHILD_DIR: &str = "WHERRY_TEST_CRASH_DIR";
const CHILD_FIRST: &str = "WHERRY_TEST_CRASH_FIRST";
const THIS_TEST: &str = "raft::tests::crash::acknowledged_writes_survive_kill_9";
const SIGKILL: i32 = 9;

fn options(dir: &Path) -> RaftOptions {
    let mut options = RaftOptions::new(dir);
    options.snapshots = SnapshotRule { after_entries: 40, after_bytes: u64::MAX, keep_entries: 10 };
    options
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let first = std::env::var(CHILD_FIRST).unwrap().parse().unwrap();
        return runtime.block_on(write_until_killed(Path::new(&dir), first));
    }
    let dir = tempfile::tempdir().unwrap();
    let seed = u64::from(std::process::id()) << 32 | u64::from(Instant::now().elapsed().subsec_nanos());
    let mut random = Random(seed | 1);
    println!("seed {seed}");
    let mut acknowledged = BTreeSet::new();
    let mut cycles_with_writes = 0;
    for cycle in 0..CYCLES {
        // Every third kill comes at a random time, likely while opening; the others after some writes.
        let writes = if cycle % 3 == 0 { 0 } else { 1 + random.below(150) };
        let delay = Duration::from_micros(random.below(if writes == 0 { 60_000 } else { 3_000 }));
        let new = run_and_kill(dir.path(), cycle * 1_000_000, writes, delay);
        cycles_with_writes += u64::from(!new.is_empty());
        acknowledged.extend(new);
        runtime.block_on(verify(dir.path(), &acknowledged));
    }
    assert!(cycles_with_writes >= CYCLES / 2, "kills came too early: {cycles_with_writes} cycles had writes");
    println!("{} acknowledged writes survived {CYCLES} kills", acknowledged.len());
}

/// Runs a child until it has acknowledged this many writes and the delay is over; returns all it acknowledged.
fn run_and_kill(dir: &Path, first: u64, writes: u64, delay: Duration) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", THIS_TEST, "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .env(CHILD_FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen = Arc::new(AtomicUsize::new(0));
    let reader = std::thread::spawn({
        let seen = seen.clone();
        move || {
            let mut acknowledged = Vec::new();
            for line in lines {
                // A line cut off by the kill lacks its end mark.
                let line = line.unwrap();
                if let Some(n) = line.strip_prefix("ack ").and_then(|rest| rest.strip_suffix(" end")) {
                    acknowledged.push(n.parse().unwrap());
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            }
            acknowledged
        }
    });
    let deadline = Instant::now() + DEADLINE;
    while seen.load(Ordering::SeqCst) < usize::try_from(writes).unwrap() {
        assert!(Instant::now() < deadline, "the child does not write");
        assert_eq!(child.try_wait().unwrap(), None, "the child ended by itself");
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(delay);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "the kill is what ended it: {status}");
    reader.join().unwrap()
}

async fn write_until_killed(dir: &Path, first: u64) {
    let raft = open_leading(options(dir)).await;
    let next = Arc::new(AtomicU64::new(first));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (raft, next) = (raft.clone(), next.clone());
        writers.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::SeqCst);
                let applied = raft.propose(None, sample::command(n)).await.unwrap();
                assert!(sample::answers(&applied.outcome, n));
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {n} end").unwrap();
                out.flush().unwrap();
            }
        });
    }
    // None ends but by failing.
    writers.join_next().await.unwrap().unwrap();
}

async fn verify(dir: &Path, acknowledged: &BTreeSet<u64>) {
    let raft = open_leading(options(dir)).await;
    let state = raft.state().borrow().clone();
    let lost: Vec<&u64> = acknowledged.iter().filter(|n| !sample::holds(&state, **n)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged writes are lost: {lost:?}", lost.len(), acknowledged.len());
    raft.shutdown().await.unwrap();
}

/// xorshift64: enough to choose moments.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
