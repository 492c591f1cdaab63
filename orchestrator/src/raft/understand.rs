//! Does this binary understand what lies on disk? The readers of the log's files, without a log.
//!
//! Pure. Called by the tests that give them bytes nobody wrote.

use openraft::EntryPayload;

use super::codec::{self, CodecError};
use super::record::{self, SnapshotRecord, VoteRecord};
use super::type_config::{Batch, Proposed};
use crate::engine::STATE_VERSION;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// An entry of the log.
    Entry,
    /// What an entry carries: commands, each read too.
    Batch,
    /// State at some entry.
    Snapshot,
    /// A vote.
    Vote,
}

/// Reads a frame as a server does that starts, and writes again what it understood.
///
/// # Errors
/// When it is damaged, newer, or not understood.
pub fn understand(stored: Stored, frame: &[u8]) -> Result<Vec<u8>, CodecError> {
    match stored {
        Stored::Entry => {
            let entry = record::open_entry(frame)?;
            if let EntryPayload::Normal(batch) = &entry.payload {
                known(batch)?;
            }
            record::seal_entry(&entry)
        }
        Stored::Vote => codec::seal(0, &codec::open::<VoteRecord>(frame)?),
        Stored::Snapshot => {
            let read = record::open_snapshot(frame)?;
            codec::seal(read.state.version(), &SnapshotRecord::new(&read.meta(), read.state))
        }
        Stored::Batch => {
            let batch: Batch = codec::open(frame)?;
            known(&batch)?;
            for command in &batch.commands {
                codec::decode_body::<Proposed>(&command.0)?;
            }
            codec::seal(batch.version, &batch)
        }
    }
}

/// As the state machine asks before it applies.
fn known(batch: &Batch) -> Result<(), CodecError> {
    if batch.version > STATE_VERSION { Err(CodecError::Newer { found: batch.version }) } else { Ok(()) }
}
