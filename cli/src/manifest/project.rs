//! The project's name and its directory, found as Compose finds them.
//!
//! Never reads a file. Called by `load`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use proto::id::ProjectName;

use super::LoadOptions;
use super::interpolate::expand;
use super::lower::context::Context;
use super::tree::{Fault, Mark, Node, Value};

/// The environment variable that names the project, and by which the manifest can ask for the name.
pub const VARIABLE: &str = "COMPOSE_PROJECT_NAME";
/// What to do about a project without a name.
pub const HINT: &str = "write `name: NAME` at the top of the file, or use `-p NAME`";
const RULE: &str = "use a-z, 0-9, `-` and `_`, a letter or digit first, at most 63 characters";

/// The name: the command line's, else the environment's, else that of the last file that has one, else the directory's made fit.
pub fn name(
    options: &LoadOptions,
    roots: &[Node],
    env: &BTreeMap<String, String>,
    cx: &mut Context<'_>,
) -> Option<ProjectName> {
    if let Some(name) = &options.project_name {
        return parsed(cx, Mark::default(), name, "-p ");
    }
    if let Some(name) = env.get(VARIABLE).filter(|n| !n.is_empty()) {
        return parsed(cx, Mark::default(), name, "COMPOSE_PROJECT_NAME=");
    }
    let written = roots.iter().rev().find_map(|root| root.get("name").filter(|e| e.value.value != Value::Null));
    if let Some(entry) = written {
        let Value::Scalar(scalar) = &entry.value.value else {
            cx.problem(entry.value.at, format!("`name` must be a string, found {}", entry.value.describe()), HINT);
            return None;
        };
        let expanded = expand(&scalar.text, &|name| env.get(name).cloned());
        // A failed substitution is reported with all the others.
        return parsed(cx, entry.value.at, &expanded.ok()?.text, "name: ");
    }
    from_directory(cx)
}

fn parsed(cx: &mut Context<'_>, at: Mark, name: &str, origin: &str) -> Option<ProjectName> {
    match name.parse() {
        Ok(name) => Some(name),
        Err(e) => {
            let origin = if at == Mark::default() { format!("{origin}{name}: ") } else { String::new() };
            cx.fault(Fault::new(at, format!("{origin}{e}"), RULE));
            None
        }
    }
}

fn from_directory(cx: &mut Context<'_>) -> Option<ProjectName> {
    let directory = cx.dir(Mark::default()).file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let fitting: String =
        directory.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_')).collect();
    let fitting = fitting.trim_start_matches(['-', '_']);
    if fitting.is_empty() {
        let message = format!("the directory `{}` gives no name to the project", cx.dir(Mark::default()).display());
        cx.fault(Fault::new(Mark::default(), message, HINT));
        return None;
    }
    match fitting.parse() {
        Ok(name) => Some(name),
        Err(e) => {
            cx.fault(Fault::new(Mark::default(), format!("taken from the directory: {e}"), HINT));
            None
        }
    }
}

/// A path against a directory, `.` and `..` resolved by the letter.
pub fn absolute(dir: &Path, path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in dir.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                whole.pop();
            }
            other => whole.push(other),
        }
    }
    whole
}

/// A path as the manifest writes it at a place: `~` is the home directory, the rest is relative to the directory of the file, which is
/// that of the project unless the file is included or extended.
pub fn host_path(cx: &Context<'_>, at: Mark, text: &str) -> Result<PathBuf, String> {
    let in_home = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match (in_home, cx.variable(at, "HOME")) {
        (Some(rest), Some(home)) => Ok(absolute(Path::new(&home), Path::new(rest.trim_start_matches('/')))),
        (Some(_), None) => Err("`~` has no meaning without HOME in the environment".into()),
        (None, _) if text.starts_with('~') => Err("only your own home directory `~/` can be named".into()),
        (None, _) => Ok(absolute(cx.dir(at), Path::new(text))),
    }
}
