//! A YAML document as a tree in which every key and every value knows its line and column.
//!
//! Never types a scalar before it is asked: `80` stays text until a rule wants a number, so that what was substituted for
//! a variable can be either. Built by `parse`, changed by `interpolate`, read by `lower`.

/// File, line and column (in characters); the latter two from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark {
    /// Which of the files that were read, in the order of reading: the context knows its name and directory.
    pub file: u16,
    /// Line.
    pub line: u32,
    /// Column.
    pub col: u32,
}

/// A complaint about one place of the file being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub at: Mark,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Fault {
    /// A complaint at a place.
    pub fn new(at: Mark, message: impl Into<String>, hint: &str) -> Self {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        Fault { at, message: message.into(), hint }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its first character; for an absent value that of its key.
    pub at: Mark,
    /// It.
    pub value: Value,
    /// What it does to the value it is merged over.
    pub merging: Merging,
}

/// What a value does to the one of the same key in an earlier file (Compose Specification, section 13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Merging {
    /// They become one by the rules of the key.
    #[default]
    Merge,
    /// `!override`: it takes the other's place.
    Override,
    /// `!reset`: the key is taken away.
    Reset,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text, a number or a boolean.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order written; keys occur once.
    Map(Vec<Entry>),
}

/// A scalar as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// Its text, escapes resolved.
    pub text: String,
    /// Written without quotes: may be a number or a boolean.
    pub plain: bool,
    /// A variable was substituted in it: may be whatever is wanted.
    pub substituted: bool,
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub at: Mark,
    /// The value.
    pub value: Node,
}

/// What kind of thing a scalar is by YAML's core schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    /// Text.
    Text,
    /// An integer or a floating-point number.
    Number,
    /// `true` or `false`.
    Bool,
}

impl Scalar {
    /// Its kind by YAML 1.2's core schema; quoted or substituted scalars are text.
    pub fn kind(&self) -> ScalarKind {
        if !self.plain || self.substituted {
            return ScalarKind::Text;
        }
        match self.text.as_str() {
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => ScalarKind::Bool,
            text if is_number(text) => ScalarKind::Number,
            _ => ScalarKind::Text,
        }
    }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(octal) = unsigned.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    if let Some(hex) = unsigned.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    let starts_well = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let has_digit = unsigned.bytes().any(|b| b.is_ascii_digit());
    starts_well && has_digit && unsigned.parse::<f64>().is_ok()
}

impl Node {
    /// A value at a place, without a tag.
    pub fn new(at: Mark, value: Value) -> Self {
        Node { at, value, merging: Merging::Merge }
    }

    /// Whether two values say the same, wherever they stand.
    pub fn says_the_same_as(&self, other: &Node) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Scalar(a), Value::Scalar(b)) => a.text == b.text && a.kind() == b.kind(),
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.says_the_same_as(b))
            }
            (Value::Map(a), Value::Map(b)) => {
                let same = |e: &Entry| other.get(&e.key).is_some_and(|o| e.value.says_the_same_as(&o.value));
                a.len() == b.len() && a.iter().all(same)
            }
            _ => false,
        }
    }

    /// What it is, for `expected X, found Y`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            Value::Scalar(s) => match s.kind() {
                ScalarKind::Text => format!("the string `{}`", shorten(&s.text)),
                ScalarKind::Number => format!("the number {}", shorten(&s.text)),
                ScalarKind::Bool => format!("the boolean {}", s.text),
            },
        }
    }

    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }
}

/// Characters of a text that messages and paths show at most.
const SHORT_MAX: usize = 40;

/// At most 40 characters of a text in one line, for messages.
pub fn shorten(text: &str) -> String {
    let mut short = String::with_capacity(text.len().min(SHORT_MAX));
    push_short(&mut short, text);
    short
}

/// The same, written behind another text.
pub fn push_short(out: &mut String, text: &str) {
    if text.len() <= SHORT_MAX && text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return out.push_str(text);
    }
    let line = || text.chars().map(|c| if c.is_control() { ' ' } else { c });
    match line().nth(SHORT_MAX) {
        None => out.extend(line()),
        Some(_) => {
            out.extend(line().take(SHORT_MAX - 3));
            out.push_str("...");
        }
    }
}
