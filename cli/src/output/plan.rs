//! The page of `ctl plan`: what changes by the manifest's words, what happens step by step, what cannot be placed.
//!
//! Pure: the server's answer in, text out.

use std::collections::BTreeMap;

use proto::v1;

use super::style::{BAD, BOLD, DIM, GOOD, MOVING, PLAIN, paint};
use super::table::{cut, one_line, wrap};
use crate::name::{full, plural};
use anstyle::Style;
use unicode_width::UnicodeWidthStr;

/// Steps shown unless all are asked for; the widest change that others are aligned with.
const STEPS_SHOWN: usize = 30;
const ALIGNED: usize = 48;
/// What stands around a step and its reason on one line.
const STEP_COLUMNS: usize = 8;
/// Changes of other projects that are named.
const ELSEWHERE_SHOWN: usize = 3;
/// Of a service that is new only what one looks at first is told.
const TOLD_OF_NEW: [&str; 3] = ["image", "deploy.replicas", "ports"];

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Lines cut to so many columns, if it is a terminal's.
    Within(Option<usize>),
    /// Everything.
    Whole,
}

/// The page.
pub fn page(project: &str, answer: &v1::PlanProjectResponse, shown: Shown) -> String {
    let mut page = Page { text: String::new(), shown };
    let applied = answer.apply.clone().unwrap_or_default();
    page.head(project, answer, &applied);
    if applied.changed {
        page.services(answer, &applied);
    }
    page.steps(answer);
    page.unplaced(answer);
    page.text
}

struct Page {
    text: String,
    shown: Shown,
}

// === impl Page ===

impl Page {
    /// One line, cut where the terminal ends.
    fn line(&mut self, style: Style, text: &str) {
        let text = one_line(text);
        let text = match self.shown {
            Shown::Within(Some(width)) => cut(&text, width),
            _ => text,
        };
        self.text += &format!("{}\n", paint(style, &text));
    }

    fn head(&mut self, project: &str, answer: &v1::PlanProjectResponse, applied: &v1::ApplyProjectResponse) {
        let name = paint(BOLD, project);
        self.text += &match (applied.changed, answer.present_release) {
            (false, release) => format!("{name} release {release}: no change\n"),
            (true, 0) => format!("{name}: new, release {}\n", applied.release),
            (true, release) => format!("{name}: release {release} -> {}\n", applied.release),
        };
    }

    fn services(&mut self, answer: &v1::PlanProjectResponse, applied: &v1::ApplyProjectResponse) {
        let width = applied.services.iter().map(|s| s.service.len()).max().unwrap_or(0);
        for service in &applied.services {
            let (sign, style, word) = match service.change.as_str() {
                "created" => ("+", GOOD, "created"),
                "replaced" => ("~", MOVING, "replaced: new containers"),
                "updated" => ("~", MOVING, "updated in place"),
                "removed" => ("-", BAD, "removed"),
                "unchanged" => (" ", DIM, "unchanged"),
                other => ("~", MOVING, other),
            };
            self.line(style, &format!("  {sign} {:width$}  {word}", service.service));
            let difference = answer.differences.iter().find(|d| d.service == service.service);
            let is_new = service.change == "created";
            self.fields(difference.map(|d| d.fields.as_slice()).unwrap_or_default(), is_new);
        }
    }

    fn fields(&mut self, fields: &[v1::FieldChange], is_new: bool) {
        let told: Vec<&v1::FieldChange> =
            fields.iter().filter(|f| !is_new || TOLD_OF_NEW.contains(&f.field.as_str())).collect();
        let width = told.iter().map(|f| f.field.len()).max().unwrap_or(0);
        for field in told {
            let text = match (&field.before, &field.after) {
                _ if field.hidden => "changes; the value is not shown".to_owned(),
                (Some(before), Some(after)) => format!("{before} -> {after}"),
                (None, Some(after)) if is_new => after.clone(),
                (None, Some(after)) => format!("+ {after}"),
                (Some(before), None) => format!("- {before}"),
                (None, None) => String::new(),
            };
            self.line(PLAIN, &format!("      {:width$}  {text}", field.field));
        }
    }

    fn steps(&mut self, answer: &v1::PlanProjectResponse) {
        let (elsewhere, now): (Vec<_>, Vec<_>) = answer.changes.iter().partition(|c| c.elsewhere);
        let all: Vec<&v1::PlannedChange> = now.iter().copied().chain(&answer.foreseen).collect();
        let limit = if self.shown == Shown::Whole { usize::MAX } else { STEPS_SHOWN };
        let shown = &all[..all.len().min(limit)];
        let width = shown.iter().map(|c| c.change.len()).filter(|w| *w <= ALIGNED).max().unwrap_or(0);
        // A reason that is cut explains nothing: where one does not fit, all stand below what they are about.
        let widest = shown.iter().map(|c| c.change.width().max(width) + c.reason.width()).max().unwrap_or(0);
        let is_narrow = matches!(self.shown, Shown::Within(Some(columns)) if STEP_COLUMNS + widest > columns);
        for (index, change) in shown.iter().enumerate() {
            if index == 0 && !now.is_empty() {
                self.heading("at once");
            }
            if index == now.len() {
                self.heading(if now.is_empty() { "later" } else { "then, as each step succeeds" });
            }
            if is_narrow {
                self.line(PLAIN, &format!("  {:>2}  {}", change.step, change.change));
                self.reason(&change.reason);
            } else {
                self.line(PLAIN, &format!("  {:>2}  {:width$}  {}", change.step, change.change, change.reason));
            }
        }
        if shown.len() < all.len() {
            self.line(DIM, &format!("      and {} more; -o wide shows all", all.len() - shown.len()));
        } else if answer.cut {
            self.line(DIM, "      and so on: further steps are not foreseen");
        }
        self.elsewhere(&elsewhere);
    }

    fn reason(&mut self, reason: &str) {
        const MARGIN: usize = 8;
        let Shown::Within(Some(columns)) = self.shown else { return };
        for line in wrap(&one_line(reason), Some(columns.saturating_sub(MARGIN))) {
            self.line(DIM, &format!("{:MARGIN$}{line}", ""));
        }
    }

    fn elsewhere(&mut self, changes: &[&v1::PlannedChange]) {
        if changes.is_empty() {
            return;
        }
        self.heading("due at once whatever is applied");
        let limit = if self.shown == Shown::Whole { usize::MAX } else { ELSEWHERE_SHOWN };
        for change in changes.iter().take(limit) {
            self.line(DIM, &format!("      {}  {}", change.change, change.reason));
        }
        if changes.len() > limit {
            self.line(DIM, &format!("      and {} more", changes.len() - limit));
        }
    }

    fn heading(&mut self, text: &str) {
        self.text += &format!("\n{}\n", paint(BOLD, &format!("{text}:")));
    }

    fn unplaced(&mut self, answer: &v1::PlanProjectResponse) {
        let mut by_service: BTreeMap<String, Vec<&v1::UnplacedSlot>> = BTreeMap::new();
        for slot in &answer.unplaced {
            by_service.entry(full(&slot.service.clone().unwrap_or_default())).or_default().push(slot);
        }
        if by_service.is_empty() {
            return;
        }
        self.heading("cannot be placed");
        for (service, slots) in by_service {
            let [first, ..] = slots.as_slice() else { continue };
            let numbers: Vec<u32> = slots.iter().map(|s| s.slot).collect();
            self.line(BAD, &format!("  {service} slot{} {}: {}", plural(numbers.len()), ranges(&numbers), first.why));
            if first.nodes > 1 {
                let (word, number) =
                    (first.filters.iter().map(|f| f.filter.len()).max(), first.nodes.to_string().len());
                let word = word.unwrap_or(0);
                for f in &first.filters {
                    let text = format!("      {:word$}  {:>number$}  {}: {}", f.filter, f.nodes, f.example, f.refusal);
                    self.line(PLAIN, &text);
                }
            }
        }
    }
}

/// `1, 3-5` of numbers in order.
fn ranges(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    let word = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(word).collect::<Vec<_>>().join(", ")
}
