//! `make bench`: measures what it is asked for and prints rows for docs/measured.md.
//!
//! Built with the release profile beside the programs it measures. Ends with 1 when a part was left out or failed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tests::bench::report::Report;
use tests::bench::{doors, engine, idle, log, names, replicas, restart, writes};

const PARTS: [&str; 8] = ["engine", "log", "doors", "writes", "restart", "replicas", "names", "idle"];
const USAGE: &str = "bench [PART...] [--idle-minutes N], PART one of engine log doors writes restart replicas names idle; all without one";

fn main() -> ExitCode {
    // The other processes of the part `doors`.
    let words: Vec<String> = std::env::args().skip(1).collect();
    let other = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [doors::SERVER, dir] => Some(doors::serve(Path::new(dir))),
        [doors::FLOOD, dir, address] => {
            Some(address.parse().map_err(Into::into).and_then(|address| doors::flood(Path::new(dir), address)))
        }
        _ => None,
    };
    if let Some(ended) = other {
        return ended.map_or_else(
            |error| {
                eprintln!("bench: {error:#}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    let (parts, minutes) = match parse(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(problem) => {
            eprintln!("bench: {problem}\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    // The part `doors` is a ratio of the same program with and without a flood; it says how it was built.
    let is_ratio = parts.iter().all(|part| part == "doors");
    if cfg!(debug_assertions) && is_ratio {
        println!("built without optimisation");
    } else if cfg!(debug_assertions) {
        eprintln!("bench: built without optimisation; use `make bench`");
        return ExitCode::from(2);
    }
    println!("bench {} on {} processors", parts.join(" "), std::thread::available_parallelism().map_or(1, usize::from));
    let mut report = Report::default();
    let mut failed = false;
    for part in parts {
        if let Err(error) = measure(&part, &mut report, minutes) {
            eprintln!("!! {part} FAILED: {error:#}");
            failed = true;
        }
    }
    if !report.left_out().is_empty() {
        eprintln!("!! left out: {}", report.left_out().join(", "));
    }
    if failed || !report.left_out().is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<(Vec<String>, u64), String> {
    let (mut parts, mut minutes) = (Vec::new(), 10);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--idle-minutes" => {
                minutes = words.next().and_then(|w| w.parse().ok()).ok_or("--idle-minutes wants a number")?;
            }
            part if PARTS.contains(&part) => parts.push(word),
            other => return Err(format!("`{other}` is not a part")),
        }
    }
    if parts.is_empty() {
        parts = PARTS.map(str::to_owned).to_vec();
    }
    Ok((parts, minutes))
}

fn measure(part: &str, report: &mut Report, minutes: u64) -> anyhow::Result<()> {
    match part {
        "engine" => engine::run(report),
        "doors" => return doors::run(report),
        "log" => return log::run(report, &directory()),
        "writes" => return writes::run(report, &directory()),
        "restart" => restart::run(report),
        "replicas" => replicas::run(report),
        "names" => return names::run(report),
        _ => return idle::run(report, minutes),
    }
    Ok(())
}

/// On a disk: the one of the build, unless another is named.
fn directory() -> PathBuf {
    let named = std::env::var_os("WHERRY_BENCH_DIR").map(PathBuf::from);
    named.unwrap_or_else(|| std::env::current_exe().map(|exe| exe.with_file_name("bench-data")).unwrap_or_default())
}
