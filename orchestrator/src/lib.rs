//! The control plane: State replicated by Raft, one task that leads, and two doors.

pub mod engine;
