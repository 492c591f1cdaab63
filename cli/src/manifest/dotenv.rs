//! `.env` and `env_file` texts as Compose reads them: `KEY=value`, `export KEY=value`, quotes, comments, substitution; and the raw format.
//!
//! Never opens a file. Called by `load` (`.env`) and by `lower/environment` (`env_file`).

use super::interpolate::{Variables, expand};

/// Variables in the order written, and what was said about the lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dotenv {
    /// Name and value; a later one of the same name wins.
    pub variables: Vec<(String, String)>,
    /// Lines that cannot be read.
    pub faults: Vec<LineFault>,
    /// Names that were substituted but are not set, each with its line.
    pub undefined: Vec<(String, u32)>,
}

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct LineFault {
    /// Line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Dotenv {
    fn fault(&mut self, line: u32, message: impl Into<String>, hint: &str) {
        self.faults.push(LineFault { line, message: message.into(), hint: hint.to_owned() });
    }
}

/// Reads the format of Compose. A bare `KEY` takes the value `outer` has for it, or is left out; `outer` also wins over the file in
/// substitutions.
pub fn parse(text: &str, outer: Variables<'_>) -> Dotenv {
    let mut found = Dotenv::default();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let after = statement(rest, line, outer, &mut found);
        let consumed = &rest[..rest.len() - after.len()];
        line += u32::try_from(consumed.matches('\n').count()).unwrap_or(0);
        rest = after;
    }
    found
}

/// Reads lines `KEY=value` word by word as `docker run --env-file` does: no quotes, no substitution.
pub fn parse_raw(text: &str, outer: Variables<'_>) -> Dotenv {
    let mut found = Dotenv::default();
    for (number, content) in (1..).zip(text.strip_prefix('\u{feff}').unwrap_or(text).lines()) {
        let content = content.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (key, value) = match content.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (content, outer(content)),
        };
        if let Some(complaint) = bad_name(key) {
            found.fault(number, complaint, "write `KEY=value`");
        } else if let Some(value) = value {
            found.variables.push((key.to_owned(), value));
        }
    }
    found
}

/// Reads one statement and returns what follows its line.
fn statement<'t>(text: &'t str, line: u32, outer: Variables<'_>, found: &mut Dotenv) -> &'t str {
    let (first, after_line) = split_line(text);
    let trimmed = first.trim_start();
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return after_line;
    }
    let without_export =
        trimmed.strip_prefix("export").filter(|r| r.starts_with([' ', '\t'])).unwrap_or(trimmed).trim_start();
    let key_bytes = without_export.find(['=', ':', '#']).unwrap_or(without_export.len());
    let key = without_export[..key_bytes].trim();
    if let Some(complaint) = bad_name(key) {
        found.fault(line, complaint, "write `KEY=value`");
        return after_line;
    }
    let separator = without_export[key_bytes..].chars().next();
    if !matches!(separator, Some('=' | ':')) {
        if let Some(value) = outer(key) {
            found.variables.push((key.to_owned(), value));
        }
        return after_line;
    }
    // `without_export` is the end of `first`, which is the beginning of `text`.
    let value_at = first.len() - without_export.len() + key_bytes + 1;
    let key = key.to_owned();
    value(&text[value_at..], key, line, outer, found)
}

/// Reads the value that begins here and returns what follows its last line.
fn value<'t>(text: &'t str, key: String, line: u32, outer: Variables<'_>, found: &mut Dotenv) -> &'t str {
    let (first, after_line) = split_line(text);
    let content = first.trim_start_matches([' ', '\t']);
    let start = first.len() - content.len();
    match content.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let body = &text[start + 1..];
            let Some(end) = closing_quote(body, quote) else {
                found.fault(line, format!("the value of `{key}` has no closing {quote}"), "close the quote");
                return "";
            };
            if quote == '\'' {
                found.variables.push((key, body[..end].replace("\\'", "'")));
            } else {
                let prepared = unescape(&body[..end]);
                substitute(prepared, key, line, outer, found);
            }
            let (trailing, after) = split_line(&body[end + 1..]);
            let trailing = trailing.trim();
            if !trailing.is_empty() && !trailing.starts_with('#') {
                found.fault(line, "text follows the closing quote", "only a `# comment` may follow");
            }
            after
        }
        _ => {
            let comment = content.find(" #").or_else(|| content.find("\t#")).unwrap_or(content.len());
            let plain = if content.starts_with('#') { "" } else { content[..comment].trim_end() };
            substitute(plain.to_owned(), key, line, outer, found);
            after_line
        }
    }
}

fn substitute(text: String, key: String, line: u32, outer: Variables<'_>, found: &mut Dotenv) {
    let expanded = {
        let earlier = &found.variables;
        let lookup =
            |name: &str| outer(name).or_else(|| earlier.iter().rev().find(|(k, _)| k == name).map(|(_, v)| v.clone()));
        expand(&text, &lookup)
    };
    match expanded {
        Ok(expanded) => {
            found.undefined.extend(expanded.undefined.into_iter().map(|name| (name, line)));
            found.variables.push((key, expanded.text));
        }
        Err(refused) => found.fault(line, refused.message, &refused.hint),
    }
}

fn split_line(text: &str) -> (&str, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    (line.strip_suffix('\r').unwrap_or(line), rest)
}

fn closing_quote(body: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// Escapes of a double-quoted value. `\$` becomes `$$`, which substitution turns into a dollar sign.
fn unescape(body: &str) -> String {
    let mut text = String::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some('r')) => text.push('\r'),
            ('\\', Some('t')) => text.push('\t'),
            ('\\', Some('$')) => text.push_str("$$"),
            ('\\', Some(other @ ('"' | '\'' | '\\'))) => text.push(other),
            ('\\', Some(other)) => text.extend(['\\', other]),
            (other, _) => text.push(other),
        }
    }
    text
}

fn bad_name(key: &str) -> Option<String> {
    if key.is_empty() {
        return Some("a variable has no name".into());
    }
    let is_bad = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']'));
    let bad = key.chars().find(is_bad)?;
    Some(format!("the name of a variable cannot hold `{}`", bad.escape_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer(name: &str) -> Option<String> {
        (name == "OUTER").then(|| "o".to_owned())
    }

    fn check(text: &str, want: &[(&str, &str)]) {
        let found = parse(text, &outer);
        let got: Vec<_> = found.variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!((got.as_slice(), found.faults.len()), (want, 0), "{text}: {:?}", found.faults);
    }

    #[test]
    fn what_compose_reads() {
        check("A=1\nB=two words \n", &[("A", "1"), ("B", "two words")]);
        check("# comment\n\n  A=1 # said\nB=a#b\nC=#x\nD=\n", &[("A", "1"), ("B", "a#b"), ("C", ""), ("D", "")]);
        check("export A=1\r\nB: 2\r\n", &[("A", "1"), ("B", "2")]);
        check("A='$X # \\' y'  # c", &[("A", "$X # ' y")]);
        check(r#"A="a\tb\"c\$d\n" "#, &[("A", "a\tb\"c$d\n")]);
        check("A=\"two\nlines\"\nB=1", &[("A", "two\nlines"), ("B", "1")]);
        check("A=1\nB=${A}${OUTER}${NO:-d}\nC='${A}'", &[("A", "1"), ("B", "1od"), ("C", "${A}")]);
        check("OUTER\nMISSING\nOUTER=x\nB=$OUTER", &[("OUTER", "o"), ("OUTER", "x"), ("B", "o")]);
        check("\u{feff}A=1", &[("A", "1")]);
        check("exported=1", &[("exported", "1")]);
    }

    #[test]
    fn lines_that_cannot_be_read_are_named() {
        for (text, line, message) in [
            ("A=1\n=2", 2, "a variable has no name"),
            ("A B=2", 1, "the name of a variable cannot hold ` `"),
            ("A=1\n\nB=\"x\nC=2", 3, "the value of `B` has no closing \""),
            ("A='x' y", 1, "text follows the closing quote"),
            ("A=${B:?gone}", 1, "the variable `B` is not set or empty: gone"),
        ] {
            let found = parse(text, &outer);
            let got: Vec<_> = found.faults.iter().map(|f| (f.line, f.message.as_str())).collect();
            assert_eq!(got, [(line, message)], "{text}");
        }
    }

    #[test]
    fn undefined_variables_are_named_with_their_line() {
        assert_eq!(parse("A=1\nB=$NOPE", &outer).undefined, [("NOPE".to_owned(), 2)]);
    }

    #[test]
    fn raw_is_taken_word_by_word() {
        let found = parse_raw("# c\nA=\"$X\" # no comment\nOUTER\nGONE\n", &outer);
        assert_eq!(found.variables, [("A".into(), "\"$X\" # no comment".into()), ("OUTER".into(), "o".into())]);
        assert_eq!(parse_raw("=x", &outer).faults.len(), 1);
    }
}
