//! Files that are either there whole or not at all, and directories whose entries survive a power cut.
//!
//! Never retries a failed sync: after one, what the disk holds is unknown. Called by `raft`, by `pki/ring` for
//! the sealing keys, and by `server/joining`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the name of an unfinished file ends with.
pub const UNFINISHED: &str = ".tmp";

/// Creates a directory that only we may enter, with its parents, durably; sound if it is there already.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    match dir.parent() {
        Some(parent) if parent != Path::new("") => sync_dir(parent),
        _ => Ok(()),
    }
}

/// Makes the entries of a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replaces `dir/name` by `content`: written beside it, synced, renamed, and the directory synced.
pub fn write_whole(dir: &Path, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    let unfinished = dir.join(format!("{name}{UNFINISHED}"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    let path = dir.join(name);
    fs::rename(&unfinished, &path)?;
    sync_dir(dir)?;
    Ok(path)
}

/// The names in a directory, sorted; names that are not UTF-8 are not ours and are left out.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
