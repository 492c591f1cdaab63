//! Whose directory this is: the lock, the file `server-id`, and the rule that an id never outlives its log.
//!
//! The id is born in the log store and copied to the file after it, so a file without its store means a lost log.
//! Never draws an id while an old one is about. Called by `handle::open`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::id::ServerId;
use tokio::sync::oneshot;

use super::error::RaftError;
use super::log_store::LogStore;
use crate::disk;

const ID_FILE: &str = "server-id";
const LOCK_FILE: &str = "lock";

/// A data directory that this process alone uses.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// Released by the system when the last descriptor goes, however the process ends.
    _lock: File,
}

/// Held by everything that has files open: when the last one is done, the lock goes, and whoever waits is told.
#[derive(Debug)]
pub(super) struct Guard {
    _dir: DataDir,
    _closed: oneshot::Sender<()>,
}

impl DataDir {
    /// Shares the lock; the receiver resolves when nobody holds it any more.
    pub(super) fn share(self) -> (Arc<Guard>, oneshot::Receiver<()>) {
        let (closed, on_close) = oneshot::channel();
        (Arc::new(Guard { _dir: self, _closed: closed }), on_close)
    }

    /// Creates the directory if needed and locks it.
    pub(super) fn claim(path: &Path) -> Result<DataDir, RaftError> {
        disk::create_private_dir(path).map_err(RaftError::io("create", path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(RaftError::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(RaftError::InUse { dir: path.to_owned() }),
            Err(fs::TryLockError::Error(source)) => Err(RaftError::Io { action: "lock", path: lock_path, source }),
        }
    }

    pub(super) fn log_dir(&self) -> PathBuf {
        self.path.join("raft")
    }

    pub(super) fn snapshot_dir(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    fn id_path(&self) -> PathBuf {
        self.path.join(ID_FILE)
    }

    /// The id in the file, if there is a file.
    pub(super) fn written_id(&self) -> Result<Option<ServerId>, RaftError> {
        let path = self.id_path();
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(id) => Ok(Some(id)),
                Err(e) => Err(RaftError::BadIdentity { path, cause: e.to_string() }),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) if e.kind() == ErrorKind::InvalidData => Err(RaftError::BadIdentity { path, cause: e.to_string() }),
            Err(source) => Err(RaftError::Io { action: "read", path, source }),
        }
    }

    /// Refuses before a new, empty log could take the place of a lost one.
    pub(super) fn refuse_lost_log(&self) -> Result<(), RaftError> {
        match self.written_id()? {
            Some(id) if !LogStore::exists(&self.log_dir()) => Err(self.wiped(id)),
            _ => Ok(()),
        }
    }

    /// Agrees file and store on one id; a new server gets `fresh`, or a random one.
    pub(super) fn settle(&self, store: &LogStore, fresh: Option<ServerId>) -> Result<ServerId, RaftError> {
        match (self.written_id()?, store.server_id()) {
            (Some(file), Some(stored)) if file == stored => Ok(stored),
            (Some(file), Some(stored)) => {
                Err(RaftError::Mixed { file_path: self.id_path(), file, store: self.log_dir(), stored })
            }
            (Some(id), None) => Err(self.wiped(id)),
            (None, Some(stored)) => self.write_id(stored),
            (None, None) => {
                let id = match fresh {
                    Some(id) => id,
                    None => draw_id(&self.path)?,
                };
                store.set_server_id(id)?;
                self.write_id(id)
            }
        }
    }

    fn write_id(&self, id: ServerId) -> Result<ServerId, RaftError> {
        disk::write_whole(&self.path, ID_FILE, format!("{id}\n").as_bytes())
            .map_err(RaftError::io("write", &self.id_path()))?;
        Ok(id)
    }

    fn wiped(&self, id: ServerId) -> RaftError {
        RaftError::Wiped { dir: self.path.clone(), store: self.log_dir(), id }
    }
}

fn draw_id(dir: &Path) -> Result<ServerId, RaftError> {
    let drawn = getrandom::u64()
        .map_err(|e| RaftError::io("draw a random server id for", dir)(std::io::Error::other(e.to_string())))?;
    Ok(ServerId(drawn))
}
