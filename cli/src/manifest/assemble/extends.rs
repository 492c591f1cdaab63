//! `extends`: a service over another one, of its own file or of another (Compose Specification, section 05).
//!
//! Paths of the other service stay relative to the file it stands in. What it refers to (volumes, networks, dependencies) is not
//! taken along: the Specification leaves that to the one who extends. Called by `assemble`.

use std::path::PathBuf;
use std::rc::Rc;

use super::super::interpolate::expand_node;
use super::super::lower::context::{Field, Origin};
use super::super::parse::weigh;
use super::super::project;
use super::super::tree::{Mark, Node, Value};
use super::{Assembly, EXTENDS_MAX_BYTES, EXTENDS_MAX_DEPTH, EXTENDS_MAX_NODES, merge, remote, services};

/// Where a service's name is looked for.
#[derive(Clone, Copy)]
struct Scope<'n> {
    /// The document.
    root: &'n Node,
    /// Documents that it will be merged over.
    before: Option<&'n Node>,
    /// The document is a file of which only this service is taken: its variables are not put in yet.
    is_raw: bool,
}

/// A service that is extended.
struct Target {
    service: String,
    at: Mark,
    file: Option<(String, Mark)>,
}

/// Services on the way, each as the place of its value: one place is one service.
type Way = Vec<(Mark, String)>;

impl Assembly<'_, '_> {
    /// Resolves every `extends` of a document.
    pub(super) fn extend(&mut self, root: &mut Node, before: Option<&Node>) {
        let Some(Value::Map(entries)) = services(root).map(|node| &node.value) else { return };
        let scope = Scope { root, before, is_raw: false };
        let extending = entries.iter().enumerate().filter(|(_, e)| e.value.get("extends").is_some());
        let extended: Vec<(usize, Mark, Node, bool)> = extending
            .map(|(index, e)| {
                let mut way = vec![(e.value.at, e.key.clone())];
                let (service, is_whole) = self.extended(&e.key, &e.value, scope, &mut way);
                (index, e.at, service, is_whole)
            })
            .collect();
        let Value::Map(top) = &mut root.value else { return };
        let Some(entry) = top.iter_mut().find(|e| e.key == "services") else { return };
        let Value::Map(entries) = &mut entry.value.value else { return };
        for (index, at, service, is_whole) in extended {
            entries[index].value = service;
            if !is_whole {
                // What it lacks would have come from there.
                self.cx.silence(at);
            }
        }
    }

    /// A service with all it extends, without the key itself; and whether nothing is missing.
    fn extended(&mut self, name: &str, service: &Node, scope: Scope<'_>, way: &mut Way) -> (Node, bool) {
        let mut own = service.clone();
        let Value::Map(entries) = &mut own.value else { return (own, true) };
        let Some(index) = entries.iter().position(|e| e.key == "extends") else { return (own, true) };
        let entry = entries.remove(index);
        let path = format!("services.{name}.extends");
        self.cx.understood(path.clone(), entry.at);
        let base = self.base(&Field { path, at: entry.at, node: &entry.value }, scope, way);
        match base {
            Some((base, is_whole)) => {
                (merge::values(self.cx, base, own, &merge::Path::top("services").below(name)), is_whole)
            }
            None => (own, false),
        }
    }

    /// What a service extends, with all that it extends itself.
    fn base(&mut self, field: &Field<'_>, scope: Scope<'_>, way: &mut Way) -> Option<(Node, bool)> {
        let target = self.target(field)?;
        if way.len() > EXTENDS_MAX_DEPTH {
            let message = format!("more than {EXTENDS_MAX_DEPTH} services extend each other");
            self.cx.problem(target.at, message, "write their keys together");
            return None;
        }
        let document = match &target.file {
            None => None,
            Some((file, at)) => Some(self.document(file, *at)?),
        };
        let scope = match &document {
            None => scope,
            Some(root) => Scope { root, before: None, is_raw: true },
        };
        let base = self.found(&target, scope)?;
        if let Some(first) = way.iter().position(|(at, _)| *at == base.at) {
            self.circle(&target, &way[first..]);
            return None;
        }
        way.push((base.at, target.service.clone()));
        let (base, is_whole) = self.extended(&target.service, &base, scope, way);
        way.pop();
        self.may_copy(&base, target.at).then_some((base, is_whole))
    }

    /// Told once, from wherever it is entered.
    fn circle(&mut self, target: &Target, way: &[(Mark, String)]) {
        if !self.circled.insert(way.iter().map(|(at, _)| *at).min().unwrap_or(target.at)) {
            return;
        }
        let names: Vec<&str> = way.iter().map(|(_, name)| name.as_str()).collect();
        let message = format!("`extends` goes in a circle: {} -> {}", names.join(" -> "), target.service);
        self.cx.problem(target.at, message, "remove one of them");
    }

    fn target(&mut self, field: &Field<'_>) -> Option<Target> {
        if let Value::Scalar(_) = field.node.value {
            let service = self.cx.filled_text(field)?.to_owned();
            return Some(Target { service, at: field.node.at, file: None });
        }
        let mut keys = self.cx.map_or(field, "a service's name or a map")?;
        let (service, file) = (keys.take("service"), keys.take("file"));
        keys.finish(self.cx, &[]);
        let Some(service) = service else {
            self.cx.problem(field.at, format!("`{}` has no `service`", field.path), "name the service to extend");
            return None;
        };
        let file = match &file {
            None => None,
            Some(file) => Some((self.cx.filled_text(file)?.to_owned(), file.node.at)),
        };
        Some(Target { service: self.cx.filled_text(&service)?.to_owned(), at: service.node.at, file })
    }

    /// The service in the document, or in one that it will be merged over.
    fn found(&mut self, target: &Target, scope: Scope<'_>) -> Option<Node> {
        let places = [Some(scope.root), scope.before].into_iter().flatten();
        let entry = places.filter_map(services).find_map(|node| node.get(&target.service));
        let Some(entry) = entry else {
            let Some(Value::Map(entries)) = services(scope.root).map(|node| &node.value) else {
                let file = target.file.as_ref().map(|(file, _)| file.as_str()).unwrap_or_default();
                self.cx.problem(target.at, format!("there are no services in `{file}`"), "");
                return None;
            };
            let names = entries.iter().map(|e| e.key.as_str());
            let place = target.file.as_ref().map(|(file, _)| format!("it is not in `{file}`"));
            let place = place.unwrap_or_else(|| "extend a service of this file, or name its `file`".to_owned());
            self.cx.undefined(target.at, "service", &target.service, &place, names);
            return None;
        };
        let mut service = entry.value.clone();
        if scope.is_raw {
            let env = self.cx.env(service.at);
            self.substitute(&env, |variables, findings| expand_node(&mut service, variables, findings));
        }
        Some(service)
    }

    /// The file that is named at a place, read once.
    fn document(&mut self, file: &str, at: Mark) -> Option<Rc<Node>> {
        if let Some(what) = remote(file) {
            let message = format!("`{file}` is {what}: only files of this machine can be extended");
            self.cx.problem(at, message, "fetch it, and name the file");
            return None;
        }
        let path = match project::host_path(self.cx, at, file) {
            Ok(path) => path,
            Err(why) => {
                self.cx.problem(at, why, "");
                return None;
            }
        };
        let env = self.cx.env(at);
        let key: (PathBuf, usize) = (path.clone(), std::sync::Arc::as_ptr(&env) as usize);
        if let Some(known) = self.extended.get(&key) {
            return known.clone();
        }
        let dir = path.parent().unwrap_or(&path).to_owned();
        let root = self.open(Origin { name: self.shown(&path), dir, env }, &path, Some(at)).map(Rc::new);
        self.extended.insert(key, root.clone());
        root
    }

    fn may_copy(&mut self, base: &Node, at: Mark) -> bool {
        let weight = weigh(base);
        self.copied.nodes += weight.nodes;
        self.copied.bytes += weight.bytes;
        let fits = self.copied.nodes <= EXTENDS_MAX_NODES && self.copied.bytes <= EXTENDS_MAX_BYTES;
        if !fits {
            let message = format!("`extends` copies more than {EXTENDS_MAX_NODES} values or {EXTENDS_MAX_BYTES} bytes");
            self.cx.problem(at, message, "extend smaller services, or fewer");
        }
        fits
    }
}
