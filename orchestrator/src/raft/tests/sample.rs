//! Commands and what they leave in State, for tests of this room: the only test file here that knows real commands.

use crate::engine::{Command, Outcome, State};

/// The n-th sample command.
pub(super) fn command(n: u64) -> Command {
    Command::Put { key: n, text: format!("text {n}") }
}

/// A command whose encoding has a little more than this many bytes.
pub(super) fn command_of_size(n: u64, bytes: usize) -> Command {
    Command::Put { key: n, text: "x".repeat(bytes) }
}

/// Whether the n-th sample command was applied.
pub(super) fn holds(state: &State, n: u64) -> bool {
    state.item(n).is_some()
}

/// Whether this is the answer to the n-th sample command.
pub(super) fn answers(outcome: &Outcome, n: u64) -> bool {
    *outcome == Outcome::Put { key: n }
}

/// One of each command, under the name of its fixture. A command, once released, stays here for ever.
pub(super) fn every_command() -> Vec<(&'static str, Command)> {
    vec![("put", command(7))]
}
