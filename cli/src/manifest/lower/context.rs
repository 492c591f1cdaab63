//! What all rules of lowering share: collecting problems and notices, and taking typed values out of the tree.
//!
//! Never knows a key of Compose. Used by every file of `lower`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::super::interpolate::Variables;
use super::super::problem::{Notice, PROBLEMS_KEPT, Problem};
use super::super::suggest::nearest;
use super::super::tree::{Entry, Fault, Mark, Node, Scalar, ScalarKind, Value, shorten};
use super::super::{Sources, dotenv, words};

/// Where lowering gets its outside from and puts what it has to say.
pub struct Context<'a> {
    /// Directory of the manifest, absolute.
    pub dir: &'a Path,
    /// Files.
    pub sources: &'a dyn Sources,
    /// The process environment over `.env`.
    pub env: BTreeMap<String, String>,
    file: Arc<str>,
    problems: BTreeSet<(bool, Problem)>,
    problems_left_out: usize,
    silenced: BTreeSet<Mark>,
    notices: BTreeSet<(bool, Notice)>,
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
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The value of a key, unless it is absent or null.
    pub fn take(&mut self, key: &'static str) -> Option<Field<'a>> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|e| e.key == key && e.value.value != Value::Null)?;
        Some(self.field(entry))
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
            if key.starts_with("x-") || self.asked.contains(&key) {
                continue;
            }
            let path = self.field(entry).path;
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

impl<'a> Context<'a> {
    /// An empty one for a file.
    pub fn new(file: &Arc<str>, dir: &'a Path, sources: &'a dyn Sources) -> Self {
        Context {
            dir,
            sources,
            env: BTreeMap::new(),
            file: file.clone(),
            problems: BTreeSet::new(),
            problems_left_out: 0,
            silenced: BTreeSet::new(),
            notices: BTreeSet::new(),
        }
    }

    /// Lets further problems of a value pass in silence: what is wrong with it is said, and its text is not what it will be.
    pub fn silence(&mut self, value: Mark) {
        self.silenced.insert(value);
    }

    /// A problem in the manifest.
    pub fn problem(&mut self, at: Mark, message: impl Into<String>, hint: &str) {
        if self.silenced.contains(&at) {
            return;
        }
        let file = self.file.clone();
        self.problem_in(&file, at, message, hint);
    }

    /// A problem in any file.
    pub fn problem_in(&mut self, file: &str, at: Mark, message: impl Into<String>, hint: &str) {
        if self.is_full() {
            self.problems_left_out += 1;
            return;
        }
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        let problem = Problem { path: file.to_owned(), line: at.line, col: at.col, message: message.into(), hint };
        self.problems.insert((*file != *self.file, problem));
    }

    /// A problem already in words.
    pub fn fault(&mut self, fault: Fault) {
        self.problem(fault.at, fault.message, fault.hint.as_deref().unwrap_or_default());
    }

    /// Something honoured otherwise than expected.
    pub fn notice(&mut self, at: Mark, text: impl Into<String>) {
        let file = self.file.clone();
        self.notice_in(&file, at, text);
    }

    fn notice_in(&mut self, file: &Arc<str>, at: Mark, text: impl Into<String>) {
        let notice = Notice { file: file.clone(), line: at.line, col: at.col, text: text.into() };
        self.notices.insert((**file != *self.file, notice));
    }

    /// The notices, or all problems.
    pub fn finish(self) -> Result<Vec<Notice>, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(self.notices.into_iter().map(|(_, notice)| notice).collect());
        }
        let mut problems: Vec<Problem> = self.problems.into_iter().map(|(_, problem)| problem).collect();
        if self.problems_left_out > 0 {
            let message = format!("{} more problems are not shown", self.problems_left_out);
            problems.push(Problem { path: self.file.to_string(), line: 0, col: 0, message, hint: None });
        }
        Err(problems)
    }

    /// What was probably meant; silent when so much is wrong that nobody will read it.
    pub fn suggest<'w>(&self, word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
        if self.is_full() { None } else { nearest(word, known) }
    }

    /// Whether further problems are only counted.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_KEPT
    }

    /// `expected X, found Y`.
    pub fn mismatch(&mut self, field: &Field<'_>, expected: &str) {
        let hint = match (&field.node.value, expected) {
            (Value::Scalar(s), "a string") if s.kind() != ScalarKind::Text => {
                format!("put it in quotes: \"{}\"", shorten(&s.text))
            }
            _ => String::new(),
        };
        let message = format!("`{}`: expected {expected}, found {}", field.path, field.node.describe());
        self.problem(field.node.at, message, &hint);
    }

    /// A scalar of any kind.
    pub fn scalar<'n>(&mut self, field: &Field<'n>, expected: &str) -> Option<&'n Scalar> {
        match &field.node.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => {
                self.mismatch(field, expected);
                None
            }
        }
    }

    /// A string.
    pub fn text<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        match &field.node.value {
            Value::Scalar(scalar) if scalar.kind() == ScalarKind::Text => Some(&scalar.text),
            _ => {
                self.mismatch(field, "a string");
                None
            }
        }
    }

    /// A string that is not empty.
    pub fn filled_text<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        let text = self.text(field)?;
        if text.trim().is_empty() {
            self.empty(field, "");
            return None;
        }
        Some(text)
    }

    /// A value that is empty, perhaps because a variable is.
    pub fn empty(&mut self, field: &Field<'_>, hint: &str) {
        let by_variable = matches!(&field.node.value, Value::Scalar(s) if s.substituted);
        let hint = if by_variable { "a variable in it is empty or not set" } else { hint };
        self.problem(field.node.at, format!("`{}` is empty", field.path), hint);
    }

    /// A boolean.
    pub fn boolean(&mut self, field: &Field<'_>) -> Option<bool> {
        let value = match &field.node.value {
            Value::Scalar(scalar) => words::boolean(&scalar.text),
            _ => None,
        };
        if value.is_none() {
            self.mismatch(field, "true or false");
        }
        value
    }

    /// A whole number, perhaps quoted, at least `min` and at most `max`.
    pub fn whole(&mut self, field: &Field<'_>, min: i64, max: i64) -> Option<i64> {
        let value = match &field.node.value {
            Value::Scalar(scalar) => words::whole::<i64>(&scalar.text),
            _ => None,
        };
        if value.is_none() {
            self.mismatch(field, "a whole number");
        }
        let value = value?;
        if !(min..=max).contains(&value) {
            self.problem(field.node.at, format!("`{}`: {value} is not between {min} and {max}", field.path), "");
            return None;
        }
        Some(value)
    }

    /// A scalar in one of the little languages of `words`.
    pub fn word<T>(
        &mut self,
        field: &Field<'_>,
        expected: &str,
        read: impl FnOnce(&Scalar) -> Result<T, String>,
    ) -> Option<T> {
        let scalar = self.scalar(field, expected)?;
        match read(scalar) {
            Ok(value) => Some(value),
            Err(hint) => {
                let message = format!("`{}`: expected {expected}, found {}", field.path, field.node.describe());
                self.problem(field.node.at, message, &hint);
                None
            }
        }
    }

    /// A duration, in milliseconds.
    pub fn duration_ms(&mut self, field: &Field<'_>) -> Option<u64> {
        self.word(field, "a duration", |s| words::duration_ms(&s.text))
    }

    /// The items of a list.
    pub fn list<'n>(&mut self, field: &Field<'n>) -> Option<Vec<Field<'n>>> {
        self.list_or(field, "a list")
    }

    fn list_or<'n>(&mut self, field: &Field<'n>, expected: &str) -> Option<Vec<Field<'n>>> {
        let Value::List(items) = &field.node.value else {
            self.mismatch(field, expected);
            return None;
        };
        let item =
            |(index, node): (usize, &'n Node)| Field { path: format!("{}[{index}]", field.path), at: node.at, node };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The strings of a list, each with its place.
    pub fn text_list(&mut self, field: &Field<'_>) -> Option<Vec<(String, Mark)>> {
        let items = self.list(field)?;
        Some(items.iter().filter_map(|item| Some((self.text(item)?.to_owned(), item.at))).collect())
    }

    /// A map.
    pub fn map<'n>(&mut self, field: &Field<'n>) -> Option<Fields<'n>> {
        self.map_or(field, "a map")
    }

    /// A map, where something else would have done as well.
    pub fn map_or<'n>(&mut self, field: &Field<'n>, expected: &str) -> Option<Fields<'n>> {
        let Value::Map(entries) = &field.node.value else {
            self.mismatch(field, expected);
            return None;
        };
        Some(Fields { path: field.path.clone(), at: field.at, entries, asked: Vec::new() })
    }

    /// A map of names to scalars, or a list of `NAME=value`. A name without a value has `None`.
    pub fn pairs(&mut self, field: &Field<'_>) -> Vec<(String, Option<String>, Mark)> {
        match &field.node.value {
            Value::Map(entries) => entries.iter().filter_map(|entry| self.pair(field, entry)).collect(),
            _ => self.listed_pairs(field),
        }
    }

    fn pair(&mut self, field: &Field<'_>, entry: &Entry) -> Option<(String, Option<String>, Mark)> {
        let value = match &entry.value.value {
            Value::Null => None,
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            _ => {
                let path = format!("{}.{}", field.path, shorten(&entry.key));
                self.mismatch(&Field { path, at: entry.at, node: &entry.value }, "a string, a number or a boolean");
                return None;
            }
        };
        Some((entry.key.clone(), value, entry.at))
    }

    fn listed_pairs(&mut self, field: &Field<'_>) -> Vec<(String, Option<String>, Mark)> {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let mut pairs = Vec::new();
        for item in self.list_or(field, "a map or a list").unwrap_or_default() {
            let Some(text) = self.text(&item) else { continue };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            if let Some(first) = seen.insert(name.to_owned(), item.at.line) {
                let message = format!(
                    "`{}` is written twice in `{}`: on line {first} and on line {}",
                    shorten(name),
                    field.path,
                    item.at.line
                );
                self.problem(item.at, message, "keep one of them");
            }
            pairs.push((name.to_owned(), value, item.at));
        }
        pairs
    }

    /// Labels: an absent value is an empty one; names that begin with `wherry.` are ours.
    pub fn labels(&mut self, field: &Field<'_>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (name, value, at) in self.pairs(field) {
            if name.is_empty() {
                self.problem(at, format!("a label of `{}` has no name", field.path), "");
            } else if name.starts_with("wherry.") {
                self.problem(
                    at,
                    format!("the label `{}` is reserved", shorten(&name)),
                    "labels that begin with `wherry.` are set by the agent",
                );
            } else {
                labels.insert(name, value.unwrap_or_default());
            }
        }
        labels
    }

    /// The variables of an env file, what is wrong in it reported.
    pub fn dotenv(&mut self, file: &str, bytes: &[u8], raw: bool, outer: Variables<'_>) -> Vec<(String, String)> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.problem_in(file, Mark::default(), "is not UTF-8 text", "save the file as UTF-8");
            return Vec::new();
        };
        let found = if raw { dotenv::parse_raw(text, outer) } else { dotenv::parse(text, outer) };
        for fault in found.faults {
            self.problem_in(file, Mark { line: fault.line, col: 1 }, fault.message, &fault.hint);
        }
        for (name, line) in found.undefined {
            let at = Mark { line, col: 1 };
            self.notice_in(&file.into(), at, format!("the variable `{name}` is not set: taken as empty"));
        }
        found.variables
    }

    /// A name that refers to something declared elsewhere and is not there.
    pub fn undefined<'w>(
        &mut self,
        at: Mark,
        what: &str,
        name: &str,
        declare: &str,
        known: impl IntoIterator<Item = &'w str>,
    ) {
        let hint = match self.suggest(name, known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => declare.to_owned(),
        };
        self.problem(at, format!("there is no {what} `{}`", shorten(name)), &hint);
    }
}
