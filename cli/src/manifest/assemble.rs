//! The order in which a manifest is put together: files read, the project named, variables put in, what is included and extended
//! resolved, files merged, profiles applied. What comes out is one tree in which every value knows the file it stands in.
//!
//! Never knows what a key of a service means but those that put manifests together. Called by `load` and `check`.

mod extends;
mod include;
mod merge;
mod profiles;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use proto::id::ProjectName;
use proto::limits::MANIFEST_MAX_BYTES;

use super::lower::context::{Context, Environment, Origin};
use super::parse::{Weight, parse};
use super::tree::{Fault, Mark, Node, Value};
use super::{Input, LoadOptions, ReadError, interpolate, project};

/// Files that one manifest may be made of.
const FILES_MAX: usize = 100;
/// Bytes that all of them may have together.
const FILES_MAX_BYTES: usize = 4 * MANIFEST_MAX_BYTES;
/// How deep files may include files.
const INCLUDE_MAX_DEPTH: usize = 16;
/// How many services may extend each other in a row.
const EXTENDS_MAX_DEPTH: usize = 16;
/// Values that `extends` may copy: far above any real manifest, far below a bomb.
const EXTENDS_MAX_NODES: usize = 200_000;
/// Bytes of text that `extends` may copy.
const EXTENDS_MAX_BYTES: usize = 8 << 20;

/// A manifest in one piece.
pub struct Assembled {
    /// It.
    pub root: Node,
    /// The project's name, when it has one.
    pub name: Option<ProjectName>,
}

/// Puts a manifest together. `None`: it cannot be read at all, and the context knows why.
pub fn assemble(options: &LoadOptions, cx: &mut Context<'_>) -> Option<Assembled> {
    let mut assembly = Assembly::new(options, cx);
    let (paths, roots) = assembly.main_files(options)?;
    let mut env = assembly.cx.env(Mark::default()).as_ref().clone();
    let name = project::name(options, &roots, &env, assembly.cx);
    if let Some(name) = &name {
        env.insert(project::VARIABLE.into(), name.to_string());
    }
    assembly.cx.set_env(&Arc::new(env));
    let mut whole: Option<Node> = None;
    for mut root in roots {
        assembly.resolve(&mut root, whole.as_ref(), &mut paths.clone());
        whole = Some(match whole {
            None => root,
            Some(before) => merge::documents(assembly.cx, before, root),
        });
    }
    let mut root = whole?;
    merge::settle(assembly.cx, &mut root);
    profiles::apply(assembly.cx, &options.profiles, &mut root);
    Some(Assembled { root, name })
}

/// Only the project's name, also of a manifest that would be refused.
pub fn name(options: &LoadOptions, cx: &mut Context<'_>) -> Option<ProjectName> {
    let mut assembly = Assembly::new(options, cx);
    let (_, roots) = assembly.main_files(options)?;
    let env = assembly.cx.env(Mark::default());
    project::name(options, &roots, &env, assembly.cx)
}

/// A manifest being put together.
struct Assembly<'c, 's> {
    cx: &'c mut Context<'s>,
    working_dir: PathBuf,
    read_bytes: usize,
    substituted_bytes: usize,
    /// Variables that were asked for and are not set: each is told once.
    undefined: BTreeSet<String>,
    /// What `extends` copied.
    copied: Weight,
    /// Circles of `extends` that were told, each by its first member.
    circled: BTreeSet<Mark>,
    /// Files of `extends` by path and by the variables they see. `None`: it cannot be read, which was said.
    extended: BTreeMap<(PathBuf, usize), Option<Rc<Node>>>,
}

impl<'c, 's> Assembly<'c, 's> {
    fn new(options: &LoadOptions, cx: &'c mut Context<'s>) -> Self {
        Assembly {
            cx,
            working_dir: options.working_dir.clone(),
            read_bytes: 0,
            substituted_bytes: 0,
            undefined: BTreeSet::new(),
            copied: Weight::default(),
            circled: BTreeSet::new(),
            extended: BTreeMap::new(),
        }
    }

    /// The files of the command line. All their paths are relative to the directory of the first.
    fn main_files(&mut self, options: &LoadOptions) -> Option<(Vec<PathBuf>, Vec<Node>)> {
        let (dir, dotenv) = match options.inputs.first()? {
            Input::Text { .. } => (options.working_dir.clone(), PathBuf::from(".env")),
            Input::File(file) => {
                let absolute = project::absolute(&options.working_dir, file);
                let dir = absolute.parent().unwrap_or(&options.working_dir).to_owned();
                (dir, file.with_file_name(".env"))
            }
        };
        let outer = Arc::new(options.env.clone());
        let env = self.with_dotenv(&dotenv.to_string_lossy(), &dir.join(".env"), None, &outer);
        let (mut paths, mut roots, mut whole) = (Vec::new(), Vec::new(), true);
        for input in &options.inputs {
            let root = match input {
                Input::Text { name, bytes } => {
                    let file = self.cx.add(Origin { name: name.as_str().into(), dir: dir.clone(), env: env.clone() });
                    self.parsed(bytes, file)
                }
                Input::File(path) => {
                    let origin = Origin { name: path.to_string_lossy().into(), dir: dir.clone(), env: env.clone() };
                    let absolute = project::absolute(&options.working_dir, path);
                    paths.push(absolute.clone());
                    self.open(origin, &absolute, None)
                }
            };
            match root {
                Some(root) => roots.push(root),
                None => whole = false,
            }
        }
        whole.then_some((paths, roots))
    }

    /// Reads a file of the manifest. `by`: where another file names it; what is wrong with the file as a whole is said there.
    fn open(&mut self, origin: Origin, path: &Path, by: Option<Mark>) -> Option<Node> {
        let name = origin.name.clone();
        if self.cx.files() >= FILES_MAX {
            let at = by.unwrap_or_default();
            self.cx.problem(at, format!("more than {FILES_MAX} files make up this manifest"), "");
            return None;
        }
        let read = self.cx.sources.read(path, MANIFEST_MAX_BYTES);
        let at = by.unwrap_or(Mark { file: u16::try_from(self.cx.files()).unwrap_or(u16::MAX), ..Mark::default() });
        let file = if read.is_ok() || by.is_none() { self.cx.add(origin) } else { 0 };
        match read {
            Ok(bytes) => {
                self.read_bytes += bytes.len();
                if self.read_bytes > FILES_MAX_BYTES {
                    self.cx.problem(
                        at,
                        format!("the files of this manifest have more than {FILES_MAX_BYTES} bytes"),
                        "",
                    );
                    return None;
                }
                self.parsed(&bytes, file)
            }
            Err(e) => {
                let (named, hint) = match by {
                    Some(_) => (format!("`{name}` "), if e == ReadError::NotFound { "" } else { unread_hint(&e) }),
                    None => (String::new(), unread_hint(&e)),
                };
                self.cx.problem(at, format!("{named}cannot be read: {e}"), hint);
                None
            }
        }
    }

    /// A document that is a map.
    fn parsed(&mut self, bytes: &[u8], file: u16) -> Option<Node> {
        let fault = match parse(bytes, file) {
            Ok(Some(root)) if matches!(root.value, Value::Map(_)) => return Some(root),
            Ok(Some(root)) => {
                let message = format!("the top level must be a map, found {}", root.describe());
                Fault::new(root.at, message, "begin with `services:`")
            }
            Ok(None) => Fault::new(Mark { file, line: 1, col: 1 }, "the file is empty", "a project needs `services:`"),
            Err(fault) => fault,
        };
        self.cx.fault(fault);
        None
    }

    /// Puts in variables, what is included and what is extended. `before`: the files that this one will be merged over.
    fn resolve(&mut self, root: &mut Node, before: Option<&Node>, including: &mut Vec<PathBuf>) {
        let env = self.cx.env(root.at);
        self.substitute(&env, |variables, findings| interpolate::expand_tree(root, variables, findings));
        self.include(root, including);
        self.extend(root, before);
    }

    /// Runs a substitution and says what it found.
    fn substitute(
        &mut self,
        env: &Environment,
        run: impl FnOnce(interpolate::Variables<'_>, &mut interpolate::Findings),
    ) {
        let mut findings =
            interpolate::Findings { substituted_bytes: self.substituted_bytes, ..interpolate::Findings::default() };
        run(&|name| env.get(name).cloned(), &mut findings);
        self.substituted_bytes = findings.substituted_bytes;
        for (value, fault) in findings.faults {
            self.cx.fault(fault);
            self.cx.silence(value);
        }
        for (name, at) in findings.undefined {
            if self.undefined.insert(name.clone()) {
                self.cx.remark(at, format!("the variable `{name}` is not set: taken as empty"));
            }
        }
    }

    /// `outer` over the variables of a file. `by`: where it is named; without, it need not be there.
    fn with_dotenv(&mut self, name: &str, path: &Path, by: Option<Mark>, outer: &Environment) -> Environment {
        match self.cx.sources.read(path, MANIFEST_MAX_BYTES) {
            Ok(bytes) => {
                let found = self.cx.dotenv(name, &bytes, false, &|name| outer.get(name).cloned());
                let mut merged: BTreeMap<String, String> = found.into_iter().collect();
                merged.extend(outer.iter().map(|(name, value)| (name.clone(), value.clone())));
                return Arc::new(merged);
            }
            Err(e) => match by {
                Some(at) => self.cx.problem(at, format!("`{name}` cannot be read: {e}"), ""),
                None if matches!(e, ReadError::NotFound | ReadError::NotAFile) => {}
                None => self.cx.problem_in(name, Mark::default(), format!("cannot be read: {e}"), ""),
            },
        }
        outer.clone()
    }

    /// A file as the user would name it: relative to where they are.
    fn shown(&self, path: &Path) -> Arc<str> {
        path.strip_prefix(&self.working_dir).unwrap_or(path).to_string_lossy().into()
    }
}

fn unread_hint(error: &ReadError) -> &'static str {
    match error {
        ReadError::NotFound => "name the file with `-f FILE`",
        ReadError::NotAFile => "name the Compose file itself",
        ReadError::TooLarge { .. } => "move long texts to files of their own under `configs:`",
        ReadError::Other(_) => "",
    }
}

/// What a remote source is called, if the path of a file names one.
fn remote(path: &str) -> Option<&'static str> {
    if path.starts_with("oci:") {
        return Some("an OCI artifact");
    }
    let is_git =
        path.starts_with("git@") || path.starts_with("github.com/") || path.contains(".git#") || path.ends_with(".git");
    if is_git || path.starts_with("ssh://") || path.starts_with("git://") {
        return Some("a git repository");
    }
    path.contains("://").then_some("a remote file")
}

/// The keys of `services` in a document.
fn services(root: &Node) -> Option<&Node> {
    root.get("services").map(|entry| &entry.value).filter(|node| matches!(node.value, Value::Map(_)))
}
