//! Several servers, simulated: a part of the seeds in every test run, and that a seed is a run.

use tests::sim::council::Council;
use tests::sim::many::{Simulated, all_keep, same_twice};

/// Seeds of every test run; `make sim` runs more.
const SEEDS: u64 = 300;

#[test]
fn every_promise_is_kept_and_every_trouble_happens() {
    let seeds: Vec<u64> = (1..=SEEDS).collect();
    let summary = all_keep::<Council>(&seeds);
    println!("{summary}");
    assert!(summary.seeds >= Council::BIG);
    assert_eq!(summary.problem(), "");
}

#[test]
fn a_seed_gives_the_same_run_line_by_line() {
    for seed in [3, 14, 27, 58] {
        same_twice::<Council>(seed, 30);
    }
}
