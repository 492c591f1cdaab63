//! A cluster of one: batching, outcomes, time, snapshots, reopening.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::revision::{Time, Wall};

use super::{in_time, leading, open_leading, refusal, sample, until};
use crate::engine::{AUDITS, Command, Outcome, Rejection};
use crate::raft::{Clock, ProposeError, RaftError, RaftHandle, RaftOptions, SnapshotRule};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bootstraps_once_and_leads_again_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    assert!(matches!(raft.bootstrap("127.0.0.1:7421").await, Err(RaftError::AlreadyInitialised)));
    let id = raft.id();
    assert_eq!(raft.metrics().voters, BTreeSet::from([id]));
    assert_eq!(raft.metrics().leader.expect("leads itself").address, "127.0.0.1:7421");
    raft.read_barrier().await.unwrap();
    raft.shutdown().await.unwrap();
    let lost = tokio::spawn({
        let raft = raft.clone();
        async move { raft.lost().await }
    });
    assert!(matches!(lost.await.unwrap(), RaftError::Stopped));
    assert_eq!(raft.propose(None, sample::command(1)).await, Err(ProposeError::Stopped));
    assert_eq!((raft.leadership().borrow().leading(), raft.now()), (None, None));

    let raft = RaftHandle::open(RaftOptions::new(dir.path())).await.unwrap();
    assert_eq!(raft.id(), id);
    leading(&raft).await;
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_server_that_is_not_bootstrapped_waits() {
    let dir = tempfile::tempdir().unwrap();
    let raft = RaftHandle::open(RaftOptions::new(dir.path())).await.unwrap();
    assert!(!raft.is_bootstrapped().await.unwrap());
    assert_eq!(raft.propose(None, sample::command(1)).await, Err(ProposeError::NotLeader { leader: None }));
    assert_eq!(raft.now(), None);
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_commands_share_an_entry_and_each_has_its_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    let before = raft.metrics().last_log.unwrap();
    let revision_before = raft.state().borrow().revision().0;
    let callers: Vec<_> = (0..64)
        .map(|n| {
            let raft = raft.clone();
            tokio::spawn(async move { (n, raft.propose(None, sample::command(n)).await.unwrap()) })
        })
        .collect();
    let mut revisions = BTreeSet::new();
    for caller in callers {
        let (n, applied) = caller.await.unwrap();
        assert!(sample::answers(&applied.outcome, n), "{n}: {:?}", applied.outcome);
        revisions.insert(applied.revision.0);
    }
    let all: BTreeSet<u64> = (revision_before + 1..=revision_before + 64).collect();
    assert_eq!(revisions, all, "each has a revision of its own");
    until("metrics follow", || raft.metrics().applied == raft.metrics().last_log).await;
    let entries = raft.metrics().last_log.unwrap() - before;
    assert!((1..=32).contains(&entries), "{entries} entries for 64 commands");
    assert!(raft.metrics().sync.count > 0);
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_is_published_before_the_outcome_is_returned() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    let state = raft.state();
    for n in 0..50 {
        let applied = raft.propose(None, sample::command(n)).await.unwrap();
        assert!(state.borrow().revision() >= applied.revision);
        assert!(sample::holds(&state.borrow(), n));
    }
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_command_comes_back_and_a_too_big_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    for n in 0..8 {
        raft.propose(None, sample::command_of_size(n, 900 * 1024)).await.unwrap();
    }
    let refused = raft.propose(None, sample::command_of_size(9, 1 << 20)).await;
    assert!(matches!(refused, Err(ProposeError::TooLarge { .. })), "{refused:?}");
    let before = raft.state().borrow().clone();
    raft.shutdown().await.unwrap();

    let blobs = fs::read_dir(dir.path().join("raft").join("blobs")).map(Iterator::count).unwrap_or(0);
    assert_eq!(blobs, 0, "the database moved values to files that it never syncs");
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    assert_eq!(*raft.state().borrow(), before);
    assert!(sample::holds(&before, 7) && !sample::holds(&before, 9));
    raft.shutdown().await.unwrap();
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn monotonic_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
    fn wall(&self) -> Wall {
        Wall(77)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_time_goes_on_where_the_last_term_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock(AtomicU64::new(500_000)));
    let mut options = RaftOptions::new(dir.path());
    options.clock = clock.clone();
    let raft = open_leading(options.clone()).await;
    assert_eq!(raft.now(), Some(Time(0)), "a new cluster begins at zero, whatever the machine's clock says");
    clock.0.fetch_add(1_234, Ordering::SeqCst);
    raft.propose(None, sample::command(1)).await.unwrap();
    assert_eq!((raft.state().borrow().clock(), raft.state().borrow().wall()), (Time(1_234), Wall(77)));
    raft.shutdown().await.unwrap();

    clock.0.store(3, Ordering::SeqCst);
    let raft = open_leading(options).await;
    assert_eq!(raft.now(), Some(Time(1_234)));
    clock.0.store(10, Ordering::SeqCst);
    raft.propose(None, sample::command(2)).await.unwrap();
    assert_eq!(raft.state().borrow().clock(), Time(1_241));
    raft.shutdown().await.unwrap();
}

fn often(dir: &Path) -> RaftOptions {
    let mut options = RaftOptions::new(dir);
    options.snapshots = SnapshotRule { after_entries: 20, after_bytes: u64::MAX, keep_entries: 5 };
    options
}

fn snapshots(dir: &Path) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(dir.join("snapshots")).unwrap().map(|f| f.unwrap().path());
    let mut found: Vec<_> = all.filter(|path| path.extension().is_some_and(|e| e == "snap")).collect();
    found.sort();
    found
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A closed server with two snapshots and a log that begins after the older one, and its State.
async fn with_snapshots(dir: &Path) -> crate::engine::State {
    let raft = open_leading(often(dir)).await;
    for n in 0..100 {
        raft.propose(None, sample::command(n)).await.unwrap();
    }
    until("the log is cut", || raft.metrics().purged.is_some_and(|index| index > 30)).await;
    let state = raft.state().borrow().as_ref().clone();
    raft.shutdown().await.unwrap();
    state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_and_rest_of_the_log_give_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let before = with_snapshots(dir.path()).await;
    assert_eq!(snapshots(dir.path()).len(), 2, "the last two are kept");
    let raft = open_leading(often(dir.path())).await;
    assert_eq!(*raft.state().borrow().as_ref(), before);
    raft.propose(None, sample::command(1_000)).await.unwrap();
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_outlives_restarts_and_the_cutting_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(often(dir.path())).await;
    let by = || sample::asker();
    raft.propose_by(by(), None, sample::command(0)).await.unwrap();
    assert_eq!(raft.state().borrow().audit().made(), 0, "an earlier version of State keeps none");
    raft.propose(None, Command::RaiseVersion { to: AUDITS }).await.unwrap();
    for n in 1..100 {
        raft.propose_by(by(), None, sample::command(n)).await.unwrap();
    }
    until("the log is cut", || raft.metrics().purged.is_some_and(|index| index > 30)).await;
    raft.shutdown().await.unwrap();
    let raft = open_leading(often(dir.path())).await;
    let state = raft.state().borrow().clone();
    let numbers: Vec<u64> = state.audit().after(0).map(|record| record.number).collect();
    assert_eq!(numbers, (1..100).collect::<Vec<u64>>());
    let first = state.audit().after(0).next().cloned().unwrap();
    assert_eq!((first.by.clone(), first.call.as_str()), (by(), "PutBlob"));
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_entries_cause_a_snapshot_before_many_small_ones_would() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = RaftOptions::new(dir.path());
    options.snapshots.after_bytes = 1 << 20;
    let raft = open_leading(options).await;
    for n in 0..4 {
        raft.propose(None, sample::command_of_size(n, 500 * 1024)).await.unwrap();
    }
    until("a snapshot is taken", || raft.metrics().snapshot.is_some()).await;
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_replaced_by_the_older_one_and_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let before = with_snapshots(dir.path()).await;
    let newest = snapshots(dir.path()).pop().unwrap();
    flip_a_byte(&newest);
    let raft = open_leading(often(dir.path())).await;
    assert_eq!(*raft.state().borrow().as_ref(), before);
    assert!(newest.with_extension("damaged").exists() && !newest.exists(), "set aside for whoever looks into it");
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_usable_snapshot_a_cut_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    with_snapshots(dir.path()).await;
    let both = snapshots(dir.path());
    both.iter().for_each(|path| flip_a_byte(path));
    let error = refusal(dir.path()).await;
    assert!(matches!(&error, RaftError::SnapshotLost { path, .. } if both.contains(path)), "{error}");
    assert!(error.to_string().contains("backup"), "{error}");
    assert_eq!(snapshots(dir.path()), both, "nothing was touched");
    both.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert!(matches!(refusal(dir.path()).await, RaftError::SnapshotLost { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_disk_ends_it_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    raft.propose(None, sample::command(1)).await.unwrap();
    fs::remove_dir_all(dir.path().join("snapshots")).unwrap();
    raft.take_snapshot().await.unwrap();
    let lost = in_time("lost", raft.lost()).await;
    assert!(matches!(&lost, RaftError::Fatal { cause } if cause.contains("snapshot")), "{lost}");
    let refused = in_time("an answer", raft.propose(None, sample::command(2))).await;
    assert!(refused.is_err(), "{refused:?}");
}

/// Nothing raises the version here: this cluster has servers that know no labels of nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_of_before_would_stop_at_does_not_get_into_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    raft.propose(None, sample::command(1)).await.unwrap();
    let last = raft.metrics().last_log;
    let (_, labels) = sample::commands_of_version_8().pop().unwrap();
    let refused = raft.propose(None, labels.clone()).await.unwrap();
    assert!(
        matches!(refused.outcome, Outcome::Rejected(Rejection::TooNew { needed: 8, present: 1 })),
        "{:?}",
        refused.outcome
    );
    assert_eq!(raft.metrics().last_log, last, "not even as a refusal");
    raft.propose(None, Command::RaiseVersion { to: 8 }).await.unwrap();
    let answered = raft.propose(None, labels).await.unwrap();
    assert!(!matches!(answered.outcome, Outcome::Rejected(Rejection::TooNew { .. })), "{:?}", answered.outcome);
    raft.shutdown().await.unwrap();
}
