//! A one-node cluster on this machine: its directory and lock, its checks, its life in this process or beside it.
//!
//! Only `cluster`, `turn` and `build` name the server and the agent. Called by `command/dev`.

pub mod build;
pub mod checks;
pub mod cluster;
pub mod daemon;
pub mod home;
pub mod turn;
