//! What programs do, told by their image's name: `good-3`, `crash-1`, `sick-2`...
//!
//! Nothing here is random: a program does the same on every host, which is what lets the end of a run be judged.

/// What an image's program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Serves, and passes its check at once.
    Good,
    /// Serves, and passes its check after some seconds.
    Slow,
    /// Ends soon after each start with code 1.
    Crash,
    /// Ends twice, then serves.
    Flaky,
    /// Runs, and never passes a check.
    Sick,
    /// Cannot be pulled.
    Absent,
    /// Takes long to be pulled, then is good.
    Heavy,
    /// The engine refuses to start it.
    Refused,
    /// Ends with code 0.
    Job,
    /// Serves; ignores the request to stop.
    Stubborn,
}

/// Images' kinds, those that work first.
pub const KINDS: [(&str, Program); 10] = [
    ("good", Program::Good),
    ("slow", Program::Slow),
    ("heavy", Program::Heavy),
    ("flaky", Program::Flaky),
    ("stubborn", Program::Stubborn),
    ("crash", Program::Crash),
    ("sick", Program::Sick),
    ("absent", Program::Absent),
    ("refused", Program::Refused),
    ("job", Program::Job),
];

/// How many of `KINDS` get ready some day.
pub const WORKING_KINDS: usize = 5;

// === impl Program ===

impl Program {
    /// Of an image.
    pub fn of(image: &str) -> Program {
        KINDS.iter().find(|(word, _)| image.starts_with(word)).map_or(Program::Good, |(_, program)| *program)
    }

    /// A service of it is ready some day.
    pub fn works(self, checked: bool) -> bool {
        match self {
            Program::Good | Program::Slow | Program::Heavy | Program::Flaky | Program::Stubborn => true,
            Program::Sick => !checked,
            Program::Crash | Program::Absent | Program::Refused | Program::Job => false,
        }
    }

    /// How long and how its process lives in its n-th run, in milliseconds; `None`: on and on.
    pub fn life(self, run: u32) -> Option<(u64, i32)> {
        match self {
            Program::Crash => Some((300, 1)),
            Program::Flaky if run <= 2 => Some((1_500, 3)),
            Program::Job => Some((2_000, 0)),
            _ => None,
        }
    }

    /// Would a check pass so long after the start?
    pub fn passes(self, after_ms: u64) -> bool {
        match self {
            Program::Sick => false,
            Program::Slow => after_ms >= 4_000,
            _ => after_ms >= 50,
        }
    }

    /// Time to pull it, in milliseconds; `None`: it cannot be.
    pub fn pull_ms(self) -> Option<u64> {
        match self {
            Program::Absent => None,
            Program::Heavy => Some(9_000),
            _ => Some(400),
        }
    }
}
