//! The harness of the tests that cross rooms.
//!
//! `scenario`: scripts against the orchestrator's engine, with transcripts that are compared byte for byte.
//! Tests that need Docker are in `tests/`, one file per promise.

pub mod scenario;
