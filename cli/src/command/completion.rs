//! `ctl completion`: prints the script that teaches a shell ctl's words. What it asks is answered by `complete`.

use std::ffi::OsString;

use crate::args::CompletionArgs;
use crate::complete;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// `ctl completion`.
pub fn run(session: &mut Session, args: &CompletionArgs) -> Result<Exit, Failure> {
    let called = std::env::args_os().next().unwrap_or_else(|| OsString::from("ctl"));
    let script = complete::script(args.shell, &called, &session.dir)?;
    session.terminal.print(&script)?;
    Ok(Exit::Done)
}
