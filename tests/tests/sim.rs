//! Some hundred seeds of the simulator in every test run, those that ever failed among them, and that a seed is a run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::sim::run;
use tests::sim::trace::Trace;

/// Seeds of every test run; `make sim` runs thousands.
const SEEDS: u64 = 300;

fn check(seeds: &[u64]) {
    let next = AtomicU64::new(0);
    let broken: Mutex<Vec<String>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let run = run(*seed, Trace::new(false));
                    if let Some(failure) = run.failure {
                        let again = format!("cargo run -p tests --bin sim -- --seed {seed} --trace");
                        broken
                            .lock()
                            .expect("no thread panics while it holds it")
                            .push(format!("seed {seed}: {failure}\n  reproduce: {again}"));
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().expect("no thread panics while it holds it");
    assert!(broken.is_empty(), "{} of {} seeds:\n{}", broken.len(), seeds.len(), broken.join("\n"));
}

#[test]
fn every_promise_is_kept() {
    let seeds: Vec<u64> = (1..=SEEDS).collect();
    check(&seeds);
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    let lines = include_str!("../seeds.txt").lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
    let seeds: Vec<u64> = lines.map(|l| l.split_whitespace().next().unwrap().parse().expect("a seed")).collect();
    assert!(!seeds.is_empty());
    check(&seeds);
}

#[test]
fn a_seed_gives_the_same_run_line_by_line() {
    for seed in [5, 17, 41, 50] {
        let (one, other) = (run(seed, Trace::keeping()), run(seed, Trace::keeping()));
        let differs = one.trace.lines().iter().zip(other.trace.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((one.hash, one.lines), (other.hash, other.lines), "seed {seed}");
        assert!(one.lines > 100, "seed {seed} does something");
    }
}
