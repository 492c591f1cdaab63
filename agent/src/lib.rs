//! A node: keeps what it is assigned running on its Docker Engine, answers names and forwards ports.
//!
//! `engine` judges, `worker` acts through `runtime`, `session` speaks with a server, `ledger` remembers; `node` is where
//! they meet.

pub mod args;
pub mod clock;
pub mod dns;
pub mod engine;
pub mod files;
pub mod fingerprint;
pub mod identity;
pub mod ledger;
pub mod log_streams;
pub mod network;
pub mod node;
pub mod prober;
pub mod program;
pub mod pulse;
pub mod reporter;
pub mod runtime;
pub mod session;
pub mod worker;

pub use node::{AgentError, Config, halt, run, run_on, teardown};
