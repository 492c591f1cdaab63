//! A map of the tree taken key by key: what nobody took is refused by name.
//!
//! Never knows a key of Compose. Used by every file of `lower`, by `context`'s name.

use super::super::tree::{Entry, Mark, Node, Value, shorten};
use super::context::{Context, Record};

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
    pub(super) entries: &'a [Entry],
    pub(super) asked: Vec<&'static str>,
    pub(super) record: Record,
}

impl<'a> Fields<'a> {
    /// The value of a key, unless it is absent or null.
    pub fn take(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|e| e.key == key)?;
        let field = self.field(entry);
        self.record.borrow_mut().push((field.path.clone(), field.at));
        (entry.value.value != Value::Null).then_some(field)
    }

    /// Whether a key is written, even without a value.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|e| e.key == key)
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
            let path = self.field(entry).path;
            self.record.borrow_mut().push((path.clone(), entry.at));
            if key.starts_with("x-") {
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
