//! Colours: one meaning each. Green is as wished, yellow is on its way, red needs a look, dim is secondary.
//!
//! Always writes the escape sequences; the terminal's stream removes them where they are not wanted.

use anstyle::{AnsiColor, Style};

/// As wished.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// On its way.
pub const MOVING: Style = AnsiColor::Yellow.on_default();
/// Needs a look.
pub const BAD: Style = AnsiColor::Red.on_default();
/// Secondary.
pub const DIM: Style = Style::new().dimmed();
/// Emphasised.
pub const BOLD: Style = Style::new().bold();
/// As the terminal has it.
pub const PLAIN: Style = Style::new();

/// Prefix colours of several containers' output: neighbours differ.
pub const PALETTE: [Style; 6] = [
    AnsiColor::Cyan.on_default(),
    AnsiColor::Yellow.on_default(),
    AnsiColor::Green.on_default(),
    AnsiColor::Magenta.on_default(),
    AnsiColor::Blue.on_default(),
    AnsiColor::BrightCyan.on_default(),
];

/// The colour of a state's word, whatever it is the state of.
pub fn of_state(state: &str) -> Style {
    match state {
        "ready" | "running" | "complete" | "healthy" | "in-use" | "leader" | "follower" | "unchanged" | "done" => GOOD,
        "failed" | "unhealthy" | "backing-off" | "lost" | "degraded" | "down" | "unreachable" | "rolled-back"
        | "paused" => BAD,
        "idle" | "learner" | "superseded" | "waits" | "" => PLAIN,
        _ => MOVING,
    }
}

/// The text in that style.
pub fn paint(style: Style, text: &str) -> String {
    if style == PLAIN { text.to_owned() } else { format!("{style}{text}{style:#}") }
}
