//! What happened, line by line: a hash of all of it, and the lines themselves on demand.

use std::fmt::{Arguments, Write};

/// The record of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: u64,
    kept: Option<Vec<String>>,
    print: bool,
    buffer: String,
}

// === impl Trace ===

impl Trace {
    /// `print`: to stdout as it happens. Otherwise only the hash is kept.
    pub fn new(print: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines: 0, kept: None, print, buffer: String::new() }
    }

    /// Keeps the lines, so that two runs can be compared.
    pub fn keeping() -> Trace {
        Trace { kept: Some(Vec::new()), ..Trace::new(false) }
    }

    /// One line, at a moment of the world's clock.
    pub fn say(&mut self, now_ms: u64, what: Arguments<'_>) {
        self.buffer.clear();
        // Writing to a string does not fail.
        let _ = write!(self.buffer, "{:>9.3} {what}", now_ms as f64 / 1_000.0);
        for byte in self.buffer.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.print {
            println!("{}", self.buffer);
        }
        if let Some(kept) = &mut self.kept {
            kept.push(self.buffer.clone());
        }
    }

    /// Of everything said so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines.
    pub fn len(&self) -> u64 {
        self.lines
    }

    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// The lines, if they were kept.
    pub fn lines(&self) -> &[String] {
        self.kept.as_deref().unwrap_or_default()
    }
}
