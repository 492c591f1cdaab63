//! What kind of world a seed stands for: its size, its troubles and how long they last.
//!
//! Each trouble is on in about half of the worlds, so that some worlds hold only one of them.

use std::fmt;

use super::rng::Rng;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// An agent's process ends and begins again.
    AgentCrash,
    /// Another server leads.
    LeaderChange,
    /// A node's messages are lost for a while.
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
    /// The leader's process stands still for a while.
    LateLeader,
    /// An agent's memory file is damaged while its process is down.
    MemoryLost,
    /// An agent connects to a server that lags behind.
    StaleServer,
}

/// All of them.
pub const TROUBLES: [Trouble; 11] = [
    Trouble::AgentCrash,
    Trouble::LeaderChange,
    Trouble::Cut,
    Trouble::Reset,
    Trouble::EngineAway,
    Trouble::ContainerDies,
    Trouble::ContainerRemoved,
    Trouble::WallJump,
    Trouble::LateLeader,
    Trouble::MemoryLost,
    Trouble::StaleServer,
];

/// A world's parameters.
#[derive(Debug, Clone)]
pub struct Params {
    /// Everything follows from it.
    pub seed: u64,
    /// How many hosts.
    pub nodes: u64,
    /// How many projects operators work on.
    pub projects: u64,
    /// Troubles that happen here.
    pub troubles: Vec<Trouble>,
    /// Mean time between two of them, in milliseconds.
    pub trouble_every_ms: u64,
    /// Mean time between two requests of operators, in milliseconds.
    pub request_every_ms: u64,
    /// Time in which troubles happen, in milliseconds.
    pub rough_ms: u64,
    /// Of a thousand messages so many come late.
    pub late: u64,
    /// Of a thousand messages so many come twice.
    pub doubled: u64,
    /// Of a thousand messages so many are overtaken by later ones.
    pub reordered: u64,
    /// Of a thousand hints of the engine so many are lost.
    pub hints_lost: u64,
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
        let mut some = |permille: u64, high: u64| if !quiet && rng.chance(permille) { rng.range(1, high) } else { 0 };
        let (late, doubled, reordered, hints_lost) = (some(500, 100), some(500, 100), some(500, 100), some(400, 500));
        let troubles = if quiet { Vec::new() } else { TROUBLES.into_iter().filter(|_| rng.chance(450)).collect() };
        Params {
            seed,
            nodes: rng.range(1, 6),
            projects: rng.range(1, 2),
            troubles,
            trouble_every_ms: rng.range(700, 12_000),
            request_every_ms: rng.range(1_500, 15_000),
            rough_ms: rng.range(20_000, 120_000),
            late,
            doubled,
            reordered,
            hints_lost,
            bad_images: rng.chance(600),
            deletes_all: rng.chance(250),
            tight: rng.chance(200),
        }
    }

    /// Nothing goes wrong in this world but what operators ask for.
    pub fn is_quiet(&self) -> bool {
        self.troubles.is_empty() && self.late + self.doubled + self.reordered + self.hints_lost == 0
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
            "  of 1000 messages {} late, {} doubled, {} reordered, {} hints lost; bad images: {}, tight: {}, deletes all: {}",
            self.late, self.doubled, self.reordered, self.hints_lost, self.bad_images, self.tight, self.deletes_all
        )
    }
}
