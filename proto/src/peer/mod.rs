//! The calling side of a connection between hosts: its key, whom it trusts, and the way to a server.
//!
//! TLS 1.3 and nothing else. Never answers a connection and never stores anything. Used by agents and ctl; the servers'
//! side is their own.

mod address;
mod dial;
mod enrol;
mod kept;
mod key;
mod memory;

pub use address::{is_address, with_port};
pub use dial::{Credentials, Remote, Trust, explain, explain_status};
pub use enrol::{EnrolError, enrol, enrol_server, renew};
pub use kept::{Kept, KeptError};
pub use key::{KeyError, PrivateKey, enrolment_proof, proves_enrolment};
pub use memory::keep_memory_to_itself;

/// Where servers listen for operators.
pub const OPERATORS_PORT: u16 = 7420;
/// Where servers listen for agents.
pub const AGENTS_PORT: u16 = 7421;
