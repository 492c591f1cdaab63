//! The harness of the tests that cross rooms.
//!
//! `scenario`: scripts against the orchestrator's engine, with transcripts that are compared byte for byte.
//! `sim`: a whole cluster in one thread, from a seed; `invariants`: what it must keep, one file per promise. `sim::council`:
//! several servers, the same way, with promises of their own.
//! `lab`: servers as processes on hosts of their own.
//! `disk`: what a server keeps its data on, and how that fails; `writer`: who was told that a write is done.
//! `bench`: what `make bench` measures.
//! `council`: several servers in this process.
//! `site`: a server with TCP doors, and who joins it.
//! `docker`: the real `ctl` on the real engine; the tests that use it are `tests/docker_*.rs`, one file per promise.

pub mod bench;
pub mod council;
pub mod disk;
pub mod docker;
pub mod invariants;
pub mod lab;
pub mod scenario;
pub mod sim;
pub mod site;
pub mod writer;
