//! The log as releases before it kept it, in sled: read once, when a server of before opens its directory.
//!
//! The only file that knows sled. Never writes there, but for what sled does by itself when it opens. Called by
//! `log_store`.

use std::fs;
use std::io;
use std::path::Path;

use super::error::RaftError;
use super::parts;
use crate::disk;

/// The database's main file.
const DATABASE_FILE: &str = "db";
const CACHE_BYTES: u64 = 16 << 20;

/// Frames as they are on disk: nothing in them is looked at here.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Single records by name.
    pub(super) records: Vec<(String, Vec<u8>)>,
    /// Entries by index.
    pub(super) entries: Vec<(u64, Vec<u8>)>,
}

/// Whether there is such a log.
pub(super) fn exists(dir: &Path) -> bool {
    fs::metadata(dir.join(DATABASE_FILE)).is_ok_and(|file| file.len() > 0)
}

/// All of it; damage is refused, nothing is repaired. Blocks.
pub(super) fn read(dir: &Path) -> Result<Earlier, RaftError> {
    remove_unfinished(dir).map_err(RaftError::io("clean", dir))?;
    let unusable = |e: sled::Error| {
        let cause = match &e {
            sled::Error::Corruption { .. } => "what it holds does not match its checksums".to_owned(),
            other => other.to_string(),
        };
        RaftError::Database { path: dir.to_owned(), cause }
    };
    let opened = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None).open();
    let database = opened.map_err(unusable)?;
    let mut earlier = Earlier::default();
    for found in &database.open_tree("meta").map_err(unusable)? {
        let (name, frame) = found.map_err(unusable)?;
        earlier.records.push((String::from_utf8_lossy(&name).into_owned(), frame.to_vec()));
    }
    let mut parts = database.open_tree("log").map_err(unusable)?.iter();
    while let Some(found) = parts.next() {
        let (key, first) = found.map_err(unusable)?;
        earlier.entries.push(parts::join(&key, &first, &mut parts).map_err(|broken| broken.refusal(dir))?);
    }
    Ok(earlier)
}

/// Takes it away, once the log that follows it is durable. Blocks.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    for name in disk::names(dir)? {
        if name == DATABASE_FILE || name == "conf" || name.starts_with("snap.") {
            fs::remove_file(dir.join(name))?;
        }
    }
    match fs::remove_dir_all(dir.join("blobs")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => disk::sync_dir(dir),
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes a log as a release of before would have.
    pub(in crate::raft) fn write(dir: &Path, earlier: &Earlier) {
        let database = sled::Config::new().path(dir).flush_every_ms(None).open().unwrap();
        let (meta, log) = (database.open_tree("meta").unwrap(), database.open_tree("log").unwrap());
        for (name, frame) in &earlier.records {
            meta.insert(name.as_bytes(), frame.as_slice()).unwrap();
        }
        for (index, frame) in &earlier.entries {
            for (part, value) in parts::split(frame).enumerate() {
                log.insert(parts::key(*index, u16::try_from(part).unwrap()), value).unwrap();
            }
        }
        database.flush().unwrap();
    }

    #[test]
    fn what_was_written_is_read_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!exists(dir.path()));
        let entries = vec![(3, vec![7; 20_000]), (4, vec![8; 10])];
        let earlier = Earlier { records: vec![("vote".to_owned(), vec![1, 2])], entries };
        write(dir.path(), &earlier);
        assert!(exists(dir.path()));
        let read = read(dir.path()).unwrap();
        assert_eq!((read.records, read.entries), (earlier.records, earlier.entries));
        remove(dir.path()).unwrap();
        assert!(!exists(dir.path()));
        assert_eq!(disk::names(dir.path()).unwrap(), Vec::<String>::new());
    }
}
