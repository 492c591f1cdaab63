//! Progress on stderr: one line per thing, redrawn in place on a terminal; elsewhere a line only when something changed.
//!
//! Never decides what is shown: it is given the lines. Called by the waiting commands.

use std::collections::BTreeSet;

use super::Terminal;
use super::style::{DIM, of_state, paint};
use super::table::{cut, one_line};
use unicode_width::UnicodeWidthStr;

/// States not told while they may pass: before the cluster has begun with it, and up but not yet for long enough.
const PASSING: [&str; 2] = ["pending", "running"];
/// States whose reason is told beside them; the others' reasons are steps on the way.
const TELLING: [&str; 3] = ["waiting", "degraded", "failed"];
/// States whose reason is told again when it becomes another.
const WORSENING: [&str; 2] = ["degraded", "failed"];

/// One thing that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its state's word.
    pub state: String,
    /// How far it is, such as `1/3`.
    pub count: String,
    /// Why it is not further.
    pub reason: String,
    /// It is where it should be.
    pub settled: bool,
}

/// What is shown now.
#[derive(Debug, Default)]
pub struct Progress {
    drawn: usize,
    said: BTreeSet<(String, String)>,
}

impl Progress {
    /// Shows these lines, and on a terminal how long it has taken.
    pub fn show(&mut self, terminal: &mut Terminal, lines: &[Line], elapsed_ms: u64) {
        if terminal.live { self.redraw(terminal, lines, elapsed_ms) } else { self.append(terminal, lines) }
    }

    /// Removes what a terminal shows, so that the result can take its place.
    pub fn clear(&mut self, terminal: &mut Terminal) {
        if self.drawn > 0 {
            terminal.whisper(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }

    fn redraw(&mut self, terminal: &mut Terminal, lines: &[Line], elapsed_ms: u64) {
        let width = terminal.progress_width();
        let room = terminal.height.saturating_sub(3).max(1);
        let mut shown: Vec<&Line> = lines.iter().collect();
        if shown.len() > room {
            shown.sort_by_key(|line| line.settled);
        }
        let name_width = lines.iter().map(|line| line.name.width()).max().unwrap_or(0);
        let mut text = String::new();
        if self.drawn > 0 {
            text = format!("\x1b[{}A", self.drawn);
        }
        for line in shown.iter().take(room) {
            text.push_str(&format!("\x1b[2K{}\n", row(line, name_width, width)));
        }
        let left = lines.iter().filter(|line| !line.settled).count();
        let more = if lines.len() > room { format!("{} more, ", lines.len() - room) } else { String::new() };
        let foot = format!("  {more}{} of {} done, {}", lines.len() - left, lines.len(), crate::time::age(elapsed_ms));
        text.push_str(&format!("\x1b[2K{}\n\x1b[J", paint(DIM, &cut(&foot, width.saturating_sub(1)))));
        terminal.whisper(&text);
        self.drawn = lines.len().min(room) + 1;
    }

    /// A log file keeps every line: a new state or count is worth one, once, with its reason where that asks for a look.
    fn append(&mut self, terminal: &mut Terminal, lines: &[Line]) {
        for line in lines.iter().filter(|line| line.settled || !PASSING.contains(&line.state.as_str())) {
            let state = line.state.as_str();
            let mut now = format!("{state} {}", line.count).trim_end().to_owned();
            let reason = one_line(&line.reason);
            let shown = match TELLING.contains(&state) && !reason.is_empty() {
                true => format!("{now}: {reason}"),
                false => now.clone(),
            };
            if WORSENING.contains(&state) {
                now.clone_from(&shown);
            }
            if self.said.insert((line.name.clone(), now)) {
                terminal.say(&format!("{}: {shown}", line.name));
            }
        }
    }
}

fn row(line: &Line, name_width: usize, width: usize) -> String {
    let mark = if line.settled { "✔" } else { "…" };
    let style = of_state(&line.state);
    let gap = " ".repeat(name_width - line.name.width());
    let head_width = 2 + 2 + name_width + 2 + line.state.width() + 1 + line.count.width() + 2;
    let reason = cut(&one_line(&line.reason), width.saturating_sub(head_width + 1).max(1));
    let reason = if width > head_width + 4 { paint(DIM, &reason) } else { String::new() };
    if head_width >= width {
        return cut(&format!("  {mark} {}  {} {}", line.name, line.state, line.count), width.saturating_sub(1));
    }
    format!("  {} {}{gap}  {} {}  {reason}", paint(style, mark), line.name, paint(style, &line.state), line.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, state: &str, count: &str, settled: bool) -> Line {
        Line { name: name.into(), state: state.into(), count: count.into(), reason: String::new(), settled }
    }

    #[test]
    fn without_a_terminal_only_changes_are_said() {
        let (mut terminal, _, err) = Terminal::buffered();
        let mut progress = Progress::default();
        progress.show(&mut terminal, &[line("web", "starting", "0/2", false), line("db", "running", "1/1", true)], 0);
        progress.show(&mut terminal, &[line("web", "starting", "0/2", false), line("db", "running", "1/1", true)], 500);
        progress.show(&mut terminal, &[line("web", "running", "2/2", true), line("db", "running", "1/1", true)], 900);
        progress.clear(&mut terminal);
        assert_eq!(err.text(), "web: starting 0/2\ndb: running 1/1\nweb: running 2/2\n");
    }

    #[test]
    fn a_log_is_not_filled_with_steps_on_the_way() {
        let (mut terminal, _, err) = Terminal::buffered();
        let mut progress = Progress::default();
        let states = [
            ("pending", "0/1", ""),
            ("waiting", "0/1", "waits for `db` to be healthy (it is starting)"),
            ("waiting", "0/1", "waits for `db` to be healthy (it is degraded)"),
            ("starting", "0/1", "web.1: its node has not begun"),
            ("starting", "0/1", "web.1: image and container are being prepared"),
            ("failed", "0/1", "web.1: exit code 1"),
            ("starting", "0/1", "web.1: its process is being started"),
            ("running", "1/1", ""),
            ("failed", "0/1", "web.1: exit code 1"),
            ("failed", "0/1", "web.1: exit code 2"),
            ("starting", "0/1", ""),
            ("running", "1/1", "at last"),
        ];
        for (state, count, reason) in states {
            let settled = reason == "at last";
            let line = Line { reason: reason.into(), ..line("web", state, count, settled) };
            progress.show(&mut terminal, &[line], 0);
        }
        let want = "\
web: waiting 0/1: waits for `db` to be healthy (it is starting)
web: starting 0/1
web: failed 0/1: web.1: exit code 1
web: failed 0/1: web.1: exit code 2
web: running 1/1
";
        assert_eq!(err.text(), want);
    }

    #[test]
    fn on_a_terminal_the_unsettled_are_shown_first_when_there_is_no_room() {
        let (mut terminal, _, err) = Terminal::buffered();
        (terminal.live, terminal.height) = (true, 5);
        let mut lines: Vec<Line> = (0..9).map(|n| line(&format!("s{n}"), "running", "1/1", true)).collect();
        lines.push(line("late", "starting", "0/1", false));
        let mut progress = Progress::default();
        progress.show(&mut terminal, &lines, 2_000);
        assert_eq!(progress.drawn, 3);
        assert!(err.text().starts_with("  … late"), "{}", err.text());
        assert!(err.text().contains("8 more, 9 of 10 done, 2s"), "{}", err.text());
    }
}
