//! From the command line to a loaded manifest: which file, what is said about it, where a server's refusal stands in it.
//!
//! Never sends anything. Called by `apply`, `delete -f`, `dev`, and for the name of the project in the working directory.

use std::io::Read;
use std::path::{Path, PathBuf};

use proto::limits::MANIFEST_MAX_BYTES;

use crate::args::ManifestArgs;
use crate::client::CallError;
use crate::exit::Failure;
use crate::manifest::{self, Disk, Input, LoadOptions, Loaded};
use crate::name::plural;
use crate::output::style::{BOLD, DIM, paint};
use crate::session::Session;

/// Loads the named manifest (`-`: standard input; none: that of the directory). Problems become the failure, all of them.
pub fn load(session: &Session, args: &ManifestArgs) -> Result<Loaded, Failure> {
    let options = options(session, args)?;
    manifest::load(&options, &Disk).map_err(|problems| refuse(&problems))
}

/// What is to be loaded.
pub fn options(session: &Session, args: &ManifestArgs) -> Result<LoadOptions, Failure> {
    let files = if args.file.is_empty() { chosen(session) } else { args.file.clone() };
    if files.is_empty() {
        return Err(Failure::usage("there is no Compose file in this directory")
            .hint("name one with `-f FILE`, or go where compose.yaml is"));
    }
    let input = |path: PathBuf| match path == Path::new("-") {
        true => Ok(Input::Text { name: "-".to_owned(), bytes: stdin()? }),
        false => Ok(Input::File(path)),
    };
    Ok(LoadOptions {
        inputs: files.into_iter().map(input).collect::<Result<_, Failure>>()?,
        profiles: args.profile.clone(),
        project_name: args.project.clone(),
        env: session.env.clone(),
        working_dir: session.dir.clone(),
    })
}

/// The files that are meant when none is named; empty when there are none.
pub fn chosen(session: &Session) -> Vec<PathBuf> {
    manifest::chosen(&session.dir, &session.env, &Disk)
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

/// The project of a manifest, also of one that would be refused.
pub fn project_of(session: &Session, args: &ManifestArgs) -> Result<String, Failure> {
    let options = options(session, args)?;
    match manifest::name(&options, &Disk) {
        Some(name) => Ok(name.to_string()),
        None => manifest::load(&options, &Disk).map(|l| l.spec.name.to_string()).map_err(|problems| refuse(&problems)),
    }
}

/// The project of the Compose file in the working directory, if there is one and it can be read.
pub fn project_here(session: &Session) -> Option<String> {
    let options = options(session, &ManifestArgs::default()).ok()?;
    manifest::name(&options, &Disk).map(|name| name.to_string())
}
