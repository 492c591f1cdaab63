//! What every file has, and that every file is compiled; how many packages the product stands on.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::assert_none;
use super::source::tokens;
use super::tree::{File, files, root};

/// Packages in the normal tree at most, ours included, the tests' left out.
const PACKAGES_MAX: usize = 270;

fn opening(file: &File) -> Option<String> {
    (!file.text.starts_with("//!")).then(|| {
        format!("{}:1: does not open with `//!`: say what it does, what it never does, who calls it", file.path)
    })
}

/// Words that say a thing is not finished. Put together here, so that this file is none of its own findings.
fn unfinished(file: &File) -> Vec<String> {
    let words =
        [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["todo", "!"].concat(), ["unimplemented", "!"].concat()];
    let mut broken = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for word in words.iter().filter(|w| line.contains(w.as_str())) {
            broken.push(format!(
                "{}:{}: `{word}`: finish it, or write in the comment what is not there and why",
                file.path,
                index + 1
            ));
        }
    }
    broken
}

/// Is it where cargo begins to read?
fn is_crate_root(path: &str) -> bool {
    let Some((_, inside)) = path.split_once('/') else { return false };
    let words: Vec<&str> = inside.split('/').collect();
    matches!(
        words.as_slice(),
        ["build.rs"]
            | ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "benches" | "examples", _]
            | ["tests" | "benches" | "examples", _, "main.rs"]
    )
}

/// The files that one file's `mod` lines may mean.
fn children(file: &File) -> Vec<Vec<String>> {
    let (directory, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let is_root = is_crate_root(&file.path) || name == "mod.rs";
    let base = if is_root { directory.to_owned() } else { format!("{directory}/{}", name.trim_end_matches(".rs")) };
    let told = told_paths(&file.text);
    let mut children = Vec::new();
    for words in tokens(&file.text).windows(3).filter(|w| w[0].text == "mod" && w[2].text == ";") {
        let module = words[1].text.trim_start_matches("r#");
        children.push(match told.get(module) {
            Some(path) => vec![format!("{directory}/{path}")],
            None => vec![format!("{base}/{module}.rs"), format!("{base}/{module}/mod.rs")],
        });
    }
    children
}

/// `#[path = "x.rs"]` above `mod name;`, by the name.
fn told_paths(text: &str) -> BTreeMap<&str, &str> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut told = BTreeMap::new();
    for pair in lines.windows(2) {
        let path = pair[0].strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]"));
        let module = pair[1].rsplit(' ').next().unwrap_or_default().trim_end_matches(';');
        if let Some(path) = path {
            told.insert(module, path);
        }
    }
    told
}

/// Files that no crate reads: they look like code and are not even compiled.
fn unreachable(files: &[File]) -> Vec<String> {
    let by_path: BTreeMap<&str, &File> = files.iter().map(|f| (f.path.as_str(), f)).collect();
    let mut open: Vec<&File> = files.iter().filter(|f| is_crate_root(&f.path)).collect();
    let mut reached: BTreeSet<&str> = open.iter().map(|f| f.path.as_str()).collect();
    while let Some(file) = open.pop() {
        for path in children(file).into_iter().flatten() {
            if let Some(child) = by_path.get(path.as_str())
                && reached.insert(child.path.as_str())
            {
                open.push(child);
            }
        }
    }
    let lost = files.iter().filter(|f| !reached.contains(f.path.as_str()));
    lost.map(|f| format!("{}: no `mod` leads here: declare it or delete it", f.path)).collect()
}

#[test]
fn every_file_says_what_it_is_and_is_compiled() {
    let files = files(".rs");
    assert!(files.len() > 200, "only {} files were found", files.len());
    let mut broken: Vec<String> = files.iter().filter_map(opening).collect();
    broken.extend(unreachable(&files));
    assert_none(&broken);
}

#[test]
fn nothing_is_left_for_later_in_code() {
    let mut all = files(".rs");
    all.extend(files(".proto"));
    assert_none(&all.iter().flat_map(unfinished).collect::<Vec<_>>());
}

/// The packages of a `cargo tree --prefix none`: a package shown again is marked `(*)`.
fn packages(tree: &str) -> BTreeSet<&str> {
    tree.lines().map(|l| l.trim_end_matches(" (*)").trim()).filter(|l| !l.is_empty()).collect()
}

#[test]
fn the_product_stands_on_few_packages() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words =
        ["tree", "--workspace", "--exclude", "tests", "--edges", "normal", "--prefix", "none", "--locked", "--offline"];
    let told = Command::new(cargo).args(words).current_dir(root()).output().expect("cargo runs: it runs this test");
    assert!(told.status.success(), "cargo tree: {}", String::from_utf8_lossy(&told.stderr));
    let tree = String::from_utf8_lossy(&told.stdout);
    let count = packages(&tree).len();
    assert!(count > 100, "cargo tree showed only {count} packages");
    assert!(
        count <= PACKAGES_MAX,
        "{count} packages in the normal tree, at most {PACKAGES_MAX} are allowed: `cargo tree --workspace --exclude tests \
         -e normal -d` shows what is there twice; turn off default features, or write the few lines yourself"
    );
}

// === The rules, each broken once ===

fn snippet(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn a_silent_or_unfinished_file_is_noticed() {
    assert!(opening(&snippet("a/src/x.rs", "// no\nuse b;")).is_some());
    assert!(opening(&snippet("a/src/x.rs", "//! Yes.\nuse b;")).is_none());
    let later = ["//! A.\n// TO", "DO: b\nfn f() { todo", "!() }\n"].concat();
    let broken = unfinished(&snippet("a/src/x.rs", &later));
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert!(broken[0].starts_with("a/src/x.rs:2: "), "{broken:?}");
}

#[test]
fn a_file_without_a_mod_is_noticed() {
    let mut files = vec![
        snippet("a/src/lib.rs", "pub mod room;\n// mod lost;\n#[cfg(test)]\n#[path = \"apart.rs\"]\nmod tests;\n"),
        snippet("a/src/room/mod.rs", "mod inner;"),
        snippet("a/src/room/inner.rs", "mod deep;"),
        snippet("a/src/room/inner/deep.rs", ""),
        snippet("a/src/apart.rs", ""),
        snippet("a/tests/promise/main.rs", "mod lab;"),
        snippet("a/tests/promise/lab.rs", ""),
        snippet("a/src/bin/one.rs", ""),
    ];
    assert_eq!(unreachable(&files), [""; 0]);
    files.push(snippet("a/src/lost.rs", ""));
    files.push(snippet("a/src/deep.rs", ""));
    let broken = unreachable(&files);
    assert_eq!(broken.len(), 2, "{broken:?}");
    assert!(broken.iter().any(|b| b.starts_with("a/src/lost.rs: ")), "{broken:?}");
}

#[test]
fn a_package_is_counted_once() {
    assert_eq!(packages("a v1.0.0\n\nb v1.0.0\na v1.0.0 (*)\na v2.0.0\n").len(), 3);
}
