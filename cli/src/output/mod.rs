//! What the user sees: tables, JSON and YAML on stdout, progress and diagnostics on stderr.
//!
//! Never talks to a server. `Terminal` is the only way a command writes, so that tests read what a user would.

pub mod json;
pub mod plan;
pub mod progress;
pub mod style;
pub mod table;
pub mod views;

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a command writes, and what is known of the other end.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Columns tables must fit into; `None` when stdout is not a terminal.
    pub width: Option<usize>,
    /// Stderr is a terminal that can be redrawn.
    pub live: bool,
    /// Lines of that terminal.
    pub height: usize,
    /// Stdout is a terminal: `--watch` redraws.
    pub out_is_terminal: bool,
    /// Somebody can be asked.
    pub can_ask: bool,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("width", &self.width).field("live", &self.live).finish_non_exhaustive()
    }
}

/// A buffer shared with a test.
#[derive(Debug, Clone, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    /// What was written so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Terminal {
    /// The process's own streams. Colours follow NO_COLOR, CLICOLOR, CLICOLOR_FORCE, TERM and whether it is a terminal.
    pub fn of_process() -> Terminal {
        let out_is_terminal = io::stdout().is_terminal();
        let err_is_terminal = io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let width = out_is_terminal.then(|| window(io::stdout()).0);
        Terminal {
            width,
            live: err_is_terminal && !dumb,
            height: window(io::stderr()).1,
            out_is_terminal: out_is_terminal && !dumb,
            can_ask: io::stdin().is_terminal() && err_is_terminal,
            out: Box::new(anstream::AutoStream::auto(io::stdout())),
            err: Box::new(anstream::AutoStream::auto(io::stderr())),
        }
    }

    /// A terminal that is two buffers, without colours: (terminal, stdout, stderr).
    pub fn buffered() -> (Terminal, Buffer, Buffer) {
        let (out, err) = (Buffer::default(), Buffer::default());
        (Terminal::on(out.clone(), err.clone()), out, err)
    }

    /// A terminal on these buffers, without colours.
    pub fn on(out: Buffer, err: Buffer) -> Terminal {
        Terminal {
            out: Box::new(Plain(out)),
            err: Box::new(Plain(err)),
            width: None,
            live: false,
            height: 24,
            out_is_terminal: false,
            can_ask: false,
        }
    }

    /// A result, as is.
    pub fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// A line of the result.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.print(&format!("{text}\n"))
    }

    /// Progress or a diagnostic, one line. That nobody reads it is no reason to stop.
    pub fn say(&mut self, text: &str) {
        self.whisper(&format!("{text}\n"));
    }

    /// A diagnostic, broken between words where stdout is a terminal; what follows a line's first part stands below its
    /// text, or further in where nothing stands before it. A container's own words stay as they are.
    pub fn say_wrapped(&mut self, head: &str, text: &str) {
        for line in text.trim_end().lines() {
            let words = line.trim_start();
            let blanks = line.len() - words.len();
            let indent = table::seen(head) + blanks;
            let below = if head.trim().is_empty() { indent + 2 } else { indent };
            let width = self.width.filter(|_| !words.starts_with('|')).map(|width| width.saturating_sub(below));
            for (number, part) in table::wrap(words, width).iter().enumerate() {
                match number {
                    0 => self.say(&format!("{head}{:blanks$}{part}", "")),
                    _ => self.say(&format!("{:below$}{part}", "")),
                }
            }
        }
    }

    /// Progress or a diagnostic, as is.
    pub fn whisper(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes()).and_then(|()| self.err.flush());
    }

    /// Columns of the terminal progress is shown on, read anew because windows change.
    pub fn progress_width(&self) -> usize {
        if self.live { window(io::stderr()).0 } else { 120 }
    }
}

/// Removes colours on the way into a buffer.
struct Plain(Buffer);

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let plain = anstream::adapter::strip_bytes(bytes).into_vec();
        self.0.write_all(&plain)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Columns and lines of a terminal. What it does not know itself `COLUMNS` and `LINES` say, and else it is 80 by 24.
fn window(stream: impl std::os::fd::AsFd) -> (usize, usize) {
    let (columns, lines) =
        rustix::termios::tcgetwinsize(stream).map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()));
    let said = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    (known(columns, said("COLUMNS"), 80), known(lines, said("LINES"), 24))
}

/// What the terminal says, or the environment, or what most are; zero says nothing.
fn known(of_terminal: usize, of_environment: Option<usize>, otherwise: usize) -> usize {
    let mut told = [Some(of_terminal), of_environment].into_iter().flatten();
    told.find(|n| *n > 0).unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn a_terminal_that_does_not_know_its_size_has_that_of_the_environment() {
        assert_eq!(known(132, Some(100), 80), 132);
        assert_eq!(known(0, Some(100), 80), 100);
        assert_eq!(known(0, Some(0), 80), 80);
        assert_eq!(known(0, None, 80), 80);
    }
}
