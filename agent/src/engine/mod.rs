//! The agent's judgement: what a node must do next, from what it was assigned, what it sees and what it remembers.
//!
//! Never reads a clock, touches a socket or a file, logs, draws random numbers or depends on hash order: `now` is an
//! argument. Called by the worker, by tests and by the simulation.
//!
//! One turn is: put what was seen into [`Observed`], [`Memory::fold`] it, ask [`diff`] what to do, [`Memory::begin`]
//! each action, and when one ends [`Memory::settle`] it.

pub mod backoff;
pub mod diff;
pub mod endpoints;
pub mod health;
pub mod memory;
pub mod observed;
pub mod settle;
pub mod task_state;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scripts;
#[cfg(test)]
pub(crate) mod world;

pub use diff::{Action, diff, next_deadline, strangers};
pub use endpoints::{OwnEndpoint, own_endpoints};
pub use memory::{Memory, TaskMemory};
pub use observed::{Container, ContainerState, Observed};
pub use settle::{Outcome, Trouble};
pub use task_state::Step;
