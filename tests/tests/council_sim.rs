//! Several servers, simulated: a part of the seeds in every test run, and that a seed is a run.

use tests::sim::council::many::{BIG, Summary, many, reproduce};
use tests::sim::council::run;
use tests::sim::trace::Trace;

/// Seeds of every test run; `make sim` runs more.
const SEEDS: u64 = 300;

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
    let seeds: Vec<u64> = (1..=SEEDS).collect();
    let summary = check(&seeds);
    println!("{summary}");
    assert!(summary.seeds >= BIG);
    assert_eq!(summary.problem(), "");
}

#[test]
fn a_seed_gives_the_same_run_line_by_line() {
    for seed in [3, 14, 27, 58] {
        let (one, other) = (run(seed, Trace::keeping()), run(seed, Trace::keeping()));
        let differs = one.trace.lines().iter().zip(other.trace.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((one.hash, one.lines), (other.hash, other.lines), "seed {seed}");
        assert!(one.lines > 30, "seed {seed} does something");
    }
}
