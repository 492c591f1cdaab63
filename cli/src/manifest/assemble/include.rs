//! `include`: the services, volumes, networks, configs and secrets of other files, each file with its own directory and variables
//! (Compose Specification, section 14).
//!
//! Never merges: what both files name is refused, unless both say the same. Called by `assemble`.

use std::path::{Path, PathBuf};

use super::super::lower::context::{Context, Environment, Field, Origin};
use super::super::lower::keys;
use super::super::project;
use super::super::tree::{Entry, Mark, Node, Value, shorten};
use super::{Assembly, INCLUDE_MAX_DEPTH, merge, remote};

/// The sections that are taken over.
const SECTIONS: [&str; 5] = ["services", "volumes", "networks", "configs", "secrets"];

/// One item of `include`.
struct Included {
    at: Mark,
    /// Files, each merged over those before it.
    paths: Vec<(String, Mark)>,
    project_directory: Option<(String, Mark)>,
    env_files: Vec<(String, Mark)>,
}

/// Values that are a string or a list of strings, each with its place.
fn one_or_many(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<(String, Mark)> {
    match field.node.value {
        Value::List(_) => cx.text_list(field).unwrap_or_default(),
        _ => cx.filled_text(field).map(|text| (text.to_owned(), field.node.at)).into_iter().collect(),
    }
}

impl Assembly<'_, '_> {
    /// Takes over what a document includes. `including`: the files on the way to it.
    pub(super) fn include(&mut self, root: &mut Node, including: &mut Vec<PathBuf>) {
        let Value::Map(top) = &mut root.value else { return };
        let Some(index) = top.iter().position(|e| e.key == "include") else { return };
        let entry = top.remove(index);
        self.cx.understood("include", entry.at);
        if entry.value.value == Value::Null {
            return;
        }
        let field = Field { path: "include".into(), at: entry.at, node: &entry.value };
        for item in self.cx.list(&field).unwrap_or_default() {
            let Some(included) = self.item(&item) else { continue };
            let Some(model) = self.model(&included, including) else { continue };
            self.take_over(root, &model, &included);
        }
    }

    fn item(&mut self, item: &Field<'_>) -> Option<Included> {
        let at = item.at;
        if let Value::Scalar(_) = item.node.value {
            let path = self.cx.filled_text(item)?.to_owned();
            return Some(Included { at, paths: vec![(path, at)], project_directory: None, env_files: Vec::new() });
        }
        let mut keys = self.cx.map_or(item, "a path or a map")?;
        let (path, directory, env) = (keys.take("path"), keys.take("project_directory"), keys.take("env_file"));
        keys.finish(self.cx, &[]);
        let Some(path) = path else {
            self.cx.problem(at, format!("`{}` has no `path`", item.path), "write `path: FILE`");
            return None;
        };
        let project_directory = match &directory {
            None => None,
            Some(field) => Some((self.cx.filled_text(field)?.to_owned(), field.node.at)),
        };
        let env_files = env.map(|field| one_or_many(self.cx, &field)).unwrap_or_default();
        Some(Included { at, paths: one_or_many(self.cx, &path), project_directory, env_files })
    }

    /// The files of one item, merged and resolved.
    fn model(&mut self, included: &Included, including: &mut Vec<PathBuf>) -> Option<Node> {
        let mut paths = Vec::new();
        for (written, at) in &included.paths {
            let path = self.local(written, *at)?;
            if including.contains(&path) {
                let names = including.iter().chain([&path]).map(|p| self.shown(p).to_string());
                let message = format!("`include` goes in a circle: {}", names.collect::<Vec<_>>().join(" -> "));
                self.cx.problem(*at, message, "remove one of them");
                return None;
            }
            paths.push((path, *at));
        }
        if including.len() > INCLUDE_MAX_DEPTH {
            self.cx.problem(
                included.at,
                format!("files include each other deeper than {INCLUDE_MAX_DEPTH} levels"),
                "",
            );
            return None;
        }
        let first = paths.first().map(|(path, _)| path.clone())?;
        let dir = match &included.project_directory {
            Some((written, at)) => self.local(written, *at)?,
            None => first.parent().unwrap_or(&first).to_owned(),
        };
        let env = self.environment(included, &dir)?;
        let mut whole: Option<Node> = None;
        for (path, at) in paths {
            let origin = Origin { name: self.shown(&path), dir: dir.clone(), env: env.clone() };
            let mut root = self.open(origin, &path, Some(at))?;
            including.push(path);
            self.resolve(&mut root, whole.as_ref(), including);
            including.pop();
            whole = Some(match whole {
                None => root,
                Some(before) => merge::documents(self.cx, before, root),
            });
        }
        whole
    }

    /// The variables that the included files see: those of the including one over those of `env_file`, or of `.env` in their directory.
    fn environment(&mut self, included: &Included, dir: &Path) -> Option<Environment> {
        let outer = self.cx.env(included.at);
        if included.env_files.is_empty() {
            let path = dir.join(".env");
            return Some(self.with_dotenv(&self.shown(&path), &path, None, &outer));
        }
        let mut env = outer;
        // Later files win over earlier ones, and what is there before wins over all.
        for (written, at) in included.env_files.iter().rev() {
            let path = self.local(written, *at)?;
            env = self.with_dotenv(&self.shown(&path), &path, Some(*at), &env);
        }
        Some(env)
    }

    /// A path of this machine.
    fn local(&mut self, written: &str, at: Mark) -> Option<PathBuf> {
        if let Some(what) = remote(written) {
            let message = format!("`{}` is {what}: only files of this machine can be included", shorten(written));
            self.cx.problem(at, message, "fetch it, and name the file");
            return None;
        }
        match project::host_path(self.cx, at, written) {
            Ok(path) => Some(path),
            Err(why) => {
                self.cx.problem(at, why, "");
                None
            }
        }
    }

    /// Puts the sections of an included model into the including document.
    fn take_over(&mut self, root: &mut Node, model: &Node, included: &Included) {
        let Some(mut top) = self.cx.map(&Field { path: String::new(), at: model.at, node: model }) else { return };
        if let Some(name) = top.take("name") {
            self.cx
                .notice(name.at, "`name` of an included file has no effect: the project is that of the including one");
        }
        if let Some(version) = top.take("version") {
            self.cx.notice(version.at, "`version` has no meaning any more and can be removed");
        }
        for section in SECTIONS {
            let Some(field) = top.take(section) else { continue };
            if self.cx.map(&field).is_none() {
                continue;
            }
            let Value::Map(entries) = &field.node.value else { continue };
            let Some(into) = section_of(root, section, included.at) else { continue };
            for entry in entries {
                match into.iter().find(|e| e.key == entry.key) {
                    None => into.push(entry.clone()),
                    Some(own) if self.is_the_same(own, entry) => {}
                    Some(own) => conflict(self.cx, section, own, entry, included.at),
                }
            }
        }
        top.finish(self.cx, keys::TOP);
    }

    /// Whether two entries mean the same: the same words, and from the same directory where paths may stand in them.
    fn is_the_same(&self, a: &Entry, b: &Entry) -> bool {
        a.value.says_the_same_as(&b.value)
            && (a.value.value == Value::Null || self.cx.dir(a.value.at) == self.cx.dir(b.value.at))
    }
}

/// The entries of a section, which is made when it is absent. `None`: it is no map, which lowering refuses.
fn section_of<'n>(root: &'n mut Node, section: &str, at: Mark) -> Option<&'n mut Vec<Entry>> {
    let Value::Map(top) = &mut root.value else { return None };
    let index = top.iter().position(|e| e.key == section).unwrap_or_else(|| {
        top.push(Entry { key: section.to_owned(), at, value: Node::new(at, Value::Map(Vec::new())) });
        top.len() - 1
    });
    let value = &mut top[index].value;
    if value.value == Value::Null {
        value.value = Value::Map(Vec::new());
    }
    match &mut value.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

fn conflict(cx: &mut Context<'_>, section: &str, own: &Entry, other: &Entry, included: Mark) {
    let at = if own.at.file == included.file { own.at } else { included };
    let (here, there) = (cx.elsewhere(own.at, at), cx.elsewhere(other.at, at));
    let message = format!("`{section}.{}` is written twice, and differently: {here} and {there}", shorten(&own.key));
    let hint = "rename one of them; to change what is included, write `path: [FILE, OVERRIDE]` in `include`";
    cx.problem(at, message, hint);
}
