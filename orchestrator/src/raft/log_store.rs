//! Vote and log on disk: the only file that knows redb.
//!
//! # Guarantees
//! What is acknowledged is a committed transaction, through `fdatasync`. One transaction for each call of openraft. All
//! pages are checked against their sums when the log is opened. After the first error nothing more is written. A log that
//! lost its end, by whatever, shows by the `mark`.
//!
//! # Caveats
//! The committed pointer is written along with the next entry: after a crash it may lie behind, never ahead.
//!
//! Never decides what to store, never repairs: a damaged log is refused. A log of `earlier` releases is taken over. Called by
//! openraft, opened by `handle`.

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
use redb::{Database, DatabaseError, ReadableDatabase, Table, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::codec;
use super::earlier::{self, Earlier};
use super::error::RaftError;
use super::fault::{Fault, held};
use super::identity::Guard;
use super::mark::{Mark, Reached};
use super::meter::Meter;
use super::recent::Recent;
use super::record::{self, Position, VoteRecord};
use super::type_config::{Entry, LogId, StorageError, StorageIoError, TypeConfig, Vote};
use crate::disk;

/// Bytes of the page cache: the log is read from memory (`recent`), so it may be small.
const CACHE_BYTES: usize = 16 << 20;
/// Bytes of entries handed to one replication message, but for a single larger entry.
const READ_MAX_BYTES: usize = 4 << 20;
/// How long to wait for an earlier store of this process to let go of its files.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

const DATABASE_FILE: &str = "log.redb";
/// Entries by index, as frames.
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Single records by name, as frames.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
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
    database: Database,
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
    /// Whether a log is there at all.
    pub(super) fn exists(dir: &Path) -> bool {
        fs::metadata(dir.join(DATABASE_FILE)).is_ok_and(|file| file.len() > 0) || earlier::exists(dir)
    }

    /// Opens or creates the store and reads it through once; damage is refused, nothing is repaired. Blocks.
    pub(super) fn open(dir: &Path, fault: Fault, meter: Arc<Meter>) -> Result<LogStore, RaftError> {
        disk::create_private_dir(dir).map_err(RaftError::io("create", dir))?;
        let (mark, reached) = Mark::open(dir).map_err(RaftError::io("open the mark of the log in", dir))?;
        prepare(dir)?;
        let store = Store {
            database: open_database(dir)?,
            mark,
            dir: dir.to_owned(),
            bounds: Mutex::default(),
            recent: Mutex::default(),
            guard: None,
        };
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
        self.store.write(|tables| tables.put(SERVER_ID, &id.0)).map_err(RaftError::io("write", &self.store.dir))
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

/// Makes a log where there is none, of what an earlier release left or an empty one: whole or not at all.
fn prepare(dir: &Path) -> Result<(), RaftError> {
    let path = dir.join(DATABASE_FILE);
    let unfinished = dir.join(format!("{DATABASE_FILE}{}", disk::UNFINISHED));
    match fs::remove_file(&unfinished) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(RaftError::io("remove", &unfinished)(e)),
        _ => {}
    }
    let takes_over = earlier::exists(dir);
    if !path.exists() {
        let earlier = if takes_over { earlier::read(dir)? } else { Earlier::default() };
        let make = || {
            let database = Database::create(&unfinished).map_err(io::Error::other)?;
            write(&database, |tables| {
                for (name, frame) in &earlier.records {
                    tables.meta.insert(name.as_str(), frame.as_slice()).map_err(io::Error::other)?;
                }
                tables.append(&earlier.entries)
            })?;
            drop(database);
            File::open(&unfinished)?.sync_all()?;
            fs::rename(&unfinished, &path)?;
            disk::sync_dir(dir)
        };
        make().map_err(RaftError::io("make", &path))?;
    }
    if takes_over {
        tracing::info!(dir = %dir.display(), "the log of an earlier release was taken over");
        earlier::remove(dir).map_err(RaftError::io("clean", dir))?;
    }
    Ok(())
}

fn open_database(dir: &Path) -> Result<Database, RaftError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let error = match builder.create(dir.join(DATABASE_FILE)) {
            Ok(database) => return Ok(database),
            Err(error) => error,
        };
        // The data directory's own lock is ours, so this can only be our own earlier store, on its way out.
        if !matches!(error, DatabaseError::DatabaseAlreadyOpen) {
            return Err(RaftError::Database { path: dir.to_owned(), cause: error.to_string() });
        }
        if Instant::now() > deadline {
            return Err(RaftError::InUse { dir: dir.to_owned() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

// === The store, blocking ===

/// What one transaction writes.
struct Tables<'t> {
    log: Table<'t, u64, &'static [u8]>,
    meta: Table<'t, &'static str, &'static [u8]>,
}

/// One transaction, durable when this returns.
fn write(database: &Database, act: impl FnOnce(&mut Tables<'_>) -> io::Result<()>) -> io::Result<()> {
    let transaction = database.begin_write().map_err(io::Error::other)?;
    {
        let mut tables = Tables {
            log: transaction.open_table(LOG).map_err(io::Error::other)?,
            meta: transaction.open_table(META).map_err(io::Error::other)?,
        };
        act(&mut tables)?;
    }
    transaction.commit().map_err(io::Error::other)
}

// === impl Tables ===

impl Tables<'_> {
    fn put<T: Serialize>(&mut self, key: &str, value: &T) -> io::Result<()> {
        let frame = codec::seal(0, value).map_err(io::Error::other)?;
        self.meta.insert(key, frame.as_slice()).map_err(io::Error::other)?;
        Ok(())
    }

    fn append(&mut self, frames: &[(u64, Vec<u8>)]) -> io::Result<()> {
        for (index, frame) in frames {
            self.log.insert(index, frame.as_slice()).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn remove(&mut self, range: impl RangeBounds<u64>) -> io::Result<()> {
        self.log.retain_in(range, |_, _| false).map_err(io::Error::other)
    }
}

impl Store {
    fn write(&self, act: impl FnOnce(&mut Tables<'_>) -> io::Result<()>) -> io::Result<()> {
        write(&self.database, act)
    }

    fn unusable(&self, cause: &dyn std::error::Error) -> RaftError {
        RaftError::Database { path: self.dir.clone(), cause: cause.to_string() }
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, RaftError> {
        let transaction = self.database.begin_read().map_err(|e| self.unusable(&e))?;
        let meta = transaction.open_table(META).map_err(|e| self.unusable(&e))?;
        let stored = meta.get(key).map_err(|e| self.unusable(&e))?;
        let decoded = stored.map(|frame| codec::open(frame.value())).transpose();
        decoded.map_err(|e| RaftError::undecodable(&self.dir, format!("record `{key}`"), e))
    }

    /// Checks every entry and finds the ends. What a cut that a crash interrupted left of an earlier release's log stays
    /// unread, until the next cut.
    fn read_through(&self, meter: &Meter) -> Result<Bounds, RaftError> {
        self.get::<u64>(SERVER_ID)?;
        self.get::<VoteRecord>(VOTE)?;
        let purged = self.get::<Position>(PURGED)?.map(LogId::from);
        let first = purged.map_or(0, |id| id.index + 1);
        let mut last = purged;
        for (next, found) in (first..).zip(self.entries(first, u64::MAX)?) {
            let (entry, bytes) = found?;
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
    fn entries(
        &self,
        from: u64,
        to: u64,
    ) -> Result<impl Iterator<Item = Result<(Entry, usize), RaftError>> + '_, RaftError> {
        let transaction = self.database.begin_read().map_err(|e| self.unusable(&e))?;
        let log = transaction.open_table(LOG).map_err(|e| self.unusable(&e))?;
        let found = log.range(from..to).map_err(|e| self.unusable(&e))?;
        Ok(found.map(|found| {
            let (index, frame) = found.map_err(|e| self.unusable(&e))?;
            let entry = record::open_entry(frame.value());
            let entry = entry.map_err(|e| RaftError::undecodable(&self.dir, format!("entry {}", index.value()), e))?;
            Ok((entry, frame.value().len()))
        }))
    }

    /// Refuses a log that falls short of its mark, and brings a mark that lies behind up to it.
    fn compare(&self, marked: Option<Reached>, bounds: Bounds) -> Result<(), RaftError> {
        let vote = self.get::<VoteRecord>(VOTE)?;
        let last = bounds.last.map(Position::from);
        let term_at = |index| {
            let entry = self.entries(index, index + 1).ok()?.next()?.ok()?;
            Some(entry.0.log_id.leader_id.term)
        };
        if let Some(cause) = marked.and_then(|marked| marked.missing(last, vote, term_at)) {
            return Err(RaftError::Damaged { path: self.dir.clone(), what: "the end".to_owned(), cause });
        }
        let reached = Reached { last, vote };
        if marked == Some(reached) {
            return Ok(());
        }
        self.mark.begin(&self.dir, reached).map_err(RaftError::io("write the mark of the log in", &self.dir))
    }

    /// Writes the committed pointer along, if it has moved.
    fn write_with_committed(&self, act: impl FnOnce(&mut Tables<'_>) -> io::Result<()>) -> io::Result<()> {
        let committed = {
            let mut bounds = held(&self.bounds);
            let moved = bounds.committed.filter(|_| !bounds.committed_is_written);
            bounds.committed_is_written = true;
            moved
        };
        self.write(|tables| {
            act(tables)?;
            committed.map_or(Ok(()), |committed| tables.put(COMMITTED, &Position::from(committed)))
        })
    }

    fn read(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<Entry>, RaftError> {
        let mut found = Vec::new();
        let mut total = 0;
        for entry in self.entries(from, to)? {
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

// === What openraft asks for ===

impl LogStore {
    /// Runs on a thread that may block, then syncs. The first error is final.
    async fn durably(
        &self,
        write: impl FnOnce(&mut Tables<'_>) -> io::Result<()> + Send + 'static,
    ) -> Result<(), AnyError> {
        self.durably_then(write, |_| Ok(())).await
    }

    /// The same, and then marks what was synced.
    async fn durably_then(
        &self,
        write: impl FnOnce(&mut Tables<'_>) -> io::Result<()> + Send + 'static,
        mark: impl FnOnce(&Mark) -> io::Result<()> + Send + 'static,
    ) -> Result<(), AnyError> {
        self.fault.check()?;
        let store = self.store.clone();
        let meter = self.meter.clone();
        let written = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            store.write_with_committed(write)?;
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
        let read = tokio::task::spawn_blocking(move || store.read(from, to, max_bytes));
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
        let written =
            self.durably_then(move |tables| tables.put(VOTE, &record), move |mark| mark.set_vote(record)).await;
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
            self.durably_then(move |tables| tables.append(&frames), move |mark| mark.set_last(last.into())).await;
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
        let store = self.store.clone();
        let written = self
            .durably(move |tables| {
                store.mark.lower(since.index)?;
                tables.remove(since.index..)
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
        let written = self.durably(move |tables| {
            tables.put(PURGED, &Position::from(upto))?;
            tables.remove(..=upto.index)
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
use redb::ReadableTable;

#[cfg(test)]
impl LogStore {
    /// Changes one stored entry behind the store's back, as a failing disk would; again: back. Blocks.
    pub(super) fn damage(dir: &Path, index: u64) {
        Self::tamper(dir, |tables| {
            let mut frame = tables.log.get(index).unwrap().expect("there is such an entry").value().to_vec();
            *frame.last_mut().unwrap() ^= 1;
            tables.log.insert(index, frame.as_slice()).unwrap();
        });
    }

    /// Removes an entry from the middle, as no correct program would. Blocks.
    pub(super) fn tear_out(dir: &Path, index: u64) {
        Self::tamper(dir, |tables| drop(tables.log.remove(index).unwrap().expect("there is such an entry")));
    }

    fn tamper(dir: &Path, change: impl FnOnce(&mut Tables<'_>)) {
        let database = open_database(dir).unwrap();
        write(&database, |tables| {
            change(tables);
            Ok(())
        })
        .unwrap();
    }

    /// Puts the log back into the form of earlier releases. Blocks.
    pub(super) fn set_back(dir: &Path) {
        let database = open_database(dir).unwrap();
        let reading = database.begin_read().unwrap();
        let (log, meta) = (reading.open_table(LOG).unwrap(), reading.open_table(META).unwrap());
        let record = |found: Result<(redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, &[u8]>), _>| {
            found.map(|(name, frame)| (name.value().to_owned(), frame.value().to_vec()))
        };
        let records = meta.range::<&str>(..).unwrap().map(record).collect::<Result<_, redb::StorageError>>().unwrap();
        let entry = |found: Result<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>), _>| {
            found.map(|(index, frame)| (index.value(), frame.value().to_vec()))
        };
        let entries = log.range::<u64>(..).unwrap().map(entry).collect::<Result<_, redb::StorageError>>().unwrap();
        drop((log, meta, reading, database));
        fs::remove_file(dir.join(DATABASE_FILE)).unwrap();
        earlier::tests::write(dir, &Earlier { records, entries });
    }
}
