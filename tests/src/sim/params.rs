//! What kind of world a seed stands for: its size, its troubles and how long they last.
//!
//! Each trouble is on in about half of the worlds, so that some worlds hold only one of them.

use std::collections::BTreeMap;
use std::fmt;

use super::rng::Rng;
use super::seen::Kind;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// An agent's process ends and begins again.
    AgentCrash,
    /// An agent is restarted with another label of its node.
    Relabel,
    /// Another server leads.
    LeaderChange,
    /// A node's messages are held up for a while.
    Cut,
    /// A session's connection breaks.
    Reset,
    /// A Docker Engine does not answer for a while.
    EngineAway,
    /// A process in a container ends.
    ContainerDies,
    /// Somebody removes a container by hand.
    ContainerRemoved,
    /// A wall clock jumps.
    WallJump,
    /// A monotonic clock steps forward.
    ClockStep,
    /// The leader's process stands still for a while.
    LateLeader,
    /// A whole host is suspended and resumed.
    Suspend,
    /// An agent's memory file is damaged while its process is down.
    MemoryLost,
    /// An agent's disk takes no new set for a while.
    DiskFull,
    /// An agent connects to a server that lags behind.
    StaleServer,
    /// Whatever starts on a host ends at once, for a while.
    CrashLoop,
    /// A single message is lost.
    Lost,
    /// A message comes late.
    Late,
    /// A message comes twice.
    Doubled,
    /// A message is overtaken by a later one.
    Reordered,
    /// A hint of the engine is lost.
    HintLost,
    /// An operator never hears the answer.
    AnswerLost,
    /// A pull takes seconds to minutes.
    SlowPull,
    /// A pull makes no progress until it is given up.
    HungPull,
    /// A check of a healthy program fails.
    ProbeFails,
    /// A check of a healthy program does not come back in time.
    ProbeHangs,
    /// Nobody knows whether a call to an engine did its work.
    UnknownOutcome,
}

/// Those that come now and then.
pub const HAPPENINGS: [Trouble; 16] = [
    Trouble::AgentCrash,
    Trouble::Relabel,
    Trouble::LeaderChange,
    Trouble::Cut,
    Trouble::Reset,
    Trouble::EngineAway,
    Trouble::ContainerDies,
    Trouble::ContainerRemoved,
    Trouble::WallJump,
    Trouble::ClockStep,
    Trouble::LateLeader,
    Trouble::Suspend,
    Trouble::MemoryLost,
    Trouble::DiskFull,
    Trouble::StaleServer,
    Trouble::CrashLoop,
];

/// Those that strike one message, pull, check or call of a thousand, and how many at most.
pub const CHANCES: [(Trouble, u64); 11] = [
    (Trouble::Lost, 60),
    (Trouble::Late, 100),
    (Trouble::Doubled, 100),
    (Trouble::Reordered, 100),
    (Trouble::HintLost, 500),
    (Trouble::AnswerLost, 200),
    (Trouble::SlowPull, 400),
    (Trouble::HungPull, 200),
    (Trouble::ProbeFails, 150),
    (Trouble::ProbeHangs, 100),
    (Trouble::UnknownOutcome, 150),
];

impl Kind for Trouble {
    fn all() -> impl Iterator<Item = Trouble> {
        HAPPENINGS.into_iter().chain(CHANCES.into_iter().map(|(trouble, _)| trouble))
    }
}

/// A world's parameters.
#[derive(Debug, Clone)]
pub struct Params {
    /// Everything follows from it.
    pub seed: u64,
    /// How many hosts.
    pub nodes: u64,
    /// How many projects operators work on.
    pub projects: u64,
    /// Troubles that happen here now and then.
    pub troubles: Vec<Trouble>,
    /// Troubles that strike so many of a thousand.
    pub chances: BTreeMap<Trouble, u64>,
    /// Mean time between two of `troubles`, in milliseconds.
    pub trouble_every_ms: u64,
    /// Mean time between two requests of operators, in milliseconds.
    pub request_every_ms: u64,
    /// Time in which troubles happen, in milliseconds.
    pub rough_ms: u64,
    /// Images and programs misbehave.
    pub bad_images: bool,
    /// Everything is deleted at the end.
    pub deletes_all: bool,
    /// Microprocessors of each node are few, so that not everything fits.
    pub tight: bool,
}

// === impl Params ===

impl Params {
    /// The world of a seed.
    pub fn of(seed: u64) -> Params {
        let mut rng = Rng::new(seed);
        let quiet = rng.chance(120);
        let mut chances = BTreeMap::new();
        for (trouble, most) in CHANCES {
            if !quiet && rng.chance(450) {
                chances.insert(trouble, rng.range(1, most));
            }
        }
        let troubles = if quiet { Vec::new() } else { HAPPENINGS.into_iter().filter(|_| rng.chance(450)).collect() };
        Params {
            seed,
            nodes: rng.range(1, 6),
            projects: rng.range(1, 2),
            troubles,
            chances,
            trouble_every_ms: rng.range(700, 12_000),
            request_every_ms: rng.range(1_500, 15_000),
            rough_ms: rng.range(20_000, 120_000),
            bad_images: rng.chance(600),
            deletes_all: rng.chance(250),
            tight: rng.chance(200),
        }
    }

    /// Nothing goes wrong in this world but what operators ask for.
    pub fn is_quiet(&self) -> bool {
        self.troubles.is_empty() && self.chances.is_empty()
    }

    /// May this happen here?
    pub fn has(&self, trouble: Trouble) -> bool {
        self.troubles.contains(&trouble) || self.chances.contains_key(&trouble)
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} nodes, {} projects", self.seed, self.nodes, self.projects)?;
        writeln!(
            f,
            "  rough for {} s, a request every {} ms, a trouble every {} ms of {:?}",
            self.rough_ms / 1_000,
            self.request_every_ms,
            self.trouble_every_ms,
            self.troubles
        )?;
        write!(
            f,
            "  of 1000 {:?}; bad images: {}, tight: {}, deletes all: {}",
            self.chances, self.bad_images, self.tight, self.deletes_all
        )
    }
}
