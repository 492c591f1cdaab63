//! What stands at the places that something is said about: paths of keys, of their values and of items.
//!
//! A manifest may have a hundred thousand values and something to say about five of them: only for those are paths kept.
//! Never decides what a problem is about. Called by `check`.

use std::collections::BTreeMap;

use super::super::tree::{Mark, Node, Value, push_short};
use super::{Place, SECTIONS};

/// Paths by place.
#[derive(Default)]
pub(super) struct Standing {
    /// For each place that is asked for: the last place up to it, but after the one asked for before, where anything
    /// stands, and what does.
    asked: BTreeMap<Place, Option<(Place, Vec<String>)>>,
}

// === impl Standing ===

impl Standing {
    /// Nothing so far.
    pub(super) fn asked_at(places: impl Iterator<Item = Place>) -> Standing {
        Standing { asked: places.map(|place| (place, None)).collect() }
    }

    /// No place is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Something stands at a place.
    pub(super) fn stands(&mut self, at: Place, path: &str) {
        let Some((_, found)) = self.asked.range_mut(at..).next() else { return };
        match found {
            Some((last, _)) if *last > at => {}
            Some((last, paths)) if *last == at => {
                if !paths.iter().any(|p| p == path) {
                    paths.push(path.to_owned());
                }
            }
            _ => *found = Some((at, vec![path.to_owned()])),
        }
    }

    /// Notes all that stands below a node; `path` is its own.
    pub(super) fn walk(&mut self, node: &Node, path: &mut String, place: &dyn Fn(Mark) -> Place) {
        let length = path.len();
        match &node.value {
            Value::Map(entries) => {
                let is_section = SECTIONS.contains(&path.as_str());
                for entry in entries {
                    path.push_str(if length == 0 { "" } else { "." });
                    push_short(path, &entry.key);
                    self.stands(place(entry.at), path);
                    let is_extension = entry.key.starts_with("x-") && entry.key != "x-wherry";
                    // Nothing reads it but the anchors in it, and what they give is judged where it is given.
                    if !is_extension || is_section {
                        self.value(&entry.value, path, place);
                    }
                    path.truncate(length);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    self.stands(place(item.at), path);
                    self.walk(item, path, place);
                    path.truncate(length);
                }
            }
            Value::Null | Value::Scalar(_) => {}
        }
    }

    /// The value of a key. A block begins where its first key does: what is said there is about that key.
    fn value(&mut self, value: &Node, path: &mut String, place: &dyn Fn(Mark) -> Place) {
        let first = match &value.value {
            Value::Map(entries) => entries.first().map(|e| e.at),
            _ => None,
        };
        if first != Some(value.at) {
            self.stands(place(value.at), path);
        }
        self.walk(value, path, place);
    }

    /// Exactly there.
    pub(super) fn at(&self, place: Place) -> &[String] {
        match self.asked.get(&place) {
            Some(Some((at, paths))) if *at == place => paths,
            _ => &[],
        }
    }

    /// There, or if nothing is, at the nearest place before it in the same file.
    pub(super) fn near(&self, place: Place) -> &[String] {
        match self.asked.range(..=place).rev().find_map(|(_, found)| found.as_ref()) {
            Some((at, paths)) if at.0 == place.0 => paths,
            _ => &[],
        }
    }
}
