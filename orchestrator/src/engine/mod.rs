//! What is true, and what to do about it: pure functions over State.
//!
//! Laws: no clock (`now` is an argument), no randomness, no I/O, no logging, no hash order. State has one writer, `apply`.
//! `reconcile` sees the whole State, never an event, and a plan leaves no choices. Applying an entry starts nothing.
//! Imports only std (no time, fs, net sockets, env, thread), serde, thiserror, imbl and proto's vocabulary; a test holds it to that.
//! Called by `raft` (apply), `leader` (reconcile, next_deadline), `dispatcher` and `api` (projections).

pub mod admission;
pub mod assignment;
pub mod command;
pub mod endpoint;
pub mod explain;
pub mod lease;
pub mod model;
pub mod outcome;
pub mod placement;
pub mod plan;
pub mod preview;
pub mod reason;
pub mod reconcile;
pub mod state;

pub use assignment::assignments;
pub use command::{Command, Stamped, Steer};
pub use endpoint::endpoints;
pub use lease::Leases;
pub use outcome::{Outcome, Rejection};
pub use plan::Plan;
pub use reason::Reason;
pub use reconcile::{next_deadline, reconcile};
pub use state::apply::apply;
pub use state::{AUDITS, KEY_ROTATION, NODE_LABELS, SERVERS, STATE_VERSION, State};
