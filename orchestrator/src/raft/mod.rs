//! The replicated log: commands go in, `Arc<State>` comes out on a watch channel.
//!
//! # Flow
//! `RaftHandle::propose` -> `proposer` (one log entry for many commands) -> openraft -> `log_store` (redb, and its sync)
//! -> `state_machine` (`engine::apply`, the only caller) -> the watch channel and one outcome per command.
//!
//! # Guarantees
//! A command whose outcome was returned is on the disks of a majority, and survives any crash of processes. State is
//! published before the outcome is returned. Leadership is announced only after everything from earlier terms is applied.
//!
//! # Caveats
//! After a restart `state()` may briefly show an older State than before it, until this server has heard from a leader
//! or leads: whoever must not see that asks `read_barrier` first. An error of a disk is final: `lost()` resolves, and
//! the process is expected to end.
//!
//! Never starts anything because an entry was applied; never decides anything about services, nodes or tasks.
//! Called by `server` (open), `api` and `dispatcher` (propose, state), `leader` (leadership, propose).

mod canvass;
mod clock;
mod codec;
mod earlier;
mod error;
mod fault;
mod handle;
mod heard;
mod identity;
mod inbox;
mod leadership;
mod log_store;
mod mark;
mod members;
mod memory;
mod meter;
mod network;
mod options;
mod parts;
mod passing;
mod peer_door;
mod peers;
mod proposer;
mod recent;
mod record;
mod shape;
mod snapshot;
mod state_machine;
mod type_config;
mod understand;
mod upkeep;
mod wire;

#[cfg(test)]
mod tests;

pub use clock::{Clock, SystemClock};
pub use codec::{CodecError, open as decode, seal as encode};
pub use error::{ProposeError, RaftError, ReadError};
pub use handle::{RaftHandle, RaftMetrics};
pub use leadership::{Leadership, Peer, Term};
pub use members::Follower;
pub use memory::MemoryNetwork;
pub use meter::SyncLatency;
pub use network::{NoPeers, Transport, TransportError};
pub use options::{RaftOptions, SnapshotRule, Timing};
pub use passing::{Asked, Became, NotTaken, Passed, PassedOn};
pub use peer_door::{PeerDoor, PeerError};
pub use peers::{PeerIdentity, Peers};
pub use snapshot::SnapshotFile;
pub use type_config::{Applied, Batch, Encoded, TypeConfig};
pub use understand::{Stored, understand};
pub use wire::Canvass;
