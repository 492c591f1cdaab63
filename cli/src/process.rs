//! Programs that ctl begins and finds again: what they wrote last, and which file they were started from.
//!
//! Looks only. Called by `dev` and `host`, which begin and end them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Lines of a log that are shown when its program failed.
const LOG_LINES: usize = 15;

/// The last lines of a log, as they are shown below a failure.
pub fn log_tail(log: &Path) -> Vec<String> {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.iter().skip(all.len().saturating_sub(LOG_LINES)).map(|line| format!("  | {line}")).collect()
}

/// Which file it is, links followed: one that took the place of another is another.
pub fn file_id(path: impl AsRef<Path>) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}
