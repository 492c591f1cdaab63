//! Content of configs and secrets, addressed by digest. Secrets are sealed before they reach a command.

use proto::id::BlobDigest;
use proto::revision::{Revision, Time};
use proto::spec::BlobKind;
use serde::{Deserialize, Serialize};

/// One config's or secret's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Its address.
    pub digest: BlobDigest,
    /// Config or secret.
    pub kind: BlobKind,
    /// Its bytes.
    pub content: Content,
    /// When it came, or was last named again: what nobody refers to is reaped some time after.
    pub put_at: Time,
    /// Revision that put it.
    pub modified: Revision,
}

/// Bytes, in the clear or sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// A config's bytes.
    Plain {
        /// As they are.
        #[serde(with = "as_bytes")]
        bytes: Vec<u8>,
    },
    /// A secret's bytes, encrypted and authenticated.
    Sealed {
        /// Which key opens it.
        key_id: String,
        /// 24 bytes, drawn for this sealing.
        #[serde(with = "as_bytes")]
        nonce: Vec<u8>,
        /// XChaCha20-Poly1305 over the content, with the digest as associated data.
        #[serde(with = "as_bytes")]
        bytes: Vec<u8>,
    },
}

// === impl Content ===

impl Content {
    /// Id of the key it is sealed with; `None`: it is in the clear.
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Content::Plain { .. } => None,
            Content::Sealed { key_id, .. } => Some(key_id),
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Plain { bytes } => write!(f, "Plain({} bytes)", bytes.len()),
            Content::Sealed { key_id, bytes, .. } => write!(f, "Sealed({} bytes, key {key_id})", bytes.len()),
        }
    }
}

/// Bytes as bytes: a list of numbers would take half as much again in the log.
pub(crate) mod as_bytes {
    use serde::de::{Deserializer, SeqAccess, Visitor};
    use serde::ser::Serializer;
    use std::fmt;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
