//! What a seed's world is like, and what goes wrong in it.

use std::fmt;

use crate::sim::rng::Rng;
use crate::sim::seen::Kind;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// A process is killed and started again.
    Crash,
    /// A host loses its power: what is not synced is gone.
    PowerCut,
    /// All hosts lose their power at once.
    Blackout,
    /// Entries were lost in a power cut.
    LostEntries,
    /// A process stands still.
    Pause,
    /// Two hosts do not reach each other, or only one the other.
    Cut,
    /// A host reaches no other.
    Alone,
    /// Messages are lost, doubled and late.
    Loss,
    /// A disk is wiped: what comes back has another id.
    Wipe,
    /// An operator removes a server that is there.
    Remove,
    /// Another server joins.
    Join,
    /// An operator is revoked.
    Revoke,
    /// A call was passed on and not answered.
    Unanswered,
    /// A command was in the log twice.
    Twice,
    /// A leader was gone while it changed the voters.
    HalfChanged,
}

const ALL: [Trouble; 15] = [
    Trouble::Crash,
    Trouble::PowerCut,
    Trouble::Blackout,
    Trouble::LostEntries,
    Trouble::Pause,
    Trouble::Cut,
    Trouble::Alone,
    Trouble::Loss,
    Trouble::Wipe,
    Trouble::Remove,
    Trouble::Join,
    Trouble::Revoke,
    Trouble::Unanswered,
    Trouble::Twice,
    Trouble::HalfChanged,
];

impl Kind for Trouble {
    fn all() -> impl Iterator<Item = Trouble> {
        ALL.into_iter()
    }
}

/// What a seed's world is like.
#[derive(Debug, Clone)]
pub struct Params {
    /// The seed.
    pub seed: u64,
    /// Servers that join at the beginning, the first among them.
    pub servers: usize,
    /// Hosts.
    pub hosts: usize,
    /// Clients that are operators.
    pub operators: usize,
    /// Milliseconds with troubles.
    pub rough_ms: u64,
    /// Milliseconds between two troubles.
    pub trouble_every_ms: u64,
    /// Milliseconds between two commands of a client.
    pub think_ms: u64,
    /// Milliseconds that a message takes at most.
    pub late_ms: u64,
    /// Milliseconds that a disk takes at most.
    pub sync_ms: u64,
}

// === impl Params ===

impl Params {
    /// Of a seed.
    pub fn of(seed: u64) -> Params {
        let mut rng = Rng::new(seed ^ 0xc0c1);
        let hosts = rng.range(1, 7) as usize;
        Params {
            seed,
            servers: rng.range(1, hosts as u64) as usize,
            hosts,
            operators: rng.range(1, 3) as usize,
            rough_ms: rng.range(60, 180) * 1_000,
            trouble_every_ms: rng.range(1, 12) * 1_000,
            think_ms: rng.range(2, 20) * 100,
            late_ms: rng.skewed(2, 120),
            sync_ms: rng.skewed(2, 80),
        }
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} servers at first on {} hosts, {} operators, {} s with a trouble every {} s, a command every {} ms, \
             messages take {} ms, syncs {} ms at most",
            self.seed,
            self.servers,
            self.hosts,
            self.operators,
            self.rough_ms / 1_000,
            self.trouble_every_ms / 1_000,
            self.think_ms,
            self.late_ms,
            self.sync_ms
        )
    }
}
