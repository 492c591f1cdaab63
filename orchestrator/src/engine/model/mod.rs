//! The nouns of State. Plain data: transitions are `state/apply`'s, judgements `explain`'s.

pub mod blob;
pub mod event;
pub mod network;
pub mod node;
pub mod project;
pub mod service;
pub mod task;
pub mod usage;
pub mod volume;

pub use blob::{Blob, Content};
pub use event::Event;
pub use network::Ranges;
pub use node::{Node, Reachability};
pub use project::{Deletion, Project, Release};
pub use service::Service;
pub use task::Task;
pub use usage::Usage;
pub use volume::{Volume, VolumeKey};
