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
    /// Passes its checks for a while, then never again in this run.
    Rotting,
    /// Its checks pass and fail in turns of some seconds.
    Flapping,
    /// Its checks do not come back.
    Hanging,
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
pub const KINDS: [(&str, Program); 13] = [
    ("good", Program::Good),
    ("slow", Program::Slow),
    ("heavy", Program::Heavy),
    ("flaky", Program::Flaky),
    ("stubborn", Program::Stubborn),
    ("crash", Program::Crash),
    ("sick", Program::Sick),
    ("rotting", Program::Rotting),
    ("flapping", Program::Flapping),
    ("hanging", Program::Hanging),
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
            Program::Sick | Program::Rotting | Program::Flapping | Program::Hanging => !checked,
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

    /// Would a check pass so long after the start? `None`: it does not come back.
    pub fn passes(self, after_ms: u64) -> Option<bool> {
        Some(match self {
            Program::Sick => false,
            Program::Hanging => return None,
            Program::Slow => after_ms >= 4_000,
            Program::Rotting => (50..20_000).contains(&after_ms),
            Program::Flapping => (after_ms / 7_000).is_multiple_of(2),
            _ => after_ms >= 50,
        })
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
