//! The control plane: State replicated by Raft, one task that leads, and two doors.

pub mod access;
pub mod api;
mod disk;
pub mod dispatcher;
pub mod engine;
pub mod enrolment;
pub mod forward;
pub mod leader;
pub mod listener;
pub mod membership;
mod metrics;
pub mod pki;
pub mod program;
pub mod raft;
pub mod rotation;
pub mod routes;
pub mod server;
pub mod servers;
pub mod switchboard;
pub mod trail;
