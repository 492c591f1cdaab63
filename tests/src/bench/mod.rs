//! `make bench`: what is fast and what is small, each figure beside the one it is judged by, taken in turns with it.
//!
//! One file per figure. Never asserts a bound: it prints rows for docs/measured.md with both raw numbers. What a part
//! needs and does not find is said, and the part is left out loudly.

pub mod doors;
pub mod engine;
pub mod idle;
pub mod log;
pub mod names;
pub mod replicas;
pub mod report;
pub mod restart;
pub mod writes;
