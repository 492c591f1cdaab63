//! A map of the tree taken key by key: what nobody took is refused by name.
//!
//! Never knows a key of Compose. Used by every file of `lower`, by `context`'s name.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::super::tree::{Entry, Mark, Node, Value, shorten};
use super::context::Context;

/// Every key that stands in the manifest, asked for or refused: its path with its place. Empty unless it is to be kept.
#[derive(Default)]
pub struct Record {
    keys: RefCell<Vec<(String, Mark)>>,
    is_kept: Cell<bool>,
}

impl Record {
    /// From now on keys are noted, or not.
    pub(super) fn keep(&self, is_kept: bool) {
        self.is_kept.set(is_kept);
    }

    /// Notes a key.
    pub(super) fn note(&self, path: impl FnOnce() -> String, at: Mark) {
        if self.is_kept.get() {
            self.keys.borrow_mut().push((path(), at));
        }
    }

    /// All that were noted; empties it.
    pub(super) fn take(&self) -> Vec<(String, Mark)> {
        self.keys.take()
    }
}

/// A key with its value, and its path for messages.
#[derive(Clone)]
pub struct Field<'a> {
    /// Such as `services.web.image`.
    pub path: String,
    /// Where the key, or the item of a list, stands.
    pub at: Mark,
    /// The value.
    pub node: &'a Node,
}

/// A map being lowered key by key.
pub struct Fields<'a> {
    /// Its path.
    pub path: String,
    /// Where it stands.
    pub at: Mark,
    entries: &'a [Entry],
    /// Where its keys are, made when the first is asked for of a map with more of them than any rule asks for.
    index: OnceCell<HashMap<&'a str, &'a Entry>>,
    asked: Vec<&'static str>,
    record: Rc<Record>,
}

/// Entries from which on a map has an index: above all keys that a rule asks for.
const INDEXED_FROM: usize = 200;

impl<'a> Fields<'a> {
    /// The entries of a map.
    pub(super) fn of(field: &Field<'a>, entries: &'a [Entry], record: Rc<Record>) -> Fields<'a> {
        Fields { path: field.path.clone(), at: field.at, entries, index: OnceCell::new(), asked: Vec::new(), record }
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        if self.entries.len() < INDEXED_FROM {
            return self.entries.iter().find(|e| e.key == key);
        }
        self.index.get_or_init(|| self.entries.iter().map(|e| (e.key.as_str(), e)).collect()).get(key).copied()
    }

    /// The value of a key, unless it is absent or null.
    pub fn take(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.asked.push(key);
        let entry = self.entry(key)?;
        let field = self.field(entry);
        self.record.note(|| field.path.clone(), field.at);
        (entry.value.value != Value::Null).then_some(field)
    }

    /// Whether a key is written, even without a value.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// All entries, for maps whose keys are names: there a name that begins with `x-` is a name like any other.
    pub fn all(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> {
        self.entries.iter().map(|e| (e.key.as_str(), self.field(e)))
    }

    fn field(&self, entry: &'a Entry) -> Field<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        Field { path: format!("{}{dot}{}", self.path, shorten(&entry.key)), at: entry.at, node: &entry.value }
    }

    /// Refuses by name every key that nobody took. `not_yet`: keys that Compose knows and we do not honour, each with its hint.
    pub fn finish(self, cx: &mut Context<'_>, not_yet: &[(&'static str, &'static str)]) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.asked.contains(&key) {
                continue;
            }
            let is_extension = key.starts_with("x-");
            if cx.is_full() && !is_extension {
                cx.leave_out();
                continue;
            }
            let path = self.field(entry).path;
            self.record.note(|| path.clone(), entry.at);
            if is_extension {
                continue;
            }
            if let Some((_, hint)) = not_yet.iter().find(|(name, _)| *name == key) {
                cx.problem(entry.at, format!("`{path}` is not supported yet"), hint);
                continue;
            }
            let known = self.asked.iter().copied().chain(not_yet.iter().map(|(name, _)| *name));
            let hint = match cx.suggest(key, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "remove it, or begin its name with `x-`".into(),
            };
            cx.problem(entry.at, format!("unknown key `{path}`"), &hint);
        }
    }
}
