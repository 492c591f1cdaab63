//! What must not be opened, and what must be opened in spite of traces of a crash.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openraft::EntryPayload;
use openraft::storage::RaftLogStorageExt;
use proto::id::ServerId;
use proto::revision::{Time, Wall};

use super::{open_leading, refusal, sample};
use crate::engine::STATE_VERSION;
use crate::raft::fault::Fault;
use crate::raft::log_store::LogStore;
use crate::raft::meter::Meter;
use crate::raft::record::Position;
use crate::raft::type_config::{Batch, Encoded, Entry};
use crate::raft::{RaftError, RaftHandle, RaftOptions};

fn store(dir: &Path) -> LogStore {
    LogStore::open(&dir.join("raft"), Fault::none(), Arc::new(Meter::new(Duration::from_secs(1)))).unwrap()
}

/// A closed server with a few entries, one of them in several parts, and the index of that one.
async fn with_entries(dir: &Path) -> u64 {
    let raft = open_leading(RaftOptions::new(dir)).await;
    raft.propose(None, sample::command(1)).await.unwrap();
    raft.propose(None, sample::command_of_size(2, 10_000)).await.unwrap();
    let big = raft.metrics().last_log.unwrap();
    raft.propose(None, sample::command(3)).await.unwrap();
    raft.shutdown().await.unwrap();
    big
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_entry_is_refused_and_nothing_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let big = with_entries(dir.path()).await;
    LogStore::damage(&dir.path().join("raft"), big);
    for _ in 0..2 {
        let error = refusal(dir.path()).await;
        assert!(matches!(&error, RaftError::Damaged { what, .. } if *what == format!("entry {big}")), "{error}");
        let text = error.to_string();
        assert!(text.contains(&*dir.path().to_string_lossy()) && text.contains("backup"), "{text}");
    }
    // The same change again repairs it: everything is still there.
    LogStore::damage(&dir.path().join("raft"), big);
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    assert!((1..=3).all(|n| sample::holds(&raft.state().borrow(), n)));
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_an_earlier_release_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    with_entries(dir.path()).await;
    let log_dir = dir.path().join("raft");
    LogStore::set_back(&log_dir);
    // A start that was cut short left something behind.
    std::fs::write(log_dir.join("log.redb.tmp"), b"half").unwrap();
    for _ in 0..2 {
        let raft = open_leading(RaftOptions::new(dir.path())).await;
        assert!((1..=3).all(|n| sample::holds(&raft.state().borrow(), n)));
        raft.shutdown().await.unwrap();
    }
    let names = crate::disk::names(&log_dir).unwrap();
    assert_eq!(names, ["log.redb", "mark"], "nothing else is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_the_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let big = with_entries(dir.path()).await;
    LogStore::tear_out(&dir.path().join("raft"), big - 1);
    let error = refusal(dir.path()).await;
    assert!(matches!(&error, RaftError::Damaged { what, .. } if *what == format!("entry {}", big - 1)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_a_newer_version_stops_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let last = with_entries(dir.path()).await + 1;
    let batch = Batch { version: STATE_VERSION + 1, at: Time(0), wall: Wall(0), commands: vec![] };
    let position = Position { term: 1, server: 1, index: last + 1 };
    let entry = Entry { log_id: position.into(), payload: EntryPayload::Normal(batch) };
    let mut written = store(dir.path());
    written.blocking_append([entry]).await.unwrap();
    drop(written);
    let error = refusal(dir.path()).await;
    assert!(matches!(error, RaftError::Newer { .. }), "{error}");
    assert!(error.to_string().contains("upgrade this server"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_command_stops_the_server_that_applies_it() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    let unknown = Encoded(b"\x81\xa7unheard\x01"[..].into());
    let before = raft.state().borrow().revision();
    let written = raft.write_raw(Batch { version: 1, at: Time(0), wall: Wall(0), commands: vec![unknown] }).await;
    assert!(written.is_err());
    let lost = raft.lost().await;
    assert!(lost.to_string().contains("upgrade this server"), "{lost}");
    assert_eq!(raft.state().borrow().revision(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_while_opening_leaves_behind_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    with_entries(dir.path()).await;
    let left = dir.path().join("raft").join("log.redb.tmp");
    fs::write(&left, b"half a sent").unwrap();
    let unfinished = dir.path().join("snapshots").join("x.snap.tmp");
    fs::write(&unfinished, b"half").unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    assert!(!left.exists() && !unfinished.exists());
    assert!(sample::holds(&raft.state().borrow(), 3));
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_cannot_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    let error = refusal(dir.path()).await;
    assert!(matches!(error, RaftError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    raft.propose(None, sample::command(1)).await.unwrap();
    raft.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_does_not_outlive_its_log() {
    let dir = tempfile::tempdir().unwrap();
    with_entries(dir.path()).await;
    let kept = dir.path().join("kept");
    fs::rename(dir.path().join("raft"), &kept).unwrap();
    let error = refusal(dir.path()).await;
    assert!(matches!(error, RaftError::Wiped { .. }), "{error}");
    assert!(error.to_string().contains("ctl server remove"), "{error}");

    // An empty database in its place is no log either.
    drop(store(dir.path()));
    assert!(matches!(refusal(dir.path()).await, RaftError::Wiped { .. }));
    fs::remove_dir_all(dir.path().join("raft")).unwrap();
    fs::rename(&kept, dir.path().join("raft")).unwrap();
    open_leading(RaftOptions::new(dir.path())).await.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_with_the_id_follows_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = RaftOptions::new(dir.path());
    options.new_server_id = Some(ServerId(0xabc));
    open_leading(options.clone()).await.shutdown().await.unwrap();
    let file = dir.path().join("server-id");
    assert_eq!(fs::read_to_string(&file).unwrap(), "0000000000000abc\n");

    // A crash between store and file: the store knows.
    fs::remove_file(&file).unwrap();
    options.new_server_id = Some(ServerId(0xdef));
    let raft = open_leading(options).await;
    assert_eq!(raft.id(), ServerId(0xabc));
    raft.shutdown().await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "0000000000000abc\n");

    fs::write(&file, "0000000000000def\n").unwrap();
    assert!(matches!(
        refusal(dir.path()).await,
        RaftError::Mixed { file: ServerId(0xdef), stored: ServerId(0xabc), .. }
    ));
    fs::write(&file, "what?").unwrap();
    assert!(matches!(refusal(dir.path()).await, RaftError::BadIdentity { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_without_a_log_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let raft = open_leading(RaftOptions::new(dir.path())).await;
    raft.propose(None, sample::command(1)).await.unwrap();
    raft.take_snapshot().await.unwrap();
    super::until("a snapshot is taken", || raft.metrics().snapshot.is_some()).await;
    raft.shutdown().await.unwrap();
    fs::remove_dir_all(dir.path().join("raft")).unwrap();
    fs::remove_file(dir.path().join("server-id")).unwrap();
    assert!(matches!(refusal(dir.path()).await, RaftError::StraySnapshots { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_contradict_each_other_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = RaftOptions::new(dir.path());
    options.timing.lease_ms = options.timing.heartbeat_ms;
    assert!(matches!(RaftHandle::open(options).await, Err(RaftError::Settings { .. })));
}
