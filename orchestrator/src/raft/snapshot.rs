//! State on disk: one file per snapshot, whole or absent, the last two kept.
//!
//! A name is `NEXT-TERM.snap`: the index of the first entry that it does not cover, and the term of the last that it
//! does. A damaged one is set aside, and the one before it is used if the log still reaches back to it.
//! Never decides when to take one. Called by `state_machine` (write, install), `handle` (open), `upkeep` (what is kept).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use proto::revision::Revision;
use tokio::sync::watch;

use super::codec::{self, CodecError};
use super::error::RaftError;
use super::fault::held;
use super::identity::Guard;
use super::record::{self, SnapshotRecord};
use super::type_config::{Snapshot, SnapshotMeta};
use crate::disk;

const SUFFIX: &str = ".snap";
const KEPT: usize = 2;

/// The snapshots of this server. Clones share one list.
#[derive(Debug, Clone)]
pub(super) struct Snapshots {
    dir: Arc<PathBuf>,
    kept: Arc<Mutex<Kept>>,
    reach: Arc<watch::Sender<u64>>,
    saved: Arc<watch::Sender<Revision>>,
    guard: Option<Arc<Guard>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// (next index, term), newest last.
    files: Vec<(u64, u64)>,
    newest: Option<SnapshotMeta>,
}

impl Snapshots {
    /// Opens the directory and reads the newest usable snapshot. `purged`: the last index that the log has lost.
    pub(super) fn open(dir: &Path, purged: Option<u64>) -> Result<(Snapshots, Option<SnapshotRecord>), RaftError> {
        disk::create_private_dir(dir).map_err(RaftError::io("create", dir))?;
        let mut files = Vec::new();
        for name in disk::names(dir).map_err(RaftError::io("read", dir))? {
            if name.ends_with(disk::UNFINISHED) {
                fs::remove_file(dir.join(&name)).map_err(RaftError::io("remove", &dir.join(&name)))?;
            }
            files.extend(parse_name(&name));
        }
        files.sort_unstable();
        let newest = newest_usable(dir, &mut files, purged.map_or(0, |index| index + 1))?;
        let reach = files.last().map_or(0, |(next, _)| *next);
        let saved = newest.as_ref().map_or(Revision(0), |record| record.state.revision());
        let kept = Kept { files, newest: newest.as_ref().map(SnapshotRecord::meta) };
        let snapshots = Snapshots {
            dir: Arc::new(dir.to_owned()),
            kept: Arc::new(Mutex::new(kept)),
            reach: Arc::new(watch::Sender::new(reach)),
            saved: Arc::new(watch::Sender::new(saved)),
            guard: None,
        };
        Ok((snapshots, newest))
    }

    /// Keeps the directory locked as long as any clone lives, one that is just being written included.
    /// To be called before it is cloned.
    pub(super) fn hold(&mut self, guard: Arc<Guard>) {
        self.guard = Some(guard);
    }

    /// The first index that no durable snapshot covers.
    pub(super) fn reach(&self) -> watch::Receiver<u64> {
        self.reach.subscribe()
    }

    /// The newest State that is durable in a snapshot: this server does not begin with an older one.
    pub(super) fn saved(&self) -> watch::Receiver<Revision> {
        self.saved.subscribe()
    }

    /// For each snapshot, oldest first, the first index that it does not cover.
    pub(super) fn next_indexes(&self) -> Vec<u64> {
        held(&self.kept).files.iter().map(|(next, _)| *next).collect()
    }

    /// Writes a snapshot, durably, and removes those that are no longer needed. Blocks.
    pub(super) fn write(&self, record: &SnapshotRecord) -> io::Result<SnapshotMeta> {
        let frame = codec::seal(record.state.version(), record).map_err(io::Error::other)?;
        self.store(record, &frame)
    }

    /// Checks a snapshot that another server sent and keeps it as our own. Blocks.
    pub(super) fn install(&self, meta: &SnapshotMeta, sent: &SnapshotFile) -> io::Result<SnapshotRecord> {
        let frame = sent.read_all()?;
        let record = record::open_snapshot(&frame).map_err(io::Error::other)?;
        if record.meta() != *meta {
            let text = format!("the snapshot sent is {}, announced was {meta}", record.meta());
            return Err(io::Error::other(text));
        }
        self.store(&record, &frame)?;
        Ok(record)
    }

    fn store(&self, record: &SnapshotRecord, frame: &[u8]) -> io::Result<SnapshotMeta> {
        let (meta, revision) = (record.meta(), record.state.revision());
        let file = name_parts(&meta);
        disk::write_whole(&self.dir, &file_name(file), frame)?;
        let mut kept = held(&self.kept);
        if !kept.files.contains(&file) {
            kept.files.push(file);
            kept.files.sort_unstable();
        }
        if kept.files.last() == Some(&file) {
            kept.newest = Some(meta.clone());
        }
        let surplus = kept.files.len().saturating_sub(KEPT);
        for old in kept.files.drain(..surplus) {
            fs::remove_file(self.dir.join(file_name(old)))?;
        }
        drop(kept);
        self.reach.send_if_modified(|reach| std::mem::replace(reach, file.0.max(*reach)) < file.0);
        self.saved.send_if_modified(|saved| std::mem::replace(saved, revision.max(*saved)) < revision);
        Ok(meta)
    }

    /// The newest snapshot, opened. Blocks.
    pub(super) fn current(&self) -> io::Result<Option<Snapshot>> {
        let kept = held(&self.kept);
        let Some(meta) = kept.newest.clone() else { return Ok(None) };
        let file = File::open(self.dir.join(file_name(name_parts(&meta))))?;
        Ok(Some(Snapshot { meta, snapshot: Box::new(SnapshotFile::of(file)) }))
    }

    /// An empty file for a snapshot that another server sends; gone if this process ends. Blocks.
    pub(super) fn receive(&self) -> io::Result<SnapshotFile> {
        let path = self.dir.join(format!("receiving{}", disk::UNFINISHED));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(SnapshotFile::of(file))
    }
}

fn name_parts(meta: &SnapshotMeta) -> (u64, u64) {
    meta.last_log_id.map_or((0, 0), |id| (id.index + 1, id.leader_id.term))
}

fn file_name((next, term): (u64, u64)) -> String {
    format!("{next:020}-{term:020}{SUFFIX}")
}

fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (next, term) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    Some((next.parse().ok()?, term.parse().ok()?))
}

/// Reads the newest snapshot; goes back to an older one only past damaged ones, and only as far as the log reaches.
fn newest_usable(
    dir: &Path,
    files: &mut Vec<(u64, u64)>,
    log_begins: u64,
) -> Result<Option<SnapshotRecord>, RaftError> {
    let mut damaged = Vec::new();
    let (mut blamed, mut cause) = (dir.to_owned(), "there is none".to_owned());
    while let Some(file) = files.last().filter(|(next, _)| *next >= log_begins).copied() {
        let path = dir.join(file_name(file));
        let frame = fs::read(&path).map_err(RaftError::io("read", &path))?;
        match record::open_snapshot(&frame) {
            Ok(record) => {
                set_aside(&damaged)?;
                return Ok(Some(record));
            }
            Err(error) if error.is_damage() => {
                files.pop();
                (blamed, cause) = note_damage(&path, &error);
                damaged.push(path);
            }
            Err(source) => return Err(RaftError::undecodable(&path, "the snapshot".to_owned(), source)),
        }
    }
    if log_begins > 0 {
        return Err(RaftError::SnapshotLost { path: blamed, cause });
    }
    set_aside(&damaged)?;
    Ok(None)
}

fn note_damage(path: &Path, error: &CodecError) -> (PathBuf, String) {
    tracing::error!(path = %path.display(), %error, "snapshot is damaged, looking for an older one");
    (path.to_owned(), error.to_string())
}

/// Kept for whoever looks into it, under a name that is not read again.
fn set_aside(damaged: &[PathBuf]) -> Result<(), RaftError> {
    for path in damaged {
        fs::rename(path, path.with_extension("damaged")).map_err(RaftError::io("rename", path))?;
    }
    Ok(())
}

/// A snapshot's bytes, in a file that stays readable even when it is removed from the directory.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    file: Arc<File>,
}

impl SnapshotFile {
    fn of(file: File) -> SnapshotFile {
        SnapshotFile { file: Arc::new(file) }
    }

    /// Bytes in it. Blocks.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether nothing is in it yet. Blocks.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads a piece to be sent; fewer bytes than asked for only at the end. Blocks.
    pub fn read_piece(&self, offset: u64, max_bytes: usize) -> io::Result<Vec<u8>> {
        let left = self.len()?.saturating_sub(offset);
        let mut piece = vec![0; max_bytes.min(usize::try_from(left).unwrap_or(usize::MAX))];
        self.file.read_exact_at(&mut piece, offset)?;
        Ok(piece)
    }

    /// Adds a piece that was received. Blocks.
    pub fn append(&self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all_at(piece, self.len()?)
    }

    fn read_all(&self) -> io::Result<Vec<u8>> {
        self.read_piece(0, usize::MAX)
    }
}
