//! Acknowledged writes of one server against appending the same bytes to a file with `fdatasync`, on the same disk, in turns.
//!
//! One writer that waits for each: what the disk allows is the limit. Never in a memory file system.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use orchestrator::engine::command::Command;
use orchestrator::engine::model::Content;
use orchestrator::raft::{RaftHandle, RaftOptions, encode};
use proto::id::BlobDigest;
use proto::spec::BlobKind;

use super::report::{Report, Values};

const ROUNDS: usize = 20;
const PER_ROUND: usize = 25;
const CONTENT_BYTES: usize = 1_000;
const TMPFS_MAGIC: i128 = 0x0102_1994;

/// Measures in a new directory below `dir`.
///
/// # Errors
/// When the directory is in memory, or the log cannot be opened or written.
pub fn run(report: &Report, dir: &Path) -> anyhow::Result<()> {
    report.part("log: acknowledged writes of 1 kB, one at a time");
    std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    let kind = rustix::fs::statfs(dir)?.f_type;
    ensure!(
        i128::from(kind) != TMPFS_MAGIC,
        "{} is in memory; name a directory on a disk by WHERRY_BENCH_DIR",
        dir.display()
    );
    let scratch = tempfile::tempdir_in(dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(in_turns(report, scratch.path()))
}

async fn in_turns(report: &Report, dir: &Path) -> anyhow::Result<()> {
    let raft = RaftHandle::open(RaftOptions::new(dir.join("server"))).await?;
    raft.bootstrap("bench").await?;
    let mut leadership = raft.leadership();
    leadership.wait_for(|l| l.leading().is_some()).await?;
    let bytes = encode(1, &command(0))?.len();
    let mut raw = OpenOptions::new().create(true).append(true).open(dir.join("raw"))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first writes make files and trees.
    for number in 0..PER_ROUND {
        propose(&raft, number).await?;
        append(&mut raw, bytes)?;
    }
    for round in 1..=ROUNDS {
        for number in 0..PER_ROUND {
            ours.push(propose(&raft, round * PER_ROUND + number).await?);
        }
        for _ in 0..PER_ROUND {
            theirs.push(append(&mut raw, bytes)?);
        }
    }
    let beside = format!("append of {bytes} bytes and fdatasync");
    report.against("acknowledged write, propose to outcome", &Values::ms(&ours), &beside, &Values::ms(&theirs), "ms");
    let sync = raft.metrics().sync;
    let store = Values::of([sync.p50_us as f64 / 1e3]);
    report.against(
        "of that the log store's append and sync (its own meter, last 256)",
        &store,
        &beside,
        &Values::ms(&theirs),
        "ms",
    );
    raft.shutdown().await?;
    Ok(())
}

fn command(number: usize) -> Command {
    let mut bytes = vec![b'x'; CONTENT_BYTES];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    Command::PutBlob {
        digest: BlobDigest(format!("{number:064x}")),
        kind: BlobKind::Config,
        content: Content::Plain { bytes },
    }
}

async fn propose(raft: &RaftHandle, number: usize) -> anyhow::Result<Duration> {
    let command = command(number);
    let begun = Instant::now();
    match raft.propose(None, command).await {
        Ok(_) => Ok(begun.elapsed()),
        Err(error) => bail!("not acknowledged: {error}"),
    }
}

fn append(file: &mut File, bytes: usize) -> anyhow::Result<Duration> {
    let data = vec![b'x'; bytes];
    let begun = Instant::now();
    file.write_all(&data)?;
    file.sync_data()?;
    Ok(begun.elapsed())
}
