//! Vote and log on disk: the only file that knows sled.
//!
//! # Guarantees
//! What is acknowledged has been through `fdatasync` on our own descriptor, because sled's flush (`sync_file_range`)
//! covers neither the file's size nor the disk's cache. One descriptor for the life of the store, because Linux
//! reports a failed write-back once per descriptor. Values are at most 4 KiB, larger entries are stored in parts, because
//! sled moves large values to files that it never syncs. After the first error nothing more is written. What sled drops at
//! the end of its file, because it takes it for an unfinished write, shows by the `mark`.
//!
//! # Caveats
//! The committed pointer is written along with the next entry: after a crash it may lie behind, never ahead.
//!
//! Never decides what to store, never repairs: a damaged log is refused. Called by openraft, opened by `handle`.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader};
use proto::id::ServerId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::codec;
use super::disk;
use super::error::RaftError;
use super::fault::{Fault, held};
use super::identity::Guard;
use super::mark::{Mark, Reached};
use super::meter::Meter;
use super::parts::{self, Broken};
use super::recent::Recent;
use super::record::{self, Position, VoteRecord};
use super::type_config::{Entry, LogId, StorageError, StorageIoError, TypeConfig, Vote};

/// Bytes of sled's page cache: the log is read from memory (`recent`), so it may be small.
const CACHE_BYTES: u64 = 16 << 20;
/// Bytes of entries handed to one replication message, but for a single larger entry.
const READ_MAX_BYTES: usize = 4 << 20;
/// Keys removed in one atomic step.
const REMOVE_AT_ONCE: usize = 512;
/// How long to wait for an earlier store of this process to let go of its files.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

const DATABASE_FILE: &str = "db";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SERVER_ID: &str = "server-id";

/// Vote and log of this server. Clones share one store.
#[derive(Debug, Clone)]
pub(super) struct LogStore {
    store: Arc<Store>,
    fault: Fault,
    meter: Arc<Meter>,
    /// First index that no durable snapshot covers; the log is cut only below it.
    snapshots_reach: Option<watch::Receiver<u64>>,
}

struct Store {
    log: sled::Tree,
    meta: sled::Tree,
    database: sled::Db,
    file: File,
    mark: Mark,
    dir: PathBuf,
    bounds: Mutex<Bounds>,
    recent: Mutex<Recent>,
    /// Dropped last: the files are closed before the directory is given back.
    guard: Option<Arc<Guard>>,
}

impl Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.dir).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// Where the log begins and ends.
#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    purged: Option<LogId>,
    last: Option<LogId>,
    committed: Option<LogId>,
    committed_is_written: bool,
}

// === Opening ===

impl LogStore {
    /// Whether a database is there at all.
    pub(super) fn exists(dir: &Path) -> bool {
        fs::metadata(dir.join(DATABASE_FILE)).is_ok_and(|file| file.len() > 0)
    }

    /// Opens or creates the store and reads it through once; damage is refused, nothing is repaired. Blocks.
    pub(super) fn open(dir: &Path, fault: Fault, meter: Arc<Meter>) -> Result<LogStore, RaftError> {
        disk::create_private_dir(dir).map_err(RaftError::io("create", dir))?;
        remove_unfinished(dir).map_err(RaftError::io("clean", dir))?;
        let database = open_database(dir)?;
        let unusable = |e: sled::Error| RaftError::Database { path: dir.to_owned(), cause: in_words(&e) };
        let (mark, reached) = Mark::open(dir).map_err(RaftError::io("open the mark of the log in", dir))?;
        let store = Store {
            log: database.open_tree("log").map_err(unusable)?,
            meta: database.open_tree("meta").map_err(unusable)?,
            database,
            file: File::open(dir.join(DATABASE_FILE)).map_err(RaftError::io("open", &dir.join(DATABASE_FILE)))?,
            mark,
            dir: dir.to_owned(),
            bounds: Mutex::default(),
            recent: Mutex::default(),
            guard: None,
        };
        store.sync().map_err(|e| RaftError::io("sync", dir)(e))?;
        disk::sync_dir(dir).map_err(RaftError::io("sync", dir))?;
        let bounds = store.read_through(&meter)?;
        store.compare(reached, bounds)?;
        *held(&store.bounds) = bounds;
        Ok(LogStore { store: Arc::new(store), fault, meter, snapshots_reach: None })
    }

    /// The id stored beside the log.
    pub(super) fn server_id(&self) -> Option<ServerId> {
        self.store.get::<u64>(SERVER_ID).ok().flatten().map(ServerId)
    }

    /// Writes the id, durably. Blocks.
    pub(super) fn set_server_id(&self, id: ServerId) -> Result<(), RaftError> {
        self.store
            .put(SERVER_ID, &id.0)
            .and_then(|()| self.store.sync())
            .map_err(RaftError::io("write", &self.store.dir))
    }

    /// Index of the last entry that was cut off.
    pub(super) fn purged_index(&self) -> Option<u64> {
        held(&self.store.bounds).purged.map(|id| id.index)
    }

    /// From now on the log is cut only where a durable snapshot replaces it.
    pub(super) fn cut_only_below(&mut self, snapshots_reach: watch::Receiver<u64>) {
        self.snapshots_reach = Some(snapshots_reach);
    }

    /// Keeps the directory locked as long as any clone lives. To be called before it is shared.
    pub(super) fn hold(&mut self, guard: Arc<Guard>) {
        if let Some(store) = Arc::get_mut(&mut self.store) {
            store.guard = Some(guard);
        }
    }

    /// Writes what was put off, so that the next start finds everything.
    pub(super) async fn finish(self) -> Result<(), StorageError> {
        self.durably(|_| Ok(())).await.map_err(|e| StorageIoError::write_logs(e).into())
    }
}

/// sled's words, but for those that say nothing to who reads them.
fn in_words(error: &sled::Error) -> String {
    match error {
        sled::Error::Corruption { .. } => "what it holds does not match its checksums".to_owned(),
        other => other.to_string(),
    }
}

/// A crash in `sled::open` leaves a half-written file that keeps the next open from succeeding.
fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for name in disk::names(dir)? {
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

fn open_database(dir: &Path) -> Result<sled::Db, RaftError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let opened = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None).open();
        let error = match opened {
            Ok(database) => return Ok(database),
            Err(error) => error,
        };
        // The data directory's own lock is ours, so this can only be our own earlier store, on its way out.
        let is_locked = matches!(&error, sled::Error::Io(e) if e.to_string().contains("could not acquire lock"));
        if !is_locked {
            return Err(RaftError::Database { path: dir.to_owned(), cause: in_words(&error) });
        }
        if Instant::now() > deadline {
            return Err(RaftError::InUse { dir: dir.to_owned() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

// === The store, blocking ===

impl Store {
    /// The one barrier of this room: only what went through it counts as written.
    fn sync(&self) -> io::Result<()> {
        self.database.flush().map_err(io::Error::from)?;
        self.file.sync_data()
    }

    fn put<T: Serialize>(&self, key: &str, value: &T) -> io::Result<()> {
        let frame = codec::seal(0, value).map_err(io::Error::other)?;
        self.meta.insert(key, frame)?;
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, RaftError> {
        let stored =
            self.meta.get(key).map_err(|e| RaftError::Database { path: self.dir.clone(), cause: e.to_string() })?;
        let decoded = stored.map(|frame| codec::open(&frame)).transpose();
        decoded.map_err(|e| RaftError::undecodable(&self.dir, format!("record `{key}`"), e))
    }

    /// Checks every entry, finds the ends, and completes a cut that a crash interrupted.
    fn read_through(&self, meter: &Meter) -> Result<Bounds, RaftError> {
        self.get::<u64>(SERVER_ID)?;
        self.get::<VoteRecord>(VOTE)?;
        let purged = self.get::<Position>(PURGED)?.map(LogId::from);
        if let Some(purged) = purged {
            self.remove_upto(purged.index).map_err(RaftError::io("clean", &self.dir))?;
        }
        let mut last = purged;
        for (next, found) in (purged.map_or(0, |id| id.index + 1)..).zip(self.entries(0, u64::MAX)) {
            let (entry, bytes) = found.map_err(|broken| broken.refusal(&self.dir))?;
            if entry.log_id.index != next {
                let cause = format!("entry {} follows where {next} is missing", entry.log_id.index);
                return Err(RaftError::Damaged { path: self.dir.clone(), what: format!("entry {next}"), cause });
            }
            last = Some(entry.log_id);
            meter.count_bytes(bytes as u64);
            held(&self.recent).push(entry, bytes);
        }
        let committed = self.get::<Position>(COMMITTED)?.map(LogId::from);
        // It can only be ahead if a snapshot was being installed; the snapshot itself then says what is committed.
        let committed = committed.filter(|id| last.is_some_and(|last| id.index <= last.index));
        Ok(Bounds { purged, last, committed, committed_is_written: true })
    }

    /// The entries `from..to` in order, each with the bytes it takes.
    fn entries(&self, from: u64, to: u64) -> impl Iterator<Item = Result<(Entry, usize), Broken>> + '_ {
        let mut parts = self.log.range(parts::key(from, 0)..parts::key(to, 0));
        std::iter::from_fn(move || match parts.next()? {
            Ok((key, first)) => Some(parts::join(&key, &first, &mut parts).and_then(open_entry)),
            Err(e) => Some(Err(Broken::Database(e.to_string()))),
        })
    }

    /// Refuses a log that falls short of its mark, and brings a mark that lies behind up to it.
    fn compare(&self, marked: Option<Reached>, bounds: Bounds) -> Result<(), RaftError> {
        let vote = self.get::<VoteRecord>(VOTE)?;
        let last = bounds.last.map(Position::from);
        let term_at = |index| {
            let entry = self.entries(index, index + 1).next()?.ok()?;
            Some(entry.0.log_id.leader_id.term)
        };
        if let Some(cause) = marked.and_then(|marked| marked.missing(last, vote, term_at)) {
            return Err(RaftError::Damaged { path: self.dir.clone(), what: "the end".to_owned(), cause });
        }
        let reached = Reached { last, vote };
        self.mark.begin(&self.dir, reached).map_err(RaftError::io("write the mark of the log in", &self.dir))
    }

    fn append(&self, frames: &[(u64, Vec<u8>)]) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        for (index, frame) in frames {
            for (part, value) in parts::split(frame).enumerate() {
                let part = u16::try_from(part).map_err(|_| io::Error::other("entry has too many parts"))?;
                batch.insert(&parts::key(*index, part), value);
            }
        }
        Ok(self.log.apply_batch(batch)?)
    }

    /// From the front, so that a crash leaves no hole; the pointer is ahead of it.
    fn remove_upto(&self, index: u64) -> io::Result<()> {
        self.remove(|| self.log.range(..parts::key(index + 1, 0)))
    }

    /// From the back, so that a crash leaves no hole.
    fn remove_from(&self, index: u64) -> io::Result<()> {
        self.remove(|| self.log.range(parts::key(index, 0)..).rev())
    }

    fn remove<I>(&self, keys: impl Fn() -> I) -> io::Result<()>
    where
        I: Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    {
        loop {
            let mut batch = sled::Batch::default();
            let mut count = 0;
            for found in keys().take(REMOVE_AT_ONCE) {
                batch.remove(found?.0);
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            self.log.apply_batch(batch)?;
        }
    }

    fn write_committed(&self) -> io::Result<()> {
        let mut bounds = held(&self.bounds);
        if let (Some(committed), false) = (bounds.committed, bounds.committed_is_written) {
            self.put(COMMITTED, &Position::from(committed))?;
            bounds.committed_is_written = true;
        }
        Ok(())
    }

    fn read(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<Entry>, Broken> {
        let mut found = Vec::new();
        let mut total = 0;
        for entry in self.entries(from, to) {
            let (entry, bytes) = entry?;
            total += bytes;
            if total > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry);
        }
        Ok(found)
    }
}

fn open_entry((index, frame): (u64, Vec<u8>)) -> Result<(Entry, usize), Broken> {
    let entry = record::open_entry(&frame).map_err(|source| Broken::Entry { index, source })?;
    Ok((entry, frame.len()))
}

impl Broken {
    fn refusal(self, dir: &Path) -> RaftError {
        match self {
            Broken::Database(cause) => RaftError::Database { path: dir.to_owned(), cause },
            Broken::Entry { index, source } => RaftError::undecodable(dir, format!("entry {index}"), source),
        }
    }
}

// === What openraft asks for ===

impl LogStore {
    /// Runs on a thread that may block, then syncs. The first error is final.
    async fn durably(&self, write: impl FnOnce(&Store) -> io::Result<()> + Send + 'static) -> Result<(), AnyError> {
        self.durably_then(write, |_| Ok(())).await
    }

    /// The same, and then marks what was synced.
    async fn durably_then(
        &self,
        write: impl FnOnce(&Store) -> io::Result<()> + Send + 'static,
        mark: impl FnOnce(&Mark) -> io::Result<()> + Send + 'static,
    ) -> Result<(), AnyError> {
        self.fault.check()?;
        let store = self.store.clone();
        let meter = self.meter.clone();
        let written = tokio::task::spawn_blocking(move || {
            write(&store)?;
            store.write_committed()?;
            let started = Instant::now();
            store.sync()?;
            meter.record_sync(started.elapsed());
            mark(&store.mark)
        });
        let cause = match written.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(e)) => e.to_string(),
            Err(panic) => panic.to_string(),
        };
        Err(self.fault.report(format!("cannot write the log in {}: {cause}", self.store.dir.display())))
    }

    async fn read(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        if let Some(entries) = held(&self.store.recent).read(from, to, max_bytes) {
            return Ok(entries);
        }
        let store = self.store.clone();
        let read =
            tokio::task::spawn_blocking(move || store.read(from, to, max_bytes).map_err(|b| b.refusal(&store.dir)));
        let cause = match read.await {
            Ok(Ok(entries)) => return Ok(entries),
            Ok(Err(e)) => e.to_string(),
            Err(panic) => panic.to_string(),
        };
        Err(StorageIoError::read_logs(self.fault.report(cause)).into())
    }

    /// Waits until a durable snapshot covers the log up to this index: openraft cuts while it is still installing one.
    async fn await_snapshot(&self, index: u64) -> Result<(), AnyError> {
        let Some(reach) = &self.snapshots_reach else { return Ok(()) };
        let mut reach = reach.clone();
        tokio::select! {
            covered = reach.wait_for(|next| *next > index) => match covered {
                Ok(_) => Ok(()),
                Err(_) => Err(AnyError::error("the state machine is gone")),
            },
            cause = self.fault.wait() => Err(AnyError::error(cause)),
        }
    }
}

/// Up to where a log reaches. Does not keep its files open.
#[derive(Clone)]
pub(super) struct Reach(Weak<Store>);

impl Reach {
    /// The last entry; `None` also when the log was closed.
    pub(super) fn last(&self) -> Option<LogId> {
        held(&self.0.upgrade()?.bounds).last
    }
}

impl LogStore {
    /// Up to where it reaches, now and later.
    pub(super) fn reach(&self) -> Reach {
        Reach(Arc::downgrade(&self.store))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, READ_MAX_BYTES).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let bounds = *held(&self.store.bounds);
        Ok(LogState { last_purged_log_id: bounds.purged, last_log_id: bounds.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let record = VoteRecord::from(*vote);
        let written = self.durably_then(move |store| store.put(VOTE, &record), move |mark| mark.set_vote(record)).await;
        written.map_err(|e| StorageIoError::write_vote(e).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        match self.store.get::<VoteRecord>(VOTE) {
            Ok(vote) => Ok(vote.map(Vote::from)),
            Err(e) => Err(StorageIoError::read_vote(self.fault.report(e)).into()),
        }
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let mut bounds = held(&self.store.bounds);
        bounds.committed = committed;
        bounds.committed_is_written = false;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(held(&self.store.bounds).committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let mut frames = Vec::with_capacity(entries.len());
        for entry in &entries {
            let frame = record::seal_entry(entry)
                .map_err(|e| StorageIoError::write_log_entry(entry.log_id, self.fault.report(e)))?;
            frames.push((entry.log_id.index, frame));
        }
        let sizes: Vec<usize> = frames.iter().map(|(_, frame)| frame.len()).collect();
        let Some(last) = entries.last().map(|entry| entry.log_id) else {
            flushed.log_io_completed(Ok(()));
            return Ok(());
        };
        let written =
            self.durably_then(move |store| store.append(&frames), move |mark| mark.set_last(last.into())).await;
        written.map_err(StorageIoError::write_logs)?;
        self.meter.count_bytes(sizes.iter().sum::<usize>() as u64);
        held(&self.store.bounds).last = Some(last);
        let mut recent = held(&self.store.recent);
        for (entry, size) in entries.into_iter().zip(sizes) {
            recent.push(entry, size);
        }
        flushed.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        held(&self.store.recent).truncate(since.index);
        let written = self
            .durably(move |store| {
                store.mark.lower(since.index)?;
                store.remove_from(since.index)
            })
            .await;
        written.map_err(StorageIoError::write_logs)?;
        let before = match since.index.checked_sub(1) {
            Some(index) => self.read(index, index + 1, usize::MAX).await?.first().map(|entry| entry.log_id),
            None => None,
        };
        let mut bounds = held(&self.store.bounds);
        bounds.last = before.or(bounds.purged);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.await_snapshot(upto.index).await.map_err(StorageIoError::write_logs)?;
        let written = self.durably(move |store| {
            store.put(PURGED, &Position::from(upto))?;
            store.remove_upto(upto.index)
        });
        written.await.map_err(StorageIoError::write_logs)?;
        held(&self.store.recent).purge(upto.index);
        let mut bounds = held(&self.store.bounds);
        bounds.purged = Some(upto);
        bounds.last = bounds.last.filter(|last| last.index > upto.index).or(Some(upto));
        Ok(())
    }
}

#[cfg(test)]
impl LogStore {
    /// Changes one stored value behind the store's back, as a failing disk would; again: back. Blocks.
    pub(super) fn damage(dir: &Path, index: u64, part: u16) {
        Self::tamper(dir, |log| {
            let key = parts::key(index, part);
            let mut value = log.get(key).unwrap().expect("there is such a part").to_vec();
            *value.last_mut().unwrap() ^= 1;
            log.insert(key, value).unwrap();
        });
    }

    /// Removes an entry from the middle, as no correct program would. Blocks.
    pub(super) fn tear_out(dir: &Path, index: u64) {
        Self::tamper(dir, |log| drop(log.remove(parts::key(index, 0)).unwrap().expect("there is such an entry")));
    }

    fn tamper(dir: &Path, change: impl FnOnce(&sled::Tree)) {
        let database = open_database(dir).unwrap();
        change(&database.open_tree("log").unwrap());
        database.flush().unwrap();
    }
}
