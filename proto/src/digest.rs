//! Content hashes: what tells one spec or blob from another.

use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// SHA-256 in 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// 16 hexadecimal digits over a value's canonical JSON: maps are ordered, so equal values hash equally.
pub fn short_hash<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_vec(value).expect("vocabulary types have string keys and no failing serializer");
    sha256_hex(&json)[..16].to_owned()
}

/// Are two byte strings the same? The time it takes tells only their lengths.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}
