//! `ctl check`: a verdict for every key of a manifest, offline.
//!
//! Never talks to a server and never builds. What is judged is what `ctl apply` would send. Called by `lib.rs`.

use anstyle::Style;
use serde::Serialize;
use std::fmt::Write;

use crate::args::{CheckArgs, Format, ManifestArgs};
use crate::exit::{Exit, Failure};
use crate::intake;
use crate::manifest::{self, Checked, Disk, Judged, Verdict};
use crate::name::plural;
use crate::output::json::{to_json, to_yaml};
use crate::output::style::{BAD, BOLD, DIM, GOOD, MOVING, paint};
use crate::session::Session;

/// The stable form. Fields are added, never renamed or removed.
#[derive(Debug, Serialize)]
struct Report<'c> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'c str>,
    /// Whether `ctl apply` would send it.
    applyable: bool,
    honoured: usize,
    translated: usize,
    refused: usize,
    items: Vec<Item<'c>>,
    /// What is worth knowing of the manifest as a whole.
    remarks: Vec<Remark<'c>>,
}

/// A key.
#[derive(Debug, Serialize)]
struct Item<'c> {
    /// Its path; empty when something outside of the keys is wrong.
    name: &'c str,
    state: &'static str,
    file: &'c str,
    line: u32,
    col: u32,
    messages: Vec<Message<'c>>,
}

#[derive(Debug, Serialize)]
struct Message<'c> {
    text: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'c str>,
}

#[derive(Debug, Serialize)]
struct Remark<'c> {
    file: &'c str,
    line: u32,
    col: u32,
    text: &'c str,
}

/// `ctl check`.
pub fn run(session: &mut Session, args: &CheckArgs) -> Result<Exit, Failure> {
    let manifest = match &args.path {
        Some(path) => ManifestArgs { file: vec![path.clone()], ..args.manifest.clone() },
        None => args.manifest.clone(),
    };
    let checked = manifest::check(&intake::options(session, &manifest)?, &Disk);
    let shown: Vec<&Judged> =
        checked.keys.iter().filter(|key| !args.quiet || key.verdict != Verdict::Honoured).collect();
    let text = match args.output.format {
        Format::Json => to_json(&report(&checked, &shown)),
        Format::Yaml => to_yaml(&report(&checked, &shown)),
        Format::Name => shown.iter().map(|key| format!("{}\n", key.path)).collect(),
        Format::Table | Format::Wide => lines(&checked, &shown),
    };
    session.terminal.print(&text)?;
    let exit = if checked.is_applyable() { Exit::Done } else { Exit::Refused };
    // The process ends now: a hundred thousand keys need not be freed one by one.
    std::mem::forget(checked);
    Ok(exit)
}

fn report<'c>(checked: &'c Checked, shown: &[&'c Judged]) -> Report<'c> {
    let item = |key: &&'c Judged| Item {
        name: &key.path,
        state: key.verdict.as_str(),
        file: &key.at.file,
        line: key.at.line,
        col: key.at.col,
        messages: key.said.iter().map(|s| Message { text: &s.text, hint: s.hint.as_deref() }).collect(),
    };
    let remark = |n: &'c manifest::Notice| Remark { file: &n.file, line: n.line, col: n.col, text: &n.text };
    Report {
        kind: "KeyList",
        project: checked.project.as_ref().map(|name| name.as_str()),
        applyable: checked.is_applyable(),
        honoured: checked.count(Verdict::Honoured),
        translated: checked.count(Verdict::Translated),
        refused: checked.count(Verdict::Refused),
        items: shown.iter().map(item).collect(),
        remarks: checked.remarks.iter().map(remark).collect(),
    }
}

/// A line per key: its place, so that editors find it, its verdict, its path; below it what is said.
fn lines(checked: &Checked, shown: &[&Judged]) -> String {
    let places: Vec<String> = shown.iter().map(|key| place(key)).collect();
    let width = places.iter().map(|place| place.chars().count()).max().unwrap_or(0);
    let verdicts = [Verdict::Honoured, Verdict::Translated, Verdict::Refused];
    let [honoured, translated, refused] = verdicts.map(|v| paint(style_of(v), &format!("{:10}", v.as_str())));
    let mut text = String::with_capacity(shown.len() * (width + 64));
    for (key, place) in shown.iter().zip(&places) {
        let verdict = match key.verdict {
            Verdict::Honoured => &honoured,
            Verdict::Translated => &translated,
            Verdict::Refused => &refused,
        };
        let _ = match key.path.as_str() {
            "" => writeln!(text, "{place:width$}  {}", paint(style_of(key.verdict), key.verdict.as_str())),
            path => writeln!(text, "{place:width$}  {verdict}  {path}"),
        };
        for said in &key.said {
            let _ = writeln!(text, "{:width$}    {}", "", said.text);
            let hint = said.hint.as_ref().map(|hint| format!("{:width$}    {} {hint}\n", "", paint(BOLD, "hint:")));
            text.push_str(&hint.unwrap_or_default());
        }
    }
    for remark in &checked.remarks {
        let _ = writeln!(text, "{} {remark}", paint(BOLD, "note:"));
    }
    text.push_str(&summary(checked));
    text
}

fn place(key: &Judged) -> String {
    match key.at.line {
        0 => key.at.file.to_string(),
        _ => key.at.to_string(),
    }
}

fn style_of(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Honoured => GOOD,
        Verdict::Translated => MOVING,
        Verdict::Refused => BAD,
    }
}

fn summary(checked: &Checked) -> String {
    let keys = checked.keys.len();
    let counted = [Verdict::Honoured, Verdict::Translated, Verdict::Refused].map(|v| (checked.count(v), v));
    let parts: Vec<String> =
        counted.iter().filter(|(n, _)| *n > 0).map(|(n, v)| format!("{n} {}", v.as_str())).collect();
    let name = checked.project.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let (style, end) = match checked.is_applyable() {
        true => (GOOD, "can be applied"),
        false => (BAD, "cannot be applied"),
    };
    let counts = format!("{name}{keys} key{}, {}", plural(keys as u64), parts.join(", "));
    format!("{}: {}\n", paint(DIM, &counts), paint(style, end))
}
