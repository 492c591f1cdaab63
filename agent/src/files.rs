//! Configs, secrets and resolv.conf of tasks, as files that are bind-mounted into their containers.
//!
//! Secrets never touch a disk: they live in a memory file system that this room mounts, and when it cannot, tasks with
//! secrets are refused. Called by the steps before a container is created and before it is started (a reboot empties
//! the memory file system).

use async_trait::async_trait;
use proto::assignment::Assignment;
use proto::digest::sha256_hex;
use proto::id::{BlobDigest, TaskId};
use proto::limits::BLOB_MAX_BYTES;
use proto::spec::{BlobKind, FileMount};
use rustix::fs::{Gid, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Why a task's files are not there.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The content is not to be had now.
    #[error("{kind} `{name}` cannot be fetched: {cause}")]
    Fetch {
        /// config or secret.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why.
        cause: String,
    },
    /// Other content came than was asked for.
    #[error("{kind} `{name}` arrived damaged; it is fetched again")]
    Damaged {
        /// config or secret.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// No memory file system.
    #[error(
        "secret `{name}` is not written: no memory file system could be mounted at {dir} ({cause}); run the agent as root"
    )]
    NoTmpfs {
        /// The secret.
        name: String,
        /// Where.
        dir: PathBuf,
        /// Why.
        cause: String,
    },
    /// The disk does not do it.
    #[error("cannot write {path}: {cause}")]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// Where contents come from.
#[async_trait]
pub trait BlobSource: Send + Sync + Debug + 'static {
    /// The content with that digest, or why it cannot be had.
    async fn fetch(&self, digest: &BlobDigest) -> Result<Vec<u8>, String>;
}

/// A task's files on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placed {
    /// Host paths by target inside.
    pub files: BTreeMap<String, PathBuf>,
    /// Host path of its resolv.conf.
    pub resolv_conf: PathBuf,
}

/// The files of this node's tasks.
#[derive(Debug)]
pub struct Files {
    plain: PathBuf,
    secret: PathBuf,
    no_tmpfs: Option<String>,
    source: Arc<dyn BlobSource>,
}

impl Files {
    /// Opens both directories under `data_dir` and mounts the memory file system.
    pub fn open(data_dir: &Path, source: Arc<dyn BlobSource>) -> Result<Files, FilesError> {
        let (plain, secret) = (data_dir.join("files"), data_dir.join("secrets"));
        make_dir(&plain)?;
        make_dir(&secret)?;
        let no_tmpfs = mount_tmpfs(&secret).err().map(|e| e.to_string());
        if let Some(cause) = &no_tmpfs {
            tracing::warn!(cause, "no memory file system: tasks with secrets will be refused");
        }
        Ok(Files { plain, secret, no_tmpfs, source })
    }

    /// Files without a memory file system, for tests that leave nothing mounted behind.
    #[cfg(test)]
    pub(crate) fn without_tmpfs(data_dir: &Path, why: Option<String>, source: Arc<dyn BlobSource>) -> Files {
        Files { plain: data_dir.join("files"), secret: data_dir.join("secrets"), no_tmpfs: why, source }
    }

    /// Writes what is missing of a task's files.
    pub async fn ensure(&self, assignment: &Assignment, resolv_conf: &str) -> Result<Placed, FilesError> {
        let mut placed = Placed::default();
        for (index, file) in assignment.container.files.iter().enumerate() {
            let path = self.place(assignment.task, index, file).await?;
            placed.files.insert(file.target.clone(), path);
        }
        let dir = self.plain.join(assignment.task.to_string());
        make_dir(&dir)?;
        placed.resolv_conf = dir.join("resolv.conf");
        if fs::read(&placed.resolv_conf).ok().as_deref() != Some(resolv_conf.as_bytes()) {
            write(&placed.resolv_conf, resolv_conf.as_bytes(), 0o444, None)?;
        }
        Ok(placed)
    }

    async fn place(&self, task: TaskId, index: usize, file: &FileMount) -> Result<PathBuf, FilesError> {
        let (root, kind) = match file.kind {
            BlobKind::Config => (&self.plain, "config"),
            BlobKind::Secret => (&self.secret, "secret"),
        };
        if let (BlobKind::Secret, Some(cause)) = (file.kind, &self.no_tmpfs) {
            return Err(FilesError::NoTmpfs {
                name: file.name.clone(),
                dir: self.secret.clone(),
                cause: cause.clone(),
            });
        }
        let dir = root.join(task.to_string());
        make_dir(&dir)?;
        let path = dir.join(index.to_string());
        if is_there(&path, file) {
            return Ok(path);
        }
        let name = || file.name.clone();
        let content =
            self.source.fetch(&file.digest).await.map_err(|cause| FilesError::Fetch { kind, name: name(), cause })?;
        if content.len() > BLOB_MAX_BYTES || !is_content_of(file, &content) {
            return Err(FilesError::Damaged { kind, name: name() });
        }
        write(&path, &content, file.mode, Some((file.uid, file.gid)))?;
        Ok(path)
    }

    /// Removes the files of tasks that are not in `alive`.
    pub fn retain(&self, alive: &BTreeSet<TaskId>) {
        for root in [&self.plain, &self.secret] {
            let Ok(entries) = fs::read_dir(root) else { continue };
            for entry in entries.flatten() {
                let task = entry.file_name().to_str().and_then(|name| name.parse::<TaskId>().ok());
                if task.is_some_and(|task| !alive.contains(&task))
                    && let Err(cause) = fs::remove_dir_all(entry.path())
                {
                    tracing::warn!(path = %entry.path().display(), %cause, "files of a gone task stay");
                }
            }
        }
    }
}

/// Removes everything this room made under `data_dir`.
pub fn teardown(data_dir: &Path) -> Result<(), FilesError> {
    let (plain, secret) = (data_dir.join("files"), data_dir.join("secrets"));
    if is_tmpfs(&secret) {
        rustix::mount::unmount(&secret, rustix::mount::UnmountFlags::DETACH)
            .map_err(|e| FilesError::Disk { path: secret.clone(), cause: e.into() })?;
    }
    for dir in [plain, secret] {
        match fs::remove_dir_all(&dir) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(FilesError::Disk { path: dir, cause }),
            _ => {}
        }
    }
    Ok(())
}

fn is_tmpfs(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == TMPFS_MAGIC)
}

/// Whole directories under /run or /dev/shm are memory already and need no mount of their own.
fn mount_tmpfs(path: &Path) -> io::Result<()> {
    if is_tmpfs(path) {
        return Ok(());
    }
    use rustix::mount::MountFlags;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("wherry-secrets", path, "tmpfs", flags, Some(c"mode=0700")).map_err(io::Error::from)
}

fn make_dir(path: &Path) -> Result<(), FilesError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|cause| FilesError::Disk { path: path.to_owned(), cause })
}

fn is_there(path: &Path, file: &FileMount) -> bool {
    let right = |meta: fs::Metadata| {
        meta.uid() == file.uid && meta.gid() == file.gid && meta.permissions().mode() & 0o7777 == file.mode & 0o7777
    };
    fs::metadata(path).is_ok_and(right) && fs::read(path).is_ok_and(|content| is_content_of(file, &content))
}

/// A config's digest is its content's. A secret's is keyed by the servers, so that it does not tell the content: here
/// the server's own check stands, and a file under its last name is whole because it was renamed there.
fn is_content_of(file: &FileMount, content: &[u8]) -> bool {
    match file.kind {
        BlobKind::Config => sha256_hex(content) == file.digest.0,
        BlobKind::Secret => true,
    }
}

fn write(path: &Path, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<(), FilesError> {
    let beside = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        if let Some((uid, gid)) = owner {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        fs::rename(&beside, path)
    };
    written().map_err(|cause| FilesError::Disk { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::spec::ContainerSpec;

    #[derive(Debug)]
    struct One(&'static [u8]);

    #[async_trait]
    impl BlobSource for One {
        async fn fetch(&self, _: &BlobDigest) -> Result<Vec<u8>, String> {
            Ok(self.0.to_vec())
        }
    }

    fn with_file(kind: BlobKind, content: &[u8]) -> Assignment {
        let owner = fs::metadata("/proc/self").unwrap();
        let file = FileMount {
            kind,
            name: "greeting".into(),
            digest: BlobDigest(sha256_hex(content)),
            target: "/etc/greeting".into(),
            uid: owner.uid(),
            gid: owner.gid(),
            mode: 0o440,
        };
        let mut assignment = crate::engine::world::assignment(17, "web", 1, "app");
        assignment.container = Arc::new(ContainerSpec { files: vec![file], ..ContainerSpec::default() });
        assignment
    }

    fn files(dir: &Path, no_tmpfs: Option<String>, content: &'static [u8]) -> Files {
        Files::without_tmpfs(dir, no_tmpfs, Arc::new(One(content)))
    }

    #[tokio::test]
    async fn a_config_is_written_once_with_its_mode_and_goes_with_its_task() {
        let dir = tempfile::tempdir().unwrap();
        let assignment = with_file(BlobKind::Config, b"hello");
        let files = files(dir.path(), None, b"hello");
        let placed = files.ensure(&assignment, "nameserver 10.210.0.1\n").await.unwrap();
        let path = &placed.files["/etc/greeting"];
        assert_eq!(fs::read(path).unwrap(), b"hello");
        let meta = fs::metadata(path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o440);
        assert_eq!(fs::read_to_string(&placed.resolv_conf).unwrap(), "nameserver 10.210.0.1\n");
        files.ensure(&assignment, "nameserver 10.210.0.1\n").await.unwrap();
        assert_eq!(fs::metadata(path).unwrap().ino(), meta.ino(), "a file that is right is not touched");
        files.retain(&BTreeSet::from([TaskId(17)]));
        assert!(path.exists());
        files.retain(&BTreeSet::new());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_secret_without_a_memory_file_system_is_refused_and_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), Some("not permitted".into()), b"hello");
        let error = files.ensure(&with_file(BlobKind::Secret, b"hello"), "").await.unwrap_err();
        assert!(error.to_string().contains("not permitted"), "{error}");
        assert!(!dir.path().join("secrets/t17").exists());
    }

    #[tokio::test]
    async fn other_content_than_asked_for_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = files(dir.path(), None, b"bye").ensure(&with_file(BlobKind::Config, b"hello"), "").await;
        assert!(matches!(error, Err(FilesError::Damaged { .. })));
    }
}
