//! Every script of `scenarios/` gives its transcript, byte for byte. `WHERRY_UPDATE_EXPECT=1` writes them anew.

use std::path::{Path, PathBuf};

fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(&directory).expect("scenarios/ is beside this package's manifest");
    let mut scripts: Vec<PathBuf> =
        entries.map(|e| e.expect("readable").path()).filter(|p| p.extension().is_some_and(|e| e == "txt")).collect();
    scripts.sort();
    scripts
}

#[test]
fn transcripts_are_as_expected() {
    let scripts = scripts();
    assert!(scripts.len() >= 8, "only {} scripts were found", scripts.len());
    let update = std::env::var_os("WHERRY_UPDATE_EXPECT").is_some();
    let mut failed = Vec::new();
    for script in scripts {
        let text = std::fs::read_to_string(&script).expect("a readable script");
        let transcript = tests::scenario::play(&text).unwrap_or_else(|e| panic!("{}: {e}", script.display()));
        let expected_path = script.with_extension("expected");
        if update {
            std::fs::write(&expected_path, &transcript).expect("a writable transcript");
            continue;
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if expected != transcript {
            failed.push(format!("{}:\n{}", script.display(), difference(&expected, &transcript)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

fn difference(expected: &str, got: &str) -> String {
    let expected: Vec<&str> = expected.lines().collect();
    let got: Vec<&str> = got.lines().collect();
    let first = (0..expected.len().max(got.len())).find(|i| expected.get(*i) != got.get(*i)).unwrap_or(0);
    let line = |lines: &[&str]| lines.get(first).map_or("(end)".to_owned(), |l| (*l).to_owned());
    format!("  line {}\n  expected: {}\n  got:      {}", first + 1, line(&expected), line(&got))
}
