//! `make sim`: runs seeds through the simulator until one breaks a promise.
//!
//! Says first what it runs and last how to run the failing seed again.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::sim::params::Params;
use tests::sim::run;
use tests::sim::trace::Trace;

const USAGE: &str = "sim [--seeds COUNT] [--from SEED] [--threads N] | --seed SEED [--trace]";

#[derive(Debug, Default)]
struct Args {
    seeds: u64,
    from: u64,
    threads: usize,
    seed: Option<u64>,
    trace: bool,
    keep_going: bool,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(args) => match args.seed {
            Some(seed) => one(seed, args.trace),
            None => many(&args),
        },
        Err(problem) => {
            eprintln!("sim: {problem}\nusage: {USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut args = Args { seeds: 10_000, from: 1, threads, ..Args::default() };
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|w| w.parse::<u64>().ok()).ok_or(format!("{word} wants a number"));
        match word.as_str() {
            "--seeds" => args.seeds = number()?,
            "--from" => args.from = number()?,
            "--threads" => args.threads = number()?.clamp(1, 64) as usize,
            "--seed" => args.seed = Some(number()?),
            "--trace" => args.trace = true,
            "--keep-going" => args.keep_going = true,
            other => return Err(format!("`{other}` is not an option")),
        }
    }
    Ok(args)
}

fn one(seed: u64, trace: bool) -> ExitCode {
    println!("{}", Params::of(seed));
    let run = run(seed, Trace::new(trace));
    println!("trace {:016x}, {} lines, {} revisions", run.hash, run.lines, run.revisions);
    match run.failure {
        None => {
            println!("converged {} s after the last trouble", run.converged_ms / 1_000);
            ExitCode::SUCCESS
        }
        Some(failure) => {
            println!("BROKEN {failure}\n{}", reproduce(seed));
            ExitCode::FAILURE
        }
    }
}

fn reproduce(seed: u64) -> String {
    format!("reproduce: cargo run -p tests --bin sim -- --seed {seed} --trace")
}

fn many(args: &Args) -> ExitCode {
    println!("{} seeds from {}, {} threads", args.seeds, args.from, args.threads);
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicU64::new(args.from);
    let end = args.from + args.seeds;
    let broken: Mutex<Vec<(u64, String)>> = Mutex::default();
    let (revisions, slowest) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let found = !args.keep_going && broken.lock().is_ok_and(|b| !b.is_empty());
                    if seed >= end || found {
                        return;
                    }
                    let run = run(seed, Trace::new(false));
                    revisions.fetch_add(run.revisions, Ordering::Relaxed);
                    slowest.fetch_max(run.converged_ms, Ordering::Relaxed);
                    if let (Some(failure), Ok(mut broken)) = (run.failure, broken.lock()) {
                        if args.keep_going {
                            println!("seed {seed}: {}", failure.lines().next().unwrap_or_default());
                        }
                        broken.push((seed, failure));
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap_or_default();
    broken.sort();
    let Some((seed, failure)) = broken.first() else {
        println!(
            "{} seeds, {} revisions: every promise is kept; the slowest converged in {} s",
            args.seeds,
            revisions.into_inner(),
            slowest.into_inner() / 1_000
        );
        return ExitCode::SUCCESS;
    };
    println!("{}\nBROKEN after {} seeds, {} in all: {failure}", Params::of(*seed), seed - args.from + 1, broken.len());
    println!("{}", reproduce(*seed));
    ExitCode::FAILURE
}
