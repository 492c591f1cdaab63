//! The control plane: desired state in a replicated log, and the rooms that act on it.

pub mod engine;
pub mod raft;
