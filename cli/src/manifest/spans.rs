//! Where each field of the manifest stands, so that a problem which a server finds can be shown at its line.
//!
//! Never holds values. Built by `load`, asked by the commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::problem::Position;
use super::tree::{Mark, Node, Value};

/// Fields remembered; more than a manifest within the other limits has.
const SPANS_KEPT: usize = 50_000;
/// Levels of nesting remembered: `services.web.deploy.resources.limits.memory` has six.
const DEPTH: usize = 8;
/// Bytes of a field's path.
const PATH_MAX_BYTES: usize = 256;

/// Fields such as `services.web.ports[0]` with the place of their key or item.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    files: Vec<Arc<str>>,
    marks: BTreeMap<String, Mark>,
}

impl Spans {
    /// Of a document; `files` are the names of the files by the number in a mark.
    pub(super) fn of(root: &Node, files: Vec<Arc<str>>) -> Spans {
        let mut spans = Spans { files, marks: BTreeMap::new() };
        spans.walk(root, "", 0);
        spans
    }

    fn walk(&mut self, node: &Node, path: &str, depth: usize) {
        if depth >= DEPTH {
            return;
        }
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let dot = if path.is_empty() { "" } else { "." };
                    self.remember(format!("{path}{dot}{}", entry.key), entry.at, &entry.value, depth);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.remember(format!("{path}[{index}]"), item.at, item, depth);
                }
            }
            Value::Null | Value::Scalar(_) => {}
        }
    }

    fn remember(&mut self, path: String, at: Mark, below: &Node, depth: usize) {
        if path.len() > PATH_MAX_BYTES || self.marks.len() >= SPANS_KEPT {
            return;
        }
        self.walk(below, &path, depth + 1);
        self.marks.insert(path, at);
    }

    /// The place of a field, or of the nearest field around it that is written in the file.
    pub fn locate(&self, field: &str) -> Option<Position> {
        let mut path = field;
        loop {
            if let Some(mark) = self.marks.get(path) {
                return Some(self.position(mark));
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// All fields with their places, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Position)> {
        self.marks.iter().map(move |(path, mark)| (path.as_str(), self.position(mark)))
    }

    fn position(&self, mark: &Mark) -> Position {
        let file = self.files.get(usize::from(mark.file)).cloned().unwrap_or_default();
        Position { file, line: mark.line, col: mark.col }
    }
}
