//! A node: keeps what it is assigned running on its Docker Engine, answers names and forwards ports.

pub mod engine;
pub mod runtime;
