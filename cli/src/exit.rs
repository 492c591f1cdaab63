//! How ctl ends: the exit codes, and the one form in which anything that went wrong reaches the user.
//!
//! Never prints: `report` in `lib.rs` does. Every command returns `Result<Exit, Failure>`.

use std::fmt;
use std::io;

/// ctl's exit codes. They are part of the interface: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked is done (and, where ctl waits, running and healthy).
    Done = 0,
    /// The cluster or ctl refused, or what was asked failed.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No server answers.
    Unreachable = 3,
    /// Not finished in time, or its outcome is unknown. Doing it again is safe.
    TimedOut = 4,
    /// An update failed and the earlier version runs again.
    RolledBack = 5,
    /// Ctrl-C while ctl waited: the cluster goes on with what was asked.
    Interrupted = 130,
}

impl Exit {
    /// The number the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit.code())
    }
}

/// Why a command did not do what was asked: the thing and the cause, more lines, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One line: the thing and what is wrong with it. Empty: say nothing (a closed pipe).
    pub message: String,
    /// Problems at their places, `file:line:col: what`, said first and as they are, so that editors find them.
    pub places: Vec<String>,
    /// More lines, such as the last log lines.
    pub detail: Vec<String>,
    /// What to do, one line each.
    pub hints: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), places: Vec::new(), detail: Vec::new(), hints: Vec::new() }
    }

    /// Refused or failed.
    pub fn refused(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Refused, message)
    }

    /// Wrong on the command line.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// The same with a remedy more.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// The same with problems at their places.
    #[must_use]
    pub fn at(mut self, places: impl IntoIterator<Item = String>) -> Failure {
        self.places.extend(places);
        self
    }

    /// The same with more lines.
    #[must_use]
    pub fn lines(mut self, lines: impl IntoIterator<Item = String>) -> Failure {
        self.detail.extend(lines);
        self
    }
}

/// Output that nobody reads any more (`ctl ps | head -1`) ends ctl quietly; any other trouble with it is said.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, ""),
            _ => Failure::refused(format!("cannot write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let codes = [Exit::Done, Exit::Refused, Exit::Usage, Exit::Unreachable, Exit::TimedOut, Exit::RolledBack];
        assert_eq!(codes.map(Exit::code), [0, 1, 2, 3, 4, 5]);
        assert_eq!(Exit::Interrupted.code(), 130);
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
        let quiet = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((quiet.exit, quiet.message.as_str()), (Exit::Done, ""));
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit, Exit::Refused);
    }
}
