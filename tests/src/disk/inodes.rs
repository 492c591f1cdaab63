//! What a disk holds, twice: as programs see it, and as it stays when the power goes.
//!
//! A file's content is kept by a sync of the file, a name by a sync of its directory, and nothing by anything else. What
//! was written and not synced may survive a cut block by block and in any order, or not at all. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

/// The directory that everything is in.
pub const ROOT: u64 = 1;
/// Bytes that survive together or not at all.
const BLOCK: usize = 4096;

/// Why something could not be done; as errno says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such file.
    NotFound,
    /// There is one already.
    Exists,
    /// It is a directory, or is none where one belongs.
    Kind,
    /// The directory is not empty.
    NotEmpty,
    /// The disk is full.
    Full,
}

/// A file or a directory, as `stat` tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Its number.
    pub inode: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Bytes in it.
    pub len: u64,
    /// Its permission bits.
    pub mode: u16,
}

/// All of a disk.
#[derive(Debug, Clone)]
pub struct Inodes {
    table: BTreeMap<u64, Inode>,
    next: u64,
    limit: Option<u64>,
}

#[derive(Debug, Clone)]
struct Inode {
    mode: u16,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    File(Content),
    Dir(Names),
}

#[derive(Debug, Clone, Default)]
struct Content {
    seen: Vec<u8>,
    kept: Vec<u8>,
    changed: BTreeSet<usize>,
}

#[derive(Debug, Clone, Default)]
struct Names {
    seen: BTreeMap<OsString, u64>,
    kept: BTreeMap<OsString, u64>,
}

// === impl Content ===

impl Content {
    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        let grown_from = self.seen.len();
        if end > grown_from {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(data);
        let first = offset.min(grown_from);
        self.changed.extend(first / BLOCK..end.div_ceil(BLOCK));
    }

    fn resize(&mut self, len: usize) {
        let first = len.min(self.seen.len());
        self.seen.resize(len, 0);
        self.changed.extend(first / BLOCK..len.div_ceil(BLOCK));
    }

    fn keep_block(&mut self, block: usize) {
        let from = block * BLOCK;
        let to = (from + BLOCK).min(self.seen.len()).min(self.kept.len());
        if from < to {
            self.kept[from..to].copy_from_slice(&self.seen[from..to]);
        }
    }

    fn sync(&mut self) {
        self.kept.resize(self.seen.len(), 0);
        for block in std::mem::take(&mut self.changed) {
            self.keep_block(block);
        }
    }

    fn cut(&mut self, survives: &mut dyn FnMut() -> bool) -> u64 {
        let mut forgotten = 0;
        if self.kept.len() != self.seen.len() {
            match survives() {
                true => self.kept.resize(self.seen.len(), 0),
                false => forgotten += 1,
            }
        }
        for block in std::mem::take(&mut self.changed) {
            match survives() {
                true => self.keep_block(block),
                false => forgotten += 1,
            }
        }
        self.seen.clone_from(&self.kept);
        forgotten
    }
}

// === impl Inodes ===

impl Default for Inodes {
    fn default() -> Inodes {
        let root = Inode { mode: 0o700, body: Body::Dir(Names::default()) };
        Inodes { table: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, limit: None }
    }
}

impl Inodes {
    /// Bytes that fit, from now on.
    pub fn limit(&mut self, bytes: Option<u64>) {
        self.limit = bytes;
    }

    /// Bytes in files, as programs see them.
    pub fn used(&self) -> u64 {
        let len = |inode: &Inode| match &inode.body {
            Body::File(content) => content.seen.len() as u64,
            Body::Dir(_) => 0,
        };
        self.table.values().map(len).sum()
    }

    fn refuse_if_full(&self, more: u64) -> Result<(), Refused> {
        match self.limit {
            Some(limit) if self.used() + more > limit => Err(Refused::Full),
            _ => Ok(()),
        }
    }

    /// What is known of one.
    pub fn shown(&self, inode: u64) -> Result<Shown, Refused> {
        let found = self.table.get(&inode).ok_or(Refused::NotFound)?;
        let (is_dir, len) = match &found.body {
            Body::File(content) => (false, content.seen.len() as u64),
            Body::Dir(_) => (true, 0),
        };
        Ok(Shown { inode, is_dir, len, mode: found.mode })
    }

    fn dir(&self, inode: u64) -> Result<&Names, Refused> {
        match &self.table.get(&inode).ok_or(Refused::NotFound)?.body {
            Body::Dir(names) => Ok(names),
            Body::File(_) => Err(Refused::Kind),
        }
    }

    fn dir_mut(&mut self, inode: u64) -> Result<&mut Names, Refused> {
        match &mut self.table.get_mut(&inode).ok_or(Refused::NotFound)?.body {
            Body::Dir(names) => Ok(names),
            Body::File(_) => Err(Refused::Kind),
        }
    }

    fn file(&self, inode: u64) -> Result<&Content, Refused> {
        match &self.table.get(&inode).ok_or(Refused::NotFound)?.body {
            Body::File(content) => Ok(content),
            Body::Dir(_) => Err(Refused::Kind),
        }
    }

    fn file_mut(&mut self, inode: u64) -> Result<&mut Content, Refused> {
        match &mut self.table.get_mut(&inode).ok_or(Refused::NotFound)?.body {
            Body::File(content) => Ok(content),
            Body::Dir(_) => Err(Refused::Kind),
        }
    }

    /// What a name in a directory stands for.
    pub fn lookup(&self, dir: u64, name: &OsStr) -> Result<Shown, Refused> {
        self.shown(*self.dir(dir)?.seen.get(name).ok_or(Refused::NotFound)?)
    }

    /// All names of a directory.
    pub fn names(&self, dir: u64) -> Result<Vec<(OsString, Shown)>, Refused> {
        self.dir(dir)?.seen.iter().map(|(name, inode)| Ok((name.clone(), self.shown(*inode)?))).collect()
    }

    /// Makes a file or a directory.
    pub fn create(&mut self, dir: u64, name: &OsStr, mode: u16, is_dir: bool) -> Result<Shown, Refused> {
        self.refuse_if_full(1)?;
        let inode = self.next;
        let names = self.dir_mut(dir)?;
        if names.seen.contains_key(name) {
            return Err(Refused::Exists);
        }
        names.seen.insert(name.to_owned(), inode);
        let body = if is_dir { Body::Dir(Names::default()) } else { Body::File(Content::default()) };
        self.table.insert(inode, Inode { mode, body });
        self.next += 1;
        self.shown(inode)
    }

    /// Takes a name away; what it stood for stays until the next cut, as it may be open.
    pub fn remove(&mut self, dir: u64, name: &OsStr) -> Result<(), Refused> {
        let found = self.lookup(dir, name)?;
        if found.is_dir && !self.dir(found.inode)?.seen.is_empty() {
            return Err(Refused::NotEmpty);
        }
        self.dir_mut(dir)?.seen.remove(name);
        Ok(())
    }

    /// Gives a file another name, in the place of what had it.
    pub fn rename(&mut self, dir: u64, name: &OsStr, to_dir: u64, to: &OsStr) -> Result<(), Refused> {
        let inode = self.lookup(dir, name)?.inode;
        self.dir(to_dir)?;
        self.dir_mut(dir)?.seen.remove(name);
        self.dir_mut(to_dir)?.seen.insert(to.to_owned(), inode);
        Ok(())
    }

    /// Sets permission bits.
    pub fn set_mode(&mut self, inode: u64, mode: u16) -> Result<(), Refused> {
        self.table.get_mut(&inode).ok_or(Refused::NotFound)?.mode = mode;
        Ok(())
    }

    /// Cuts a file off, or makes it longer by zeros.
    pub fn resize(&mut self, inode: u64, len: u64) -> Result<(), Refused> {
        let more = len.saturating_sub(self.file(inode)?.seen.len() as u64);
        self.refuse_if_full(more)?;
        self.file_mut(inode)?.resize(usize::try_from(len).map_err(|_| Refused::Full)?);
        Ok(())
    }

    /// Bytes of a file; fewer at its end.
    pub fn read(&self, inode: u64, offset: u64, len: usize) -> Result<&[u8], Refused> {
        let seen = &self.file(inode)?.seen;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(seen.len());
        Ok(&seen[from..from.saturating_add(len).min(seen.len())])
    }

    /// Writes into a file.
    pub fn write(&mut self, inode: u64, offset: u64, data: &[u8]) -> Result<(), Refused> {
        let end = offset + data.len() as u64;
        let more = end.saturating_sub(self.file(inode)?.seen.len() as u64);
        if more > 0 {
            self.refuse_if_full(more)?;
        }
        self.file_mut(inode)?.write(usize::try_from(offset).map_err(|_| Refused::Full)?, data);
        Ok(())
    }

    /// A file's content, or a directory's names, outlive a cut from now on.
    pub fn sync(&mut self, inode: u64) -> Result<(), Refused> {
        match &mut self.table.get_mut(&inode).ok_or(Refused::NotFound)?.body {
            Body::File(content) => content.sync(),
            Body::Dir(names) => names.kept.clone_from(&names.seen),
        }
        Ok(())
    }

    /// The power goes: of what was not synced stays what survives, asked for each block, length and directory. How many
    /// of those did not.
    pub fn cut(&mut self, survives: &mut dyn FnMut() -> bool) -> u64 {
        let mut forgotten = 0;
        for inode in self.table.values_mut() {
            match &mut inode.body {
                Body::File(content) => forgotten += content.cut(survives),
                Body::Dir(names) => {
                    if names.kept != names.seen {
                        match survives() {
                            true => names.kept.clone_from(&names.seen),
                            false => forgotten += 1,
                        }
                    }
                    names.seen.clone_from(&names.kept);
                }
            }
        }
        let (mut reached, mut ahead) = (BTreeSet::new(), vec![ROOT]);
        while let Some(inode) = ahead.pop() {
            if reached.insert(inode)
                && let Ok(names) = self.dir(inode)
            {
                ahead.extend(names.kept.values());
            }
        }
        self.table.retain(|inode, _| reached.contains(inode));
        forgotten
    }

    /// Changes one bit of a file, behind everybody's back.
    pub fn flip(&mut self, inode: u64, bit: u64) -> Result<(), Refused> {
        let content = self.file_mut(inode)?;
        let at = usize::try_from(bit / 8).map_err(|_| Refused::NotFound)?;
        for version in [&mut content.seen, &mut content.kept] {
            if let Some(byte) = version.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> impl FnMut() -> bool {
        || false
    }

    #[test]
    fn only_what_was_synced_is_kept() {
        let mut disk = Inodes::default();
        let file = disk.create(ROOT, OsStr::new("f"), 0o600, false).unwrap().inode;
        disk.write(file, 0, b"first").unwrap();
        disk.sync(file).unwrap();
        disk.write(file, 0, b"later, and longer").unwrap();
        disk.sync(ROOT).unwrap();
        disk.cut(&mut nothing());
        assert_eq!(disk.read(file, 0, 100).unwrap(), b"first");
    }

    #[test]
    fn a_name_is_kept_by_its_directory_only() {
        let mut disk = Inodes::default();
        let file = disk.create(ROOT, OsStr::new("f"), 0o600, false).unwrap().inode;
        disk.write(file, 0, b"content").unwrap();
        disk.sync(file).unwrap();
        disk.cut(&mut nothing());
        assert_eq!(disk.lookup(ROOT, OsStr::new("f")), Err(Refused::NotFound));
    }

    #[test]
    fn a_rename_that_was_not_synced_leaves_the_old_file() {
        let mut disk = Inodes::default();
        let old = disk.create(ROOT, OsStr::new("f"), 0o600, false).unwrap().inode;
        disk.sync(ROOT).unwrap();
        let new = disk.create(ROOT, OsStr::new("f.tmp"), 0o600, false).unwrap().inode;
        disk.sync(new).unwrap();
        disk.rename(ROOT, OsStr::new("f.tmp"), ROOT, OsStr::new("f")).unwrap();
        assert_eq!(disk.lookup(ROOT, OsStr::new("f")).unwrap().inode, new);
        disk.cut(&mut nothing());
        assert_eq!(disk.lookup(ROOT, OsStr::new("f")).unwrap().inode, old);
    }

    #[test]
    fn blocks_survive_one_by_one() {
        let mut disk = Inodes::default();
        let file = disk.create(ROOT, OsStr::new("f"), 0o600, false).unwrap().inode;
        disk.write(file, 0, &[1; 3 * BLOCK]).unwrap();
        disk.sync(file).unwrap();
        disk.sync(ROOT).unwrap();
        disk.write(file, 0, &[2; 3 * BLOCK]).unwrap();
        let mut answers = [true, false, true].into_iter();
        disk.cut(&mut || answers.next().unwrap());
        let content = disk.read(file, 0, 3 * BLOCK).unwrap();
        assert_eq!((content[0], content[BLOCK], content[2 * BLOCK]), (2, 1, 2));
    }

    #[test]
    fn a_full_disk_takes_no_more_but_what_is_there() {
        let mut disk = Inodes::default();
        let file = disk.create(ROOT, OsStr::new("f"), 0o600, false).unwrap().inode;
        disk.write(file, 0, &[1; 100]).unwrap();
        disk.limit(Some(100));
        disk.write(file, 0, &[2; 100]).unwrap();
        assert_eq!(disk.write(file, 100, &[2]), Err(Refused::Full));
        assert_eq!(disk.create(ROOT, OsStr::new("g"), 0o600, false), Err(Refused::Full));
    }
}
