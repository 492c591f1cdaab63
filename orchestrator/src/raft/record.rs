//! What is inside the frames on disk: our own shapes, so that a release of openraft cannot change the files.
//!
//! Never does I/O. Called by `log_store` and `snapshot`.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{BasicNode, CommittedLeaderId, EntryPayload, Membership};
use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::type_config::{Batch, Entry, LogId, SnapshotMeta, StoredMembership, Vote};
use crate::engine::{STATE_VERSION, State};

/// The place of an entry: whose, in which term, at which index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Position {
    pub(super) term: u64,
    pub(super) server: u64,
    pub(super) index: u64,
}

impl From<LogId> for Position {
    fn from(id: LogId) -> Position {
        Position { term: id.leader_id.term, server: id.leader_id.node_id, index: id.index }
    }
}
impl From<Position> for LogId {
    fn from(p: Position) -> LogId {
        LogId::new(CommittedLeaderId::new(p.term, p.server), p.index)
    }
}

/// For whom this server voted, and whether that one won.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoteRecord {
    term: u64,
    server: u64,
    committed: bool,
}

// === impl VoteRecord ===

impl VoteRecord {
    pub(super) fn new(term: u64, server: u64, committed: bool) -> VoteRecord {
        VoteRecord { term, server, committed }
    }

    pub(super) fn term(&self) -> u64 {
        self.term
    }

    pub(super) fn server(&self) -> u64 {
        self.server
    }

    pub(super) fn is_committed(&self) -> bool {
        self.committed
    }

    /// Whether this one may follow the other: of a later term, or the same vote, not taken back.
    pub(super) fn is_at_least(&self, other: &VoteRecord) -> bool {
        self.term > other.term
            || (self.term == other.term && self.server == other.server && self.committed >= other.committed)
    }
}

impl From<Vote> for VoteRecord {
    fn from(vote: Vote) -> VoteRecord {
        VoteRecord { term: vote.leader_id.term, server: vote.leader_id.node_id, committed: vote.committed }
    }
}
impl From<VoteRecord> for Vote {
    fn from(r: VoteRecord) -> Vote {
        if r.committed { Vote::new_committed(r.term, r.server) } else { Vote::new(r.term, r.server) }
    }
}

/// Who votes (one set, two while a change is under way) and where everyone is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MembershipRecord {
    voters: Vec<BTreeSet<u64>>,
    addresses: BTreeMap<u64, String>,
}

impl From<&Membership<u64, BasicNode>> for MembershipRecord {
    fn from(m: &Membership<u64, BasicNode>) -> MembershipRecord {
        MembershipRecord {
            voters: m.get_joint_config().clone(),
            addresses: m.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}
impl From<MembershipRecord> for Membership<u64, BasicNode> {
    fn from(r: MembershipRecord) -> Self {
        let nodes: BTreeMap<u64, BasicNode> =
            r.addresses.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
        Membership::new(r.voters, nodes)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum PayloadRecord {
    Blank,
    Membership(MembershipRecord),
    Batch(Batch),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryRecord {
    position: Position,
    payload: PayloadRecord,
}

/// A log entry as a frame.
pub(super) fn seal_entry(entry: &Entry) -> Result<Vec<u8>, CodecError> {
    let (version, payload) = match &entry.payload {
        EntryPayload::Blank => (0, PayloadRecord::Blank),
        EntryPayload::Membership(m) => (0, PayloadRecord::Membership(m.into())),
        EntryPayload::Normal(batch) => (batch.version, PayloadRecord::Batch(batch.clone())),
    };
    codec::seal(version, &EntryRecord { position: entry.log_id.into(), payload })
}

/// The log entry that a frame holds.
pub(super) fn open_entry(frame: &[u8]) -> Result<Entry, CodecError> {
    let record: EntryRecord = codec::open(frame)?;
    let payload = match record.payload {
        PayloadRecord::Blank => EntryPayload::Blank,
        PayloadRecord::Membership(m) => EntryPayload::Membership(m.into()),
        PayloadRecord::Batch(batch) => EntryPayload::Normal(batch),
    };
    Ok(Entry { log_id: record.position.into(), payload })
}

/// The snapshot that a frame holds. A State that is newer than its frame says is not understood either.
pub(super) fn open_snapshot(frame: &[u8]) -> Result<SnapshotRecord, CodecError> {
    let record: SnapshotRecord = codec::open(frame)?;
    match record.state.version() {
        found if found > STATE_VERSION => Err(CodecError::Newer { found }),
        _ => Ok(record),
    }
}

/// State at one place of the log, and all that openraft must know about that place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotRecord {
    id: String,
    last: Option<Position>,
    membership_at: Option<Position>,
    membership: MembershipRecord,
    pub(super) state: State,
}

impl SnapshotRecord {
    pub(super) fn new(meta: &SnapshotMeta, state: State) -> SnapshotRecord {
        SnapshotRecord {
            id: meta.snapshot_id.clone(),
            last: meta.last_log_id.map(Position::from),
            membership_at: meta.last_membership.log_id().map(Position::from),
            membership: meta.last_membership.membership().into(),
            state,
        }
    }

    pub(super) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.last.map(LogId::from),
            last_membership: StoredMembership::new(self.membership_at.map(LogId::from), self.membership.clone().into()),
            snapshot_id: self.id.clone(),
        }
    }
}
