//! Promise: no input makes a parser panic, run on or eat memory: manifests, entries of the log, messages of gRPC, DNS, join
//! tokens, certificates.
//!
//! Each case is a number: the same number is the same input. A short run here; `make fuzz` runs ten million of each. The
//! failing number is printed with the command that runs it alone.

mod case;
mod dns;
mod log;
mod manifest;
mod message;
mod mutate;
mod run;
mod token;

use run::fuzz;

#[test]
fn manifest() {
    fuzz("manifest", 20_000, &manifest::Manifests::new());
}

#[test]
fn log() {
    fuzz("log", 50_000, &log::Frames::new());
}

#[test]
fn grpc() {
    fuzz("grpc", 50_000, &message::Messages::new());
}

#[test]
fn dns() {
    fuzz("dns", 50_000, &dns::Packets::new());
}

#[test]
fn token() {
    fuzz("token", 50_000, &token::Tokens::new());
}

#[test]
fn certificate() {
    fuzz("certificate", 50_000, &token::Certificates::new());
}

// === The harness, broken once ===

struct Broken;

impl run::Target for Broken {
    fn input(&self, rng: &mut tests::sim::rng::Rng) -> Vec<u8> {
        vec![rng.range(0, 255) as u8]
    }
    fn run(&self, input: &[u8]) {
        assert!(input[0] != 7, "seven");
        if input[0] == 9 {
            std::thread::sleep(run::CASE_MAX + std::time::Duration::from_millis(1));
        }
    }
}

#[test]
fn a_parser_that_panics_or_runs_on_is_noticed() {
    let found = run::search(0, 600, 2, &Broken);
    let said: Vec<&str> = found.failures.iter().map(|f| f.what.as_str()).collect();
    assert!(said.iter().any(|what| what.contains("seven")), "{said:?}");
    assert!(said.iter().any(|what| what.contains("ran for")), "{said:?}");
    for failure in &found.failures {
        assert!(matches!(case::input(&Broken, failure.case)[..], [7] | [9]), "{failure:?}");
    }
}
