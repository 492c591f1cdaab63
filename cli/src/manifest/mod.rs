//! Compose file to typed project: `load` reads, substitutes, lowers and checks; what it cannot honour it refuses by name and place.
//!
//! Pure: files come through `Sources`, the environment is an argument; only `files` touches a disk. Never speaks to a server.
//! Called by `ctl apply`, `plan`, `check` and `dev`. Rules of the keys: Compose Specification; what each key's verdict is: `lower/keys`.

mod assemble;
mod check;
mod dotenv;
mod files;
mod interpolate;
mod lower;
mod parse;
mod problem;
mod project;
mod spans;
mod suggest;
mod tree;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::id::{BlobDigest, ProjectName, ServiceName};
use proto::spec::{BlobKind, ProjectSpec};
use zeroize::Zeroizing;

pub use check::{Checked, Judged, Said, Verdict, check};
pub use files::{Disk, chosen};
pub use problem::{Notice, Position, Problem};
pub use spans::Spans;

use lower::context::Context;

/// Where files come from. The disk in production, a map in tests.
pub trait Sources {
    /// The content of a file of at most `max_bytes`.
    fn read(&self, path: &Path, max_bytes: usize) -> Result<Vec<u8>, ReadError>;
}

/// Why a file's content is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("there is no such file")]
    NotFound,
    /// It is a directory, a socket or the like.
    #[error("it is not a file")]
    NotAFile,
    /// It has more bytes than may be read.
    #[error("it has more than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// Anything else, in the words of the operating system.
    #[error("{0}")]
    Other(String),
}

/// The manifest to load.
#[derive(Debug, Clone)]
pub enum Input {
    /// A file; relative to the working directory. What it names is relative to its own directory.
    File(PathBuf),
    /// A text, as from standard input. What it names is relative to the working directory.
    Text {
        /// How problems name it, `-` for instance.
        name: String,
        /// It.
        bytes: Vec<u8>,
    },
}

/// What `load` is told. The environment's values are never shown.
#[derive(Clone)]
pub struct LoadOptions {
    /// The manifest: one file or text, or several that are merged, each over those before it. Without any there is nothing to load.
    pub inputs: Vec<Input>,
    /// Active profiles, besides those of `COMPOSE_PROFILES`; `*` is all.
    pub profiles: Vec<String>,
    /// The project's name if the command line says it.
    pub project_name: Option<String>,
    /// The process environment. It wins over `.env`.
    pub env: BTreeMap<String, String>,
    /// Absolute.
    pub working_dir: PathBuf,
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("inputs", &self.inputs)
            .field("profiles", &self.profiles)
            .field("project_name", &self.project_name)
            .field("env", &format_args!("{} variables", self.env.len()))
            .field("working_dir", &self.working_dir)
            .finish()
    }
}

/// A project ready to be sent, but for its blobs' digests and its built images.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The project. Digests of configs and secrets are empty: see `with_digests`.
    pub spec: ProjectSpec,
    /// Contents of the configs and secrets that services use.
    pub blobs: Vec<Blob>,
    /// What must be built first, by service.
    pub builds: BTreeMap<ServiceName, Build>,
    /// What is honoured otherwise than expected, sorted by place.
    pub notices: Vec<Notice>,
    /// Where each field stands, for problems that a server finds.
    pub spans: Spans,
}

/// The content of a config or a secret. Wiped from memory when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    /// Config or secret.
    pub kind: BlobKind,
    /// Key under `configs:` or `secrets:`.
    pub name: String,
    /// The content.
    pub content: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({:?} {}, {} bytes)", self.kind, self.name, self.content.len())
    }
}

/// An image to build before the project can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Directory with what is built, absolute.
    pub context: PathBuf,
    /// Path of the Dockerfile, relative to the context.
    pub dockerfile: Option<String>,
    /// The Dockerfile itself; excludes `dockerfile`.
    pub dockerfile_inline: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Stage to build.
    pub target: Option<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Ignore the cache.
    pub no_cache: bool,
    /// Name to give the image: the service's `image`, or `PROJECT-SERVICE`.
    pub tag: String,
}

/// A blob that has no digest yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} `{name}` was not uploaded: its digest is missing", kind = kind_word(*.kind))]
pub struct MissingDigest {
    /// Config or secret.
    pub kind: BlobKind,
    /// Its key.
    pub name: String,
}

fn kind_word(kind: BlobKind) -> &'static str {
    match kind {
        BlobKind::Config => "config",
        BlobKind::Secret => "secret",
    }
}

impl Loaded {
    /// The project with each config's and secret's digest, as the server returned them for the uploaded blobs.
    pub fn with_digests(
        &self,
        digests: &BTreeMap<(BlobKind, String), BlobDigest>,
    ) -> Result<ProjectSpec, MissingDigest> {
        let mut spec = self.spec.clone();
        for service in spec.services.values_mut().filter(|s| !s.container.files.is_empty()) {
            for file in &mut Arc::make_mut(&mut service.container).files {
                let digest = digests.get(&(file.kind, file.name.clone()));
                let missing = || MissingDigest { kind: file.kind, name: file.name.clone() };
                file.digest = digest.ok_or_else(missing)?.clone();
            }
        }
        Ok(spec)
    }
}

/// Reads a manifest. Errors: every problem that could be found, sorted by place, at most a hundred and a count of the rest.
pub fn load(options: &LoadOptions, sources: &dyn Sources) -> Result<Loaded, Vec<Problem>> {
    let mut cx = Context::new(sources);
    let assembled = assemble::assemble(options, &mut cx);
    let lowered = assembled.as_ref().and_then(|a| lower::lower(&a.root, &mut cx, a.name.as_ref()));
    let files = cx.names();
    let (problems, notices) = cx.finish();
    match (assembled, lowered) {
        (Some(assembled), Some((spec, blobs, builds))) if problems.is_empty() => {
            Ok(Loaded { spec, blobs, builds, notices, spans: Spans::of(&assembled.root, files) })
        }
        _ if !problems.is_empty() => Err(problems),
        _ => Err(vec![nameless(files.first().cloned().unwrap_or_default())]),
    }
}

/// The project that a manifest is about, if its files can be read; whether it could be applied is not asked.
pub fn name(options: &LoadOptions, sources: &dyn Sources) -> Option<ProjectName> {
    assemble::name(options, &mut Context::new(sources))
}

/// A manifest of which nothing else is wrong.
fn nameless(file: Arc<str>) -> Problem {
    let hint = Some(project::HINT.to_owned());
    Problem { path: file.to_string(), line: 0, col: 0, message: "the project has no name".into(), hint }
}
