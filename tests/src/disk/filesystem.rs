//! `Inodes` as a file system that the kernel mounts.
//!
//! Nothing is cached by the kernel: what a program writes is here when its call returns. Decides nothing but what
//! `Fault` says.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::inodes::{Inodes, ROOT, Refused, Shown};

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The power is off: nothing is done, and every call fails.
    Off,
    /// `fdatasync` says yes and does nothing; `fsync` is honest.
    DataSyncLies,
    /// Every sync says yes and does nothing.
    SyncLies,
    /// Every sync fails.
    SyncFails,
    /// A sync is done after so many milliseconds, if the power is on until then.
    SyncLate(u64),
    /// A sync says nothing, until the fault is gone.
    SyncHangs,
}

/// Shared with the test.
#[derive(Debug, Default)]
pub(super) struct Medium {
    pub(super) inodes: Inodes,
    pub(super) fault: Fault,
    /// Syncs that were asked for.
    pub(super) syncs: u64,
    /// Calls that were refused, delayed or answered with a lie.
    pub(super) struck: u64,
    /// Blocks, lengths and directories that cuts took back.
    pub(super) forgotten: u64,
    /// How often the power went.
    cuts: u64,
    hanging: Vec<ReplyEmpty>,
}

// === impl Medium ===

impl Medium {
    /// From now on.
    pub(super) fn set_fault(&mut self, fault: Fault) {
        self.fault = fault;
        self.cuts += u64::from(fault == Fault::Off);
        for reply in self.hanging.drain(..) {
            // What hung was not done.
            reply.error(Errno::EIO);
        }
    }

    fn alive(&mut self) -> Result<&mut Inodes, Errno> {
        if self.fault == Fault::Off {
            self.struck += 1;
            return Err(Errno::EIO);
        }
        Ok(&mut self.inodes)
    }
}

/// Locks; a test that failed does not make the disk unreadable.
pub(super) fn held(medium: &Mutex<Medium>) -> MutexGuard<'_, Medium> {
    medium.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<Refused> for Errno {
    fn from(refused: Refused) -> Errno {
        match refused {
            Refused::NotFound => Errno::ENOENT,
            Refused::Exists => Errno::EEXIST,
            Refused::Kind => Errno::EISDIR,
            Refused::NotEmpty => Errno::ENOTEMPTY,
            Refused::Full => Errno::ENOSPC,
        }
    }
}

const UNCACHED: Duration = Duration::ZERO;

fn attributes(shown: Shown) -> FileAttr {
    let then = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(shown.inode),
        size: shown.len,
        blocks: shown.len.div_ceil(512),
        atime: then,
        mtime: then,
        ctime: then,
        crtime: then,
        kind: kind(shown),
        perm: shown.mode,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn kind(shown: Shown) -> FileType {
    if shown.is_dir { FileType::Directory } else { FileType::RegularFile }
}

/// The mounted side.
#[derive(Debug)]
pub(super) struct Mounted(pub(super) Arc<Mutex<Medium>>);

// === impl Mounted ===

impl Mounted {
    fn with<T>(&self, act: impl FnOnce(&mut Inodes) -> Result<T, Refused>) -> Result<T, Errno> {
        Ok(act(held(&self.0).alive()?)?)
    }

    fn sync(&self, inode: u64, data_only: bool, reply: ReplyEmpty) {
        let mut medium = held(&self.0);
        medium.syncs += 1;
        let fault = medium.fault;
        let strikes = match fault {
            Fault::None => false,
            Fault::DataSyncLies => data_only,
            _ => true,
        };
        medium.struck += u64::from(strikes);
        match fault {
            Fault::Off | Fault::SyncFails => return reply.error(Errno::EIO),
            Fault::SyncHangs => return medium.hanging.push(reply),
            Fault::SyncLies => return reply.ok(),
            Fault::DataSyncLies if data_only => return reply.ok(),
            Fault::None | Fault::DataSyncLies | Fault::SyncLate(_) => {}
        }
        let (cuts, shared) = (medium.cuts, self.0.clone());
        drop(medium);
        let sync = move || {
            let mut medium = held(&shared);
            match medium.cuts == cuts {
                true => match medium.inodes.sync(inode) {
                    Ok(()) => reply.ok(),
                    Err(refused) => reply.error(refused.into()),
                },
                false => reply.error(Errno::EIO),
            }
        };
        match fault {
            Fault::SyncLate(ms) => drop(std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(ms));
                sync();
            })),
            _ => sync(),
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn permissions(mode: u32, umask: u32) -> u16 {
    (mode & !umask & 0o7777) as u16
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.with(|inodes| inodes.lookup(parent.0, name)) {
            Ok(shown) => reply.entry(&UNCACHED, &attributes(shown), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.with(|inodes| inodes.shown(inode.0)) {
            Ok(shown) => reply.attr(&UNCACHED, &attributes(shown)),
            // The mount point itself is always there: it must be possible to take it away.
            Err(_) if inode.0 == ROOT => {
                reply.attr(&UNCACHED, &attributes(Shown { inode: ROOT, is_dir: true, len: 0, mode: 0o700 }));
            }
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = self.with(|inodes| {
            if let Some(mode) = mode {
                inodes.set_mode(inode.0, permissions(mode, 0))?;
            }
            if let Some(size) = size {
                inodes.resize(inode.0, size)?;
            }
            inodes.shown(inode.0)
        });
        match set {
            Ok(shown) => reply.attr(&UNCACHED, &attributes(shown)),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        match self.with(|inodes| inodes.create(parent.0, name, permissions(mode, umask), true)) {
            Ok(shown) => reply.entry(&UNCACHED, &attributes(shown), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        match self.with(|inodes| inodes.create(parent.0, name, permissions(mode, umask), false)) {
            Ok(shown) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&UNCACHED, &attributes(shown), Generation(0), FileHandle(0), flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.with(|inodes| inodes.remove(parent.0, name)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        match self.with(|inodes| inodes.rename(parent.0, name, to_parent.0, to)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.with(|inodes| inodes.shown(inode.0)) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.with(|inodes| inodes.read(inode.0, offset, size as usize).map(<[u8]>::to_vec)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.with(|inodes| inodes.write(inode.0, offset, data));
        if written.is_err() {
            held(&self.0).struck += 1;
        }
        match written {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.sync(inode.0, data_only, reply);
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(inode.0, false, reply);
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = match self.with(|inodes| inodes.names(inode.0)) {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        for (at, (name, shown)) in (1..).zip(names).skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(INodeNo(shown.inode), at, kind(shown), name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }
}
