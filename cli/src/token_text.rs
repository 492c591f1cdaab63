//! The text of a join token, from wherever it is given: a file, standard input, the environment. In one way for all commands.
//!
//! Never shows it. Called by `command/context` and `command/cluster`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use proto::join_token::{JoinToken, TokenKind};
use proto::limits::JOIN_TOKEN_MAX_BYTES;

use crate::exit::Failure;
use crate::session::Session;

/// The variable that holds it where no file is named.
pub const VARIABLE: &str = "WHERRY_TOKEN";
/// Names standard input in the place of a file.
pub const STDIN: &str = "-";

/// A token as it was written, and as it was read.
pub struct Given {
    /// Without what stood around it.
    pub text: String,
    /// Of the kind that was asked for.
    pub token: JoinToken,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Given(token {:016x})", self.token.id)
    }
}

/// The token that was given, if one was; a broken one, or one of another kind, is told before anything is done with it.
///
/// # Errors
/// When the file cannot be read, or holds no such token.
pub fn read(session: &Session, file: Option<&Path>, kind: TokenKind) -> Result<Option<Given>, Failure> {
    let text = match file {
        Some(path) if path.as_os_str() == STDIN => Some(bounded(io::stdin().lock(), "from standard input")?),
        Some(path) => {
            let path = session.dir.join(path);
            let shown = format!("in {}", path.display());
            Some(bounded(File::open(&path).map_err(|e| unreadable(&shown, &e))?, &shown)?)
        }
        None => session.env.get(VARIABLE).cloned(),
    };
    let Some(text) = text.map(|text| text.trim().to_owned()).filter(|text| file.is_some() || !text.is_empty()) else {
        return Ok(None);
    };
    let token = JoinToken::read(&text, kind).map_err(|e| Failure::refused(e.to_string()))?;
    Ok(Some(Given { text, token }))
}

/// What is longer is another file, and none of it is read further.
fn bounded(from: impl Read, shown: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = JOIN_TOKEN_MAX_BYTES as u64;
    from.take(limit + 1).read_to_string(&mut text).map_err(|e| unreadable(shown, &e))?;
    if text.len() > JOIN_TOKEN_MAX_BYTES {
        return Err(Failure::refused(format!("what is {shown} is longer than a join token: {limit} bytes at most"))
            .hint("name the file that `ctl token create` wrote"));
    }
    Ok(text)
}

fn unreadable(shown: &str, error: &io::Error) -> Failure {
    Failure::refused(format!("the join token {shown} cannot be read: {error}"))
        .hint(format!("name another with --token-file, `{STDIN}` for standard input, or set {VARIABLE}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::fake::session;

    fn message(given: Result<Option<Given>, Failure>) -> String {
        match given {
            Err(failure) => failure.message,
            Ok(given) => panic!("it was taken: {}", given.is_some()),
        }
    }

    #[test]
    fn a_file_that_is_none_is_told_by_name_and_not_read_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut session, ..) = session(dir.path().to_owned(), None);
        let read = |session: &Session, file| read(session, Some(Path::new(file)), TokenKind::Operator);
        assert!(message(read(&session, "none")).contains("none cannot be read"));
        std::fs::write(dir.path().join("long"), vec![b'x'; JOIN_TOKEN_MAX_BYTES + 1]).expect("writes");
        assert!(message(read(&session, "long")).contains("longer than a join token"));
        std::fs::write(dir.path().join("empty"), "\n").expect("writes");
        assert!(!message(read(&session, "empty")).is_empty());
        assert!(message(read(&session, "/dev/zero")).contains("longer than a join token"));
        // Without a file the variable; without both there is none.
        let of_variable = |session: &Session| super::read(session, None, TokenKind::Operator);
        assert!(of_variable(&session).expect("none").is_none());
        session.env.insert(VARIABLE.to_owned(), "no token".to_owned());
        assert!(!message(of_variable(&session)).is_empty());
    }
}
