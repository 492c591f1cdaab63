//! A verdict for every key that stands in a manifest: honoured, translated or refused, with its place and what is said about it.
//!
//! Never decides anything itself: it reads the manifest as `load` does, and sorts what was asked for and what was said by the keys it is
//! about. Called by `ctl check`.

mod standing;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use proto::id::ProjectName;

use super::assemble::Assembled;
use super::lower::context::Context;
use super::lower::{self, Lowered};
use super::problem::{Notice, Position, Problem};
use super::tree::{Mark, Node};
use super::{LoadOptions, Sources, assemble};
use standing::Standing;

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
    /// What was judged. Nobody reads it again, but to free a hundred thousand values takes as long as to judge them: that is
    /// for the caller to do, or to leave to the end of the process.
    pub judged: Rest,
}

/// What is left of a manifest that was judged.
#[derive(Debug, Clone, Default)]
pub struct Rest {
    _root: Option<Node>,
    _lowered: Option<Box<Lowered>>,
}

impl Rest {
    fn of(assembled: Option<Assembled>, lowered: Option<Lowered>) -> (Option<ProjectName>, Rest) {
        let (root, project) = assembled.map_or((None, None), |a| (Some(a.root), a.name));
        (project, Rest { _root: root, _lowered: lowered.map(Box::new) })
    }
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
    let lowered = assembled.as_ref().and_then(|a| lower::lower(&a.root, &mut cx, a.name.as_ref()));
    if cx.has_left_out() {
        return wrong_all_over(cx, assembled, lowered);
    }
    let files = Files::of(cx.names());
    let (record, replaced) = (cx.take_record(), std::mem::take(&mut cx.replaced));
    let (problems, notices) = cx.finish();
    let standing = standing(&files, &problems, &notices, &record, assembled.as_ref());
    let mut bench = Bench::new(files, record, standing);
    for (path, at, by) in replaced {
        bench.replaced(path, at, by);
    }
    problems.into_iter().for_each(|problem| bench.problem(problem));
    let remarks = notices.into_iter().filter_map(|notice| bench.notice(notice)).collect();
    let (project, judged) = Rest::of(assembled, lowered);
    Checked { project, keys: bench.rows(), remarks, judged }
}

/// With more problems than are kept no key's verdict is certain: the problems that are kept, and how many there are besides.
fn wrong_all_over(cx: Context<'_>, assembled: Option<Assembled>, lowered: Option<Lowered>) -> Checked {
    let (problems, remarks) = cx.finish();
    let keys = problems.into_iter().map(|p| Judged {
        path: String::new(),
        at: Position { file: p.path.into(), line: p.line, col: p.col },
        verdict: Verdict::Refused,
        said: vec![Said { text: p.message, hint: p.hint }],
    });
    let (project, judged) = Rest::of(assembled, lowered);
    Checked { project, keys: keys.collect(), remarks, judged }
}

/// What stands at the places that something is said about.
fn standing(
    files: &Files,
    problems: &[Problem],
    notices: &[Notice],
    record: &[(String, Mark)],
    assembled: Option<&Assembled>,
) -> Standing {
    let of_problems = problems.iter().filter_map(|p| Some((files.number(&p.path)?, p.line, p.col)));
    let of_notices = notices.iter().filter_map(|n| Some((files.number(&n.file)?, n.line, n.col)));
    let mut standing = Standing::asked_at(of_problems.chain(of_notices));
    if !standing.is_empty() {
        record.iter().for_each(|(path, at)| standing.stands(files.place(*at), path));
        assembled.iter().for_each(|a| standing.walk(&a.root, &mut String::new(), &|at| files.place(at)));
    }
    standing
}

/// A place by which keys are sorted and found: the file's number, line and column.
type Place = (u16, u32, u32);

/// The files by name and number. One that was read twice is one file here.
struct Files {
    names: Vec<Arc<str>>,
    /// The first number of each name.
    numbers: HashMap<Arc<str>, u16>,
    /// The first number of the name of each.
    first: Vec<u16>,
}

// === impl Files ===

impl Files {
    fn of(names: Vec<Arc<str>>) -> Files {
        let mut numbers: HashMap<Arc<str>, u16> = HashMap::new();
        let first = names.iter().zip(0..).map(|(name, n)| *numbers.entry(name.clone()).or_insert(n)).collect();
        Files { names, numbers, first }
    }

    fn number(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    /// The number of a file; one that is no part of the manifest gets one now.
    fn number_or_next(&mut self, name: &str) -> u16 {
        if let Some(number) = self.number(name) {
            return number;
        }
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    fn place(&self, at: Mark) -> Place {
        (self.first.get(usize::from(at.file)).copied().unwrap_or(at.file), at.line, at.col)
    }

    fn position(&self, (file, line, col): Place) -> Position {
        Position { file: self.names.get(usize::from(file)).cloned().unwrap_or_default(), line, col }
    }
}

/// A key with its verdict so far.
struct Row {
    place: Place,
    path: String,
    verdict: Verdict,
    said: Vec<Said>,
}

/// Where the judging is done.
struct Bench {
    files: Files,
    /// Every key that was asked for, by place and path.
    rows: Vec<Row>,
    /// What is said of anything else, by place and path.
    others: BTreeMap<(Place, String), (Verdict, Vec<Said>)>,
    /// Which rows a path has, by its hash: in several files, perhaps.
    named: Vec<(u64, usize)>,
    hasher: RandomState,
    standing: Standing,
}

// === impl Bench ===

impl Bench {
    fn new(files: Files, record: Vec<(String, Mark)>, standing: Standing) -> Bench {
        let row = |(path, at)| Row { place: files.place(at), path, verdict: Verdict::Honoured, said: Vec::new() };
        let mut rows: Vec<Row> = record.into_iter().map(row).collect();
        rows.sort_by(|a, b| (a.place, &a.path).cmp(&(b.place, &b.path)));
        rows.dedup_by(|a, b| (a.place, &a.path) == (b.place, &b.path));
        let hasher = RandomState::new();
        let mut named: Vec<(u64, usize)> = Vec::new();
        if !standing.is_empty() {
            named.extend(rows.iter().enumerate().map(|(index, row)| (hasher.hash_one(row.path.as_str()), index)));
            named.sort_unstable();
        }
        Bench { files, rows, others: BTreeMap::new(), named, hasher, standing }
    }

    fn replaced(&mut self, path: String, at: Mark, by: Mark) {
        let by = Position { line: by.line, col: by.col, ..self.files.position((by.file, 0, 0)) };
        let said = vec![Said { text: format!("replaced by {by}"), hint: None }];
        let place = self.files.place(at);
        match self.rows.binary_search_by(|row| (row.place, &row.path).cmp(&(place, &path))) {
            Ok(index) => self.rows[index].said = said,
            Err(_) => _ = self.others.insert((place, path), (Verdict::Honoured, said)),
        }
    }

    /// The keys that something is about which is said at a place: those that stand there or around what does.
    fn about(&self, place: Place, text: &str) -> Vec<usize> {
        let mut keys: Vec<&str> =
            self.standing.near(place).iter().filter_map(|path| self.around(path.as_str())).collect();
        if keys.len() > 1 {
            only_meant(&mut keys, text);
        }
        let mut found: Vec<usize> = keys.into_iter().filter_map(|key| self.nearest(place, key)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The key itself or the nearest one above it. A name is no key.
    fn around<'p>(&self, path: &'p str) -> Option<&'p str> {
        upwards(path).find(|path| self.rows_of(path).next().is_some())
    }

    /// The row of a key that stands at or before a place; a key may stand in several files.
    fn nearest(&self, place: Place, key: &str) -> Option<usize> {
        let far = |index: &usize| {
            let at = self.rows[*index].place;
            (at.0 != place.0, place.1.abs_diff(at.1))
        };
        self.rows_of(key).min_by_key(far)
    }

    /// The rows of a path, in the order of their places.
    fn rows_of<'b>(&'b self, path: &'b str) -> impl Iterator<Item = usize> + use<'b> {
        let hash = self.hasher.hash_one(path);
        let first = self.named.partition_point(|(other, _)| *other < hash);
        let alike = self.named[first..].iter().take_while(move |(other, _)| *other == hash);
        alike.map(|(_, index)| *index).filter(move |index| self.rows[*index].path == path)
    }

    fn problem(&mut self, problem: Problem) {
        let is_part = self.files.number(&problem.path).is_some();
        let place = (self.files.number_or_next(&problem.path), problem.line, problem.col);
        let said = Said { text: problem.message, hint: problem.hint };
        let keys = if is_part && problem.line > 0 { self.about(place, &said.text) } else { Vec::new() };
        if keys.is_empty() {
            let standing = self.standing.at(place).first().cloned().unwrap_or_default();
            let (verdict, all) = self.others.entry((place, standing)).or_insert((Verdict::Refused, Vec::new()));
            *verdict = Verdict::Refused;
            all.push(said);
            return;
        }
        for key in keys {
            let row = &mut self.rows[key];
            row.verdict = Verdict::Refused;
            row.said.push(said.clone());
        }
    }

    /// Gives a notice to its keys, or back.
    fn notice(&mut self, notice: Notice) -> Option<Notice> {
        let Some(number) = self.files.number(&notice.file).filter(|_| notice.line > 0) else { return Some(notice) };
        let keys = self.about((number, notice.line, notice.col), &notice.text);
        for key in &keys {
            let row = &mut self.rows[*key];
            if notice.translates {
                row.verdict = row.verdict.max(Verdict::Translated);
            }
            row.said.push(Said { text: notice.text.clone(), hint: None });
        }
        keys.is_empty().then_some(notice)
    }

    fn rows(self) -> Vec<Judged> {
        let others = self.others.into_iter().map(|((place, path), (verdict, said))| Row { place, path, verdict, said });
        let mut rows = self.rows;
        if others.len() > 0 {
            rows.extend(others);
            rows.sort_by(|a, b| (a.place, &a.path).cmp(&(b.place, &b.path)));
        }
        let files = self.files;
        let judged =
            |row: Row| Judged { path: row.path, at: files.position(row.place), verdict: row.verdict, said: row.said };
        rows.into_iter().map(judged).collect()
    }
}

/// Of several keys those that something is about.
fn only_meant(keys: &mut Vec<&str>, text: &str) {
    // A value that anchors or `extends` put into several places: it is about the one that is named.
    let is_named = |path: &&str| text.contains(&format!("`{path}`")) || text.contains(&format!("`{path}:"));
    if keys.iter().any(is_named) {
        keys.retain(is_named);
    } else {
        // An item and its first key begin at one place: then it is about the item.
        let all = keys.clone();
        keys.retain(|key| !all.iter().any(|other| key.len() > other.len() && key.starts_with(other)));
    }
}

/// A path and those above it, down to the name that a section's key is.
fn upwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        let above = &path[..path.rfind(['.', '['])?];
        (!SECTIONS.contains(&above)).then_some(above)
    })
}
