//! What can go wrong in this room, in words for the person who has to act.
//!
//! Used by every file here; shown by `server` and `api`.

use std::io;
use std::path::{Path, PathBuf};

use proto::id::ServerId;

use super::codec::CodecError;
use super::leadership::Peer;

/// Why the log cannot be opened, or has been lost.
#[derive(Debug, thiserror::Error)]
pub enum RaftError {
    /// Someone else holds the directory.
    #[error("data directory {} is in use by another process; stop that server, or choose another --data-dir", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
    },
    /// The identity is there, its store is not.
    #[error(
        "{} belongs to server {id}, but its log in {} is gone or empty: a server that lost its log cannot come back under its old id. \
         Restore the directory from a backup, or remove the server from the cluster (ctl server remove {id}), empty the directory and let it join anew",
        dir.display(), store.display()
    )]
    Wiped {
        /// The data directory.
        dir: PathBuf,
        /// Where the log should be.
        store: PathBuf,
        /// Who lived here.
        id: ServerId,
    },
    /// The identity and the store are of two servers.
    #[error(
        "{} says server {file}, but the log in {} was written by server {stored}: two directories were mixed, or the file is damaged. \
         Restore what belongs together from a backup",
        file_path.display(), store.display()
    )]
    Mixed {
        /// The file with the id.
        file_path: PathBuf,
        /// The id in it.
        file: ServerId,
        /// Where the log is.
        store: PathBuf,
        /// The id in the log.
        stored: ServerId,
    },
    /// The file with the id cannot be read as one.
    #[error("{} holds no server id ({cause}); restore it from a backup, or remove it: the log beside it knows the id", path.display())]
    BadIdentity {
        /// The file.
        path: PathBuf,
        /// Why it is not an id.
        cause: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The database refuses to open, or to answer.
    #[error("the log's database in {} cannot be opened ({cause}); nothing was changed. {REPLACE_SERVER}", path.display())]
    Database {
        /// Its directory.
        path: PathBuf,
        /// Its words.
        cause: String,
    },
    /// A record of the log is broken.
    #[error("{what} of the log in {} is damaged: {cause}. Nothing was changed. {REPLACE_SERVER}", path.display())]
    Damaged {
        /// The database's directory.
        path: PathBuf,
        /// Which record.
        what: String,
        /// In which way.
        cause: String,
    },
    /// A record is sound, and newer than this binary.
    #[error("{what} in {} was {source}", path.display())]
    Newer {
        /// The database's or snapshot's path.
        path: PathBuf,
        /// Which record.
        what: String,
        /// Found and known version.
        source: CodecError,
    },
    /// No snapshot from which the log leads on.
    #[error("snapshot {} is unusable ({cause}), and the log does not reach back far enough to do without it. {REPLACE_SERVER}", path.display())]
    SnapshotLost {
        /// The newest snapshot, or the directory if there is none.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Snapshots without the log that they belong to.
    #[error("{} holds snapshots, but there is no log beside it. {REPLACE_SERVER}", path.display())]
    StraySnapshots {
        /// The directory of snapshots.
        path: PathBuf,
    },
    /// Bootstrap of a server that is part of a cluster.
    #[error("this server already belongs to a cluster; start it without --bootstrap")]
    AlreadyInitialised,
    /// A change of the members was refused.
    #[error("the members cannot be changed: {cause}")]
    Membership {
        /// The reason given.
        cause: String,
    },
    /// Settings that contradict each other.
    #[error("raft settings are unusable: {cause}")]
    Settings {
        /// Which and why.
        cause: String,
    },
    /// The log cannot go on; the process has to end.
    #[error("the log has stopped: {cause}")]
    Fatal {
        /// The first error.
        cause: String,
    },
    /// It was shut down.
    #[error("the log was shut down")]
    Stopped,
}

const REPLACE_SERVER: &str = "Restore this data directory from a backup, or remove the server from the cluster, \
    empty the directory and let it join anew";

impl RaftError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RaftError {
        let path = path.to_owned();
        move |source| RaftError::Io { action, path, source }
    }

    /// The right refusal for a record that could not be decoded.
    pub(super) fn undecodable(path: &Path, what: String, source: CodecError) -> RaftError {
        let path = path.to_owned();
        if source.is_damage() {
            RaftError::Damaged { path, what, cause: source.to_string() }
        } else {
            RaftError::Newer { path, what, source }
        }
    }
}

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was written: ask the leader.
    #[error("this server does not lead{}", hint(leader.as_ref()))]
    NotLeader {
        /// Who does, if known.
        leader: Option<Peer>,
    },
    /// It may have been written, or may yet be; resending under the same request id is safe.
    #[error("the outcome is unknown ({cause}); ask again under the same request id")]
    Unknown {
        /// What was observed.
        cause: String,
    },
    /// Nothing was written: one entry cannot hold it.
    #[error("the command has {bytes} bytes, at most {max} fit into a log entry; split it")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Nothing was written: who asks may not, or not any more, as the leader knows it.
    #[error("{why}")]
    Forbidden {
        /// It is known who that is.
        is_known: bool,
        /// Why not.
        why: String,
    },
    /// Nothing was written: this server is going down.
    #[error("the log was shut down")]
    Stopped,
}

/// Why a read cannot be promised to be current.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Ask the leader.
    #[error("this server does not lead{}", hint(leader.as_ref()))]
    NotLeader {
        /// Who does, if known.
        leader: Option<Peer>,
    },
    /// A majority did not answer in time.
    #[error("a majority of the servers did not answer ({cause}); try again")]
    NoQuorum {
        /// What was observed.
        cause: String,
    },
    /// This server is going down.
    #[error("the log was shut down")]
    Stopped,
}

fn hint(leader: Option<&Peer>) -> String {
    match leader {
        Some(peer) => format!(", {} at {} does", peer.id, peer.address),
        None => ", and no leader is known".to_owned(),
    }
}
