//! `wherry`: all programs in one file. The name it is called by, or its first word, says which; otherwise it is `ctl`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let called = words.first().and_then(|word| Path::new(word).file_name()).map(|name| name.to_owned());
    let role = match called.as_ref().and_then(|name| name.to_str()).and_then(role) {
        Some(role) => Some(role),
        // `wherry agent ...`: the role's own name is what it finds as its first word.
        None => words.get(1).and_then(|word| word.to_str()).and_then(role).inspect(|_| drop(words.remove(0))),
    };
    let words = words.into_iter();
    match role {
        Some(Role::Orchestrator) => orchestrator::program::main(words),
        Some(Role::Agent) => agent::program::main(words),
        Some(Role::Ctl) | None => cli::main(words),
    }
}

enum Role {
    Ctl,
    Orchestrator,
    Agent,
}

fn role(name: &str) -> Option<Role> {
    match name {
        "ctl" => Some(Role::Ctl),
        "orchestrator" => Some(Role::Orchestrator),
        "agent" => Some(Role::Agent),
        _ => None,
    }
}
