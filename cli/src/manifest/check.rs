//! A verdict for every key that stands in a manifest: honoured, translated or refused, with its place and what is said about it.
//!
//! Never decides anything itself: it reads the manifest as `load` does, and sorts what was asked for and what was said by the keys it is
//! about. Called by `ctl check`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::id::ProjectName;

use super::lower::context::Context;
use super::problem::{Notice, Position, Problem};
use super::tree::{Mark, Node, Value, shorten};
use super::{LoadOptions, Sources, assemble, lower};

/// Sections whose keys are names.
const SECTIONS: [&str; 5] = ["services", "volumes", "networks", "configs", "secrets"];

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It does what Compose says it does.
    Honoured,
    /// It means something else here, or nothing; a notice says what.
    Translated,
    /// The manifest cannot be applied because of it.
    Refused,
}

impl Verdict {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Honoured => "honoured",
            Verdict::Translated => "translated",
            Verdict::Refused => "refused",
        }
    }
}

/// What is said about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// It, in a line.
    pub text: String,
    /// What to do.
    pub hint: Option<String>,
}

/// One key, or one thing that is wrong where no key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Such as `services.web.image`; empty when something outside of the manifest's keys is wrong, in an env file for instance, and
    /// when so much is wrong that keys are not told apart.
    pub path: String,
    /// Where it stands; line 0 when it is a file as a whole.
    pub at: Position,
    /// What becomes of it.
    pub verdict: Verdict,
    /// What is said about it.
    pub said: Vec<Said>,
}

/// All verdicts about a manifest, in the order of its files.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The project, if it has a name.
    pub project: Option<ProjectName>,
    /// Every key.
    pub keys: Vec<Judged>,
    /// What is worth knowing of the manifest as a whole, or of a service.
    pub remarks: Vec<Notice>,
}

impl Checked {
    /// How many keys have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.keys.iter().filter(|key| key.verdict == verdict).count()
    }

    /// Whether `ctl apply` would send it.
    pub fn is_applyable(&self) -> bool {
        self.count(Verdict::Refused) == 0
    }
}

/// Judges a manifest.
pub fn check(options: &LoadOptions, sources: &dyn Sources) -> Checked {
    let mut cx = Context::new(sources);
    cx.judge_all();
    let assembled = assemble::assemble(options, &mut cx);
    if let Some(assembled) = &assembled {
        lower::lower(&assembled.root, &mut cx, assembled.name.as_ref());
    }
    if cx.has_left_out() {
        return wrong_all_over(cx, assembled.and_then(|a| a.name));
    }
    let mut bench = Bench::new(cx.names());
    cx.take_record().into_iter().for_each(|(path, at)| bench.key(path, at));
    for (path, at, by) in std::mem::take(&mut cx.replaced) {
        let by = bench.position(by);
        bench.replaced(path, at, &by);
    }
    assembled.iter().for_each(|a| bench.walk(&a.root, ""));
    let (problems, notices) = cx.finish();
    problems.into_iter().for_each(|problem| bench.problem(problem));
    let remarks = notices.into_iter().filter_map(|notice| bench.notice(notice)).collect();
    Checked { project: assembled.and_then(|a| a.name), keys: bench.rows(), remarks }
}

/// With more problems than are kept no key's verdict is certain: the problems that are kept, and how many there are besides.
fn wrong_all_over(cx: Context<'_>, project: Option<ProjectName>) -> Checked {
    let (problems, remarks) = cx.finish();
    let keys = problems.into_iter().map(|p| Judged {
        path: String::new(),
        at: Position { file: p.path.into(), line: p.line, col: p.col },
        verdict: Verdict::Refused,
        said: vec![Said { text: p.message, hint: p.hint }],
    });
    Checked { project, keys: keys.collect(), remarks }
}

/// A place by which keys are sorted and found: the file's number, line and column.
type Place = (u16, u32, u32);

/// Where the judging is done.
struct Bench {
    files: Vec<Arc<str>>,
    numbers: BTreeMap<Arc<str>, u16>,
    /// Verdicts so far.
    keys: BTreeMap<(Place, String), (Verdict, Vec<Said>)>,
    /// Where the keys of a path stand: in several files, perhaps.
    places: BTreeMap<String, BTreeSet<Place>>,
    /// What stands at a place: paths of keys, of their values, and of items.
    standing: BTreeMap<Place, Vec<String>>,
}

impl Bench {
    fn new(files: Vec<Arc<str>>) -> Bench {
        let numbers = files.iter().cloned().zip(0..).collect::<Vec<_>>().into_iter().rev().collect();
        let (keys, places, standing) = Default::default();
        Bench { files, numbers, keys, places, standing }
    }

    /// A file that was read twice is one file here.
    fn place(&self, at: Mark) -> Place {
        let name = self.files.get(usize::from(at.file));
        (name.and_then(|name| self.numbers.get(name)).copied().unwrap_or(at.file), at.line, at.col)
    }

    fn position(&self, at: Mark) -> Position {
        let file = self.files.get(usize::from(at.file)).cloned().unwrap_or_default();
        Position { file, line: at.line, col: at.col }
    }

    fn key(&mut self, path: String, at: Mark) {
        let place = self.place(at);
        self.places.entry(path.clone()).or_default().insert(place);
        self.stands(at, &path);
        self.keys.entry((place, path)).or_insert((Verdict::Honoured, Vec::new()));
    }

    fn replaced(&mut self, path: String, at: Mark, by: &Position) {
        let said = Said { text: format!("replaced by {by}"), hint: None };
        self.keys.insert((self.place(at), path), (Verdict::Honoured, vec![said]));
    }

    /// Notes what stands where.
    fn walk(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Map(entries) => {
                let dot = if path.is_empty() { "" } else { "." };
                for entry in entries {
                    let below = format!("{path}{dot}{}", shorten(&entry.key));
                    self.stands(entry.at, &below);
                    let is_extension = entry.key.starts_with("x-") && entry.key != "x-wherry";
                    if is_extension && !SECTIONS.contains(&path) {
                        // Nothing reads it but the anchors in it, and what they give is judged where it is given.
                        continue;
                    }
                    // A block begins where its first key does: what is said there is about that key.
                    let first = match &entry.value.value {
                        Value::Map(entries) => entries.first().map(|e| e.at),
                        _ => None,
                    };
                    if first != Some(entry.value.at) {
                        self.stands(entry.value.at, &below);
                    }
                    self.walk(&entry.value, &below);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let below = format!("{path}[{index}]");
                    self.stands(item.at, &below);
                    self.walk(item, &below);
                }
            }
            Value::Null | Value::Scalar(_) => {}
        }
    }

    fn stands(&mut self, at: Mark, path: &str) {
        let paths = self.standing.entry(self.place(at)).or_default();
        if !paths.iter().any(|p| p == path) {
            paths.push(path.to_owned());
        }
    }

    /// The keys that something is about which is said at a place: those that stand there or around what does.
    fn about(&self, place: Place, text: &str) -> Vec<(Place, String)> {
        let near = |(found, paths): (&Place, &Vec<String>)| (found.0 == place.0).then(|| paths.clone());
        let paths = match self.standing.get(&place) {
            Some(paths) => paths.clone(),
            None => self.standing.range(..=place).next_back().and_then(near).unwrap_or_default(),
        };
        let mut keys: Vec<String> = paths.iter().filter_map(|path| self.around(path)).collect();
        // A value that anchors or `extends` put into several places: it is about the one that is named.
        let is_named = |path: &String| text.contains(&format!("`{path}`")) || text.contains(&format!("`{path}:"));
        if keys.iter().any(is_named) {
            keys.retain(is_named);
        } else {
            // An item and its first key begin at one place: then it is about the item.
            let all = keys.clone();
            keys.retain(|key| !all.iter().any(|other| key.len() > other.len() && key.starts_with(other.as_str())));
        }
        let mut found: Vec<(Place, String)> = keys.into_iter().flat_map(|key| self.nearest(place, key)).collect();
        found.sort();
        found.dedup();
        found
    }

    /// The key itself or the nearest one above it. A name is no key.
    fn around(&self, path: &str) -> Option<String> {
        let mut path = path;
        loop {
            if self.places.contains_key(path) {
                return Some(path.to_owned());
            }
            path = &path[..path.rfind(['.', '['])?];
            if SECTIONS.contains(&path) {
                return None;
            }
        }
    }

    /// The row of a key that stands at or before a place; a key may stand in several files.
    fn nearest(&self, place: Place, key: String) -> Option<(Place, String)> {
        let places = self.places.get(&key)?;
        let found = places.iter().min_by_key(|at| (at.0 != place.0, place.1.abs_diff(at.1)))?;
        Some((*found, key))
    }

    fn problem(&mut self, problem: Problem) {
        let is_part = self.numbers.contains_key(problem.path.as_str());
        let place = (self.number(&problem.path), problem.line, problem.col);
        let said = Said { text: problem.message, hint: problem.hint };
        let mut keys = if is_part && problem.line > 0 { self.about(place, &said.text) } else { Vec::new() };
        if keys.is_empty() {
            let standing = self.standing.get(&place).and_then(|paths| paths.first()).cloned();
            keys.push((place, standing.unwrap_or_default()));
        }
        for key in keys {
            let (verdict, all) = self.keys.entry(key).or_insert((Verdict::Refused, Vec::new()));
            *verdict = Verdict::Refused;
            all.push(said.clone());
        }
    }

    /// The number of a file; one that is no part of the manifest gets one now.
    fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u16::try_from(self.files.len()).unwrap_or(u16::MAX);
        let name: Arc<str> = name.into();
        self.files.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    /// Gives a notice to its keys, or back.
    fn notice(&mut self, notice: Notice) -> Option<Notice> {
        let Some(number) = self.numbers.get(&notice.file).copied().filter(|_| notice.line > 0) else {
            return Some(notice);
        };
        let keys = self.about((number, notice.line, notice.col), &notice.text);
        for key in &keys {
            let Some((verdict, all)) = self.keys.get_mut(key) else { continue };
            if notice.translates {
                *verdict = (*verdict).max(Verdict::Translated);
            }
            all.push(Said { text: notice.text.clone(), hint: None });
        }
        keys.is_empty().then_some(notice)
    }

    fn rows(self) -> Vec<Judged> {
        let files = self.files;
        let row = |((place, path), (verdict, said)): ((Place, String), (Verdict, Vec<Said>))| {
            let file = files.get(usize::from(place.0)).cloned().unwrap_or_default();
            Judged { path, at: Position { file, line: place.1, col: place.2 }, verdict, said }
        };
        self.keys.into_iter().map(row).collect()
    }
}
