//! Beside the log, in a file of its own: how far the log had been synced, and for whom this server had voted.
//!
//! A database that finds its newest state damaged may go back to the one before, taking it for a write that a crash cut
//! short. So a bit that rots, or a disk that loses what it said it had, would silently take back what was acknowledged. Here
//! that shows: a log that ends before its mark is refused.
//!
//! The mark is written after each sync and not synced itself: it may lie behind the log, never ahead. Before the log is
//! cut at its end the mark is lowered, and that is synced. One that is damaged is as good as none.
//! Never repairs. Called by `log_store`.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;

use super::fault::held;
use super::record::{Position, VoteRecord};
use crate::disk;

const FILE: &str = "mark";
const FORMAT: u8 = 1;
/// Far less than a sector, so that it is written whole or not at all.
const BYTES: usize = 56;

/// What had been synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reached {
    /// The last entry.
    pub(super) last: Option<Position>,
    pub(super) vote: Option<VoteRecord>,
}

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    reached: Mutex<Reached>,
}

// === impl Mark ===

impl Mark {
    /// Opens the mark of a log, or makes one; what it says, if it was there and sound. Blocks.
    pub(super) fn open(dir: &Path) -> io::Result<(Mark, Option<Reached>)> {
        let path = dir.join(FILE);
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&file, BYTES as u64 + 1), &mut bytes)?;
        let found = decode(&bytes);
        if found.is_none() && !bytes.is_empty() {
            tracing::warn!(path = %path.display(), "the mark of the log is damaged: made anew");
        }
        let mark = Mark { file, reached: Mutex::new(found.unwrap_or_default()) };
        Ok((mark, found))
    }

    /// Says what a log that was read through has, durably. Blocks.
    pub(super) fn begin(&self, dir: &Path, reached: Reached) -> io::Result<()> {
        self.write(reached)?;
        self.file.sync_all()?;
        disk::sync_dir(dir)
    }

    /// The log was synced up to here. Blocks.
    pub(super) fn set_last(&self, last: Position) -> io::Result<()> {
        let reached = Reached { last: Some(last), ..*held(&self.reached) };
        self.write(reached)
    }

    /// A vote was synced. Blocks.
    pub(super) fn set_vote(&self, vote: VoteRecord) -> io::Result<()> {
        let reached = Reached { vote: Some(vote), ..*held(&self.reached) };
        self.write(reached)
    }

    /// The log is about to be cut: from now on it may end before this index. Blocks.
    pub(super) fn lower(&self, since: u64) -> io::Result<()> {
        let reached = *held(&self.reached);
        match reached.last {
            Some(last) if last.index >= since => {
                self.write(Reached { last: None, ..reached })?;
                self.file.sync_data()
            }
            _ => Ok(()),
        }
    }

    fn write(&self, reached: Reached) -> io::Result<()> {
        self.file.write_all_at(&encode(reached), 0)?;
        *held(&self.reached) = reached;
        Ok(())
    }
}

impl Reached {
    /// In which way a log falls short of what had been synced; nothing, if it does not. `term_at`: the term of an entry
    /// that is still there.
    pub(super) fn missing(
        &self,
        last: Option<Position>,
        vote: Option<VoteRecord>,
        term_at: impl Fn(u64) -> Option<u64>,
    ) -> Option<String> {
        if let Some(synced) = self.last {
            let ends = last.map_or("it is empty".to_owned(), |last| format!("it ends at entry {}", last.index));
            if last.is_none_or(|last| last.index < synced.index) {
                return Some(format!("{ends}, and entry {} had been synced", synced.index));
            }
            if let Some(term) = term_at(synced.index).filter(|term| *term != synced.term) {
                let (index, was) = (synced.index, synced.term);
                return Some(format!("its entry {index} is of term {term}, and one of term {was} had been synced"));
            }
        }
        let synced = self.vote?;
        match vote {
            Some(vote) if vote.is_at_least(&synced) => None,
            _ => Some(format!("its vote is older than the one of term {} that had been synced", synced.term())),
        }
    }
}

fn encode(reached: Reached) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[0] = FORMAT;
    if let Some(last) = reached.last {
        bytes[1] = 1;
        put(&mut bytes, 4, last.term);
        put(&mut bytes, 12, last.server);
        put(&mut bytes, 20, last.index);
    }
    if let Some(vote) = reached.vote {
        bytes[2] = 1 + u8::from(vote.is_committed());
        put(&mut bytes, 28, vote.term());
        put(&mut bytes, 36, vote.server());
    }
    let sum = crc32fast::hash(&bytes[..BYTES - 4]);
    bytes[BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Reached> {
    let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
    let sum = u32::from_le_bytes(bytes[BYTES - 4..].try_into().ok()?);
    if bytes[0] != FORMAT || sum != crc32fast::hash(&bytes[..BYTES - 4]) {
        return None;
    }
    let last = Position { term: get(bytes, 4), server: get(bytes, 12), index: get(bytes, 20) };
    let vote = VoteRecord::new(get(bytes, 28), get(bytes, 36), bytes[2] == 2);
    Some(Reached { last: (bytes[1] == 1).then_some(last), vote: (bytes[2] > 0).then_some(vote) })
}

fn put(bytes: &mut [u8; BYTES], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

fn get(bytes: &[u8; BYTES], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> Position {
        Position { term, server: 7, index }
    }

    #[test]
    fn what_is_written_is_read_and_one_bit_less_is_none() {
        let reached = Reached { last: Some(at(3, 9)), vote: Some(VoteRecord::new(4, 8, true)) };
        let bytes = encode(reached);
        assert_eq!(decode(&bytes), Some(reached));
        assert_eq!(decode(&encode(Reached::default())), Some(Reached::default()));
        for bit in 0..BYTES * 8 {
            let mut rotten = bytes;
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&rotten), None, "bit {bit}");
        }
        assert_eq!(decode(&bytes[1..]), None);
    }

    #[test]
    fn a_log_that_falls_short_is_told_of() {
        let reached = Reached { last: Some(at(3, 9)), vote: Some(VoteRecord::new(4, 8, false)) };
        let same = |_| Some(3);
        let vote = Some(VoteRecord::new(4, 8, true));
        assert_eq!(reached.missing(Some(at(3, 9)), vote, same), None);
        assert_eq!(reached.missing(Some(at(5, 20)), Some(VoteRecord::new(5, 1, false)), same), None);
        // Cut off in front of it: the snapshot answers for it.
        assert_eq!(reached.missing(Some(at(5, 20)), vote, |_| None), None);
        let missing = |last, vote| reached.missing(last, vote, same).unwrap();
        assert_eq!(missing(Some(at(3, 8)), vote), "it ends at entry 8, and entry 9 had been synced");
        assert_eq!(missing(None, vote), "it is empty, and entry 9 had been synced");
        let older = "its vote is older than the one of term 4 that had been synced";
        for vote in [None, Some(VoteRecord::new(3, 8, true)), Some(VoteRecord::new(4, 9, false))] {
            assert_eq!(missing(Some(at(3, 9)), vote), older);
        }
        let other = reached.missing(Some(at(4, 9)), vote, |_| Some(4)).unwrap();
        assert_eq!(other, "its entry 9 is of term 4, and one of term 3 had been synced");
    }

    #[test]
    fn a_mark_is_lowered_before_the_log_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (mark, found) = Mark::open(dir.path()).unwrap();
        assert_eq!(found, None);
        mark.begin(dir.path(), Reached::default()).unwrap();
        mark.set_last(at(3, 9)).unwrap();
        mark.lower(10).unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap().1.unwrap().last, Some(at(3, 9)));
        mark.lower(9).unwrap();
        assert_eq!(Mark::open(dir.path()).unwrap().1.unwrap().last, None);
    }
}
