//! Compose file to typed project: `load` reads, substitutes, lowers and checks; what it cannot honour it refuses by name and place.
//!
//! Pure: files come through `Sources`, the environment is an argument; only `files` touches a disk. Never speaks to a server.
//! Called by `ctl apply`, `plan`, `check` and `dev`. Rules of the keys: Compose Specification; what each key's verdict is: `lower/keys`.

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

use proto::id::{BlobDigest, ServiceName};
use proto::limits::MANIFEST_MAX_BYTES;
use proto::spec::{BlobKind, ProjectSpec};
use zeroize::Zeroizing;

pub use files::{DEFAULT_FILES, Disk, discover};
pub use problem::{Notice, Position, Problem};
pub use spans::Spans;

use lower::context::Context;
use tree::{Fault, Mark, Node};

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
    /// The manifest.
    pub input: Input,
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
            .field("input", &self.input)
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
    let opened = open(options, sources).map_err(|problem| vec![problem])?;
    let whole_file = |fault: Fault| vec![at(&opened.name, fault)];
    let mut root = match parse::parse(&opened.bytes).map_err(whole_file)? {
        Some(root) => root,
        None => {
            return Err(whole_file(Fault::new(
                Mark { line: 1, col: 1 },
                "the file is empty",
                "a project needs `services:`",
            )));
        }
    };
    let mut cx = Context::new(&opened.name, &opened.dir, sources);
    cx.env = with_dotenv(options, &mut cx);
    let name = project::name(options, &root, &mut cx);
    if let Some(name) = &name {
        cx.env.insert(project::VARIABLE.into(), name.to_string());
    }
    substitute(&mut root, &mut cx);
    let lowered = lower::lower(&root, &mut cx, name.as_ref());
    let notices = cx.finish()?;
    let spans = Spans::of(&root, &opened.name);
    match lowered {
        Some((spec, blobs, builds)) => Ok(Loaded { spec, blobs, builds, notices, spans }),
        None => Err(vec![at(&opened.name, Fault::new(Mark::default(), "the project has no name", project::HINT))]),
    }
}

struct Opened {
    name: Arc<str>,
    dir: PathBuf,
    bytes: Vec<u8>,
}

fn open(options: &LoadOptions, sources: &dyn Sources) -> Result<Opened, Problem> {
    match &options.input {
        Input::Text { name, bytes } => {
            Ok(Opened { name: name.as_str().into(), dir: options.working_dir.clone(), bytes: bytes.clone() })
        }
        Input::File(path) => {
            let name: Arc<str> = path.to_string_lossy().into();
            let absolute = project::absolute(&options.working_dir, path);
            let dir = absolute.parent().unwrap_or(&options.working_dir).to_owned();
            let unread =
                |e: ReadError| at(&name, Fault::new(Mark::default(), format!("cannot be read: {e}"), unread_hint(&e)));
            let bytes = sources.read(&absolute, MANIFEST_MAX_BYTES).map_err(unread)?;
            Ok(Opened { name, dir, bytes })
        }
    }
}

fn unread_hint(error: &ReadError) -> &'static str {
    match error {
        ReadError::NotFound => "name the file with `-f FILE`",
        ReadError::NotAFile => "name the Compose file itself",
        ReadError::TooLarge { .. } => "move long texts to files of their own under `configs:`",
        ReadError::Other(_) => "",
    }
}

fn at(file: &str, fault: Fault) -> Problem {
    let Fault { at, message, hint } = fault;
    Problem { path: file.to_owned(), line: at.line, col: at.col, message, hint }
}

/// The process environment over the `.env` file beside the manifest.
fn with_dotenv(options: &LoadOptions, cx: &mut Context<'_>) -> BTreeMap<String, String> {
    let path = cx.dir.join(".env");
    let name = match &options.input {
        Input::File(file) => file.with_file_name(".env").to_string_lossy().into_owned(),
        Input::Text { .. } => ".env".to_owned(),
    };
    let mut merged = BTreeMap::new();
    match cx.sources.read(&path, MANIFEST_MAX_BYTES) {
        Ok(bytes) => {
            let outer = |name: &str| options.env.get(name).cloned();
            merged.extend(cx.dotenv(&name, &bytes, false, &outer));
        }
        Err(ReadError::NotFound | ReadError::NotAFile) => {}
        Err(e) => cx.problem_in(&name, Mark::default(), format!("cannot be read: {e}"), ""),
    }
    merged.extend(options.env.clone());
    merged
}

fn substitute(root: &mut Node, cx: &mut Context<'_>) {
    let findings = {
        let env = &cx.env;
        interpolate::expand_tree(root, &|name| env.get(name).cloned())
    };
    for (value, fault) in findings.faults {
        cx.fault(fault);
        cx.silence(value);
    }
    for (name, at) in findings.undefined {
        cx.notice(at, format!("the variable `{name}` is not set: taken as empty"));
    }
}
