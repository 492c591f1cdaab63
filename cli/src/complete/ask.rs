//! What the cluster has, asked in the moment Tab is pressed: once, briefly, and silently if nobody answers.
//!
//! Never prints and never fails: no answer is no names.

use std::path::PathBuf;
use std::time::Duration;

use proto::v1;

use crate::args::Target;
use crate::name::Scope;
use crate::session::Session;

/// How long a person who pressed Tab is kept waiting for names.
const DEADLINE: Duration = Duration::from_millis(700);

/// The cluster as it is, and where names without a project are looked for.
#[derive(Debug, Default)]
pub struct Known {
    /// What it has.
    pub snapshot: v1::Snapshot,
    /// Of the line and of the directory.
    pub scope: Scope,
}

/// Asks the cluster that the words on the line lead to.
pub fn known(line: &[String]) -> Option<Known> {
    let target = Target {
        socket: value(line, &["--socket"]).or_else(|| environment("WHERRY_SOCKET")).map(PathBuf::from),
        cluster: value(line, &["--cluster"]).or_else(|| environment("WHERRY_DEV")),
        context: value(line, &["--context"]).or_else(|| environment("WHERRY_CONTEXT")),
    };
    let asked = value(line, &["--project", "-p"]);
    let session = Session::of_process(target).ok()?;
    let here = if asked.is_some() { None } else { crate::intake::project_here(&session) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let answer = runtime.block_on(async {
        let ask = async { session.client().await.ok()?.snapshot("", 0).await.ok() };
        tokio::time::timeout(DEADLINE, ask).await.ok().flatten()
    });
    Some(Known { snapshot: answer?, scope: Scope { asked, here } })
}

/// The dev clusters of this user; nobody is asked.
pub fn dev_clusters() -> Vec<String> {
    crate::place::Places::of_process().dev_names()
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of an option: `--option VALUE`, `--option=VALUE`, `-oVALUE`.
pub(super) fn value(line: &[String], options: &[&str]) -> Option<String> {
    let mut words = line.iter();
    while let Some(word) = words.next() {
        for option in options {
            match word.strip_prefix(option) {
                Some("") => return words.next().filter(|value| !value.is_empty()).cloned(),
                Some(rest) if option.starts_with("--") => {
                    if let Some(value) = rest.strip_prefix('=') {
                        return Some(value.to_owned());
                    }
                }
                Some(rest) => return Some(rest.trim_start_matches('=').to_owned()),
                None => {}
            }
        }
    }
    None
}
