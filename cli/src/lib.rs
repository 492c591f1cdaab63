//! Placeholder.

pub mod manifest;
