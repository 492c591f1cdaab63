//! Messages between servers as bytes: what goes into a `PeerMessage` and comes out of it.
//!
//! Never sends. A message names the server it is for, because an address can pass on to another server.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use proto::id::ServerId;
use proto::v1;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codec::{self, CodecError};
use super::passing::{Became, PassedOn};
use super::type_config::{LogId, SnapshotMeta, TypeConfig, Vote};

/// The bodies' format.
pub const FORMAT: u32 = 1;

/// What is sent, and what the others answer.
pub(super) trait Message: Serialize + DeserializeOwned {}

impl Message for AppendEntriesRequest<TypeConfig> {}
impl Message for AppendEntriesResponse<u64> {}
impl Message for VoteRequest<u64> {}
impl Message for VoteResponse<u64> {}
impl Message for SnapshotResponse<u64> {}
impl Message for Described {}
impl Message for Canvass {}
impl Message for PassedOn {}
impl Message for Became {}

/// A snapshot, before its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Described {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
}

/// "Would I be elected?"
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canvass {
    /// The last entry that the candidate has.
    pub(super) last: Option<LogId>,
}

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It went astray.
    #[error("this is server {found}, the message is for {wanted}: an address has passed on to another server")]
    Astray {
        /// Who reads it.
        found: ServerId,
        /// Whom it is for.
        wanted: ServerId,
    },
    /// It is of a later form.
    #[error("the message has format {0}, this server knows {FORMAT}; upgrade it")]
    Newer(u32),
    /// It makes no sense.
    #[error("the message cannot be read: {0}")]
    Unreadable(#[from] CodecError),
}

/// For, or from, a server.
pub(super) fn pack(server: ServerId, body: &impl Message) -> Result<v1::PeerMessage, WireError> {
    Ok(v1::PeerMessage { server: server.0, format: FORMAT, body: codec::encode_body(body)? })
}

/// Of a message that is for, or from, a server.
pub(super) fn unpack<T: Message>(server: ServerId, message: &v1::PeerMessage) -> Result<T, WireError> {
    if message.server != server.0 {
        return Err(WireError::Astray { found: server, wanted: ServerId(message.server) });
    }
    if message.format != FORMAT {
        return Err(WireError::Newer(message.format));
    }
    Ok(codec::decode_body(&message.body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_by_whom_it_is_for_and_by_nobody_else() {
        let question = Canvass { last: Some(LogId::new(openraft::CommittedLeaderId::new(3, 7), 9)) };
        let mut message = pack(ServerId(7), &question).unwrap();
        assert_eq!(unpack::<Canvass>(ServerId(7), &message).unwrap(), question);
        let astray = unpack::<Canvass>(ServerId(8), &message).unwrap_err();
        assert!(astray.to_string().contains("passed on to another server"), "{astray}");
        assert!(matches!(unpack::<VoteRequest<u64>>(ServerId(7), &message), Err(WireError::Unreadable(_))));
        message.format = 2;
        assert!(matches!(unpack::<Canvass>(ServerId(7), &message), Err(WireError::Newer(2))));
    }
}
