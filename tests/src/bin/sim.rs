//! `make sim`: runs seeds through the simulators until one breaks a promise: a share of them first through that of several
//! servers, then all through that of a whole cluster.
//!
//! Says first what it runs, then how often each trouble was seen to happen, and last how to run a failing seed again.

use std::process::ExitCode;

use tests::sim::World;
use tests::sim::council::Council;
use tests::sim::many::{Simulated, many, reproduce, run};
use tests::sim::trace::Trace;

const USAGE: &str =
    "sim [--seeds COUNT] [--from SEED] [--threads N] [--keep-going] [--council] | --seed SEED [--trace] [--council]";
/// Of so many seeds one is run through the simulator of several servers, too.
const COUNCIL_SHARE: u64 = 5;

#[derive(Debug, Default)]
struct Args {
    seeds: u64,
    from: u64,
    threads: usize,
    seed: Option<u64>,
    trace: bool,
    keep_going: bool,
    council: bool,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(args) => match args.seed {
            Some(seed) if args.council => one::<Council>(seed, args.trace),
            Some(seed) => one::<World>(seed, args.trace),
            None if args.council => all::<Council>(&args, args.seeds),
            None => match all::<Council>(&args, args.seeds.div_ceil(COUNCIL_SHARE)) {
                ExitCode::SUCCESS => all::<World>(&args, args.seeds),
                broken => broken,
            },
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
            "--council" => args.council = true,
            other => return Err(format!("`{other}` is not an option")),
        }
    }
    Ok(args)
}

fn one<W: Simulated>(seed: u64, trace: bool) -> ExitCode {
    println!("{}", W::told(seed));
    let run = run::<W>(seed, Trace::new(trace));
    println!("trace {:016x}, {} lines, {} entries, seen:{}", run.hash, run.lines, run.entries, run.seen);
    match run.failure {
        None => {
            println!("at rest {} s after the last trouble", run.rested_ms / 1_000);
            ExitCode::SUCCESS
        }
        Some(failure) => {
            println!("BROKEN {failure}\n{}", reproduce::<W>(seed));
            ExitCode::FAILURE
        }
    }
}

/// So many seeds.
fn all<W: Simulated>(args: &Args, count: u64) -> ExitCode {
    println!("{count} {} from {}, {} threads", W::SEEDS, args.from, args.threads);
    std::panic::set_hook(Box::new(|_| {}));
    let seeds: Vec<u64> = (args.from..args.from + count).collect();
    let summary = many::<W>(&seeds, args.threads, args.keep_going);
    println!("{summary}");
    for (seed, failure) in summary.broken.iter().filter(|_| args.keep_going) {
        println!("seed {seed}: {}", failure.lines().next().unwrap_or_default());
    }
    if let Some((seed, _)) = summary.broken.first() {
        println!("{}", W::told(*seed));
    }
    let problem = summary.problem();
    if problem.is_empty() {
        println!("every promise is kept");
        ExitCode::SUCCESS
    } else {
        println!("{problem}");
        ExitCode::FAILURE
    }
}
