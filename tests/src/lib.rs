//! The harness of the tests that cross rooms.
//!
//! `scenario`: scripts against the orchestrator's engine, with transcripts that are compared byte for byte.
//! `docker`: the real `ctl` on the real engine; the tests that use it are `tests/docker_*.rs`, one file per promise.

pub mod docker;
pub mod scenario;
