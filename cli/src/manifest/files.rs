//! The one place of this room that reads files: the manifest, `.env`, env files, configs and secrets.
//!
//! Never reads more than it is allowed, never waits for a pipe. Called by the commands, which hand it to `load`.

use std::collections::BTreeMap;
use std::fs::{File, metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use proto::limits::MANIFEST_MAX_BYTES;

use super::{ReadError, Sources, dotenv};

/// Names of a directory's manifest, the first that exists is taken.
const DEFAULT_FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];

/// The variable that names the files.
const FILES_VARIABLE: &str = "COMPOSE_FILE";
/// The variable with what stands between them.
const SEPARATOR_VARIABLE: &str = "COMPOSE_PATH_SEPARATOR";
/// Names of the file that is merged over it when no file is named, the first that exists is taken.
const OVERRIDE_FILES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml"];

/// The file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Sources for Disk {
    fn read(&self, path: &Path, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
        // Asked before opening: opening a pipe would wait for its writer.
        if !metadata(path).map_err(read_error)?.is_file() {
            return Err(ReadError::NotAFile);
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path).map_err(read_error)?.take(limit).read_to_end(&mut bytes).map_err(read_error)?;
        if bytes.len() > max_bytes { Err(ReadError::TooLarge { max_bytes }) } else { Ok(bytes) }
    }
}

fn read_error(error: std::io::Error) -> ReadError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => ReadError::NotFound,
        ErrorKind::IsADirectory => ReadError::NotAFile,
        _ => ReadError::Other(error.to_string()),
    }
}

/// The files that are meant when none is named: those of COMPOSE_FILE, from the environment or from the directory's `.env`, else those
/// of the directory. Empty: there are none.
pub fn chosen(dir: &Path, env: &BTreeMap<String, String>, sources: &dyn Sources) -> Vec<PathBuf> {
    let dotenv = sources.read(&dir.join(".env"), MANIFEST_MAX_BYTES).unwrap_or_default();
    let dotenv = dotenv::parse(&String::from_utf8_lossy(&dotenv), &|name| env.get(name).cloned()).variables;
    let setting = |name: &str| {
        let written = dotenv.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value);
        env.get(name).or(written).filter(|value| !value.is_empty()).cloned()
    };
    match setting(FILES_VARIABLE) {
        None => discover(dir),
        Some(files) => {
            let separator = setting(SEPARATOR_VARIABLE).unwrap_or_else(|| ":".to_owned());
            files.split(&separator).filter(|file| !file.is_empty()).map(PathBuf::from).collect()
        }
    }
}

/// The manifest of a directory, if it has one, and the file that is merged over it, if it has that. As names in it.
fn discover(dir: &Path) -> Vec<PathBuf> {
    let first_of = |names: [&str; 4]| names.iter().find(|name| dir.join(name).is_file()).map(PathBuf::from);
    match first_of(DEFAULT_FILES) {
        Some(file) => std::iter::once(file).chain(first_of(OVERRIDE_FILES)).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_a_file_and_small_enough() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("f");
        std::fs::write(&file, b"12345").expect("writable");
        assert_eq!(Disk.read(&file, 5), Ok(b"12345".to_vec()));
        assert_eq!(Disk.read(&file, 4), Err(ReadError::TooLarge { max_bytes: 4 }));
        assert_eq!(Disk.read(dir.path(), 5), Err(ReadError::NotAFile));
        assert_eq!(Disk.read(&dir.path().join("g"), 5), Err(ReadError::NotFound));
        assert_eq!(Disk.read(&file.join("g"), 5), Err(ReadError::NotFound));
    }

    #[test]
    fn finds_the_manifest_in_the_order_of_compose() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str| {
            std::fs::write(dir.path().join(name), b"").expect("writable");
            PathBuf::from(name)
        };
        write(OVERRIDE_FILES[3]);
        assert_eq!(discover(dir.path()), Vec::<PathBuf>::new());
        for (name, over) in DEFAULT_FILES.iter().zip(OVERRIDE_FILES).rev() {
            let both = [write(name), write(over)];
            assert_eq!(discover(dir.path()), both);
        }
    }

    #[test]
    fn variables_name_the_files_before_the_directory_does() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writable");
        let chosen = |env: &[(&str, &str)]| {
            let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let files = chosen(dir.path(), &env, &Disk);
            files.iter().map(|f| f.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        write("compose.yaml", "");
        assert_eq!(chosen(&[]), "compose.yaml");
        assert_eq!(chosen(&[("COMPOSE_FILE", "a.yaml:b/c.yaml")]), "a.yaml b/c.yaml");
        assert_eq!(chosen(&[("COMPOSE_FILE", "")]), "compose.yaml");
        write(".env", "COMPOSE_PATH_SEPARATOR=;\nCOMPOSE_FILE=x.yaml;y:z.yaml\n");
        assert_eq!(chosen(&[]), "x.yaml y:z.yaml");
        assert_eq!(chosen(&[("COMPOSE_FILE", "a.yaml")]), "a.yaml");
    }
}
