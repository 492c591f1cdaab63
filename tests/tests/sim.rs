//! A part of the simulator's seeds in every test run, those that ever failed among them, and that a seed is a run.

use tests::sim::many::{BIG, Summary, many, reproduce, seeds};
use tests::sim::run;
use tests::sim::trace::Trace;

/// Seeds of every test run; `make sim` runs ten thousand.
const SEEDS: u64 = 500;

fn check(seeds: &[u64]) -> Summary {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = many(seeds, threads, true);
    let told: Vec<String> =
        summary.broken.iter().map(|(seed, how)| format!("seed {seed}: {how}\n  {}", reproduce(*seed))).collect();
    assert!(told.is_empty(), "{} of {} seeds:\n{}", told.len(), summary.seeds, told.join("\n"));
    summary
}

#[test]
fn every_promise_is_kept_and_every_trouble_happens() {
    let summary = check(&seeds(1..1 + SEEDS));
    assert!(summary.seeds >= BIG);
    assert_eq!(summary.problem(), "");
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
