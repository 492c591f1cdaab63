//! Contexts: clusters on other hosts that this user has joined, each a file with key and certificate (0600).
//!
//! Renews a certificate that is past half of its life whenever it is used, and as long as it is. Never prints. Called by
//! `session` and `command/context`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto::join_token::JoinToken;
use proto::peer::{self, Kept, KeptError, PrivateKey, Remote};

use crate::exit::{Exit, Failure};
use crate::place::Places;
use crate::time::now_ms;

/// The file that names the context in use.
const CURRENT: &str = "current-context";
/// Pause before a certificate that was not renewed is tried again: a part of its life, and at least so long.
const AGAIN_PART: u64 = 20;
const AGAIN_MIN_MS: u64 = 500;
/// Longest sleep of who keeps a certificate young: clocks may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// This user's contexts.
#[derive(Debug)]
pub struct Contexts {
    dir: PathBuf,
}

// === impl Contexts ===

impl Contexts {
    /// In this user's configuration.
    pub fn of(places: &Places) -> Contexts {
        Contexts { dir: places.config.clone() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join("contexts").join(format!("{name}.json"))
    }

    /// Names in order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join("contexts")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The one in use, if there is one.
    pub fn current(&self) -> Result<Option<String>, Failure> {
        match fs::read_to_string(self.dir.join(CURRENT)) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(cannot("read", &self.dir.join(CURRENT), &e)),
        }
    }

    /// Uses this one from now on when none is named.
    pub fn choose(&self, name: &str) -> Result<(), Failure> {
        self.kept(name)?;
        self.write(&self.dir.join(CURRENT), format!("{name}\n").as_bytes())
    }

    /// What is kept of one.
    pub fn kept(&self, name: &str) -> Result<Kept, Failure> {
        check(name)?;
        let path = self.file(name);
        match fs::read(&path) {
            Ok(bytes) => Kept::read(&bytes).map_err(|e| unusable(name, &e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(absent(name, &self.names())),
            Err(e) => Err(cannot("read", &path, &e)),
        }
    }

    /// Joins the token's cluster. A context of that name keeps its key, so that its operator stays who it was.
    pub async fn join(&self, name: &str, servers: Vec<String>, token: &JoinToken) -> Result<Kept, Failure> {
        check(name)?;
        let earlier = if self.file(name).exists() { Some(self.kept(name)?) } else { None };
        let pending = self.dir.join("contexts").join(format!("{name}.key"));
        let key = match &earlier {
            Some(kept) if kept.cluster().map_err(|e| unusable(name, &e))? != token.cluster => {
                return Err(Failure::refused(format!("context {name} is of another cluster than the token"))
                    .hint(format!("choose another name, or remove it first: `ctl context remove {name}`")));
            }
            Some(kept) => kept.key().map_err(|e| unusable(name, &e))?,
            None => self.pending_key(&pending)?,
        };
        let kept = peer::enrol(servers, token, &key, "").await.map_err(|error| {
            let exit = if error.may_pass() { Exit::Unreachable } else { Exit::Refused };
            Failure::new(exit, format!("cannot join: {error}"))
        })?;
        self.write(&self.file(name), &kept.write())?;
        // Its key is in the context now.
        let _ = fs::remove_file(&pending);
        Ok(kept)
    }

    /// The key of an attempt whose answer was lost, or a new one: kept before it is shown.
    fn pending_key(&self, path: &Path) -> Result<PrivateKey, Failure> {
        if let Some(key) = fs::read(path).ok().and_then(|bytes| PrivateKey::from_pkcs8(&bytes).ok()) {
            return Ok(key);
        }
        let key = PrivateKey::generate().map_err(|e| Failure::refused(e.to_string()))?;
        self.write(path, key.pkcs8())?;
        Ok(key)
    }

    /// Forgets one.
    pub fn remove(&self, name: &str) -> Result<(), Failure> {
        check(name)?;
        let path = self.file(name);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(absent(name, &self.names())),
            Err(e) => return Err(cannot("remove", &path, &e)),
        }
        if self.current()?.is_some_and(|current| current == name) {
            fs::remove_file(self.dir.join(CURRENT)).map_err(|e| cannot("remove", &self.dir.join(CURRENT), &e))?;
        }
        Ok(())
    }

    /// The servers of a context, seen as its operator; with a new certificate when the present one is past its half.
    pub async fn open(&self, name: &str) -> Result<Arc<Remote>, Failure> {
        let kept = self.kept(name)?;
        let now = now_ms();
        if kept.is_over(now) {
            return Err(Failure::refused(format!("the certificate of context {name} has expired"))
                .hint("ask an admin for a fresh token: `ctl token create operator`")
                .hint(format!("then `ctl context add {name} --server {} --token-file FILE`", kept.servers.join(","))));
        }
        let remote = kept.remote().map_err(|e| unusable(name, &e))?;
        // What fails here fails again below, with words about what was asked; until then the old one holds.
        let _ = self.renew_if_due(name, &kept, &remote).await;
        Ok(remote)
    }

    /// A new certificate if the present one is past its half: kept, and shown from now on.
    async fn renew_if_due(&self, name: &str, kept: &Kept, remote: &Arc<Remote>) -> Result<(), Failure> {
        if now_ms() < kept.half_unix_ms() {
            return Ok(());
        }
        let renewed = peer::renew(kept, remote).await.map_err(|e| Failure::refused(e.to_string()))?;
        remote.show(renewed.credentials().map_err(|e| unusable(name, &e))?);
        self.write(&self.file(name), &renewed.write())
    }

    /// Keeps the certificate that is shown young, for commands that run long: renews at half of its life what is in the
    /// file by then. Ends when the context is gone or somebody else's.
    pub async fn keep(self, name: String, remote: Arc<Remote>) {
        let Ok(mut shown) = self.kept(&name) else { return };
        let mut due = shown.half_unix_ms();
        loop {
            let left = Duration::from_millis(due.saturating_sub(now_ms())).min(SLEEP_MAX);
            tokio::time::sleep(left).await;
            if now_ms() < due {
                continue;
            }
            let Ok(kept) = self.kept(&name) else { return };
            if !kept.is_same_identity(&shown) {
                return;
            }
            // Another ctl may have renewed it.
            if kept.until_unix_ms > shown.until_unix_ms
                && let Ok(credentials) = kept.credentials()
            {
                remote.show(credentials);
            }
            let _ = self.renew_if_due(&name, &kept, &remote).await;
            shown = self.kept(&name).unwrap_or(kept);
            let pause = (shown.until_unix_ms.saturating_sub(shown.from_unix_ms) / AGAIN_PART).max(AGAIN_MIN_MS);
            due = shown.half_unix_ms().max(now_ms() + pause);
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let parent = path.parent().unwrap_or(&self.dir);
        // Several ctl may write the same one: each beside it, the last one stays.
        let beside =
            path.with_extension(format!("{:08x}.new", getrandom::u32().unwrap_or_else(|_| std::process::id())));
        let written = DirBuilder::new().recursive(true).mode(0o700).create(parent).and_then(|()| {
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, path)
        });
        written.map_err(|e| {
            let _ = fs::remove_file(&beside);
            cannot("write", path, &e)
        })
    }
}

/// A context's name is a file's.
fn check(name: &str) -> Result<(), Failure> {
    let wrong = |e: proto::id::IdError| {
        let message = e.to_string().replace("project ", "");
        Failure::usage(format!("`{name}` cannot be the name of a context: {message}"))
    };
    name.parse::<proto::id::ProjectName>().map(|_| ()).map_err(wrong)
}

fn absent(name: &str, others: &[String]) -> Failure {
    let failure = Failure::new(Exit::Unreachable, format!("there is no context `{name}`"));
    match others {
        [] => failure.hint(format!("add it with `ctl context add {name} --server HOST --token-file FILE`")),
        others => failure.hint(format!("there is: {}", others.join(", "))),
    }
}

fn unusable(name: &str, error: &KeptError) -> Failure {
    Failure::refused(format!("context {name} cannot be used: {error}"))
        .hint(format!("remove it with `ctl context remove {name}` and add it again"))
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::refused(format!("cannot {verb} {}: {error}", path.display()))
}
