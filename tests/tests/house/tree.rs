//! The files of this checkout, read once per test.

use std::fs;
use std::path::{Path, PathBuf};

/// The directory of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this package is a directory of the workspace").to_path_buf()
}

/// The members of the workspace, as their directories are called.
pub const MEMBERS: [&str; 6] = ["orchestrator", "agent", "proto", "cli", "examples", "tests"];

/// A file: its path from the root with `/` between, and its text.
#[derive(Debug)]
pub struct File {
    pub path: String,
    pub text: String,
}

/// Every text file of the members whose name ends with `ending`, sorted by path.
pub fn files(ending: &str) -> Vec<File> {
    let mut found = Vec::new();
    for member in MEMBERS {
        collect(&root().join(member), ending, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(directory: &Path, ending: &str, found: &mut Vec<File>) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let path = path.strip_prefix(root()).expect("under the root").to_string_lossy().into_owned();
            found.push(File { path, text });
        }
    }
}

/// Is it a test by where it stands? Rules about the product do not bind it.
pub fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs")
}
