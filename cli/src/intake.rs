//! From the command line to a loaded manifest: which file, what is said about it, where a server's refusal stands in it.
//!
//! Never sends anything. Called by `apply`, `delete -f`, `dev`, and for the name of the project in the working directory.

use std::io::Read;
use std::path::Path;

use proto::limits::MANIFEST_MAX_BYTES;

use crate::client::CallError;
use crate::exit::Failure;
use crate::manifest::{self, Disk, Input, LoadOptions, Loaded};
use crate::name::plural;
use crate::output::style::{BOLD, DIM, paint};
use crate::session::Session;

/// Loads the named manifest (`-`: standard input; none: that of the directory). Problems become the failure, all of them.
pub fn load(session: &Session, file: Option<&Path>, project: Option<&str>) -> Result<Loaded, Failure> {
    let input = match file {
        Some(path) if path == Path::new("-") => Input::Text { name: "-".to_owned(), bytes: stdin()? },
        Some(path) => Input::File(path.to_owned()),
        None => Input::File(discover(session)?),
    };
    let options = LoadOptions {
        input,
        project_name: project.map(str::to_owned),
        env: session.env.clone(),
        working_dir: session.dir.clone(),
    };
    manifest::load(&options, &Disk).map_err(|problems| refuse(&problems))
}

fn discover(session: &Session) -> Result<std::path::PathBuf, Failure> {
    let found = manifest::discover(&session.dir).ok_or_else(|| {
        Failure::usage("there is no Compose file in this directory")
            .hint("name one with `-f FILE`, or go where compose.yaml is")
    })?;
    // Relative, as the user would have written it.
    Ok(found.strip_prefix(&session.dir).map(Path::to_owned).unwrap_or(found))
}

fn stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = MANIFEST_MAX_BYTES as u64 + 1;
    let read = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
    read.map_err(|e| Failure::refused(format!("standard input cannot be read: {e}")))?;
    if bytes.len() > MANIFEST_MAX_BYTES {
        return Err(Failure::refused(format!("standard input has more than {MANIFEST_MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

fn refuse(problems: &[manifest::Problem]) -> Failure {
    let count = problems.len();
    let message = format!("the manifest has {count} problem{}; nothing was sent", plural(count as u64));
    Failure::refused(message).at(problems.iter().map(ToString::to_string))
}

/// Says the notices, once, on stderr.
pub fn say_notices(session: &mut Session, loaded: &Loaded) {
    for notice in &loaded.notices {
        session.terminal.say(&format!("{} {notice}", paint(BOLD, "note:")));
    }
}

/// What the server wants an operator to know, unless the manifest's notices said it already.
pub fn say_server_notices(session: &mut Session, notices: &[String]) {
    for notice in notices {
        session.terminal.say(&paint(DIM, &format!("note: {notice}")));
    }
}

/// The failure of sending `loaded`: a refusal's fields become places in the file.
pub fn locate(error: CallError, loaded: &Loaded) -> Failure {
    let CallError::Refused { message, refusal } = error else { return error.into() };
    let mut lines = Vec::new();
    for problem in &refusal.problems {
        let place = loaded.spans.locate(&problem.field).map(|at| format!("{at}: ")).unwrap_or_default();
        let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
        lines.push(format!("{place}{field}{}", problem.message));
        if !problem.hint.is_empty() {
            lines.push(format!("  hint: {}", problem.hint));
        }
    }
    Failure::refused(message).at(lines)
}

/// The project of the Compose file in the working directory, if there is one and it can be read.
pub fn project_here(session: &Session) -> Option<String> {
    manifest::discover(&session.dir)?;
    load(session, None, None).ok().map(|loaded| loaded.spec.name.to_string())
}
