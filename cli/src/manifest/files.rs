//! The one place of this room that reads files: the manifest, `.env`, env files, configs and secrets.
//!
//! Never reads more than it is allowed, never waits for a pipe. Called by the commands, which hand it to `load`.

use std::fs::{File, metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::{ReadError, Sources};

/// Names of a directory's manifest, the first that exists is taken.
pub const DEFAULT_FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Sources for Disk {
    fn read(&self, path: &Path, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
        // Asked before opening: opening a pipe would wait for its writer.
        if !metadata(path).map_err(read_error)?.is_file() {
            return Err(ReadError::NotAFile);
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path).map_err(read_error)?.take(limit).read_to_end(&mut bytes).map_err(read_error)?;
        if bytes.len() > max_bytes { Err(ReadError::TooLarge { max_bytes }) } else { Ok(bytes) }
    }
}

fn read_error(error: std::io::Error) -> ReadError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => ReadError::NotFound,
        ErrorKind::IsADirectory => ReadError::NotAFile,
        _ => ReadError::Other(error.to_string()),
    }
}

/// The manifest of a directory, if it has one.
pub fn discover(dir: &Path) -> Option<PathBuf> {
    DEFAULT_FILES.iter().map(|name| dir.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_a_file_and_small_enough() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("f");
        std::fs::write(&file, b"12345").expect("writable");
        assert_eq!(Disk.read(&file, 5), Ok(b"12345".to_vec()));
        assert_eq!(Disk.read(&file, 4), Err(ReadError::TooLarge { max_bytes: 4 }));
        assert_eq!(Disk.read(dir.path(), 5), Err(ReadError::NotAFile));
        assert_eq!(Disk.read(&dir.path().join("g"), 5), Err(ReadError::NotFound));
        assert_eq!(Disk.read(&file.join("g"), 5), Err(ReadError::NotFound));
    }

    #[test]
    fn finds_the_manifest_in_the_order_of_compose() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(discover(dir.path()), None);
        for name in DEFAULT_FILES.iter().rev() {
            std::fs::write(dir.path().join(name), b"").expect("writable");
            assert_eq!(discover(dir.path()), Some(dir.path().join(name)));
        }
    }
}
