//! What survives a restart of the agent: who the node is, what it was assigned, what it remembers, what it answered.
//!
//! # Guarantees
//! A file is either its old or its new content after a crash at any moment: it is written beside, synced, renamed, and
//! its directory synced. Two agents cannot use one directory. A ledger of a newer version is refused, never rewritten;
//! a damaged file is put aside and told apart from an absent one.
//!
//! # Caveats
//! Calls block on the disk; the shells call them on a blocking thread.

use proto::assignment::AssignmentSet;
use proto::digest::sha256_hex;
use proto::endpoint::EndpointTable;
use proto::id::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::engine::Memory;

/// Version of the files' form.
const VERSION: u32 = 1;
const MAGIC: &str = "wherry-agent-ledger";

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk does not do it.
    #[error("cannot {what} {path}: {cause}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// Another agent has it.
    #[error("another agent uses {dir}; stop it, or give this one a directory of its own with --data-dir")]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// Written by a later version.
    #[error("{path} is of version {version}, this agent reads up to {VERSION}; upgrade the agent")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The node's identity cannot be read.
    #[error("{path} does not hold a node id; restore it, or remove the whole directory to join as a new node")]
    NoIdentity {
        /// Which file.
        path: PathBuf,
    },
    /// A value that cannot be written.
    #[error("cannot write {path}: {cause}")]
    Encode {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
}

/// What was read of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept<T> {
    /// It was never written.
    Absent,
    /// It was damaged and was put aside.
    Lost,
    /// It is whole.
    Whole(T),
}

impl<T> Kept<T> {
    /// The content, if it is whole.
    pub fn whole(self) -> Option<T> {
        match self {
            Kept::Whole(value) => Some(value),
            Kept::Absent | Kept::Lost => None,
        }
    }
}

/// An agent's data directory, locked.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    _lock: File,
}

impl Ledger {
    /// Opens the directory, makes it (0700) when it is absent, and locks it.
    pub fn open(dir: &Path) -> Result<Ledger, LedgerError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(disk("make", dir))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(disk("restrict", dir))?;
        let path = dir.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(disk("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Ledger { dir: dir.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(LedgerError::InUse { dir: dir.to_owned() }),
            Err(fs::TryLockError::Error(cause)) => Err(LedgerError::Disk { what: "lock", path, cause }),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node's id: drawn at random and written the first time.
    pub fn node_id(&self) -> Result<NodeId, LedgerError> {
        let path = self.dir.join("node-id");
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| LedgerError::NoIdentity { path }),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let drawn = getrandom::u64().map_err(|e| LedgerError::Disk {
                    what: "draw a node id for",
                    path: path.clone(),
                    cause: io::Error::other(e.to_string()),
                })?;
                let id = NodeId(drawn.max(1));
                self.replace("node-id", format!("{id}\n").as_bytes())?;
                Ok(id)
            }
            Err(cause) => Err(LedgerError::Disk { what: "read", path, cause }),
        }
    }

    /// The set accepted last.
    pub fn assignments(&self) -> Result<Kept<AssignmentSet>, LedgerError> {
        self.load("assignments.json")
    }

    /// Keeps an accepted set: durable when this returns.
    pub fn keep_assignments(&self, set: &AssignmentSet) -> Result<(), LedgerError> {
        self.save("assignments.json", set)
    }

    /// What was remembered.
    pub fn memory(&self) -> Result<Kept<Memory>, LedgerError> {
        self.load("memory.json")
    }

    /// Keeps the memory.
    pub fn keep_memory(&self, memory: &Memory) -> Result<(), LedgerError> {
        self.save("memory.json", memory)
    }

    /// The table names were answered from last.
    pub fn endpoints(&self) -> Result<Kept<EndpointTable>, LedgerError> {
        self.load("endpoints.json")
    }

    /// Keeps the table.
    pub fn keep_endpoints(&self, table: &EndpointTable) -> Result<(), LedgerError> {
        self.save("endpoints.json", table)
    }

    /// The private key as it was kept.
    pub fn key(&self) -> Result<Option<Vec<u8>>, LedgerError> {
        self.bytes("identity.key")
    }

    /// Keeps the private key, for its owner alone.
    pub fn keep_key(&self, pkcs8: &[u8]) -> Result<(), LedgerError> {
        self.replace("identity.key", pkcs8)
    }

    /// The identity as it was kept.
    pub fn identity(&self) -> Result<Option<Vec<u8>>, LedgerError> {
        self.bytes("identity.json")
    }

    /// Keeps the identity, for its owner alone.
    pub fn keep_identity(&self, bytes: &[u8]) -> Result<(), LedgerError> {
        self.replace("identity.json", bytes)
    }

    /// Where the cluster said that its servers are.
    pub fn servers(&self) -> Result<Vec<String>, LedgerError> {
        let text = String::from_utf8(self.bytes("servers")?.unwrap_or_default()).unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Keeps that.
    pub fn keep_servers(&self, servers: &[String]) -> Result<(), LedgerError> {
        self.replace("servers", format!("{}\n", servers.join("\n")).as_bytes())
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(LedgerError::Disk { what: "read", path, cause }),
        }
    }

    fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<(), LedgerError> {
        let body =
            serde_json::to_vec(value).map_err(|cause| LedgerError::Encode { path: self.dir.join(name), cause })?;
        let mut bytes = format!("{MAGIC} {VERSION} {}\n", sha256_hex(&body)).into_bytes();
        bytes.extend_from_slice(&body);
        self.replace(name, &bytes)
    }

    fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Kept<T>, LedgerError> {
        let path = self.dir.join(name);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Kept::Absent),
            Err(cause) => return Err(LedgerError::Disk { what: "read", path, cause }),
        }
        match parse(&bytes) {
            Parsed::Whole(value) => Ok(Kept::Whole(value)),
            Parsed::Newer(version) => Err(LedgerError::Newer { path, version }),
            Parsed::Damaged(cause) => {
                tracing::error!(path = %path.display(), cause, "a file of the ledger is damaged; it is put aside");
                let aside = self.dir.join(format!("{name}.damaged"));
                fs::rename(&path, &aside).map_err(disk("put aside", &path))?;
                Ok(Kept::Lost)
            }
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), LedgerError> {
        let path = self.dir.join(name);
        let beside = self.dir.join(format!("{name}.new"));
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(disk("write", &beside))?;
        file.write_all(bytes).map_err(disk("write", &beside))?;
        file.sync_all().map_err(disk("sync", &beside))?;
        fs::rename(&beside, &path).map_err(disk("replace", &path))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(disk("sync", &self.dir))
    }
}

enum Parsed<T> {
    Whole(T),
    Newer(u32),
    Damaged(String),
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Parsed<T> {
    let Some(end) = bytes.iter().position(|b| *b == b'\n') else { return Parsed::Damaged("it has no head".into()) };
    let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 1..]);
    let mut words = head.split(' ');
    let (magic, version, digest) = (words.next(), words.next().and_then(|v| v.parse::<u32>().ok()), words.next());
    match (magic, version, digest) {
        (Some(MAGIC), Some(version), _) if version > VERSION => Parsed::Newer(version),
        (Some(MAGIC), Some(_), Some(digest)) if digest == sha256_hex(body) => match serde_json::from_slice(body) {
            Ok(value) => Parsed::Whole(value),
            Err(cause) => Parsed::Damaged(cause.to_string()),
        },
        (Some(MAGIC), Some(_), Some(_)) => Parsed::Damaged("its digest differs".into()),
        _ => Parsed::Damaged("its head is not ours".into()),
    }
}

fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError + use<> {
    let path = path.to_owned();
    move |cause| LedgerError::Disk { what, path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Memory;

    fn memory(floor: u32) -> Memory {
        Memory { floor, ..Memory::default() }
    }

    #[test]
    fn what_was_kept_is_read_by_the_next_agent() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ledger::open(dir.path()).unwrap();
        let id = first.node_id().unwrap();
        assert_eq!(first.memory().unwrap(), Kept::Absent);
        first.keep_memory(&memory(1)).unwrap();
        first.keep_memory(&memory(2)).unwrap();
        drop(first);
        let second = Ledger::open(dir.path()).unwrap();
        assert_eq!(second.node_id().unwrap(), id);
        assert_eq!(second.memory().unwrap(), Kept::Whole(memory(2)));
        let mode = fs::metadata(dir.path().join("memory.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn two_agents_cannot_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ledger::open(dir.path()).unwrap();
        assert!(matches!(Ledger::open(dir.path()), Err(LedgerError::InUse { .. })));
        drop(first);
        assert!(Ledger::open(dir.path()).is_ok());
    }

    #[test]
    fn a_half_written_successor_is_never_read() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        ledger.keep_memory(&memory(1)).unwrap();
        fs::write(dir.path().join("memory.json.new"), b"wherry-agent-led").unwrap();
        assert_eq!(ledger.memory().unwrap(), Kept::Whole(memory(1)));
        ledger.keep_memory(&memory(2)).unwrap();
        assert_eq!(ledger.memory().unwrap(), Kept::Whole(memory(2)));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed_and_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        ledger.keep_memory(&memory(7)).unwrap();
        let path = dir.path().join("memory.json");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(ledger.memory().unwrap(), Kept::Lost, "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            match ledger.memory() {
                Ok(Kept::Lost) => assert!(!path.exists()),
                // A flip in the version makes it a later one, or an earlier one of the same form.
                Ok(Kept::Whole(read)) => assert_eq!(read, memory(7), "flip at {at}"),
                Err(LedgerError::Newer { .. }) => {}
                other => panic!("flip at {at}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_later_version_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let path = dir.path().join("memory.json");
        fs::write(&path, "wherry-agent-ledger 2 whatever\n{}").unwrap();
        let error = ledger.memory().unwrap_err().to_string();
        assert!(error.contains("version 2") && error.contains("upgrade the agent"), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn a_spoilt_identity_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        fs::write(dir.path().join("node-id"), "").unwrap();
        assert!(matches!(ledger.node_id(), Err(LedgerError::NoIdentity { .. })));
    }
}
