//! `.dockerignore`: which parts of a build context stay at home.
//!
//! Rules as Docker documents them: one pattern a line relative to the context's root; `#` comments; `*`, `?`, `[a-z]`
//! within a name, `**` across directories; `!` takes back; the last pattern that fits decides; what fits a directory
//! fits all that is in it. Pure.

/// The patterns of one ignore file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    takes_back: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// This character.
    Char(char),
    /// `?`: any character of a name.
    One,
    /// `*`: any part of a name.
    Name,
    /// `**/`: any number of directories, also none.
    Directories,
    /// `**`: anything.
    Anything,
    /// `[a-z]`, `[^a-z]`.
    Class { not: bool, ranges: Vec<(char, char)> },
}

/// A line that means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {cause}")]
pub struct PatternError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub cause: &'static str,
}

impl Ignore {
    /// Reads an ignore file.
    ///
    /// # Errors
    /// `PatternError` for a lone `!` and for a bracket that is not closed.
    pub fn parse(text: &str) -> Result<Ignore, PatternError> {
        let mut patterns = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let failed = |cause| PatternError { line: index + 1, cause };
            let line = line.trim();
            let (takes_back, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if takes_back && pattern.is_empty() {
                return Err(failed("`!` without a pattern"));
            }
            let cleaned = cleaned(pattern);
            if !cleaned.is_empty() {
                patterns.push(Pattern { takes_back, parts: parts(&cleaned).map_err(failed)? });
            }
        }
        Ok(Ignore { patterns })
    }

    /// Whether a path (relative, `/` between names) stays at home.
    pub fn ignores(&self, path: &str) -> bool {
        let fits = |pattern: &&Pattern| {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            ends.into_iter().any(|end| matches(&pattern.parts, &path[..end]))
        };
        self.patterns.iter().rev().find(fits).is_some_and(|pattern| !pattern.takes_back)
    }

    /// Whether something below an ignored directory may still be wanted.
    pub fn takes_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.takes_back)
    }
}

/// Without slashes at the ends, doubled ones, `.` and `..`.
fn cleaned(pattern: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in pattern.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            other => names.push(other),
        }
    }
    names.join("/")
}

fn parts(pattern: &str) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => match chars.next_if_eq(&'/') {
                Some(_) => Part::Directories,
                None => Part::Anything,
            },
            '*' => Part::Name,
            '?' => Part::One,
            '[' => class(&mut chars)?,
            '\\' => Part::Char(chars.next().ok_or("`\\` at the end")?),
            other => Part::Char(other),
        });
    }
    Ok(parts)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Part, &'static str> {
    const OPEN: &str = "`[` is not closed";
    let not = chars.next_if(|c| matches!(c, '^' | '!')).is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match chars.next().ok_or(OPEN)? {
            ']' if !ranges.is_empty() => return Ok(Part::Class { not, ranges }),
            '\\' => chars.next().ok_or(OPEN)?,
            other => other,
        };
        let mut to = from;
        if chars.peek() == Some(&'-') {
            chars.next();
            match chars.peek() {
                Some(']') => ranges.push(('-', '-')),
                _ => to = chars.next().ok_or(OPEN)?,
            }
        }
        ranges.push((from, to));
    }
}

fn matches(parts: &[Part], text: &str) -> bool {
    let Some((first, rest)) = parts.split_first() else { return text.is_empty() };
    let one = |fits: &dyn Fn(char) -> bool| {
        let mut chars = text.chars();
        chars.next().is_some_and(|c| c != '/' && fits(c)) && matches(rest, chars.as_str())
    };
    match first {
        Part::Char('/') => text.strip_prefix('/').is_some_and(|text| matches(rest, text)),
        Part::Char(wanted) => one(&|c| c == *wanted),
        Part::One => one(&|_| true),
        Part::Class { not, ranges } => one(&|c| ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)) != *not),
        Part::Name => cuts(text).take_while(|at| !text[..*at].contains('/')).any(|at| matches(rest, &text[at..])),
        Part::Anything => cuts(text).any(|at| matches(rest, &text[at..])),
        Part::Directories => {
            let after = text.match_indices('/').map(|(at, _)| at + 1);
            [0].into_iter().chain(after).any(|at| matches(rest, &text[at..]))
        }
    }
}

/// Every place where a text can be cut.
fn cuts(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.char_indices().map(|(at, _)| at).chain([text.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, ignored: &[&str], kept: &[&str]) {
        let ignore = Ignore::parse(text).unwrap();
        for path in ignored {
            assert!(ignore.ignores(path), "{text:?} must ignore {path}");
        }
        for path in kept {
            assert!(!ignore.ignores(path), "{text:?} must keep {path}");
        }
    }

    #[test]
    fn the_documented_syntax() {
        check("", &[], &["a"]);
        check("# a\n\n  \n", &[], &["a", "# a"]);
        check("node_modules", &["node_modules", "node_modules/a/b"], &["x/node_modules", "node_modules2"]);
        check("/target/", &["target", "target/x"], &["a/target"]);
        check("./a//b/../c", &["a/c"], &["a/b"]);
        check("*.md", &["README.md", ".md"], &["docs/x.md", "md"]);
        check("*/temp*", &["a/temporary.txt", "a/temp", "a/temp/x"], &["temp", "a/b/temp"]);
        check("*/*/temp*", &["a/b/temp0"], &["a/temp"]);
        check("temp?", &["tempa", "temp1"], &["temp", "tempab", "temp/"]);
        check("**/*.go", &["a.go", "a/b.go", "a/b/c.go"], &["a.gox"]);
        check("**.log", &["a.log", "a/b.log"], &["a.logs"]);
        check("docs/**", &["docs/a", "docs/a/b"], &["docs"]);
        check("a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["az", "a/bz"]);
        check("**", &["a", "a/b"], &[]);
        check("[a-c]x", &["ax", "cx"], &["dx", "x"]);
        check("[^a-c]x", &["dx"], &["ax", "/x"]);
        check("[]-]x", &["]x", "-x"], &["ax"]);
        check(r"\*", &["*"], &["a"]);
        check("ä*", &["äö", "ä"], &["a"]);
        check("\u{feff}a", &["a"], &[]);
        check(".", &[], &["a"]);
    }

    #[test]
    fn the_last_pattern_decides() {
        check("*.md\n!README.md", &["a.md"], &["README.md"]);
        check("*.md\n!README*.md\nREADME-secret.md", &["a.md", "README-secret.md"], &["README.md"]);
        check("*.md\nREADME-secret.md\n!README*.md", &["a.md"], &["README-secret.md"]);
        check("dir\n! dir/keep", &["dir/a", "dir"], &["dir/keep", "dir/keep/x"]);
        check("!a\n*", &["a"], &[]);
        assert!(Ignore::parse("a\n!b").unwrap().takes_back());
        assert!(!Ignore::parse("a\n#!b").unwrap().takes_back());
    }

    #[test]
    fn lines_that_mean_nothing() {
        for (text, line) in [("a\n!", 2), ("[a", 1), ("[]", 1), ("a\n\n[a-", 3), ("x\\", 1)] {
            assert_eq!(Ignore::parse(text).unwrap_err().line, line, "{text:?}");
        }
    }
}
