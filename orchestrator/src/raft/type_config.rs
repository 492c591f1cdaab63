//! The types openraft is instantiated with: one log entry is one `Batch` of encoded commands.
//!
//! Never decodes a command. Used by every file of this room.

use std::fmt;

use bytes::Bytes;
use proto::id::RequestId;
use proto::revision::{Revision, Time, Wall};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::snapshot::SnapshotFile;
use crate::engine::model::Asker;
use crate::engine::{AUDITS, Command, Outcome};

openraft::declare_raft_types!(
    /// openraft as this room uses it.
    pub TypeConfig:
        D = Batch,
        R = Vec<Applied>,
        NodeId = u64,
        Node = openraft::BasicNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotFile,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(super) type Raft = openraft::Raft<TypeConfig>;
pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type StorageIoError = openraft::StorageIOError<u64>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, openraft::BasicNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, openraft::BasicNode>;
pub(super) type Snapshot = openraft::Snapshot<TypeConfig>;

/// What one log entry carries: commands that one leader accepted at one moment, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The newest State version any of the commands needs.
    pub version: u32,
    /// Cluster time at which the leader closed the batch.
    pub at: Time,
    /// The leader's wall clock at that moment.
    pub wall: Wall,
    /// The commands, each the encoding of a `Proposed`.
    pub commands: Vec<Encoded>,
}

impl Batch {
    /// A batch that changes nothing: once it is applied, everything before it is.
    pub(super) fn barrier() -> Batch {
        Batch { version: 0, at: Time(0), wall: Wall(0), commands: Vec::new() }
    }
}

/// One command as it is encoded in a batch; the batch holds what all its commands share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proposed {
    pub(super) request: Option<RequestId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<Asker>,
    pub(super) command: Command,
}

// === impl Proposed ===

impl Proposed {
    /// The State version that it needs.
    pub(super) fn version(&self) -> u32 {
        if self.by.is_some() { self.command.version().max(AUDITS) } else { self.command.version() }
    }
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// State's revision right after this command.
    pub revision: Revision,
    /// The engine's answer.
    pub outcome: Outcome,
}

/// Bytes that are copied by reference and stored as bytes, not as a list of numbers.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded(pub Bytes);

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} bytes)", self.0.len())
    }
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = Encoded;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Encoded, E> {
                Ok(Encoded(Bytes::copy_from_slice(bytes)))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Encoded, E> {
                Ok(Encoded(bytes.into()))
            }
            // Formats without a byte type (JSON in a debugging aid) write a list.
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Encoded, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = list.next_element::<u64>()? {
                    bytes.push(u8::try_from(byte).map_err(A::Error::custom)?);
                }
                Ok(Encoded(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}
