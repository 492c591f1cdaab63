//! Many seeds on several threads: what they had in common, and those that broke a promise.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::params::Seen;
use super::run;
use crate::sim::trace::Trace;

/// How many seeds give every kind of trouble a chance.
pub const BIG: usize = 200;

/// What came of many runs.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many ran.
    pub seeds: usize,
    /// Entries committed in all of them.
    pub entries: u64,
    /// The longest time from the end of troubles to rest, in milliseconds, and whose it was.
    pub slowest: (u64, u64),
    /// Troubles that were seen.
    pub seen: Seen,
    /// Seeds that broke a promise, and how, in order.
    pub broken: Vec<(u64, String)>,
    /// Time it took.
    pub took: Duration,
}

/// Runs seeds on so many threads; stops at the first that breaks a promise unless it is to keep going.
pub fn many(seeds: &[u64], threads: usize, keep_going: bool) -> Summary {
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let summary: Mutex<Summary> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = run(*seed, Trace::new(false));
                    let mut summary = summary.lock().expect("no thread panics while it holds it");
                    summary.seeds += 1;
                    summary.entries += run.entries as u64;
                    summary.slowest = summary.slowest.max((run.settled_ms, *seed));
                    summary.seen.add(&run.seen);
                    if let Some(failure) = run.failure {
                        summary.broken.push((*seed, failure));
                    }
                    if !keep_going && !summary.broken.is_empty() {
                        return;
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("no thread panics while it holds it");
    summary.broken.sort();
    summary.took = begun.elapsed();
    summary
}

/// How to see a seed's run.
pub fn reproduce(seed: u64) -> String {
    format!("reproduce: cargo run -p tests --bin sim -- --council --seed {seed} --trace")
}

// === impl Summary ===

impl Summary {
    /// The first broken promise in words, or the troubles of which a big run saw none; empty when all is well.
    pub fn problem(&self) -> String {
        if let Some((seed, failure)) = self.broken.first() {
            return format!(
                "BROKEN after {} seeds, {} in all: {failure}\n{}",
                self.seeds,
                self.broken.len(),
                reproduce(*seed)
            );
        }
        let missing = self.seen.missing();
        if self.seeds < BIG || missing.is_empty() {
            return String::new();
        }
        format!("of these troubles none was seen to happen in {} seeds: {missing:?}", self.seeds)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64().max(0.001);
        writeln!(
            f,
            "{} seeds of several servers in {seconds:.1} s ({:.0} seeds/s), {} entries; the slowest came to rest in {} s (seed {})",
            self.seeds,
            self.seeds as f64 / seconds,
            self.entries,
            self.slowest.0 / 1_000,
            self.slowest.1
        )?;
        write!(f, "troubles that were seen to happen:{}", self.seen)
    }
}
