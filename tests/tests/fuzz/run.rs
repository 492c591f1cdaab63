//! Runs cases on all processors and watches them: panics, time of a case, memory of the process.
//!
//! A case that took long is run again, and the least counts, so that a busy machine fails nothing. What hangs for ever or
//! eats memory cannot be stopped: then the cases that were running are printed and the process ends.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use tests::sim::rng::Rng;

use super::case;

/// What one case may take.
pub const CASE_MAX: Duration = Duration::from_secs(1);
/// Times that a long case is run.
const TRIES: u32 = 4;
/// What the process may grow by while cases run, in pages of 4 KiB: 1 GiB.
const GROWTH_MAX_PAGES: u64 = (1 << 30) / 4_096;
/// A case that has not ended after so long never will.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// Cases that a thread takes at once.
const CHUNK: u64 = 256;
/// Failures after which a run ends.
const FAILURES_MAX: usize = 8;

/// What is given strange inputs.
pub trait Target: Sync {
    /// An input, sound or strange.
    fn input(&self, rng: &mut Rng) -> Vec<u8>;
    /// Must neither panic nor take long.
    fn run(&self, input: &[u8]);
}

/// A case that failed.
#[derive(Debug)]
pub struct Failure {
    pub case: u64,
    pub what: String,
}

/// What a run found.
#[derive(Debug)]
pub struct Found {
    pub ran: u64,
    pub failures: Vec<Failure>,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_CASE: Cell<bool> = const { Cell::new(false) };
}

/// As many cases as WHERRY_FUZZ says, or a few; or the one of WHERRY_FUZZ_CASE.
pub fn fuzz(name: &str, few: u64, target: &dyn Target) {
    let number = |key: &str| std::env::var(key).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(case) = number("WHERRY_FUZZ_CASE") {
        let input = case::input(target, case);
        println!("{}\n{}", String::from_utf8_lossy(&input), hex(&input));
        target.run(&input);
        return;
    }
    let (from, count) = (number("WHERRY_FUZZ_FROM").unwrap_or(0), number("WHERRY_FUZZ").unwrap_or(few));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = Instant::now();
    let found = search(from, count, threads, target);
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{name}: {} cases from {from} in {seconds:.1} s on {threads} threads, {:.0} per second, {} failures, {} MiB resident",
        found.ran,
        found.ran as f64 / seconds,
        found.failures.len(),
        resident_pages() * 4 / 1_024
    );
    for Failure { case, what } in &found.failures {
        println!(
            "FAILED case {case}: {what}\n  again: WHERRY_FUZZ_CASE={case} cargo test -p tests --test fuzz {name} -- --nocapture"
        );
    }
    assert!(found.failures.is_empty(), "{name}: {:?}", found.failures);
}

/// Runs cases `from` to `from + count`.
pub fn search(from: u64, count: u64, threads: usize, target: &dyn Target) -> Found {
    static QUIET: Once = Once::new();
    QUIET.call_once(keep_panics_quiet);
    let (next, failures, is_over) = (AtomicU64::new(0), Mutex::new(Vec::new()), AtomicBool::new(false));
    let running: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(u64::MAX)).collect();
    let ran = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&running, &is_over));
        let work = |slot: &AtomicU64| {
            loop {
                let begin = next.fetch_add(CHUNK, Ordering::Relaxed);
                if begin >= count || failures.lock().expect("no panic holds it").len() >= FAILURES_MAX {
                    break;
                }
                for case in begin..count.min(begin + CHUNK) {
                    slot.store(from + case, Ordering::Relaxed);
                    if let Some(what) = one(target, from + case) {
                        failures.lock().expect("no panic holds it").push(Failure { case: from + case, what });
                    }
                    ran.fetch_add(1, Ordering::Relaxed);
                }
            }
            slot.store(u64::MAX, Ordering::Relaxed);
        };
        let workers: Vec<_> = running.iter().map(|slot| scope.spawn(move || work(slot))).collect();
        for worker in workers {
            worker.join().expect("a worker catches panics");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    Found { ran: ran.into_inner(), failures: failures.into_inner().expect("no panic holds it") }
}

fn one(target: &dyn Target, case: u64) -> Option<String> {
    let mut least = Duration::MAX;
    for _ in 0..TRIES {
        let begun = Instant::now();
        IS_CASE.set(true);
        let ended = catch_unwind(AssertUnwindSafe(|| target.run(&case::input(target, case))));
        IS_CASE.set(false);
        if ended.is_err() {
            return Some(PANIC.take().unwrap_or_else(|| "panicked".to_owned()));
        }
        least = least.min(begun.elapsed());
        if least <= CASE_MAX {
            return None;
        }
    }
    Some(format!("ran for {} ms", least.as_millis()))
}

/// The words of a panic are told with its case, not as it happens.
fn keep_panics_quiet() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !IS_CASE.get() {
            before(info);
            return;
        }
        PANIC.set(Some(info.to_string().replace('\n', " ")));
    }));
}

/// Ends the process when a case never ends, or memory goes.
fn watch(running: &[AtomicU64], is_over: &AtomicBool) {
    let start = resident_pages();
    let mut since: Vec<(u64, Instant)> = running.iter().map(|_| (u64::MAX, Instant::now())).collect();
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        let grown = resident_pages().saturating_sub(start);
        for (slot, since) in running.iter().zip(&mut since) {
            let case = slot.load(Ordering::Relaxed);
            if case != since.0 {
                *since = (case, Instant::now());
            }
            let hangs = case != u64::MAX && since.1.elapsed() > HANGS_AFTER;
            if hangs || grown > GROWTH_MAX_PAGES {
                let cases: Vec<u64> = running.iter().map(|slot| slot.load(Ordering::Relaxed)).collect();
                eprintln!("FAILED: one of the cases {cases:?} hangs, or takes memory: {} MiB more", grown * 4 / 1_024);
                std::process::abort();
            }
        }
    }
}

fn resident_pages() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
