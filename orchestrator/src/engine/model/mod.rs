//! The nouns of State. Plain data: transitions are `state/apply`'s, judgements `explain`'s.

pub mod audit;
pub mod blob;
pub mod event;
pub mod identity;
pub mod network;
pub mod node;
pub mod project;
pub mod rollout;
pub mod sealing;
pub mod server;
pub mod service;
pub mod task;
pub mod usage;
pub mod volume;

pub use audit::{Asker, AuditNote, AuditOutcome, AuditRecord};
pub(crate) use blob::as_bytes;
pub use blob::{Blob, Content};
pub use event::Event;
pub use identity::{Authority, Grant, Identity, Token};
pub use network::Ranges;
pub use node::{Node, Reachability};
pub use project::{Deletion, Origin, Project, Release};
pub use rollout::{Back, Earlier, Rollout, RolloutState, SlotFailure};
pub use sealing::{KeyRotation, RotationPhase, SealedPart, Sealing};
pub use server::{Server, ServerInfo};
pub use service::{Service, StopFirst};
pub use task::{Setback, Task};
pub use usage::Usage;
pub use volume::{Volume, VolumeKey};

/// What State version 1 did not know is not written while it has its default: earlier bytes stay as they were.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
