//! What is said about a manifest: problems that refuse it and notices that do not, each with its position.
//!
//! Never decides anything. Made by every file of this room, shown by the commands.

use std::fmt;
use std::sync::Arc;

/// Problems kept of one manifest; the rest is counted. More than this nobody reads at once.
pub const PROBLEMS_KEPT: usize = 100;

/// Problems up to which every key gets a verdict. Beyond, most of a manifest is not one, and only these are told.
pub const PROBLEMS_JUDGED: usize = 1_000;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub col: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.col)
    }
}

/// Why a manifest is refused. Shown as `file:line:col: message` and, on a second line, `  hint: ...`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct Problem {
    /// The file as the user named it.
    pub path: String,
    /// Line, from 1; 0 when the trouble is the file as a whole, and then neither line nor column is shown.
    pub line: u32,
    /// Column in characters, from 1.
    pub col: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message)?,
            line => write!(f, "{}:{}:{}: {}", self.path, line, self.col, self.message)?,
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Something honoured otherwise than the user may expect. Shown as `file:line:col: text`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Line, from 1; 0 when it is about the file as a whole.
    pub line: u32,
    /// Column in characters, from 1.
    pub col: u32,
    /// What is so.
    pub text: String,
    /// A key means something else than in Compose, or nothing; otherwise it is worth knowing, and the key is honoured.
    pub translates: bool,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.text),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.col, self.text),
        }
    }
}
