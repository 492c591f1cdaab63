//! Where things are: the server's socket, and the directories of dev clusters.
//!
//! Pure but for `of_process`, which reads the environment, and `alive`, which knocks. Called by `client` and `dev`.

use std::path::{Path, PathBuf};

use crate::args::Target;
use crate::exit::{Exit, Failure};

/// The socket of the server a package installs.
pub const SYSTEM_SOCKET: &str = "/run/wherry/api.sock";
/// The dev cluster that is meant when none is named.
pub const DEFAULT_DEV: &str = "default";

/// What of the environment says where things are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `XDG_STATE_HOME` or `HOME/.local/state`, with `wherry` behind it.
    pub state: PathBuf,
    /// The system's socket.
    pub system_socket: PathBuf,
    /// `XDG_CONFIG_HOME` or `HOME/.config`, with `wherry` behind it: contexts, with their keys.
    pub config: PathBuf,
}

impl Places {
    /// From the environment of this process.
    pub fn of_process() -> Places {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || absolute("HOME").unwrap_or_else(|| PathBuf::from("/root"));
        let state = absolute("XDG_STATE_HOME").unwrap_or_else(|| home().join(".local/state"));
        let config = absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home().join(".config"));
        Places {
            state: state.join("wherry"),
            system_socket: PathBuf::from(SYSTEM_SOCKET),
            config: config.join("wherry"),
        }
    }

    /// The directory of the dev cluster `name`.
    pub fn dev_dir(&self, name: &str) -> PathBuf {
        self.state.join(format!("dev-{name}"))
    }

    /// Names of the dev clusters that have a directory, in order.
    pub fn dev_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.state).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("dev-")?.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The socket to talk to: `--socket` (WHERRY_SOCKET), `--cluster` (WHERRY_DEV), the dev cluster `default`,
    /// the only dev cluster that answers, the system's.
    pub fn socket(&self, target: &Target, alive: impl Fn(&Path) -> bool) -> Result<PathBuf, Failure> {
        if let Some(path) = &target.socket {
            return Ok(path.clone());
        }
        let of_dev = |name: &str| self.dev_dir(name).join("api.sock");
        if let Some(name) = &target.cluster {
            check_name(name)?;
            return if self.dev_dir(name).exists() { Ok(of_dev(name)) } else { Err(no_such(name, &self.dev_names())) };
        }
        let names = self.dev_names();
        let running: Vec<&String> = names.iter().filter(|name| alive(&of_dev(name))).collect();
        if running.iter().any(|name| *name == DEFAULT_DEV) {
            return Ok(of_dev(DEFAULT_DEV));
        }
        match running.as_slice() {
            [one] => Ok(of_dev(one)),
            _ if self.system_socket.exists() => Ok(self.system_socket.clone()),
            [] => Err(nothing_runs(&names)),
            several => Err(several_run(several)),
        }
    }
}

/// A dev cluster's name is a name like any other, as directories and networks bear it.
pub fn check_name(name: &str) -> Result<(), Failure> {
    match name.parse::<proto::id::ProjectName>() {
        Ok(_) => Ok(()),
        Err(e) => Err(Failure::usage(format!(
            "`{name}` cannot be the name of a dev cluster: {}",
            e.to_string().replace("project ", "")
        ))),
    }
}

/// Does a server listen there? A socket that may not be opened counts: its error says more than its absence.
pub fn alive(path: &Path) -> bool {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => true,
        Err(e) => e.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

fn no_such(name: &str, others: &[String]) -> Failure {
    let failure = Failure::new(Exit::Unreachable, format!("there is no dev cluster `{name}`"));
    match others {
        [] => failure.hint(format!("start it with `ctl dev --name {name}`")),
        others => failure.hint(format!("there is: {}", others.join(", "))),
    }
}

fn nothing_runs(stopped: &[String]) -> Failure {
    let failure = Failure::new(Exit::Unreachable, "no server runs on this machine");
    let failure = match stopped {
        [one] if one != DEFAULT_DEV => {
            failure.hint(format!("start the dev cluster there is with `ctl dev --name {one}`"))
        }
        _ => failure.hint("start one with `ctl dev`"),
    };
    if rustix::process::geteuid().is_root() {
        return failure;
    }
    failure.hint("one that root started is root's: use `sudo ctl` as well")
}

fn several_run(names: &[&String]) -> Failure {
    let list: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    let message = format!("several dev clusters run: {}", list.join(", "));
    Failure::usage(message)
        .hint(format!("choose one with --cluster NAME or WHERRY_DEV, such as `ctl --cluster {} ps`", list[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state directory with these dev clusters, of which those with `+` answer.
    #[track_caller]
    fn check(clusters: &[&str], system: bool, target: &Target, want: Result<&str, Exit>) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let places = Places {
            state: dir.path().join("wherry"),
            system_socket: dir.path().join("system.sock"),
            config: dir.path().join("config"),
        };
        for name in clusters {
            std::fs::create_dir_all(places.dev_dir(name.trim_start_matches('+'))).expect("creates");
        }
        if system {
            std::fs::write(&places.system_socket, "").expect("writes");
        }
        let alive = |path: &Path| {
            clusters.iter().any(|c| c.strip_prefix('+').is_some_and(|n| path == places.dev_dir(n).join("api.sock")))
        };
        let got = places.socket(target, alive);
        match (&got, want) {
            (Ok(path), Ok(want)) => assert_eq!(path, &dir.path().join(want)),
            (Err(failure), Err(exit)) => assert_eq!(failure.exit, exit),
            _ => panic!("{got:?} instead of {want:?}"),
        }
    }

    #[test]
    fn the_nearest_server_is_found() {
        let any = Target::default();
        check(&["+default", "+b"], true, &any, Ok("wherry/dev-default/api.sock"));
        check(&["default", "+b"], true, &any, Ok("wherry/dev-b/api.sock"));
        check(&["+a", "+b"], true, &any, Ok("system.sock"));
        check(&["+a", "+b"], false, &any, Err(Exit::Usage));
        check(&["default"], true, &any, Ok("system.sock"));
        check(&["default"], false, &any, Err(Exit::Unreachable));
        check(&[], false, &any, Err(Exit::Unreachable));
    }

    #[test]
    fn what_is_named_wins() {
        let named = Target { cluster: Some("b".into()), ..Target::default() };
        check(&["+default", "b"], true, &named, Ok("wherry/dev-b/api.sock"));
        check(&["+default"], true, &named, Err(Exit::Unreachable));
        let both = Target { socket: Some("/x.sock".into()), cluster: Some("b".into()), context: None };
        check(&["+default"], true, &both, Ok("/x.sock"));
        let wrong = Target { cluster: Some("../up".into()), ..Target::default() };
        check(&[], false, &wrong, Err(Exit::Usage));
    }
}
