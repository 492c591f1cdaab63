//! The Docker runtime against a real engine, and against engines that misbehave.
//!
//! Needs Docker and a static busybox; without them it fails. Removes whatever it made.

#![allow(clippy::unwrap_used, reason = "fixtures of tests, outside of test functions")]

mod builds;
mod containers;
mod keys;
mod lab;
mod misbehaving;
mod strange_engine;
