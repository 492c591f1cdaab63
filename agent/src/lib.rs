//! A node: keeps what it is assigned running on its Docker Engine, answers names and forwards ports.

pub mod clock;
pub mod dns;
pub mod engine;
pub mod files;
pub mod fingerprint;
pub mod ledger;
pub mod log_streams;
pub mod network;
pub mod prober;
pub mod reporter;
pub mod runtime;
pub mod session;
pub mod worker;
