//! A part of the simulator's seeds in every test run, those that ever failed among them, and that a seed is a run.

use tests::sim::World;
use tests::sim::many::{Simulated, all_keep, same_twice};

/// Seeds of every test run; `make sim` runs ten thousand.
const SEEDS: u64 = 500;

#[test]
fn every_promise_is_kept_and_every_trouble_happens() {
    let seeds: Vec<u64> = (1..=SEEDS).collect();
    let summary = all_keep::<World>(&seeds);
    assert!(summary.seeds >= World::BIG);
    assert_eq!(summary.problem(), "");
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    let lines = include_str!("../seeds.txt").lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
    let seeds: Vec<u64> = lines.map(|l| l.split_whitespace().next().unwrap().parse().expect("a seed")).collect();
    assert!(!seeds.is_empty());
    all_keep::<World>(&seeds);
}

#[test]
fn a_seed_gives_the_same_run_line_by_line() {
    for seed in [5, 17, 41, 50] {
        same_twice::<World>(seed, 100);
    }
}
