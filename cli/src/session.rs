//! One run of ctl: the terminal, the cluster it is about, the directory and environment it was started in.
//!
//! Decides nothing; gives commands what all of them need. Made in `lib.rs`, by `dev` and by tests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::args::{InProject, Target};
use crate::client::Client;
use crate::context::Contexts;
use crate::exit::Failure;
use crate::name::Scope;
use crate::output::Terminal;
use crate::place::{self, Places};

/// What a command works with.
#[derive(Debug)]
pub struct Session {
    /// Where it writes.
    pub terminal: Terminal,
    /// Which cluster was asked for.
    pub target: Target,
    /// Where sockets are.
    pub places: Places,
    /// The working directory, absolute.
    pub dir: PathBuf,
    /// The process environment, for the manifest's variables.
    pub env: BTreeMap<String, String>,
}

impl Session {
    /// Of this process.
    pub fn of_process(target: Target) -> Result<Session, Failure> {
        let dir = std::env::current_dir()
            .map_err(|e| Failure::refused(format!("the working directory cannot be read: {e}")))?;
        let env =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        Ok(Session { terminal: Terminal::of_process(), target, places: Places::of_process(), dir, env })
    }

    /// A connection to the cluster.
    pub async fn client(&self) -> Result<Client, Failure> {
        if let Some(name) = self.context()? {
            let contexts = Contexts::of(&self.places);
            let remote = contexts.open(&name).await?;
            let keeper = contexts.keep(name.clone(), Arc::clone(&remote));
            return Ok(Client::remote(&name, &remote, keeper).await?);
        }
        let socket = self.places.socket(&self.target, place::alive)?;
        Ok(Client::connect(&socket).await?)
    }

    /// The context that is meant: the one named, or, when nothing at all is named, the one in use.
    fn context(&self) -> Result<Option<String>, Failure> {
        let from_environment = |name: &str, value: &str| self.env.get(name).is_some_and(|v| v == value);
        match (&self.target.context, &self.target.socket, &self.target.cluster) {
            // A word on the line wins over one in the environment.
            (Some(name), Some(socket), _)
                if from_environment("WHERRY_CONTEXT", name)
                    && !from_environment("WHERRY_SOCKET", &socket.to_string_lossy()) =>
            {
                Ok(None)
            }
            (Some(name), None, Some(cluster))
                if from_environment("WHERRY_CONTEXT", name) && !from_environment("WHERRY_DEV", cluster) =>
            {
                Ok(None)
            }
            (Some(name), _, _) => Ok(Some(name.clone())),
            (None, None, None) => Contexts::of(&self.places).current(),
            (None, _, _) => Ok(None),
        }
    }

    /// Where names without a project are looked for.
    pub fn scope(&self, args: &InProject) -> Scope {
        let here = if args.project.is_some() { None } else { crate::intake::project_here(self) };
        Scope { asked: args.project.clone(), here }
    }

    /// `ctl` and the options that lead to the same cluster again, for commands suggested to the user.
    pub fn ctl(&self) -> String {
        if let Some(name) = self.target.context.as_ref().filter(|_| !self.env.contains_key("WHERRY_CONTEXT")) {
            return format!("ctl --context {name}");
        }
        match (&self.target.socket, &self.target.cluster) {
            (Some(path), _) if !self.env.contains_key("WHERRY_SOCKET") => format!("ctl --socket {}", path.display()),
            (None, Some(name)) if !self.env.contains_key("WHERRY_DEV") && name != place::DEFAULT_DEV => {
                format!("ctl --cluster {name}")
            }
            _ => "ctl".to_owned(),
        }
    }
}
