//! Promise: a secret that is applied, mounted and read is nowhere to be found but in its container and the memory file
//! system behind it: not in what ctl prints, nor logs, nor on disk, nor in what the engine keeps; and no core is dumped.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, kill_process};
use tests::docker::dev::{Dev, gone, project, service};
use tests::docker::engine::docker;
use tests::docker::until_true;

/// Read here so that a search would find it in any encoding that is common.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What is searched for: the content, and what it becomes in hexadecimal and in base64, wherever it begins there.
fn forms(content: &str) -> Vec<Vec<u8>> {
    let bytes = content.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for skipped in 0..3 {
        let whole = &bytes[skipped..bytes.len() - (bytes.len() - skipped) % 3];
        let encoded = whole.chunks(3).flat_map(|three| {
            let number = three.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            [18, 12, 6, 0].map(|shift| ALPHABET[number >> shift & 63])
        });
        forms.push(encoded.collect());
    }
    forms
}

fn holds(bytes: &[u8], forms: &[Vec<u8>]) -> bool {
    forms.iter().any(|form| bytes.windows(form.len()).any(|window| window == form))
}

/// All regular files below a directory.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&path, found),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// Mounted memory, not a disk.
fn is_memory(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let memory = table.lines().filter(|line| line.contains(" - tmpfs ")).filter_map(|line| line.split(' ').nth(4));
    memory.filter(|point| *point != "/" && *point != "/tmp").any(|point| path.starts_with(point))
}

#[test]
fn what_is_searched_for_is_found_in_each_form() {
    let forms = forms("the canary");
    for text in [
        "xx the canary yy",
        "7468652063616e617279",
        "7468652063616E617279",
        "dGhlIGNhbmFyeQ==",
        "eHRoZSBjYW5hcnk=",
        "eHh0aGUgY2FuYXJ5",
    ] {
        assert!(holds(text.as_bytes(), &forms), "{text}");
    }
    assert!(!holds(b"the canarx", &forms));
}

#[test]
fn a_secret_is_where_it_is_read_and_nowhere_else() {
    let mut dev = Dev::start("canary");
    let canary = format!("canary-{}-that-nobody-may-find", dev.unique);
    let forms = forms(&canary);
    let file = dev.temporary_file("canary", &canary);
    let name = format!("canary-{}", dev.unique);
    let web = service("web", "exec sleep 1000", "    secrets: [password]\n");
    let manifest = format!("{}secrets:\n  password:\n    file: {}\n", project(&name, &[web]), file.display());
    let applied = dev.apply(&manifest).expect(0);
    let container = dev.container(&format!("{name}/web.1"));
    let read = || docker(&["exec", &container, "cat", "/run/secrets/password"]);
    assert_eq!(read(), canary, "it is there to be read: what follows proves something");

    // What people and programs are told.
    let mut told = format!("{}{}", applied.out, applied.err);
    let path = dev.dir.join("project.yaml").display().to_string();
    let service = format!("{name}/web");
    for words in [
        &["get", "all", "-o", "json"][..],
        &["get", "tasks", "-o", "yaml"],
        &["get", "nodes", "-o", "json"],
        &["get", "events", "-o", "json"],
        &["get", "audit", "-o", "json"],
        &["describe", "service", &service],
        &["describe", "project", &name],
        &["why", &service],
        &["rollout", "history", &service],
        &["plan", "-f", &path, "-o", "wide"],
        &["check", &path, "-o", "json"],
    ] {
        let said = dev.ctl(words).expect(0);
        told += &format!("{words:?}\n{}{}", said.out, said.err);
    }
    assert!(
        told.contains("FetchBlob") && told.contains("secret/password"),
        "the audit tells that it was given:\n{told}"
    );
    told += &docker(&["inspect", &container]);
    assert!(!holds(told.as_bytes(), &forms), "it was told:\n{told}");

    // What is on disk: the server's log and snapshots, the agent's ledger, the daemon's own log, what the engine keeps.
    let state = dev.state();
    let look = |what: &str| {
        let mut all = Vec::new();
        files(&state, &mut all);
        files(Path::new("/var/lib/docker/containers").join(&container).as_path(), &mut all);
        let (memory, disk): (Vec<_>, Vec<_>) = all.into_iter().partition(|path| is_memory(path));
        let holding = |paths: &[PathBuf]| -> Vec<PathBuf> {
            let reads = |path: &&PathBuf| std::fs::read(path).is_ok_and(|bytes| holds(&bytes, &forms));
            paths.iter().filter(reads).cloned().collect()
        };
        assert!(disk.len() > 5, "{what}: there is something to look at: {disk:?}");
        assert_eq!(holding(&disk), [] as [PathBuf; 0], "{what}: it is on disk");
        holding(&memory)
    };
    assert_eq!(look("as it runs").len(), 1, "the memory file system holds it, and the search finds it there");

    // No core is dumped, where the machine would dump one.
    let dir = dev.temporary_file("here", "").with_file_name("cores");
    std::fs::create_dir(&dir).expect("a directory");
    let script = "ulimit -c unlimited; cd \"$0\" && sh -c 'kill -ABRT $$'; ls";
    let control = Command::new("sh").args(["-c", script]).arg(&dir).output().expect("a shell");
    eprintln!("of another process the machine dumps: {:?}", String::from_utf8_lossy(&control.stdout));
    let daemon = dev.daemon();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.as_raw_nonzero())).expect("it runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("there is such a limit");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    let cores = || -> Vec<String> {
        let names = std::fs::read_dir("/")
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("core")).collect()
    };
    let before = cores();
    kill_process(daemon, Signal::ABORT).expect("it runs");
    until_true("it is gone", || gone(daemon));
    assert_eq!(cores(), before, "a core was dumped where it worked");
    look("after it crashed");

    dev.begin();
    assert_eq!(dev.container(&format!("{name}/web.1")), container);
    assert_eq!(read(), canary);
    look("after it came back");
    dev.down();
}
