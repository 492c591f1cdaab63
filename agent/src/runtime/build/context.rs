//! A directory as the tar archive that the engine builds from.
//!
//! Entries come in the order of their names, owned by root, without device files and sockets; modes, times and
//! symbolic links stay as they are. Blocking: runs on a thread for blocking work.

use super::ignore::Ignore;
use super::{BuildError, Dockerfile};
use bytes::Bytes;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

/// Name within the archive of a recipe that is not part of the context.
const EXTRA_DOCKERFILE: &str = ".wherry.dockerfile";
const IGNORE_FILE: &str = ".dockerignore";
/// Bytes per part sent.
const PART: usize = 64 << 10;
/// Parts waiting for the engine.
const PARTS: usize = 8;

/// The thread that writes the archive.
pub type Sending = JoinHandle<Result<(), BuildError>>;

/// What will be sent.
#[derive(Debug)]
pub struct Plan {
    context: PathBuf,
    ignore: Ignore,
    /// Path of the recipe within the archive.
    dockerfile: String,
    /// Files that are not on disk, or not as they are sent: name and text.
    extra: Vec<(String, Vec<u8>)>,
}

impl Plan {
    /// Looks at the context and its recipe. Reads no more than the recipe and the ignore file.
    pub fn new(context: PathBuf, dockerfile: &Dockerfile) -> Result<Plan, BuildError> {
        if !context.is_dir() {
            return Err(BuildError::NoContext { path: context });
        }
        let (dockerfile, beside, text) = recipe(&context, dockerfile)?;
        let own = beside.filter(|path| path.is_file());
        let shared = Some(context.join(IGNORE_FILE)).filter(|path| path.is_file());
        let from = own.clone().or(shared);
        let mut patterns = match &from {
            Some(path) => fs::read_to_string(path).map_err(|cause| BuildError::Read { path: path.clone(), cause })?,
            None => String::new(),
        };
        let ignore = Ignore::parse(&patterns).map_err(|error| {
            let path = from.clone().unwrap_or_default();
            BuildError::Ignore { path, line: error.line, cause: error.cause }
        })?;
        let mut extra = Vec::new();
        if let Some(text) = text {
            // The engine reads the ignore file too: what we add must not end up in the image.
            let unasked = if from.is_none() { IGNORE_FILE } else { "" };
            patterns = format!("{patterns}\n{EXTRA_DOCKERFILE}\n{unasked}\n");
            extra.push((dockerfile.clone(), text));
        }
        if own.is_some() || !extra.is_empty() {
            extra.push((IGNORE_FILE.to_owned(), patterns.into_bytes()));
        }
        Ok(Plan { context, ignore, dockerfile, extra })
    }

    /// Path of the recipe within the archive.
    pub fn dockerfile_name(&self) -> &str {
        &self.dockerfile
    }

    /// Begins to write the archive: the thread that does, and what it writes.
    pub fn send(self) -> (Sending, ReceiverStream<Result<Bytes, io::Error>>) {
        let (sender, receiver) = mpsc::channel(PARTS);
        let thread = tokio::task::spawn_blocking(move || {
            let written = self.write(BufWriter::with_capacity(PART, Parts(sender.clone())));
            if let Err(error) = &written {
                // Breaks the request off: an archive cut short must not be built from.
                let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
            }
            match written {
                // Nobody reads any more: the engine's own answer says why.
                Err(BuildError::Read { cause, .. }) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            }
        });
        (thread, ReceiverStream::new(receiver))
    }

    fn write(&self, out: impl Write) -> Result<(), BuildError> {
        let mut archive = tar::Builder::new(out);
        self.directory(&mut archive, "")?;
        for (name, text) in &self.extra {
            let mut header = header(tar::EntryType::Regular, 0o644, 0, text.len() as u64);
            archive.append_data(&mut header, name, text.as_slice()).map_err(|cause| self.unreadable(name, cause))?;
        }
        archive.into_inner().and_then(|mut out| out.flush()).map_err(|cause| self.unreadable("", cause))
    }

    fn unreadable(&self, name: &str, cause: io::Error) -> BuildError {
        BuildError::Read { path: self.context.join(name), cause }
    }

    /// Everything below a directory, given by its path within the context.
    fn directory(&self, archive: &mut tar::Builder<impl Write>, inside: &str) -> Result<(), BuildError> {
        let failed = |cause| self.unreadable(inside, cause);
        let entries = fs::read_dir(self.context.join(inside)).map_err(failed)?;
        let mut names = entries.map(|e| e.map(|e| e.file_name())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        names.sort();
        for name in names {
            let Some(name) = name.to_str() else {
                let cause = io::Error::other(format!("the name {name:?} is not UTF-8"));
                return Err(self.unreadable(inside, cause));
            };
            let path = if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") };
            self.entry(archive, &path)?;
        }
        Ok(())
    }

    fn entry(&self, archive: &mut tar::Builder<impl Write>, path: &str) -> Result<(), BuildError> {
        if self.extra.iter().any(|(name, _)| name == path) {
            return Ok(());
        }
        let ignored = self.ignore.ignores(path) && path != self.dockerfile && path != IGNORE_FILE;
        let on_disk = self.context.join(path);
        let failed = |cause| self.unreadable(path, cause);
        let metadata = fs::symlink_metadata(&on_disk).map_err(failed)?;
        if metadata.is_dir() {
            if !ignored {
                let mut header = header_of(tar::EntryType::Directory, &metadata, 0);
                archive.append_data(&mut header, format!("{path}/"), io::empty()).map_err(failed)?;
            }
            let wanted_below = self.ignore.takes_back() || self.dockerfile.starts_with(&format!("{path}/"));
            return if ignored && !wanted_below { Ok(()) } else { self.directory(archive, path) };
        }
        if ignored {
            return Ok(());
        }
        if metadata.is_symlink() {
            let target = fs::read_link(&on_disk).map_err(failed)?;
            let mut header = header_of(tar::EntryType::Symlink, &metadata, 0);
            archive.append_link(&mut header, path, target).map_err(failed)?;
        } else if metadata.is_file() {
            let file = File::open(&on_disk).map_err(failed)?;
            let mut header = header_of(tar::EntryType::Regular, &metadata, metadata.len());
            let whole = Whole { file, left: metadata.len() };
            archive.append_data(&mut header, path, whole).map_err(failed)?;
        }
        Ok(())
    }
}

/// The recipe's name in the archive, its own ignore file's place, and its text when it is not part of the context.
type Recipe = (String, Option<PathBuf>, Option<Vec<u8>>);

fn recipe(context: &Path, dockerfile: &Dockerfile) -> Result<Recipe, BuildError> {
    let path = match dockerfile {
        Dockerfile::Inline(text) => return Ok((EXTRA_DOCKERFILE.to_owned(), None, Some(text.clone().into_bytes()))),
        Dockerfile::Path(path) => normal(&context.join(path)),
    };
    if !path.is_file() {
        return Err(BuildError::NoDockerfile { path });
    }
    let mut beside = path.clone().into_os_string();
    beside.push(IGNORE_FILE);
    let beside = Some(PathBuf::from(beside));
    let inside = path.strip_prefix(normal(context)).ok().and_then(Path::to_str);
    match inside {
        // A link may lead out of what the engine gets to see.
        Some(inside) if !path.is_symlink() => Ok((inside.to_owned(), beside, None)),
        _ => {
            let text = fs::read(&path).map_err(|cause| BuildError::Read { path, cause })?;
            Ok((EXTRA_DOCKERFILE.to_owned(), beside, Some(text)))
        }
    }
}

/// Without `.` and `..`, as written: links are not followed.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => drop(normal.pop()),
            other => normal.push(other),
        }
        normal
    })
}

fn header_of(kind: tar::EntryType, metadata: &Metadata, size: u64) -> tar::Header {
    let mtime = u64::try_from(metadata.mtime()).unwrap_or(0);
    header(kind, metadata.permissions().mode() & 0o7777, mtime, size)
}

fn header(kind: tar::EntryType, mode: u32, mtime: u64, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Exactly as many bytes as announced: a file that grows meanwhile is cut, one that shrinks is an error.
struct Whole {
    file: File,
    left: u64,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..room])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// The writing end.
struct Parts(mpsc::Sender<Result<Bytes, io::Error>>);

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = Bytes::copy_from_slice(bytes);
        self.0.blocking_send(Ok(part)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn plan(dir: &tempfile::TempDir, dockerfile: &Dockerfile) -> Plan {
        Plan::new(dir.path().to_owned(), dockerfile).unwrap()
    }

    fn archive(plan: &Plan) -> Vec<u8> {
        let mut bytes = Vec::new();
        plan.write(&mut bytes).unwrap();
        bytes
    }

    /// Name to content, a link's target after an arrow.
    fn sent(plan: &Plan) -> BTreeMap<String, String> {
        let bytes = archive(plan);
        let mut entries = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            if let Some(target) = entry.link_name().unwrap() {
                text = format!("-> {}", target.display());
            }
            assert!(entries.insert(name, text).is_none(), "each name once");
        }
        entries
    }

    fn names(plan: &Plan) -> Vec<String> {
        sent(plan).into_keys().collect()
    }

    #[test]
    fn everything_is_sent_links_as_links() {
        let dir = tree(&[("Dockerfile", "FROM scratch"), ("src/a", "A")]);
        std::os::unix::fs::symlink("../nowhere", dir.path().join("src/link")).unwrap();
        let long = format!("src/{}", "n".repeat(180));
        fs::write(dir.path().join(&long), "long").unwrap();
        let sent = sent(&plan(&dir, &Dockerfile::default()));
        let expect = [("Dockerfile", "FROM scratch"), ("src/", ""), ("src/a", "A"), ("src/link", "-> ../nowhere")];
        let mut expect: BTreeMap<_, _> = expect.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        expect.insert(long, "long".to_owned());
        assert_eq!(sent, expect);
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        let dir = tree(&[("Dockerfile", "FROM scratch"), ("b", "B"), ("a", "A")]);
        fs::set_permissions(dir.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        let plan = plan(&dir, &Dockerfile::default());
        assert_eq!(archive(&plan), archive(&plan));
        let bytes = archive(&plan);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let first = archive.entries().unwrap().nth(1).unwrap().unwrap();
        assert_eq!((first.path().unwrap().to_str(), first.header().mode().unwrap()), (Some("a"), 0o755));
        assert_eq!((first.header().uid().unwrap(), first.header().gid().unwrap()), (0, 0));
    }

    #[test]
    fn ignored_parts_stay_at_home_but_not_the_recipe() {
        let files = [
            (".dockerignore", "*\n!src\nsrc/*.log\n"),
            ("build/Dockerfile", "x"),
            ("src/a", ""),
            ("src/b.log", ""),
            ("top", ""),
        ];
        let dir = tree(&files);
        let plan = plan(&dir, &Dockerfile::Path("build/Dockerfile".into()));
        assert_eq!(names(&plan), [".dockerignore", "build/Dockerfile", "src/", "src/a"]);
    }

    #[test]
    fn an_ignored_directory_is_not_even_read() {
        let dir = tree(&[("Dockerfile", "x"), (".dockerignore", "big"), ("big/a", "")]);
        fs::write(dir.path().join("big/\u{fffd}"), "").unwrap();
        assert_eq!(names(&plan(&dir, &Dockerfile::default())), [".dockerignore", "Dockerfile"]);
    }

    #[test]
    fn a_recipe_may_be_text_or_elsewhere() {
        let dir = tree(&[("a", "A")]);
        let elsewhere = tree(&[("My.Dockerfile", "FROM scratch")]);
        for dockerfile in
            [Dockerfile::Inline("FROM scratch".to_owned()), Dockerfile::Path(elsewhere.path().join("My.Dockerfile"))]
        {
            let plan = plan(&dir, &dockerfile);
            assert_eq!(plan.dockerfile_name(), EXTRA_DOCKERFILE);
            let sent = sent(&plan);
            assert_eq!(sent.keys().collect::<Vec<_>>(), [".dockerignore", EXTRA_DOCKERFILE, "a"]);
            assert_eq!(sent[EXTRA_DOCKERFILE], "FROM scratch");
            let ignore = Ignore::parse(&sent[".dockerignore"]).unwrap();
            assert!(ignore.ignores(EXTRA_DOCKERFILE) && ignore.ignores(IGNORE_FILE) && !ignore.ignores("a"));
        }
    }

    #[test]
    fn a_recipes_own_ignore_file_comes_first() {
        let dir = tree(&[
            ("Dockerfile", "x"),
            ("Dockerfile.dockerignore", "a"),
            (".dockerignore", "b"),
            ("a", ""),
            ("b", ""),
        ]);
        let sent = sent(&plan(&dir, &Dockerfile::default()));
        assert_eq!(sent.keys().collect::<Vec<_>>(), [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "b"]);
        assert_eq!(sent[".dockerignore"], "a");
    }

    #[test]
    fn errors_name_what_is_missing() {
        let dir = tree(&[("a", "")]);
        let error = |context: &Path, dockerfile: &Dockerfile| Plan::new(context.to_owned(), dockerfile).unwrap_err();
        let text = error(dir.path(), &Dockerfile::default()).to_string();
        assert!(text.contains(&format!("{}/Dockerfile;", dir.path().display())), "{text}");
        let outside = error(dir.path(), &Dockerfile::Path("../../nowhere/x".into()));
        assert!(matches!(outside, BuildError::NoDockerfile { .. }), "{outside}");
        let none = error(&dir.path().join("none"), &Dockerfile::default());
        assert!(matches!(none, BuildError::NoContext { .. }), "{none}");
        fs::write(dir.path().join(".dockerignore"), "ok\n[x").unwrap();
        let text = error(dir.path(), &Dockerfile::Inline(String::new())).to_string();
        assert!(text.contains(".dockerignore:2: "), "{text}");
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_one_that_grows_is_cut() {
        let dir = tree(&[("f", "12345")]);
        let open = |left| Whole { file: File::open(dir.path().join("f")).unwrap(), left };
        let mut text = String::new();
        open(3).read_to_string(&mut text).unwrap();
        assert_eq!(text, "123");
        assert_eq!(open(6).read_to_string(&mut text).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
