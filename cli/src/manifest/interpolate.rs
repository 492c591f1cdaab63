//! Substitution of variables in values: `$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:?message}`, `${VAR?message}`,
//! `${VAR:+text}`, `${VAR+text}`, `$$` (Compose Specification, section 12).
//!
//! Never touches keys and never reads the environment itself. Used on the tree by `load` and on env files by `dotenv`.

use std::collections::BTreeMap;

use proto::limits::MANIFEST_MAX_BYTES;

use super::tree::{Fault, Mark, Node, Scalar, Value};

/// How deep defaults may hold substitutions that have defaults.
const NESTING_MAX: usize = 16;
/// Bytes that all substituted values of one file may have together.
const SUBSTITUTED_MAX_BYTES: usize = 4 * MANIFEST_MAX_BYTES;
const FORMS: &str = "write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`; a dollar sign itself is `$$`";

/// Where variables come from.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A text after substitution.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Variables that are not set and were taken as empty.
    pub undefined: Vec<String>,
}

/// Why a text cannot be substituted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Bytes before the substitution that fails.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Substitutes the variables of one text.
pub fn expand(source: &str, variables: Variables<'_>) -> Result<Expanded, Refusal> {
    let mut expander = Expander { source, at: 0, variables, undefined: Vec::new(), depth: 0 };
    let mut text = String::with_capacity(source.len());
    expander.run(false, Some(&mut text))?;
    Ok(Expanded { text, undefined: expander.undefined })
}

struct Expander<'a> {
    source: &'a str,
    at: usize,
    variables: Variables<'a>,
    undefined: Vec<String>,
    depth: usize,
}

impl Expander<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    /// Copies text and substitutes until the end, or until the brace that closes a default. Without `out` it only skips.
    fn run(&mut self, in_braces: bool, mut out: Option<&mut String>) -> Result<(), Refusal> {
        while let Some(next) = self.rest().chars().next() {
            match next {
                '}' if in_braces => return Ok(()),
                '$' => self.dollar(out.as_deref_mut())?,
                other => {
                    self.at += other.len_utf8();
                    push(&mut out, other.encode_utf8(&mut [0; 4]));
                }
            }
            if out.as_ref().is_some_and(|o| o.len() > MANIFEST_MAX_BYTES) {
                return Err(refusal(self.at, format!("the value grows beyond {MANIFEST_MAX_BYTES} bytes"), ""));
            }
        }
        Ok(())
    }

    fn dollar(&mut self, mut out: Option<&mut String>) -> Result<(), Refusal> {
        let start = self.at;
        self.at += 1;
        if self.rest().starts_with('$') {
            self.at += 1;
            push(&mut out, "$");
            return Ok(());
        }
        let braced = self.rest().starts_with('{');
        self.at += usize::from(braced);
        let name_bytes = name_length(self.rest());
        if name_bytes == 0 {
            return Err(refusal(start, "`$` is not followed by the name of a variable", FORMS));
        }
        let name = self.rest()[..name_bytes].to_owned();
        self.at += name_bytes;
        if braced { self.braced(start, &name, out) } else { self.plain(&name, out) }
    }

    fn plain(&mut self, name: &str, mut out: Option<&mut String>) -> Result<(), Refusal> {
        if out.is_some() {
            match (self.variables)(name) {
                Some(value) => push(&mut out, &value),
                None => self.undefined.push(name.to_owned()),
            }
        }
        Ok(())
    }

    fn braced(&mut self, start: usize, name: &str, mut out: Option<&mut String>) -> Result<(), Refusal> {
        if self.rest().starts_with('}') {
            self.at += 1;
            return self.plain(name, out);
        }
        let empty_counts = self.rest().starts_with(':');
        self.at += usize::from(empty_counts);
        let operator = self.rest().chars().next().filter(|c| matches!(c, '-' | '?' | '+'));
        let Some(operator) = operator else {
            return Err(refusal(start, format!("`${{{name}` is not closed by `}}`"), FORMS));
        };
        self.at += 1;
        let value = (self.variables)(name).filter(|v| !(empty_counts && v.is_empty()));
        let wants_word = out.is_some() && (operator == '+') == value.is_some();
        let mut word = String::new();
        self.word(start, wants_word.then_some(&mut word))?;
        match (operator, value) {
            ('?', None) if out.is_some() => return Err(required(start, name, empty_counts, &word)),
            ('+', Some(_)) => push(&mut out, &word),
            ('+', None) => {}
            (_, Some(value)) => push(&mut out, &value),
            (_, None) => push(&mut out, &word),
        }
        Ok(())
    }

    fn word(&mut self, start: usize, out: Option<&mut String>) -> Result<(), Refusal> {
        if self.depth >= NESTING_MAX {
            let message = format!("substitutions are nested deeper than {NESTING_MAX} levels");
            return Err(refusal(start, message, ""));
        }
        self.depth += 1;
        self.run(true, out)?;
        self.depth -= 1;
        if !self.rest().starts_with('}') {
            return Err(refusal(start, "`${` is not closed by `}`", FORMS));
        }
        self.at += 1;
        Ok(())
    }
}

fn push(out: &mut Option<&mut String>, text: &str) {
    if let Some(out) = out {
        out.push_str(text);
    }
}

fn refusal(offset: usize, message: impl Into<String>, hint: &str) -> Refusal {
    Refusal { offset, message: message.into(), hint: hint.to_owned() }
}

fn required(start: usize, name: &str, empty_counts: bool, word: &str) -> Refusal {
    let state = if empty_counts { "is not set or empty" } else { "is not set" };
    let colon = if word.is_empty() { "" } else { ": " };
    let hint = format!("set it in the environment or in `.env`: {name}=...");
    refusal(start, format!("the variable `{name}` {state}{colon}{word}"), &hint)
}

fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// What the substitution of a tree had to say.
#[derive(Debug, Default)]
pub struct Findings {
    /// Variables that are not set, with the place that first asked for them.
    pub undefined: BTreeMap<String, Mark>,
    /// Substitutions that failed, each with the place of its value.
    pub faults: Vec<(Mark, Fault)>,
    /// Bytes of all values that were substituted, also earlier: what is found in one file counts for the next.
    pub substituted_bytes: usize,
}

/// Substitutes variables in all values of the document, except under top-level `x-` keys, which nothing reads.
pub fn expand_tree(root: &mut Node, variables: Variables<'_>, findings: &mut Findings) {
    if let Value::Map(entries) = &mut root.value {
        for entry in entries.iter_mut().filter(|e| !e.key.starts_with("x-")) {
            expand_node(&mut entry.value, variables, findings);
        }
    }
}

/// Substitutes variables in one value and all below it.
pub fn expand_node(node: &mut Node, variables: Variables<'_>, findings: &mut Findings) {
    match &mut node.value {
        Value::Null => {}
        Value::List(items) => items.iter_mut().for_each(|item| expand_node(item, variables, findings)),
        Value::Map(entries) => entries.iter_mut().for_each(|e| expand_node(&mut e.value, variables, findings)),
        Value::Scalar(scalar) if scalar.text.contains('$') => expand_scalar(node.at, scalar, variables, findings),
        Value::Scalar(_) => {}
    }
}

fn expand_scalar(at: Mark, scalar: &mut Scalar, variables: Variables<'_>, findings: &mut Findings) {
    if findings.substituted_bytes > SUBSTITUTED_MAX_BYTES {
        return;
    }
    match expand(&scalar.text, variables) {
        Ok(expanded) => {
            findings.substituted_bytes += expanded.text.len();
            if findings.substituted_bytes > SUBSTITUTED_MAX_BYTES {
                let message = format!("substituted values have more than {SUBSTITUTED_MAX_BYTES} bytes in all");
                findings.faults.push((at, Fault::new(at, message, "")));
            }
            for name in expanded.undefined {
                findings.undefined.entry(name).or_insert(at);
            }
            *scalar = Scalar { text: expanded.text, plain: scalar.plain, substituted: true };
        }
        Err(refused) => {
            let col = at.col.saturating_add(offset_in_line(scalar, refused.offset));
            findings.faults.push((at, Fault::new(Mark { col, ..at }, refused.message, &refused.hint)));
        }
    }
}

/// Characters before the offset, when the text stands in the file as it stands here: without quotes, on one line.
fn offset_in_line(scalar: &Scalar, offset: usize) -> u32 {
    if !scalar.plain || scalar.text.contains('\n') {
        return 0;
    }
    u32::try_from(scalar.text[..offset].chars().count()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        match name {
            "SET" => Some("yes".into()),
            "EMPTY" => Some(String::new()),
            "DOLLAR" => Some("${SET}".into()),
            _ => None,
        }
    }

    fn shown(source: &str) -> String {
        match expand(source, &variables) {
            Ok(e) if e.undefined.is_empty() => e.text,
            Ok(e) => format!("{} [{}]", e.text, e.undefined.join(",")),
            Err(r) => format!("{}: {}", r.offset, r.message),
        }
    }

    #[test]
    fn every_form() {
        for (source, want) in [
            ("plain", "plain"),
            ("$SET-$SET.", "yes-yes."),
            ("a${SET}b", "ayesb"),
            ("$$SET $${SET}", "$SET ${SET}"),
            ("${NOT}|", "| [NOT]"),
            ("$NOT|", "| [NOT]"),
            ("${NOT:-d}${NOT-d}", "dd"),
            ("${EMPTY:-d}|${EMPTY-d}", "d|"),
            ("${SET:-d}${SET-d}", "yesyes"),
            ("${SET:+x}${SET+x}|${NOT:+x}${NOT+x}|${EMPTY:+x}|${EMPTY+x}", "xx|||x"),
            ("${SET:?gone}", "yes"),
            ("${EMPTY?gone}", ""),
            ("a ${EMPTY:?gone}", "2: the variable `EMPTY` is not set or empty: gone"),
            ("${NOT?}", "0: the variable `NOT` is not set"),
            ("${NOT:-${NOT2:-${SET}}}", "yes"),
            ("${NOT:-a $SET b}c", "a yes bc"),
            ("${NOT:?need $SET}", "0: the variable `NOT` is not set or empty: need yes"),
            ("${SET:-${NOT:?unused}}", "yes"),
            ("${SET:-$NOT}", "yes"),
            ("$DOLLAR", "${SET}"),
            ("${NOT:-ä}ö", "äö"),
        ] {
            assert_eq!(shown(source), want, "{source}");
        }
    }

    #[test]
    fn malformed_substitutions_are_refused_where_they_stand() {
        for (source, want) in [
            ("costs $5", "6: `$` is not followed by the name of a variable"),
            ("$", "0: `$` is not followed by the name of a variable"),
            ("${}", "0: `$` is not followed by the name of a variable"),
            ("${SET", "0: `${SET` is not closed by `}`"),
            ("${SET!}", "0: `${SET` is not closed by `}`"),
            ("${SET:x}", "0: `${SET` is not closed by `}`"),
            ("a${NOT:-b", "1: `${` is not closed by `}`"),
        ] {
            assert_eq!(shown(source), want, "{source}");
        }
    }

    #[test]
    fn nesting_and_growth_are_bounded() {
        let deep = "${NOT:-".repeat(100_000);
        assert!(shown(&deep).contains("nested deeper than 16 levels"));
        let wide = "$BIG".repeat(100_000);
        let big = |_: &str| Some("x".repeat(1000));
        let refused = expand(&wide, &big).expect_err("100 MB");
        assert!(refused.message.contains("grows beyond"), "{}", refused.message);
    }
}
