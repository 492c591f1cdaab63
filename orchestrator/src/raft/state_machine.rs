//! State in memory: the only caller of `engine::apply`, and the only publisher of State.
//!
//! Never starts anything because of what an entry says; never writes State to disk but as a snapshot, from which it
//! is rebuilt together with the log. Called by openraft.

use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::codec::{self, CodecError};
use super::fault::Fault;
use super::record::SnapshotRecord;
use super::snapshot::{SnapshotFile, Snapshots};
use super::type_config::{
    Applied, Batch, Entry, LogId, Proposed, Snapshot, SnapshotMeta, StorageError, StorageIoError, StoredMembership,
    TypeConfig,
};
use crate::engine::{self, STATE_VERSION, Stamped, State};

/// State, and up to where it is.
#[derive(Debug)]
pub(super) struct StateMachine {
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
    published: watch::Sender<Arc<State>>,
    snapshots: Snapshots,
    fault: Fault,
}

impl StateMachine {
    /// Begins with a snapshot, or with nothing.
    pub(super) fn new(snapshots: Snapshots, begin: Option<SnapshotRecord>, fault: Fault) -> StateMachine {
        let (last, membership, state) = match begin {
            Some(record) => {
                let meta = record.meta();
                (meta.last_log_id, meta.last_membership, record.state)
            }
            None => (None, StoredMembership::default(), State::empty()),
        };
        let published = watch::Sender::new(Arc::new(state.clone()));
        StateMachine { state, last, membership, published, snapshots, fault }
    }

    /// Every State from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<State>> {
        self.published.subscribe()
    }

    fn publish(&self) {
        self.published.send_replace(Arc::new(self.state.clone()));
    }

    fn apply_batch(&mut self, batch: &Batch) -> Result<Vec<Applied>, CodecError> {
        if batch.version > STATE_VERSION {
            return Err(CodecError::Newer { found: batch.version });
        }
        let mut applied = Vec::with_capacity(batch.commands.len());
        for encoded in &batch.commands {
            let Proposed { request, by, command } = codec::decode_body(&encoded.0)?;
            let stamped = Stamped { at: batch.at, wall: batch.wall, request, by, command };
            let outcome = engine::apply(&mut self.state, &stamped);
            applied.push(Applied { revision: self.state.revision(), outcome });
        }
        Ok(applied)
    }

    fn apply_entry(&mut self, entry: Entry) -> Result<Vec<Applied>, CodecError> {
        let applied = match &entry.payload {
            EntryPayload::Blank => Vec::new(),
            EntryPayload::Membership(members) => {
                self.membership = StoredMembership::new(Some(entry.log_id), members.clone());
                Vec::new()
            }
            EntryPayload::Normal(batch) => self.apply_batch(batch)?,
        };
        self.last = Some(entry.log_id);
        Ok(applied)
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Applied>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            let log_id = entry.log_id;
            answers.push(self.apply_entry(entry).map_err(|e| {
                let cause = format!("a command in entry {} was {e}", log_id.index);
                StorageIoError::apply(log_id, self.fault.report(cause))
            })?);
        }
        if answers.iter().any(|applied| !applied.is_empty()) {
            self.publish();
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMeta {
            last_log_id: self.last,
            last_membership: self.membership.clone(),
            snapshot_id: self.last.map_or_else(|| "0-0".to_owned(), |id| format!("{}-{}", id.leader_id.term, id.index)),
        };
        let record = SnapshotRecord::new(&meta, self.state.clone());
        Builder { record: Arc::new(record), snapshots: self.snapshots.clone(), fault: self.fault.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        let snapshots = self.snapshots.clone();
        let file = blocking(&self.fault, move || snapshots.receive()).await;
        file.map(Box::new).map_err(|e| StorageIoError::write_snapshot(None, e).into())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, sent: Box<SnapshotFile>) -> Result<(), StorageError> {
        let (snapshots, announced) = (self.snapshots.clone(), meta.clone());
        let installed = blocking(&self.fault, move || snapshots.install(&announced, &sent)).await;
        let record = installed.map_err(|e| StorageIoError::write_snapshot(Some(meta.signature()), e))?;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.state = record.state;
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let snapshots = self.snapshots.clone();
        let current = blocking(&self.fault, move || snapshots.current()).await;
        current.map_err(|e| StorageIoError::read_snapshot(None, e).into())
    }
}

/// Writes one State out while others are already being applied.
#[derive(Debug)]
pub(super) struct Builder {
    record: Arc<SnapshotRecord>,
    snapshots: Snapshots,
    fault: Fault,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let (snapshots, record) = (self.snapshots.clone(), self.record.clone());
        let built = blocking(&self.fault, move || {
            snapshots.write(&record)?;
            snapshots.current()
        });
        let written = built.await.and_then(|current| current.ok_or_else(|| AnyError::error("no snapshot was written")));
        written.map_err(|e| StorageIoError::write_snapshot(None, e).into())
    }
}

/// Runs file work on a thread that may block; an error is final.
async fn blocking<T: Send + 'static>(
    fault: &Fault,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, AnyError> {
    fault.check()?;
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(e)) => Err(fault.report(format!("cannot keep a snapshot: {e}"))),
        Err(panic) => Err(fault.report(format!("cannot keep a snapshot: {panic}"))),
    }
}
