//! The shared words: plain vocabulary types, and the wire generated from `wherry/v1/*.proto`.
//!
//! The vocabulary knows nothing of the wire; `convert` is the only place where both meet.

pub mod assignment;
pub mod convert;
pub mod digest;
pub mod endpoint;
pub mod hello;
pub mod id;
pub mod label;
pub mod limits;
pub mod names;
pub mod needs;
pub mod node;
pub mod ranges;
pub mod revision;
pub mod spec;
pub mod task_state;

/// The wire, generated. Its documentation is in the `.proto` files.
#[allow(missing_debug_implementations, clippy::all)]
pub mod v1 {
    tonic::include_proto!("wherry.v1");
    /// The schema itself, for reflection.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wherry_v1.bin"));
}
