//! What a shell offers when Tab is pressed: commands, options, and the names of what the cluster has.
//!
//! `ctl completion SHELL` prints a script that asks ctl itself at each Tab, with `WHERRY_COMPLETE` set; so it never knows less
//! than the program that is installed. Names come from the server that the words on the line lead to, within a short
//! deadline; if none answers there are no names, and nothing is said. Called by `lib.rs` and by the arguments in `args.rs`.

mod ask;
mod names;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use crate::args::{Args, Shell};
pub use names::Want;

/// Set by the scripts: the shell that asks. What it asks about stands behind `--`.
pub const ASKED: &str = "WHERRY_COMPLETE";

fn adapter(shell: Shell) -> &'static dyn EnvCompleter {
    match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    }
}

/// The script for a shell. `called`: how ctl was called; a path is kept, a bare name is looked for by the shell.
pub fn script(shell: Shell, called: &OsStr, dir: &Path) -> io::Result<String> {
    let program = Path::new(called);
    let name = program.file_name().unwrap_or(called).to_string_lossy();
    let is_path = program.components().count() > 1;
    let completer = if is_path { dir.join(program) } else { program.to_owned() };
    let mut script = Vec::new();
    adapter(shell).write_registration(ASKED, &name, &name, &completer.to_string_lossy(), &mut script)?;
    let script = String::from_utf8_lossy(&script).into_owned();
    Ok(if shell == Shell::Zsh { script + &first_call(&name) } else { script })
}

/// As a file in `fpath`, the script is itself the function that zsh calls at the first Tab: it has to answer that one too.
fn first_call(name: &str) -> String {
    let function = name.replace('-', "_");
    format!("if [[ $funcstack[1] == _{name} ]]; then _clap_dynamic_completer_{function} \"$@\"; fi\n")
}

/// The words behind `--` of a script's question.
fn asked_about(words: &[OsString]) -> Vec<OsString> {
    words.iter().skip_while(|word| *word != "--").skip(1).cloned().collect()
}

/// Answers a script's question in the form its shell wants. `shell`: what `WHERRY_COMPLETE` says.
pub fn answer(shell: &str, words: &[OsString], dir: Option<&Path>) -> io::Result<Vec<u8>> {
    let shell = <Shell as clap::ValueEnum>::from_str(shell, false).map_err(io::Error::other)?;
    let line = asked_about(words);
    let is_begun = line.last().is_some_and(|word| !word.is_empty());
    let mut offered = Vec::new();
    adapter(shell).write_complete(&mut listed(), line, dir, &mut offered)?;
    Ok(if is_begun { offered } else { names_first(&offered) })
}

/// The command line without the words that only say what else to type.
fn listed() -> Command {
    let whole = Args::command();
    let listed = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("ctl").args(whole.get_arguments().cloned()).subcommands(listed)
}

/// Where something else can stand, options are offered only once `-` is typed.
fn names_first(offered: &[u8]) -> Vec<u8> {
    const ENDS: [u8; 2] = [b'\n', 0x0b];
    let lines = || offered.split_inclusive(|byte| ENDS.contains(byte));
    let is_option = |line: &&[u8]| line.starts_with(b"-");
    if lines().all(|line| is_option(&line)) {
        return offered.to_vec();
    }
    let mut kept = lines().filter(|line| !is_option(line)).collect::<Vec<_>>().concat();
    if kept.last() == Some(&0x0b) {
        kept.pop();
    }
    kept
}

/// Completes an argument with names of this kind, from the live cluster.
pub fn with(want: Want) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let Some(typed) = typed.to_str() else { return Vec::new() };
        let line: Vec<String> = asked_about(&std::env::args_os().collect::<Vec<_>>())
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let offered = match want {
            Want::DevClusters => names::among(typed, ask::dev_clusters()),
            _ => ask::known(&line).map(|known| names::offered(want.on(&line), typed, &known)).unwrap_or_default(),
        };
        offered.into_iter().map(|(name, state)| CompletionCandidate::new(name).help(help(state))).collect()
    })
}

fn help(state: String) -> Option<clap::builder::StyledStr> {
    if state.is_empty() { None } else { Some(state.into()) }
}
