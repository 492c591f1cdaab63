//! Rust text as words: comments and literals are left out, paths are written out in full, line numbers are kept.
//!
//! Not a parser: enough to see which names a file uses.

/// A word or a sign, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub text: String,
}

/// The tokens of a text: identifiers whole, `::` as one sign, everything else a character each.
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = token_end(&chars, at);
        let first = chars[at];
        if first.is_alphanumeric() || first == '_' {
            if !is_literal_prefix(&chars, at, end) {
                tokens.push(Token { line, text: chars[at..end].iter().collect() });
            }
        } else if !first.is_whitespace() && !matches!(first, '"' | '\'') && !is_comment(&chars, at) {
            tokens.push(Token { line, text: chars[at..end].iter().collect() });
        }
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

fn is_comment(chars: &[char], at: usize) -> bool {
    chars[at] == '/' && matches!(chars.get(at + 1), Some('/' | '*'))
}

/// `r"..."`, `b"..."`, `r#"..."#`: the whole literal was taken for a word.
fn is_literal_prefix(chars: &[char], at: usize, end: usize) -> bool {
    chars[at..end].contains(&'"')
}

fn token_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |c| c == '\n'),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => quoted_end(chars, at),
        '\'' => quote_end(chars, at),
        ':' if next == Some(':') => at + 2,
        c if c.is_alphanumeric() || c == '_' => word_end(chars, at),
        _ => at + 1,
    }
}

fn find(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    chars[from..].iter().position(|c| stop(*c)).map_or(chars.len(), |n| from + n)
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (1, at + 2);
    while i < chars.len() && depth > 0 {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    i
}

fn quoted_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// A character, or the mark of a lifetime.
fn quote_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => (find(chars, at + 3, |c| c == '\'') + 1).min(chars.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// An identifier, or a literal with a prefix.
fn word_end(chars: &[char], at: usize) -> usize {
    let end = find(chars, at, |c| !c.is_alphanumeric() && c != '_');
    let word: String = chars[at..end].iter().collect();
    let hashes = find(chars, end, |c| c != '#') - end;
    let opens = chars.get(end + hashes) == Some(&'"');
    match word.as_str() {
        "r" | "br" | "cr" if opens => {
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let body = end + hashes + 1;
            let ends = (body..chars.len()).find(|i| chars[*i..].starts_with(&close));
            ends.map_or(chars.len(), |i| i + close.len())
        }
        "b" | "c" if opens && hashes == 0 => quoted_end(chars, end),
        _ => end,
    }
}

/// A path used in a text, such as `std::fs::read`; imports in braces are written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub line: usize,
    pub segments: Vec<String>,
}

impl Path {
    /// The first word.
    pub fn first(&self) -> &str {
        self.segments.first().map_or("", String::as_str)
    }

    /// Does it begin with these words?
    pub fn starts_with(&self, words: &[&str]) -> bool {
        self.segments.len() >= words.len() && self.segments.iter().zip(words).all(|(s, w)| s == w)
    }
}

/// Every path of a text: those of `use`, and those written where they are used.
pub fn paths(text: &str) -> Vec<Path> {
    let tokens = tokens(text);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_use = tokens[at].text == "use" || tokens[at].text == "crate" && previous(&tokens, at) == "extern";
        if is_use {
            at = use_tree(&tokens, at + 1, &[], &mut paths);
        } else if is_word(&tokens[at].text) && text_at(&tokens, at + 1) == "::" {
            at = plain_path(&tokens, at, &mut paths);
        } else {
            at += 1;
        }
    }
    paths
}

fn text_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |t| t.text.as_str())
}

fn previous(tokens: &[Token], at: usize) -> &str {
    at.checked_sub(1).map_or("", |before| text_at(tokens, before))
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn plain_path(tokens: &[Token], from: usize, paths: &mut Vec<Path>) -> usize {
    let mut segments = vec![tokens[from].text.clone()];
    let mut at = from + 1;
    while text_at(tokens, at) == "::" && is_word(text_at(tokens, at + 1)) {
        segments.push(tokens[at + 1].text.clone());
        at += 2;
    }
    paths.push(Path { line: tokens[from].line, segments });
    at.max(from + 1)
}

/// One branch of a `use` and those beside it, up to `;` or the closing brace; where it ends.
fn use_tree(tokens: &[Token], mut at: usize, before: &[String], paths: &mut Vec<Path>) -> usize {
    let mut segments = before.to_vec();
    let leaf = |segments: &[String], line: usize, paths: &mut Vec<Path>| {
        if segments.len() > before.len() {
            paths.push(Path { line, segments: segments.to_vec() });
        }
    };
    while at < tokens.len() {
        let Token { line, text } = &tokens[at];
        at += 1;
        match text.as_str() {
            "{" => {
                at = use_tree(tokens, at, &segments, paths);
                segments = before.to_vec();
            }
            "}" | ";" => {
                leaf(&segments, *line, paths);
                return at;
            }
            "," => {
                leaf(&segments, *line, paths);
                segments = before.to_vec();
            }
            // The name it gets here is no part of the path.
            "as" => at += 1,
            "::" => {}
            word => segments.push(word.to_owned()),
        }
    }
    at
}

#[test]
fn literals_and_comments_are_no_names() {
    let text = "/* a /* b */ */ // c\nlet d = \"e \\\" f\"; r#\"g \" h\"#; b\"i\"; 'j'; '\\''; x: &'k str";
    let words: Vec<String> = tokens(text).into_iter().map(|t| t.text).filter(|t| is_word(t)).collect();
    assert_eq!(words, ["let", "d", "x", "k", "str"]);
}

#[test]
fn imports_are_written_out() {
    let text = "use std::{fmt, net::{IpAddr, Ipv4Addr as V4}};\nuse imbl;\nfn f() { proto::id::parse(a::<b::C>()) }";
    let shown: Vec<String> = paths(text).iter().map(|p| format!("{} {}", p.line, p.segments.join("::"))).collect();
    assert_eq!(
        shown,
        ["1 std::fmt", "1 std::net::IpAddr", "1 std::net::Ipv4Addr", "2 imbl", "3 proto::id::parse", "3 a", "3 b::C"]
    );
}
