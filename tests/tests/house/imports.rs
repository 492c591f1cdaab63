//! Who may import whom.

use super::assert_none;
use super::source::{Path, paths, tokens};
use super::tree::{File, files, is_test, root};

/// What an engine may take from the standard library: a module, or one name of it.
const STD_OF_ENGINES: &[&[&str]] = &[
    &["collections"],
    &["fmt"],
    &["sync", "Arc"],
    &["net", "IpAddr"],
    &["net", "Ipv4Addr"],
    &["net", "Ipv6Addr"],
    &["mem"],
    &["ops"],
    &["cmp"],
    &["iter"],
    &["str"],
    &["num"],
    &["borrow"],
    &["convert"],
];

/// The crates an engine may name.
const CRATES_OF_ENGINES: [&str; 4] = ["serde", "thiserror", "imbl", "proto"];

/// The wire is not vocabulary.
const NOT_VOCABULARY: [&str; 3] = ["v1", "convert", "*"];

/// Hash order is not the same twice.
const UNORDERED: [&str; 4] = ["HashMap", "HashSet", "RandomState", "DefaultHasher"];

/// Words on a terminal are I/O.
const PRINTING: [&str; 5] = ["println", "eprintln", "print", "eprint", "dbg"];

/// The crates a package depends on outside its tests, as code writes them.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.lines().skip_while(|l| l.trim() != "[dependencies]").skip(1);
    let lines = section.take_while(|l| !l.starts_with('['));
    let names = lines.filter_map(|l| l.split(['.', '=', ' ']).next());
    names.filter(|n| !n.is_empty() && !n.starts_with('#')).map(|n| n.replace('-', "_")).collect()
}

/// The modules that a crate's `lib.rs` declares.
fn rooms(lib: &str) -> Vec<String> {
    let tokens = tokens(lib);
    let pairs = tokens.windows(3).filter(|w| w[0].text == "mod" && w[2].text == ";");
    pairs.map(|w| w[1].text.clone()).collect()
}

/// The files of a directory's modules that only tests compile: those below `#[cfg(test)]` in its `mod.rs`.
fn test_only(mod_file: &File) -> Vec<String> {
    let directory = mod_file.path.trim_end_matches("mod.rs");
    let lines: Vec<&str> = mod_file.text.lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter(|w| w[0] == "#[cfg(test)]");
    let modules = pairs.filter_map(|w| w[1].strip_suffix(';')?.rsplit(' ').next());
    modules.map(|module| format!("{directory}{module}.rs")).collect()
}

/// What a file of an engine names and must not.
fn check_engine(file: &File, dependencies: &[String], rooms: &[String]) -> Vec<String> {
    let mut broken = Vec::new();
    for path in paths(&file.text) {
        if let Some(remedy) = engine_must_not(&path, dependencies, rooms) {
            let name = path.segments.join("::");
            broken.push(format!("{}:{}: an engine names `{name}`: {remedy}", file.path, path.line));
        }
    }
    for pair in tokens(&file.text).windows(2) {
        let word = pair[0].text.as_str();
        if UNORDERED.contains(&word) {
            broken.push(format!(
                "{}:{}: `{word}` in an engine: take BTreeMap, BTreeSet or imbl::OrdMap",
                file.path, pair[0].line
            ));
        }
        if PRINTING.contains(&word) && pair[1].text == "!" {
            broken.push(format!(
                "{}:{}: `{word}!` in an engine: return it as an outcome or a reason",
                file.path, pair[0].line
            ));
        }
    }
    broken
}

fn engine_must_not(path: &Path, dependencies: &[String], rooms: &[String]) -> Option<&'static str> {
    let rest: Vec<&str> = path.segments.iter().skip(1).map(String::as_str).collect();
    match path.first() {
        "std" | "core" | "alloc" => {
            let allowed = STD_OF_ENGINES.iter().any(|a| rest.starts_with(a));
            (!allowed).then_some("time, files, sockets, environment and threads are arguments here: take proto::revision::Time, or let the caller do it")
        }
        "proto" => rest.first().is_none_or(|module| NOT_VOCABULARY.contains(module)).then_some(
            "take the vocabulary (proto::spec, proto::id, ...); the wire is converted at the doors, by proto::convert",
        ),
        "crate" | "super" => {
            let outward = rest.iter().find(|w| **w != "super").copied().unwrap_or_default();
            let leaves = outward != "engine" && rooms.iter().any(|r| r == outward);
            leaves.then_some("the rooms around an engine call it, not the other way: make it an argument")
        }
        other => (dependencies.iter().any(|d| d == other) && !CRATES_OF_ENGINES.contains(&other))
            .then_some("an engine has only std, serde, thiserror, imbl and proto: let the room around it do this"),
    }
}

/// A name that only some places may use.
#[derive(Debug)]
struct Fence {
    /// The path that is fenced.
    name: &'static [&'static str],
    /// Where the rule holds: files whose path begins so.
    within: &'static str,
    /// Files whose path begins so may use it.
    may: &'static [&'static str],
    /// What to do instead.
    instead: &'static str,
}

const FENCES: &[Fence] = &[
    Fence {
        name: &["redb"],
        within: "",
        may: &["orchestrator/src/raft/log_store.rs"],
        instead: "go through raft's log store, the only file that opens the database",
    },
    Fence {
        name: &["sled"],
        within: "",
        may: &["orchestrator/src/raft/earlier.rs"],
        instead: "new data go into raft's log store; sled is only read, where a release of before left it",
    },
    Fence {
        name: &["openraft"],
        within: "",
        may: &["orchestrator/src/raft/"],
        instead: "propose through orchestrator::raft::RaftHandle",
    },
    Fence {
        name: &["bollard"],
        within: "",
        may: &[
            "agent/src/runtime/docker.rs",
            "agent/src/runtime/docker/",
            "agent/src/runtime/translate.rs",
            "agent/src/runtime/translate/",
        ],
        instead: "use the trait agent::runtime::ContainerRuntime",
    },
    Fence {
        name: &["orchestrator"],
        within: "cli/",
        may: &["cli/src/dev/", "cli/src/bin/wherry.rs"],
        instead: "speak with the server through cli::client; only `dev` holds one",
    },
    Fence {
        name: &["agent"],
        within: "cli/",
        may: &["cli/src/dev/", "cli/src/bin/wherry.rs"],
        instead: "speak with the server through cli::client; only `dev` holds an agent",
    },
    Fence {
        name: &["orchestrator", "server"],
        within: "",
        may: &["orchestrator/src/program.rs", "cli/src/dev/"],
        instead: "`server` joins the rooms and is joined by none: take what you need as an argument",
    },
    Fence {
        name: &["crate", "server"],
        within: "orchestrator/",
        may: &["orchestrator/src/program.rs"],
        instead: "`server` joins the rooms and is joined by none: take what you need as an argument",
    },
    Fence {
        name: &["crate", "dispatcher"],
        within: "orchestrator/src/api/",
        may: &[],
        instead: "the doors do not know each other: share through `switchboard` or State",
    },
    Fence {
        name: &["crate", "api"],
        within: "orchestrator/src/dispatcher/",
        may: &[],
        instead: "the doors do not know each other: share through `switchboard` or State",
    },
];

/// `super::super::api` from `dispatcher/x.rs` is `crate::api`: compared by its first word that is not `super`.
fn leads_to(path: &Path, name: &[&str]) -> bool {
    match name {
        ["crate", room] if path.first() == "super" => {
            path.segments.iter().find(|w| *w != "super").is_some_and(|w| w == room)
        }
        _ => path.starts_with(name),
    }
}

/// The fences that a file of the product climbs over.
fn check_fences(file: &File) -> Vec<String> {
    let fences = FENCES.iter().filter(|f| file.path.starts_with(f.within));
    let closed: Vec<&Fence> = fences.filter(|f| !f.may.iter().any(|m| file.path.starts_with(m))).collect();
    let mut broken = Vec::new();
    for path in paths(&file.text) {
        for fence in closed.iter().filter(|f| leads_to(&path, f.name)) {
            let name = path.segments.join("::");
            broken.push(format!("{}:{}: `{name}` is not for this file: {}", file.path, path.line, fence.instead));
        }
    }
    broken
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn engines_import_nothing_that_acts() {
    let mut broken = Vec::new();
    for package in ["orchestrator", "agent"] {
        let dependencies = dependencies(&read(&format!("{package}/Cargo.toml")));
        let rooms = rooms(&read(&format!("{package}/src/lib.rs")));
        assert!(dependencies.len() > 8 && rooms.len() > 6, "{package}: {dependencies:?} {rooms:?}");
        let engine = format!("{package}/src/engine/");
        let mut of_engine: Vec<File> = files(".rs").into_iter().filter(|f| f.path.starts_with(&engine)).collect();
        let tests: Vec<String> = of_engine.iter().filter(|f| f.path.ends_with("/mod.rs")).flat_map(test_only).collect();
        of_engine.retain(|f| !tests.contains(&f.path));
        assert!(of_engine.len() > 8, "{engine} has only {} files", of_engine.len());
        broken.extend(of_engine.iter().flat_map(|f| check_engine(f, &dependencies, &rooms)));
    }
    assert_none(&broken);
}

#[test]
fn each_room_keeps_its_crates_and_its_neighbours() {
    let product: Vec<File> = files(".rs").into_iter().filter(|f| !is_test(&f.path)).collect();
    for fence in FENCES {
        for place in fence.may {
            assert!(
                product.iter().any(|f| f.path.starts_with(place)),
                "{place} of the rules is no file: correct the rule"
            );
        }
    }
    assert_none(&product.iter().flat_map(check_fences).collect::<Vec<_>>());
}

// === The rules, each broken once ===

fn snippet(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn an_engine_that_acts_is_noticed() {
    let dependencies =
        dependencies("[package]\n[dependencies]\ntokio.workspace = true\nserde = \"1\"\n[dev-dependencies]\nx = 1\n");
    assert_eq!(dependencies, ["tokio", "serde"]);
    let rooms = rooms("pub mod engine;\npub mod raft;\nmod tests { }\n");
    assert_eq!(rooms, ["engine", "raft"]);
    let mod_file = snippet("a/src/engine/mod.rs", "mod diff;\n#[cfg(test)]\npub(crate) mod world;\nmod plan;\n");
    assert_eq!(test_only(&mod_file), ["a/src/engine/world.rs"]);
    let broken = |text: &str| check_engine(&snippet("orchestrator/src/engine/x.rs", text), &dependencies, &rooms).len();
    for bad in [
        "use std::time::Instant;",
        "use std::{fmt, fs};",
        "use std::net::{IpAddr, TcpStream};",
        "use std as s;",
        "fn f() { std::env::var(\"A\"); }",
        "fn f() { std::thread::spawn(g); }",
        "fn f() { std::process::exit(1); }",
        "use std::sync::Mutex;",
        "use std::collections::HashMap;",
        "use imbl::HashSet;",
        "use tokio::sync::watch;",
        "use proto::v1;",
        "use proto::convert::wire;",
        "use proto::*;",
        "use crate::raft::RaftHandle;",
        "use super::super::raft;",
        "fn f() { eprintln!(\"a\"); }",
    ] {
        assert_eq!(broken(bad), 1, "{bad}");
    }
    for good in [
        "use std::collections::{BTreeMap, BTreeSet};\nuse std::net::IpAddr;",
        "use serde::{Deserialize, Serialize};\nuse imbl::OrdMap;\nuse proto::spec::ServiceSpec;",
        "use crate::engine::state::State;\nuse super::super::plan;",
        "// std::time::Instant\nconst A: &str = \"std::fs\";\nfn f(t: Time) { u64::from(1); t.raft(); }",
    ] {
        assert_eq!(broken(good), 0, "{good}");
    }
}

#[test]
fn a_climbed_fence_is_noticed() {
    for (path, text) in [
        ("orchestrator/src/raft/codec.rs", "use redb::Database;"),
        ("orchestrator/src/raft/log_store.rs", "use sled::Db;"),
        ("orchestrator/src/leader.rs", "fn f(r: openraft::Raft<T>) {}"),
        ("agent/src/worker/mod.rs", "use bollard::{Docker};"),
        ("cli/src/command/apply.rs", "use orchestrator::engine::State;"),
        ("cli/src/command/logs.rs", "fn f() { agent::run(); }"),
        ("agent/src/node.rs", "use orchestrator::server;"),
        ("orchestrator/src/leader.rs", "use super::server::Running;"),
        ("orchestrator/src/api/words.rs", "use crate::dispatcher::Sessions;"),
        ("orchestrator/src/dispatcher/session.rs", "use super::super::api::words;"),
    ] {
        let broken = check_fences(&snippet(path, text));
        assert_eq!(broken.len(), 1, "{path}: {text}: {broken:?}");
        assert!(broken[0].starts_with(&format!("{path}:1: `")), "{broken:?}");
    }
    for (path, text) in [
        ("orchestrator/src/raft/log_store.rs", "use redb::Database;\nuse openraft::storage;"),
        ("agent/src/runtime/docker/exec.rs", "use bollard::Docker;"),
        ("cli/src/dev/cluster.rs", "use orchestrator::server::start;\nfn f() { agent::run(); }"),
        ("agent/src/dns/tcp.rs", "use super::server::Shared;"),
    ] {
        assert_eq!(check_fences(&snippet(path, text)), [""; 0], "{path}: {text}");
    }
}
