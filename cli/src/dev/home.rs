//! The directory of a dev cluster: made for its owner alone, locked while the cluster runs, removed with all in it.
//!
//! The lock file holds the process id of its holder: only while it is locked is that id believed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};

use crate::exit::Failure;

/// A dev cluster's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// It.
    pub dir: PathBuf,
}

/// The right to run the cluster, held while this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

// === impl Home ===

impl Home {
    /// The directory at this path, which need not exist.
    pub fn new(dir: PathBuf) -> Home {
        Home { dir }
    }

    /// What the process in the background says.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("pid")
    }

    /// Makes the directory, for its owner alone.
    pub fn make(&self) -> Result<(), Failure> {
        let make = |dir: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        for dir in [&self.dir, &self.dir.join("server"), &self.dir.join("agent")] {
            make(dir)
                .and_then(|()| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)))
                .map_err(|e| self.trouble(dir, &e))?;
        }
        Ok(())
    }

    /// Takes the lock, `None` when another process runs the cluster. The directory must exist.
    pub fn lock(&self) -> Result<Option<Lock>, Failure> {
        let path = self.pid_file();
        let trouble = |e: &std::io::Error| self.trouble(&path, e);
        let open = OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.map_err(|e| trouble(&e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(e) => return Err(trouble(&e.into())),
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(|e| trouble(&e))?;
        Ok(Some(Lock { _file: file }))
    }

    /// The process that runs the cluster, if one does.
    pub fn holder(&self) -> Option<i32> {
        let mut file = OpenOptions::new().read(true).write(true).open(self.pid_file()).ok()?;
        if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
            return None;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// Remembers the engine for later runs of ctl.
    pub fn remember_docker(&self, endpoint: &str) -> Result<(), Failure> {
        let path = self.dir.join("docker");
        std::fs::write(&path, endpoint).map_err(|e| self.trouble(&path, &e))
    }

    /// The engine it runs on.
    pub fn docker(&self) -> Option<String> {
        std::fs::read_to_string(self.dir.join("docker")).ok()
    }

    /// Unmounts what is mounted below and removes the directory.
    pub fn remove(&self) -> Result<(), Failure> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let whole = std::fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        for mount in mounts_below(&table, &whole) {
            unmount(&mount, UnmountFlags::empty()).map_err(|e| self.trouble(&mount, &e.into()))?;
        }
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(self.trouble(&self.dir, &e)),
            _ => Ok(()),
        }
    }

    fn trouble(&self, path: &Path, error: &std::io::Error) -> Failure {
        Failure::refused(format!("{}: {error}", path.display()))
    }
}

/// Mount points at or below a directory, the innermost first. Spaces and the like are written in octal there.
fn mounts_below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let points =
        mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescape(field)));
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    below.reverse();
    below
}

fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_holds_it_and_is_known() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let home = Home::new(dir.path().join("dev-a"));
        assert_eq!(home.holder(), None, "no directory yet");
        home.make().expect("makes");
        let mode = std::fs::metadata(&home.dir).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let lock = home.lock().expect("can be locked").expect("is free");
        assert!(home.lock().expect("can be tried").is_none());
        assert_eq!(home.holder(), i32::try_from(std::process::id()).ok());
        drop(lock);
        assert_eq!(home.holder(), None, "an id in an unlocked file is not believed");
        home.remove().expect("removes");
        home.remove().expect("is gone already");
        assert!(!home.dir.exists());
    }

    #[test]
    fn mounts_are_found_by_their_place_innermost_first() {
        let table = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:40 / /s/dev-a/agent rw - tmpfs tmpfs rw
31 30 0:41 / /s/dev-a/agent/my\\040files rw - tmpfs tmpfs rw
32 22 0:42 / /s/dev-ab rw - tmpfs tmpfs rw
";
        let want = [PathBuf::from("/s/dev-a/agent/my files"), PathBuf::from("/s/dev-a/agent")];
        assert_eq!(mounts_below(table, Path::new("/s/dev-a")), want);
    }
}
