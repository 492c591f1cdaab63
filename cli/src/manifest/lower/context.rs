//! What all rules of lowering share: collecting problems and notices, and taking typed values out of the tree.
//!
//! Never knows a key of Compose. Used by every file of `lower`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

pub use super::fields::{Field, Fields, Record};

use super::super::interpolate::Variables;
use super::super::problem::{Notice, PROBLEMS_JUDGED, PROBLEMS_KEPT, Problem};
use super::super::suggest::nearest;
use super::super::tree::{Entry, Fault, Mark, Node, Scalar, ScalarKind, Value, shorten};
use super::super::{Sources, dotenv, words};

/// The variables that a file sees: the process environment over the `.env` file, or `env_file` of an include.
pub type Environment = Arc<BTreeMap<String, String>>;

/// A file of the manifest.
#[derive(Debug, Clone)]
pub struct Origin {
    /// As the user would name it.
    pub name: Arc<str>,
    /// What its relative paths are relative to, absolute.
    pub dir: PathBuf,
    /// What its variables are.
    pub env: Environment,
}

/// Where lowering gets its outside from and puts what it has to say.
pub struct Context<'a> {
    /// Files.
    pub sources: &'a dyn Sources,
    /// Services whose profiles are not active, with these.
    pub left_out: BTreeMap<String, Vec<String>>,
    origins: Vec<Origin>,
    problems: BTreeSet<(u16, Problem)>,
    problems_kept: usize,
    problems_left_out: usize,
    judges_all: bool,
    silenced: BTreeSet<Mark>,
    notices: Vec<(u16, Notice)>,
    record: Rc<Record>,
    /// Keys of earlier files that later files replace: path, place, place of the later one.
    pub replaced: Vec<(String, Mark, Mark)>,
}

/// The rank of what stands in no file of the manifest: after all that does.
const ELSEWHERE: u16 = u16::MAX;

impl<'a> Context<'a> {
    /// An empty one.
    pub fn new(sources: &'a dyn Sources) -> Self {
        Context {
            sources,
            left_out: BTreeMap::new(),
            origins: Vec::new(),
            problems: BTreeSet::new(),
            problems_kept: PROBLEMS_KEPT,
            problems_left_out: 0,
            judges_all: false,
            silenced: BTreeSet::new(),
            notices: Vec::new(),
            record: Rc::default(),
            replaced: Vec::new(),
        }
    }

    /// Records every key and keeps many problems: for a verdict of every key.
    pub fn judge_all(&mut self) {
        self.problems_kept = PROBLEMS_JUDGED;
        self.judges_all = true;
        self.record.keep(true);
    }

    /// Whether a verdict of every key is wanted.
    pub fn judges_all(&self) -> bool {
        self.judges_all
    }

    /// Whether there are more problems than are kept.
    pub fn has_left_out(&self) -> bool {
        self.problems_left_out > 0
    }

    /// Takes one more file and returns its number for marks.
    pub fn add(&mut self, origin: Origin) -> u16 {
        self.origins.push(origin);
        u16::try_from(self.origins.len() - 1).unwrap_or(ELSEWHERE)
    }

    /// Gives all files so far other variables: those of the project's name among them.
    pub fn set_env(&mut self, env: &Environment) {
        self.origins.iter_mut().for_each(|origin| origin.env = env.clone());
    }

    /// How many files there are.
    pub fn files(&self) -> usize {
        self.origins.len()
    }

    /// The names of the files by their number.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.origins.iter().map(|origin| origin.name.clone()).collect()
    }

    /// The file in which a place is.
    pub fn origin(&self, at: Mark) -> Option<&Origin> {
        self.origins.get(usize::from(at.file))
    }

    /// The directory that paths at this place are relative to.
    pub fn dir(&self, at: Mark) -> &Path {
        self.origin(at).map_or(Path::new("/"), |origin| &origin.dir)
    }

    /// The variables that are seen at this place.
    pub fn env(&self, at: Mark) -> Environment {
        self.origin(at).map(|origin| origin.env.clone()).unwrap_or_default()
    }

    /// The value of a variable at this place.
    pub fn variable(&self, at: Mark, name: &str) -> Option<String> {
        self.origin(at)?.env.get(name).cloned()
    }

    /// Another place, in words for a message that is about `at`: `on line 3` or `in base.yaml:3:5`.
    pub fn elsewhere(&self, other: Mark, at: Mark) -> String {
        match self.origin(other) {
            Some(origin) if other.file != at.file => format!("in {}:{}:{}", origin.name, other.line, other.col),
            _ => format!("on line {}", other.line),
        }
    }

    /// Notes that a key was understood which lowering will not see.
    pub fn understood(&mut self, path: impl Into<String>, at: Mark) {
        self.record.note(|| path.into(), at);
    }

    /// The keys that stand in the manifest, with their places; empties it.
    pub fn take_record(&mut self) -> Vec<(String, Mark)> {
        self.record.take()
    }

    /// Notes that a key of an earlier file is replaced by the one of a later file.
    pub fn replaced(&mut self, path: String, earlier: Mark, by: Mark) {
        self.replaced.push((path, earlier, by));
    }

    fn name(&self, at: Mark) -> Arc<str> {
        self.origin(at).map(|origin| origin.name.clone()).unwrap_or_default()
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
        let file = self.name(at);
        self.add_problem(at.file, &file, at, message, hint);
    }

    /// A problem in a file that is no part of the manifest.
    pub fn problem_in(&mut self, file: &str, at: Mark, message: impl Into<String>, hint: &str) {
        self.add_problem(ELSEWHERE, file, at, message, hint);
    }

    fn add_problem(&mut self, rank: u16, file: &str, at: Mark, message: impl Into<String>, hint: &str) {
        if self.is_full() {
            return self.leave_out();
        }
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        let problem = Problem { path: file.to_owned(), line: at.line, col: at.col, message: message.into(), hint };
        self.problems.insert((rank, problem));
    }

    /// One more problem that is only counted. Which keys stand in the manifest is of no use from then on.
    pub(super) fn leave_out(&mut self) {
        self.problems_left_out += 1;
        self.record.keep(false);
    }

    /// A problem already in words.
    pub fn fault(&mut self, fault: Fault) {
        self.problem(fault.at, fault.message, fault.hint.as_deref().unwrap_or_default());
    }

    /// A key that means something else than in Compose, or nothing.
    pub fn notice(&mut self, at: Mark, text: impl Into<String>) {
        self.say(at, text.into(), true);
    }

    /// Something worth knowing of what is honoured.
    pub fn remark(&mut self, at: Mark, text: impl Into<String>) {
        self.say(at, text.into(), false);
    }

    fn say(&mut self, at: Mark, text: String, translates: bool) {
        let file = self.name(at);
        self.notices.push((at.file, Notice { file, line: at.line, col: at.col, text, translates }));
    }

    /// All problems and all notices, sorted by place.
    pub fn finish(self) -> (Vec<Problem>, Vec<Notice>) {
        let name = self.name(Mark::default());
        let mut notices = self.notices;
        notices.sort();
        notices.dedup();
        let notices = notices.into_iter().map(|(_, notice)| notice).collect();
        let mut problems: Vec<Problem> = self.problems.into_iter().map(|(_, problem)| problem).collect();
        if self.problems_left_out > 0 {
            let message = match self.problems_left_out {
                1 => "1 more problem is not shown".to_owned(),
                more => format!("{more} more problems are not shown"),
            };
            problems.push(Problem { path: name.to_string(), line: 0, col: 0, message, hint: None });
        }
        (problems, notices)
    }

    /// What was probably meant; silent when so much is wrong that nobody will read it.
    pub fn suggest<'w>(&self, word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
        if self.problems.len() >= PROBLEMS_KEPT { None } else { nearest(word, known) }
    }

    /// Whether further problems are only counted.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= self.problems_kept
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

    /// The items of a list, where something else would have done as well.
    pub fn list_or<'n>(&mut self, field: &Field<'n>, expected: &str) -> Option<Vec<Field<'n>>> {
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
        let Value::List(items) = &field.node.value else {
            self.mismatch(field, "a list");
            return None;
        };
        let texts = items.iter().enumerate();
        Some(texts.filter_map(|(index, item)| Some((self.item(field, index, item)?.to_owned(), item.at))).collect())
    }

    /// The string that is an item of a list. Its path is made only to complain.
    fn item<'n>(&mut self, field: &Field<'_>, index: usize, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind() == ScalarKind::Text => Some(&scalar.text),
            _ => self.text(&Field { path: format!("{}[{index}]", field.path), at: node.at, node }),
        }
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
        Some(Fields::of(field, entries, self.record.clone()))
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
        let Value::List(items) = &field.node.value else {
            self.mismatch(field, "a map or a list");
            return Vec::new();
        };
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        let mut pairs = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let Some(text) = self.item(field, index, item) else { continue };
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            if let Some(first) = seen.insert(name, item.at.line) {
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
                self.reserved_label(at, &name);
            } else {
                labels.insert(name, value.unwrap_or_default());
            }
        }
        labels
    }

    /// A label that only the agent may set.
    pub fn reserved_label(&mut self, at: Mark, name: &str) {
        let message = format!("the label `{}` is reserved", shorten(name));
        self.problem(at, message, "labels that begin with `wherry.` are set by the agent");
    }

    /// The variables of an env file, what is wrong in it reported.
    pub fn dotenv(&mut self, file: &str, bytes: &[u8], raw: bool, outer: Variables<'_>) -> Vec<(String, String)> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.problem_in(file, Mark::default(), "is not UTF-8 text", "save the file as UTF-8");
            return Vec::new();
        };
        let found = if raw { dotenv::parse_raw(text, outer) } else { dotenv::parse(text, outer) };
        for fault in found.faults {
            let at = Mark { line: fault.line, col: 1, ..Mark::default() };
            self.problem_in(file, at, fault.message, &fault.hint);
        }
        for (name, line) in found.undefined {
            let text = format!("the variable `{name}` is not set: taken as empty");
            self.notices.push((ELSEWHERE, Notice { file: file.into(), line, col: 1, text, translates: false }));
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
