//! YAML text to a spanned tree, within limits: size, depth, one document, no key twice, a budget for aliases.
//!
//! Never knows what a manifest means. Called by `load`; the only file that knows the YAML parser.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};
use proto::limits::{MANIFEST_MAX_BYTES, MANIFEST_MAX_DEPTH};

use super::tree::{Entry, Fault, Mark, Merging, Node, Scalar, Value, shorten};

/// Nodes that aliases may copy in one file: far above any real manifest, far below a bomb.
const ALIAS_MAX_NODES: usize = 20_000;
/// Bytes of text that aliases may copy in one file.
const ALIAS_MAX_BYTES: usize = 4 << 20;

/// Reads one YAML document, the file of that number. `None`: there is nothing in it.
pub fn parse(bytes: &[u8], file: u16) -> Result<Option<Node>, Fault> {
    document(bytes, file).map_err(|mut fault| {
        fault.at.file = file;
        fault
    })
}

fn document(bytes: &[u8], file: u16) -> Result<Option<Node>, Fault> {
    let text = checked_text(bytes)?;
    let mut builder = Builder { file, ..Builder::default() };
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|e| scan_fault(text, &e))?;
        builder.take(event, span)?;
    }
    Ok(builder.root.filter(|node| node.value != Value::Null))
}

fn checked_text(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > MANIFEST_MAX_BYTES {
        let message = format!("the file has {} bytes, at most {MANIFEST_MAX_BYTES} are read", bytes.len());
        return Err(Fault::new(Mark::default(), message, "move long texts to files of their own under `configs:`"));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let (good, rest) = bytes.split_at(e.valid_up_to());
        let byte = rest.first().copied().unwrap_or_default();
        let message = format!("the byte 0x{byte:02x} is not UTF-8 text");
        Fault::new(mark_after(&String::from_utf8_lossy(good)), message, "save the file as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_junk = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || c == '\u{feff}';
    if let Some(at) = text.find(is_junk) {
        let code = text[at..].chars().next().map_or(0, u32::from);
        let message = format!("the control character U+{code:04X} cannot stand in YAML");
        return Err(Fault::new(mark_after(&text[..at]), message, "is this a text file?"));
    }
    Ok(text)
}

fn mark_after(text: &str) -> Mark {
    let last_line = text.rsplit('\n').next().unwrap_or_default();
    Mark { line: count(text.matches('\n').count()), col: count(last_line.chars().count()), ..Mark::default() }
}

/// From a count or an index from 0 to a number from 1.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1)
}

fn scan_fault(text: &str, error: &ScanError) -> Fault {
    let at = Mark {
        line: u32::try_from(error.marker().line()).unwrap_or(u32::MAX).max(1),
        col: count(error.marker().col()),
        ..Mark::default()
    };
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        return too_deep(at);
    }
    if let Some(tab) = tab_near(text, at.line) {
        return Fault::new(tab, "a tab cannot indent YAML", "use spaces");
    }
    if *error.kind() == ErrorKind::UnknownAnchor {
        return Fault::new(
            at,
            "this alias names an anchor that is not defined above it",
            "write `&NAME` before the value",
        );
    }
    Fault::new(at, format!("this is not YAML: {}", plain_words(error)), plain_hint(error.kind()))
}

fn plain_words(error: &ScanError) -> String {
    match error.kind() {
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => "a `:` cannot stand here".into(),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => "a key needs a `:` on its line".into(),
        ErrorKind::UnclosedQuotedScalar => "a quote is not closed".into(),
        ErrorKind::InvalidQuotedScalarIndent => {
            "a quote is not closed, or the text goes on in a line that is not indented".into()
        }
        ErrorKind::InvalidIndentation => "the indentation fits no line above".into(),
        ErrorKind::ExpectedBlockMappingKey => "a key is expected here".into(),
        ErrorKind::ExpectedBlockSequenceEntry => "a `- ` is expected here".into(),
        ErrorKind::ExpectedFlowMappingSeparator => "a `,` or a `}` is expected here".into(),
        ErrorKind::ExpectedFlowSequenceSeparator => "a `,` or a `]` is expected here".into(),
        ErrorKind::UnclosedFlowCollection { open } => format!("a `{open}` is not closed"),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => format!("a `{open}` is closed by `{close}`"),
        ErrorKind::MisplacedFlowCollectionEnd => "a closing bracket has no opening one".into(),
        _ => error.info(),
    }
}

fn plain_hint(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::MappingValueNotAllowed => "look at the indentation, or put a text that holds `: ` in quotes",
        ErrorKind::InvalidColonPlacement => "is a bracket or a quote above not closed?",
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => "write `key: value`",
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::ExpectedBlockSequenceEntry | ErrorKind::InvalidIndentation => {
            "keys of one map, and items of one list, start in the same column"
        }
        _ => "",
    }
}

/// The tab that indents the given line or the one before it, if there is one.
fn tab_near(text: &str, line: u32) -> Option<Mark> {
    let first = line.saturating_sub(1).max(1);
    (first..=line).find_map(|number| {
        let content = text.lines().nth(number as usize - 1)?;
        let indent = content.len() - content.trim_start_matches([' ', '\t']).len();
        let tab = content[..indent].find('\t')?;
        Some(Mark { line: number, col: count(tab), ..Mark::default() })
    })
}

fn too_deep(at: Mark) -> Fault {
    Fault::new(at, format!("nested deeper than {MANIFEST_MAX_DEPTH} levels"), "")
}

/// Size of a subtree, for the budgets of what is copied.
#[derive(Debug, Default, Clone, Copy)]
pub struct Weight {
    /// Values.
    pub nodes: usize,
    /// Bytes of keys and texts.
    pub bytes: usize,
    /// Levels.
    pub depth: usize,
}

/// The size of a value and all below it.
pub fn weigh(node: &Node) -> Weight {
    let mut sum = Weight { nodes: 1, bytes: 0, depth: 0 };
    let mut add = |child: Weight, key_bytes: usize| {
        sum.nodes += child.nodes;
        sum.bytes += child.bytes + key_bytes;
        sum.depth = sum.depth.max(child.depth + 1);
    };
    match &node.value {
        Value::Null => {}
        Value::Scalar(s) => sum.bytes = s.text.len(),
        Value::List(items) => items.iter().for_each(|item| add(weigh(item), 0)),
        Value::Map(entries) => entries.iter().for_each(|e| add(weigh(&e.value), e.key.len())),
    }
    sum
}

/// A collection that is still open.
struct Open {
    at: Mark,
    anchor: usize,
    merging: Merging,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Entries, key: Option<(String, Mark, bool)>, merges: Vec<Node> },
}

#[derive(Default)]
struct Builder {
    file: u16,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, Weight)>,
    copied: Weight,
    documents: usize,
    root: Option<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX).max(1);
        let at = Mark { file: self.file, line, col: count(span.start.col()) };
        match event {
            Event::DocumentStart(..) => self.start_document(at),
            Event::Scalar(text, style, anchor, tag) => {
                let (is_string, merging) = meaning(at, tag.as_deref())?;
                let plain = style == ScalarStyle::Plain && !is_string;
                self.finish_node(Node { merging, ..scalar(text.into_owned(), plain, at) }, anchor, plain)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let (_, merging) = meaning(at, tag.as_deref())?;
                self.start(Open { at, anchor, merging, content: Content::List(Vec::new()) })
            }
            Event::MappingStart(_, anchor, tag) => {
                let (_, merging) = meaning(at, tag.as_deref())?;
                let (entries, key, merges) = Default::default();
                self.start(Open { at, anchor, merging, content: Content::Map { entries, key, merges } })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => self.alias(id, at),
            _ => Ok(()),
        }
    }

    fn start_document(&mut self, at: Mark) -> Result<(), Fault> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(Fault::new(
                at,
                "a second document begins here",
                "keep one document per file, without a second `---`",
            ));
        }
        Ok(())
    }

    fn start(&mut self, open: Open) -> Result<(), Fault> {
        if self.open.len() >= MANIFEST_MAX_DEPTH {
            return Err(too_deep(open.at));
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(Open { at, anchor, merging, content }) = self.open.pop() else { return Ok(()) };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map { mut entries, merges, .. } => {
                for merge in merges {
                    merge_into(&mut entries, merge)?;
                }
                Value::Map(entries.all)
            }
        };
        self.finish_node(Node { at, value, merging }, anchor, false)
    }

    fn alias(&mut self, id: usize, at: Mark) -> Result<(), Fault> {
        let Some((node, weight)) = self.anchors.get(&id) else {
            return Err(Fault::new(
                at,
                "this alias stands inside the value it names",
                "an alias copies a finished value",
            ));
        };
        if self.open.len() + weight.depth > MANIFEST_MAX_DEPTH {
            return Err(too_deep(at));
        }
        self.copied.nodes += weight.nodes;
        self.copied.bytes += weight.bytes;
        if self.copied.nodes > ALIAS_MAX_NODES || self.copied.bytes > ALIAS_MAX_BYTES {
            let message = format!("aliases copy more than {ALIAS_MAX_NODES} values or {ALIAS_MAX_BYTES} bytes");
            return Err(Fault::new(at, message, "write fewer `*aliases` of aliases"));
        }
        let node = node.clone();
        self.finish_node(node, 0, false)
    }

    fn finish_node(&mut self, node: Node, anchor: usize, plain: bool) -> Result<(), Fault> {
        if anchor > 0 {
            let weight = weigh(&node);
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { content: Content::List(items), .. }) => push(items, node),
            Some(Open { content: Content::Map { entries, key, merges }, .. }) => match key.take() {
                None => *key = Some(map_key(node, plain)?),
                Some((text, _, true)) if text == "<<" => merges.push(node),
                Some((text, at, _)) => add_entry(entries, text, at, node)?,
            },
        }
        Ok(())
    }
}

fn scalar(text: String, plain: bool, at: Mark) -> Node {
    let is_null = plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
    let value = if is_null { Value::Null } else { Value::Scalar(Scalar { text, plain, substituted: false }) };
    Node::new(at, value)
}

fn map_key(node: Node, plain: bool) -> Result<(String, Mark, bool), Fault> {
    match node.value {
        Value::Scalar(s) => Ok((s.text, node.at, plain)),
        _ => Err(Fault::new(node.at, format!("a key must be text, found {}", node.describe()), "")),
    }
}

fn add_entry(entries: &mut Entries, key: String, at: Mark, mut value: Node) -> Result<(), Fault> {
    if let Some(first) = entries.find(&key) {
        let message =
            format!("`{}` is written twice: on line {} and on line {}", shorten(&key), first.at.line, at.line);
        return Err(Fault::new(at, message, "keep one of them"));
    }
    if value.value == Value::Null {
        value.at = at;
    }
    entries.push(Entry { key, at, value });
    Ok(())
}

/// The merge key of YAML 1.1: keys written beside it win, earlier maps win over later ones.
fn merge_into(entries: &mut Entries, source: Node) -> Result<(), Fault> {
    match source.value {
        Value::Map(more) => {
            for entry in more {
                if entries.find(&entry.key).is_none() {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Value::List(sources) if sources.iter().all(|s| matches!(s.value, Value::Map(_))) => {
            sources.into_iter().try_for_each(|s| merge_into(entries, s))
        }
        _ => {
            let message = format!("`<<` merges a map or a list of maps, found {}", source.describe());
            Err(Fault::new(source.at, message, "write `<<: *anchor`"))
        }
    }
}

/// Entries of a map up to which one is found by looking at each.
const FEW: usize = 16;

/// The entries of a map being read. A key is found fast also among tens of thousands, without a second copy of it.
#[derive(Default)]
struct Entries {
    all: Vec<Entry>,
    /// Hashes of all keys, once there are more than a few.
    hashes: HashSet<u64>,
    hasher: RandomState,
}

// === impl Entries ===

impl Entries {
    fn find(&self, key: &str) -> Option<&Entry> {
        let may_be_there = self.hashes.is_empty() || self.hashes.contains(&self.hasher.hash_one(key));
        self.all.iter().filter(|_| may_be_there).find(|entry| entry.key == key)
    }

    fn push(&mut self, entry: Entry) {
        if !self.hashes.is_empty() {
            self.hashes.insert(self.hasher.hash_one(&entry.key));
        } else if self.all.len() == FEW {
            let keys = self.all.iter().chain([&entry]).map(|e| self.hasher.hash_one(&e.key));
            self.hashes = keys.collect();
        }
        push(&mut self.all, entry);
    }
}

/// Adds to a collection. Most have one or two values: room for four in each of them would be most of the memory.
fn push<T>(all: &mut Vec<T>, one: T) {
    if all.is_empty() {
        all.reserve_exact(1);
    }
    all.push(one);
}

/// What a tag means: whether it makes a scalar text, and how the value is merged. Others than YAML's and Compose's are refused.
fn meaning(at: Mark, tag: Option<&Tag>) -> Result<(bool, Merging), Fault> {
    let Some(tag) = tag else { return Ok((false, Merging::Merge)) };
    match tag.core_suffix() {
        Some("str") => return Ok((true, Merging::Merge)),
        Some("int" | "float" | "bool" | "null" | "map" | "seq") => return Ok((false, Merging::Merge)),
        _ => {}
    }
    let name = shorten(&tag.original());
    match name.as_str() {
        "!reset" => Ok((false, Merging::Reset)),
        "!override" => Ok((false, Merging::Override)),
        _ => Err(Fault::new(at, format!("the tag `{name}` has no meaning here"), "remove it")),
    }
}
