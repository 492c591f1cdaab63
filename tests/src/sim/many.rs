//! A seed's run, and many of them on several threads: what they had in common, and those that broke a promise.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::seen::{Kind, Seen};
use super::trace::Trace;

/// A world that follows from a seed.
pub trait Simulated: Sized {
    /// What can go wrong in it.
    type Trouble: Kind;
    /// What seeds of it are called.
    const SEEDS: &'static str;
    /// The words by which `sim` runs it.
    const OPTION: &'static str;
    /// How many seeds give every kind of trouble a chance.
    const BIG: usize;

    /// What a seed's world is like, in words.
    fn told(seed: u64) -> String;
    /// The world of a seed.
    fn of(seed: u64, trace: Trace) -> Self;
    /// Lives until everything is at rest, or a promise is broken; how long that took after the troubles, in milliseconds.
    fn live(&mut self) -> Result<u64, String>;
    /// Now, in milliseconds since it began.
    fn now(&self) -> u64;
    /// How many entries were applied, the troubles that were seen, and the trace.
    fn ended(self) -> (u64, Seen<Self::Trouble>, Trace);
}

/// How a run ended.
#[derive(Debug)]
pub struct Run<T> {
    /// Of its whole trace.
    pub hash: u64,
    /// Lines of its trace.
    pub lines: u64,
    /// The promise that was broken, and how.
    pub failure: Option<String>,
    /// Time from the end of troubles to rest, in milliseconds.
    pub rested_ms: u64,
    /// Entries applied.
    pub entries: u64,
    /// Troubles that were seen.
    pub seen: Seen<T>,
    /// The trace.
    pub trace: Trace,
}

/// What came of many runs.
#[derive(Debug)]
pub struct Summary<W: Simulated> {
    /// How many ran.
    pub seeds: usize,
    /// Entries applied in all of them.
    pub entries: u64,
    /// The longest time from the end of troubles to rest, in milliseconds, and whose it was.
    pub slowest: (u64, u64),
    /// Troubles that were seen.
    pub seen: Seen<W::Trouble>,
    /// Seeds that broke a promise, and how, in order.
    pub broken: Vec<(u64, String)>,
    /// Time it took.
    pub took: Duration,
}

/// Runs a seed.
pub fn run<W: Simulated>(seed: u64, trace: Trace) -> Run<W::Trouble> {
    let mut world = W::of(seed, trace);
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| world.live()));
    let broken = |how: &str| Some(format!("{how} (at {} ms)", world.now()));
    let (failure, rested_ms) = match ended {
        Ok(Ok(rested_ms)) => (None, rested_ms),
        Ok(Err(how)) => (broken(&how), 0),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            (broken(&format!("panic: {}", text.unwrap_or("without words"))), 0)
        }
    };
    let (entries, seen, trace) = world.ended();
    Run { hash: trace.hash(), lines: trace.len(), failure, rested_ms, entries, seen, trace }
}

/// Runs seeds on so many threads; stops at the first that breaks a promise unless it is to keep going.
pub fn many<W: Simulated>(seeds: &[u64], threads: usize, keep_going: bool) -> Summary<W> {
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let summary = Mutex::new(Summary::<W>::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = run::<W>(*seed, Trace::new(false));
                    let mut summary = summary.lock().expect("no thread panics while it holds it");
                    summary.seeds += 1;
                    summary.entries += run.entries;
                    summary.slowest = summary.slowest.max((run.rested_ms, *seed));
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

/// Runs seeds on all processors: each keeps every promise, or the test fails with those that do not.
///
/// # Panics
/// When one does not.
pub fn all_keep<W: Simulated>(seeds: &[u64]) -> Summary<W> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = many::<W>(seeds, threads, true);
    let told: Vec<String> =
        summary.broken.iter().map(|(seed, how)| format!("seed {seed}: {how}\n  {}", reproduce::<W>(*seed))).collect();
    assert!(told.is_empty(), "{} of {} seeds:\n{}", told.len(), summary.seeds, told.join("\n"));
    summary
}

/// Runs a seed twice: both runs are the same, line by line, and have more than so many lines.
///
/// # Panics
/// When they differ, or do nothing.
pub fn same_twice<W: Simulated>(seed: u64, lines: u64) {
    let (one, other) = (run::<W>(seed, Trace::keeping()), run::<W>(seed, Trace::keeping()));
    let differs = one.trace.lines().iter().zip(other.trace.lines()).find(|(a, b)| a != b);
    assert_eq!(differs, None, "seed {seed}");
    assert_eq!((one.hash, one.lines), (other.hash, other.lines), "seed {seed}");
    assert!(one.lines > lines, "seed {seed} does something");
}

/// How to see a seed's run.
pub fn reproduce<W: Simulated>(seed: u64) -> String {
    format!("reproduce: cargo run -p tests --bin sim -- {}--seed {seed} --trace", W::OPTION)
}

// === impl Summary ===

impl<W: Simulated> Default for Summary<W> {
    fn default() -> Self {
        let (seen, took) = (Seen::default(), Duration::ZERO);
        Summary { seeds: 0, entries: 0, slowest: (0, 0), seen, broken: Vec::new(), took }
    }
}

impl<W: Simulated> Summary<W> {
    /// The first broken promise in words, or the troubles of which a big run saw none; empty when all is well.
    pub fn problem(&self) -> String {
        if let Some((seed, failure)) = self.broken.first() {
            return format!(
                "BROKEN after {} seeds, {} in all: {failure}\n{}",
                self.seeds,
                self.broken.len(),
                reproduce::<W>(*seed)
            );
        }
        let missing = self.seen.missing();
        if self.seeds < W::BIG || missing.is_empty() {
            return String::new();
        }
        format!("of these troubles none was seen to happen in {} seeds: {missing:?}", self.seeds)
    }
}

impl<W: Simulated> fmt::Display for Summary<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64().max(0.001);
        writeln!(
            f,
            "{} {} in {seconds:.1} s ({:.0} a second), {} entries; the slowest came to rest in {} s (seed {})",
            self.seeds,
            W::SEEDS,
            self.seeds as f64 / seconds,
            self.entries,
            self.slowest.0 / 1_000,
            self.slowest.1
        )?;
        write!(f, "troubles that were seen to happen:{}", self.seen)
    }
}
