//! The verbs, one file each. Each takes the session and its arguments and returns an exit code or a failure.

pub mod apply;
pub mod audit;
pub mod check;
pub mod cluster;
pub mod completion;
pub mod context;
pub mod delete;
pub mod describe;
pub mod dev;
pub mod dns;
pub mod events;
pub mod get;
pub mod logs;
pub mod node;
pub mod operator;
pub mod plan;
pub mod progress;
pub mod rollout;
pub mod rotate_key;
pub mod scale;
pub mod server;
pub mod token;
pub mod version;
pub mod wait;
pub mod why;

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod events_tests;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod progress_tests;
#[cfg(test)]
mod tests;
