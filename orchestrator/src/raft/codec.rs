//! How anything of this room looks on disk: a self-describing, checksummed frame.
//!
//! `[format: 1 byte][State version: u32, little endian][MessagePack with named fields][CRC32: u32, little endian]`
//!
//! A frame that is damaged, newer than this binary, or holds anything unknown is an error; nothing is ever skipped.
//! Called by `log_store`, `snapshot`, `state_machine`, and by tests that keep the committed fixtures readable.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shape;
use crate::engine::STATE_VERSION;

/// The frame's own format. Raised only if the frame changes, not with its content.
pub const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 1 + 4;
const TRAILER_BYTES: usize = 4;

/// Why bytes could not be turned into what they stand for, or the reverse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Shorter than the smallest frame.
    #[error("only {len} bytes are left of a record, the rest is missing")]
    Truncated {
        /// Bytes found.
        len: usize,
    },
    /// The content is not what was written.
    #[error("checksum is {found:08x} where {expected:08x} was written: the bytes were changed after they were stored")]
    Checksum {
        /// What was written.
        expected: u32,
        /// What the bytes add up to.
        found: u32,
    },
    /// The frame's format is unknown.
    #[error("written by a newer version of wherry (format {found}, this one knows {FORMAT}); upgrade this server")]
    NewerFormat {
        /// The format found.
        found: u8,
    },
    /// The content needs a State version that this binary lacks.
    #[error(
        "written by a newer version of wherry (state version {found}, this one knows {STATE_VERSION}); upgrade this server"
    )]
    Newer {
        /// The version found.
        found: u32,
    },
    /// Whole, of a known version, and yet not understood.
    #[error("not understood ({cause}), so it was written by a newer version of wherry; upgrade this server")]
    Unknown {
        /// What the decoder stumbled over.
        cause: String,
    },
    /// A value that cannot be written.
    #[error("cannot be encoded: {cause}")]
    Encode {
        /// The encoder's words.
        cause: String,
    },
}

impl CodecError {
    /// Whether the bytes are broken, as opposed to sound but too new.
    pub fn is_damage(&self) -> bool {
        matches!(self, CodecError::Truncated { .. } | CodecError::Checksum { .. })
    }
}

/// Frames a value that needs the given State version to be understood.
pub fn seal<T: Serialize>(version: u32, body: &T) -> Result<Vec<u8>, CodecError> {
    let mut frame = vec![FORMAT];
    frame.extend_from_slice(&version.to_le_bytes());
    let mut serializer = rmp_serde::Serializer::new(&mut frame).with_struct_map();
    body.serialize(&mut serializer).map_err(|e| CodecError::Encode { cause: e.to_string() })?;
    let checksum = crc32fast::hash(&frame);
    frame.extend_from_slice(&checksum.to_le_bytes());
    Ok(frame)
}

/// Checks a frame and decodes its content.
pub fn open<T: DeserializeOwned>(frame: &[u8]) -> Result<T, CodecError> {
    if frame.len() < HEADER_BYTES + TRAILER_BYTES {
        return Err(CodecError::Truncated { len: frame.len() });
    }
    let (content, trailer) = frame.split_at(frame.len() - TRAILER_BYTES);
    let expected = le_u32(trailer);
    let found = crc32fast::hash(content);
    if found != expected {
        return Err(CodecError::Checksum { expected, found });
    }
    if content[0] != FORMAT {
        return Err(CodecError::NewerFormat { found: content[0] });
    }
    let version = le_u32(&content[1..HEADER_BYTES]);
    if version > STATE_VERSION {
        return Err(CodecError::Newer { found: version });
    }
    decode_body(&content[HEADER_BYTES..])
}

/// Encodes a value that travels inside a frame, and so needs no frame of its own.
pub(super) fn encode_body<T: Serialize>(body: &T) -> Result<Vec<u8>, CodecError> {
    rmp_serde::to_vec_named(body).map_err(|e| CodecError::Encode { cause: e.to_string() })
}

/// Decodes what `encode_body` wrote; bytes left over are refused.
pub(super) fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    if let Some(problem) = shape::problem(bytes) {
        return Err(CodecError::Unknown { cause: problem.to_owned() });
    }
    let mut rest = std::io::Cursor::new(bytes);
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    let value = T::deserialize(&mut deserializer).map_err(|e| CodecError::Unknown { cause: e.to_string() })?;
    let used = rest.position();
    if used != bytes.len() as u64 {
        return Err(CodecError::Unknown { cause: format!("{} bytes follow the value", bytes.len() as u64 - used) });
    }
    Ok(value)
}

fn le_u32(bytes: &[u8]) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(bytes);
    u32::from_le_bytes(four)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Old {
        a: u32,
    }
    #[derive(Serialize)]
    struct WithAnotherField {
        a: u32,
        b: u32,
    }

    #[test]
    fn what_was_sealed_opens() {
        let frame = seal(1, &Old { a: 7 }).expect("encodes");
        assert_eq!(open::<Old>(&frame), Ok(Old { a: 7 }));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let frame = seal(1, &Old { a: 7 }).expect("encodes");
        for at in 0..frame.len() {
            let mut changed = frame.clone();
            changed[at] ^= 0x10;
            assert!(open::<Old>(&changed).expect_err("was changed").is_damage(), "byte {at}");
        }
        for len in 0..frame.len() {
            assert!(open::<Old>(&frame[..len]).expect_err("was cut").is_damage(), "cut at {len}");
        }
    }

    #[test]
    fn newer_is_refused_with_what_to_do() {
        let frame = seal(STATE_VERSION + 1, &Old { a: 7 }).expect("encodes");
        let error = open::<Old>(&frame).expect_err("needs a newer binary");
        assert_eq!(error, CodecError::Newer { found: STATE_VERSION + 1 });
        assert!(error.to_string().contains("upgrade this server") && !error.is_damage());

        let frame = seal(1, &WithAnotherField { a: 7, b: 8 }).expect("encodes");
        let error = open::<Old>(&frame).expect_err("has an unknown field");
        assert!(matches!(&error, CodecError::Unknown { cause } if cause.contains('b')), "{error}");
    }
}
