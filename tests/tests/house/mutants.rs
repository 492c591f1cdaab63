//! Every mutant still fits: what its patch takes away is in the file, once.

use super::assert_none;
use super::tree::{File, files, root};

/// One place that a patch changes: the lines it expects there, and whether it changes any of them.
#[derive(Debug, Default)]
struct Hunk {
    file: String,
    expects: Vec<String>,
    changes: bool,
}

fn hunks(patch: &str) -> Vec<Hunk> {
    let mut hunks: Vec<Hunk> = Vec::new();
    let mut file = String::new();
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("--- a/") {
            file = path.split('\t').next().unwrap_or_default().to_owned();
        } else if line.starts_with("@@") {
            hunks.push(Hunk { file: file.clone(), ..Hunk::default() });
        } else if !line.starts_with("+++ ")
            && let Some(hunk) = hunks.last_mut()
        {
            match line.split_at_checked(1) {
                Some(("+", _)) => hunk.changes = true,
                Some(("-", text)) => {
                    hunk.changes = true;
                    hunk.expects.push(text.to_owned());
                }
                Some((_, text)) => hunk.expects.push(text.to_owned()),
                None => hunk.expects.push(String::new()),
            }
        }
    }
    hunks
}

/// What is wrong with a patch, given the files it may change.
fn misfits(patch: &File, texts: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let hunks = hunks(&patch.text);
    let mut broken = Vec::new();
    if hunks.is_empty() {
        broken.push(format!("{}: it changes nothing", patch.path));
    }
    for hunk in hunks {
        let text = texts(&hunk.file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let places = lines.windows(hunk.expects.len().max(1)).filter(|w| *w == hunk.expects.as_slice()).count();
        if places != 1 || !hunk.changes {
            broken.push(format!(
                "{}: what it expects is in {} {places} times: make it anew, so that it breaks the same rule",
                patch.path, hunk.file
            ));
        }
    }
    broken
}

#[test]
fn every_mutant_fits() {
    let patches = files(".patch");
    assert!(patches.len() >= 30, "only {} mutants were found", patches.len());
    let read = |path: &str| std::fs::read_to_string(root().join(path)).ok();
    let broken: Vec<String> = patches.iter().flat_map(|p| misfits(p, read)).collect();
    assert_none(&broken);
}

#[test]
fn a_mutant_that_does_not_fit_is_noticed() {
    let patch = |text: &str| File { path: "tests/mutants/x.patch".to_owned(), text: text.to_owned() };
    let read = |path: &str| (path == "a.rs").then(|| "one\n\ntwo\nthree\n".to_owned());
    let fits = "--- a/a.rs\n+++ b/a.rs\n@@ -1,3 +1,3 @@\n one\n \n-two\n+2\n";
    assert_eq!(misfits(&patch(fits), read), [""; 0]);
    for (old, new) in [("-two", "-too"), ("a/a.rs", "a/b.rs"), ("-two\n+2", " two"), ("@@ -1,3 +1,3 @@\n", "")] {
        assert_eq!(misfits(&patch(&fits.replace(old, new)), read).len(), 1, "{old}");
    }
}
