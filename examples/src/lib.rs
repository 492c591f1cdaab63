//! The example programs: a small shop of five services, a greeting, and a pair of services from the tutorials.
//!
//! Does: everything one static binary (`src/bin/shop.rs`) needs to play any of the parts, with plain threads.
//! Never: knows Wherry. These programs run under any orchestrator that gives them names and files.
//! Called by: `src/bin/shop.rs` and the tests.

pub mod client;
pub mod greeting;
pub mod http;
pub mod replica;
pub mod resolve;
pub mod server;
pub mod settings;
pub mod shop;
