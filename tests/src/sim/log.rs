//! The one ordered log, as bytes of the production codec, and State as it follows from it.
//!
//! Stands for Raft: entries that were committed are kept by every later leader, others may be lost. A new leader has
//! nothing but the bytes.

use orchestrator::engine::{Outcome, STATE_VERSION, Stamped, State, apply};
use orchestrator::raft::{decode, encode};

/// Entries after which a snapshot replaces them.
const SNAPSHOT_EVERY: usize = 200;

/// The log.
#[derive(Debug)]
pub struct Log {
    snapshot: Vec<u8>,
    entries: Vec<Vec<u8>>,
}

// === impl Log ===

impl Log {
    /// Of a new cluster.
    pub fn new() -> Log {
        let snapshot = encode(STATE_VERSION, &State::empty()).expect("an empty State is encodable");
        Log { snapshot, entries: Vec::new() }
    }

    /// Appends a batch, and applies what a reader of the log will read: each command with State before it and what
    /// became of it, and State after it.
    pub fn commit(&mut self, state: &mut State, batch: &[Stamped]) -> Vec<(State, Stamped, Outcome, State)> {
        let bytes = encode(STATE_VERSION, &batch).expect("commands are encodable");
        let read: Vec<Stamped> = decode(&bytes).expect("what was encoded is decodable");
        self.entries.push(bytes);
        read.into_iter()
            .map(|stamped| {
                let before = state.clone();
                let outcome = apply(state, &stamped);
                (before, stamped, outcome, state.clone())
            })
            .collect()
    }

    /// Compacts the log now and then; `state` is what it leads to.
    pub fn compact(&mut self, state: &State) {
        if self.entries.len() >= SNAPSHOT_EVERY {
            self.snapshot = encode(STATE_VERSION, state).expect("State is encodable");
            self.entries.clear();
        }
    }

    /// State as a server knows it that has only the log.
    pub fn replay(&self) -> State {
        let mut state: State = decode(&self.snapshot).expect("a snapshot is decodable");
        for entry in &self.entries {
            let batch: Vec<Stamped> = decode(entry).expect("an entry is decodable");
            for stamped in &batch {
                apply(&mut state, stamped);
            }
        }
        state
    }
}

impl Default for Log {
    fn default() -> Self {
        Log::new()
    }
}
