//! How releases before cut an entry into values of at most 4 KiB under the keys (index, part), put together again.
//!
//! Never touches the database. Called by `earlier`.

use std::fmt::Display;
use std::path::Path;

use super::codec::CodecError;
use super::error::RaftError;

/// Bytes of one value.
#[cfg(test)]
const VALUE_MAX_BYTES: usize = 4096;
const KEY_BYTES: usize = 8 + 2;

/// Why an entry cannot be read.
#[derive(Debug)]
pub(super) enum Broken {
    Database(String),
    Entry { index: u64, source: CodecError },
}

// === impl Broken ===

impl Broken {
    pub(super) fn refusal(self, dir: &Path) -> RaftError {
        match self {
            Broken::Database(cause) => RaftError::Database { path: dir.to_owned(), cause },
            Broken::Entry { index, source } => RaftError::undecodable(dir, format!("entry {index}"), source),
        }
    }
}

/// Key of one part: big-endian, so that the order of keys is the order of the log.
#[cfg(test)]
pub(super) fn key(index: u64, part: u16) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

/// The values of an entry; the first begins with the length of the whole.
#[cfg(test)]
pub(super) fn split(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let first_len = frame.len().min(VALUE_MAX_BYTES - 4);
    let (head, rest) = frame.split_at(first_len);
    let mut first = Vec::with_capacity(4 + first_len);
    // An entry is far below 4 GiB: its size is checked before it is proposed.
    first.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    first.extend_from_slice(head);
    std::iter::once(first).chain(rest.chunks(VALUE_MAX_BYTES).map(<[u8]>::to_vec))
}

/// The entry that begins with this key and value and goes on in `parts`, with its index.
pub(super) fn join<V: AsRef<[u8]>, E: Display>(
    key: &[u8],
    first: &[u8],
    parts: &mut impl Iterator<Item = Result<(V, V), E>>,
) -> Result<(u64, Vec<u8>), Broken> {
    let index = index_of(key);
    let cut = |len| Broken::Entry { index, source: CodecError::Truncated { len } };
    if key.len() != KEY_BYTES || key[8..] != [0, 0] || first.len() < 4 {
        return Err(cut(first.len()));
    }
    let (length, head) = first.split_at(4);
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let mut frame = head.to_vec();
    while frame.len() < length {
        match parts.next() {
            Some(Ok((key, part))) if index_of(key.as_ref()) == index => frame.extend_from_slice(part.as_ref()),
            Some(Err(e)) => return Err(Broken::Database(e.to_string())),
            _ => return Err(cut(frame.len())),
        }
    }
    Ok((index, frame))
}

fn index_of(key: &[u8]) -> u64 {
    let mut eight = [0; 8];
    let len = key.len().min(8);
    eight[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Part = Result<(Vec<u8>, Vec<u8>), String>;

    fn stored(index: u64, frame: &[u8]) -> Vec<Part> {
        split(frame).enumerate().map(|(part, value)| Ok((key(index, part as u16).to_vec(), value))).collect()
    }
    fn joined(parts: Vec<Part>) -> Result<(u64, Vec<u8>), Broken> {
        let mut parts = parts.into_iter();
        let (key, first) = parts.next().expect("has a first part").expect("is readable");
        join(&key, &first, &mut parts)
    }

    #[test]
    fn every_length_comes_back_in_small_values() {
        for len in [0, 1, 4091, 4092, 4093, 8188, 8189, 1 << 20] {
            let frame: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let parts = stored(7, &frame);
            assert!(parts.iter().flatten().all(|(_, value)| value.len() <= VALUE_MAX_BYTES), "{len}");
            assert_eq!(joined(parts).expect("is whole"), (7, frame), "{len}");
        }
    }

    #[test]
    fn a_missing_part_is_noticed() {
        let mut parts = stored(7, &[1; 9_000]);
        parts.pop();
        parts.extend(stored(8, b"next"));
        assert!(matches!(joined(parts), Err(Broken::Entry { index: 7, .. })));
        let mut parts = stored(7, &[1; 9_000]);
        assert!(parts.remove(0).is_ok());
        assert!(matches!(joined(parts), Err(Broken::Entry { index: 7, .. })));
    }

    #[test]
    fn keys_sort_like_the_log() {
        assert!(key(1, 300) < key(2, 0) && key(255, 0) < key(256, 0) && key(5, 255) < key(5, 256));
    }
}
