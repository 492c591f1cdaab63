//! The node's side of the network: published ports, and which ranges this host already uses.
//!
//! Never makes a bridge or a route. Called by the agent's composition root.

pub mod forwarder;
pub mod ranges;
