//! The sealing key as the log knows it: which one is in use, which one takes its place, which ones are gone. Ids and
//! sealed bytes, never a key.

use proto::id::BlobDigest;
use serde::{Deserialize, Serialize};

use super::{Content, is_default};

/// Ids of earlier keys that are kept: enough that a command which was sealed long ago is still recognised.
pub const RETIRED_KEPT: usize = 64;

/// What is known of the sealing key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealing {
    /// How many rotations were begun: the number of the newest.
    pub rotations: u64,
    /// What digests of secrets are made with, sealed. `None`: no key has been replaced yet, and it is the sealing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_key: Option<Content>,
    /// The one under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<KeyRotation>,
    /// Ids of keys with which nothing is sealed and nothing ever will be, oldest first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retired: Vec<String>,
}

/// A new key takes the place of the one in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRotation {
    /// Id of the key that goes.
    pub from: String,
    /// Id of the key that comes; empty: the leader has to draw another.
    pub to: String,
    /// How far it is.
    pub phase: RotationPhase,
}

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationPhase {
    /// The servers take the new key into their files; nothing is sealed with it.
    Spreading,
    /// All have it: what is new is sealed with it, what is there is sealed again.
    Resealing,
}

/// Something that is sealed, beside the digest key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SealedPart {
    /// The authority's private key.
    Authority,
    /// A secret.
    Blob(BlobDigest),
}

// === impl RotationPhase ===

impl RotationPhase {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RotationPhase::Spreading => "spreading",
            RotationPhase::Resealing => "resealing",
        }
    }
}

// === impl Sealing ===

impl Sealing {
    /// Will nothing be sealed with this key any more?
    pub fn is_retired(&self, key: &str) -> bool {
        self.retired.iter().any(|retired| retired == key)
    }
}
