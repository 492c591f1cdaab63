//! The newest entries of the log, kept in memory: what is applied and replicated next was written a moment ago.
//!
//! Always the tail of the log, without gaps; never the only copy. Called by `log_store`.

use std::collections::VecDeque;

use super::type_config::Entry;

/// Bytes kept, at most. The newest entry stays whatever its size.
const MAX_BYTES: usize = 2 << 20;

#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
}

impl Recent {
    /// Adds the entry that follows the last; one that does not starts anew.
    pub(super) fn push(&mut self, entry: Entry, bytes: usize) {
        if self.entries.back().is_some_and(|(last, _)| last.log_id.index + 1 != entry.log_id.index) {
            *self = Recent::default();
        }
        self.entries.push_back((entry, bytes));
        self.bytes += bytes;
        while self.bytes > MAX_BYTES && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    /// Forgets everything from this index on.
    pub(super) fn truncate(&mut self, from: u64) {
        while self.entries.back().is_some_and(|(last, _)| last.log_id.index >= from) {
            if let Some((_, bytes)) = self.entries.pop_back() {
                self.bytes -= bytes;
            }
        }
    }

    /// Forgets everything up to and including this index.
    pub(super) fn purge(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|(first, _)| first.log_id.index <= upto) {
            self.pop_front();
        }
    }

    /// The entries `from..to`, cut after `max_bytes` but for the first; nothing if they start before what is kept.
    pub(super) fn read(&self, from: u64, to: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.0.log_id.index;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        let mut found = Vec::new();
        let mut bytes = 0;
        for (entry, size) in self.entries.iter().skip(skip).take_while(|(entry, _)| entry.log_id.index < to) {
            bytes += size;
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Some(found)
    }

    fn pop_front(&mut self) {
        if let Some((_, bytes)) = self.entries.pop_front() {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::record::Position;
    use openraft::EntryPayload;

    fn entry(index: u64) -> Entry {
        Entry { log_id: Position { term: 1, server: 1, index }.into(), payload: EntryPayload::Blank }
    }
    fn indexes(found: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        found.map(|entries| entries.iter().map(|e| e.log_id.index).collect())
    }

    #[test]
    fn reads_the_tail_and_only_the_tail() {
        let mut recent = Recent::default();
        assert_eq!(indexes(recent.read(0, 9, 100)), None);
        for index in 3..=7 {
            recent.push(entry(index), 10);
        }
        assert_eq!(indexes(recent.read(2, 9, 100)), None, "starts before what is kept");
        assert_eq!(indexes(recent.read(4, 6, 100)), Some(vec![4, 5]));
        assert_eq!(indexes(recent.read(6, 99, 100)), Some(vec![6, 7]));
        assert_eq!(indexes(recent.read(3, 9, 25)), Some(vec![3, 4]), "cut by bytes");
        assert_eq!(indexes(recent.read(3, 9, 1)), Some(vec![3]), "never cut to nothing");
        recent.truncate(6);
        recent.purge(3);
        assert_eq!(indexes(recent.read(4, 9, 100)), Some(vec![4, 5]));
        recent.push(entry(20), 10);
        assert_eq!(indexes(recent.read(4, 30, 100)), None, "a gap starts anew");
        assert_eq!(indexes(recent.read(20, 30, 100)), Some(vec![20]));
    }

    #[test]
    fn memory_is_bounded_by_bytes() {
        let mut recent = Recent::default();
        for index in 0..10 {
            recent.push(entry(index), MAX_BYTES / 2);
        }
        assert_eq!(indexes(recent.read(7, 10, usize::MAX)), None);
        assert_eq!(indexes(recent.read(8, 10, usize::MAX)), Some(vec![8, 9]));
    }
}
