//! What was measured: printed, and appended to the file named by `WHERRY_FIGURES`. Judges nothing.

use std::io::Write;
use std::time::Duration;

/// The middle one of several durations.
///
/// # Panics
/// When there is none.
pub fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

/// Notes one line.
///
/// # Panics
/// When the file that was named cannot be written.
pub fn note(line: &str) {
    println!("figure: {line}");
    let Some(path) = std::env::var_os("WHERRY_FIGURES") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| writeln!(file, "{line}"));
    written.unwrap_or_else(|e| panic!("{}: {e}", path.to_string_lossy()));
}
