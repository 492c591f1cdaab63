//! The file of the sealing keys, outside the data directory, so that a stolen data directory or backup tells no secret.
//!
//! One key is 32 bytes as they are, as every version has written it. While one takes the place of another there are several,
//! as text: a line that says so, then `ID KEY` in hexadecimal digits for each. The file is replaced whole or not at all.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

use super::seal::{KEY_BYTES, SealError, SealingKey, hex};
use crate::disk;

/// Most keys at once: one in use, one that takes its place, and those that are about to go.
pub(super) const KEYS_MAX: usize = 4;
/// The first line of a file with several.
const HEADER: &str = "wherry sealing keys 1";
/// Longest file that is looked at, in bytes.
const FILE_MAX_BYTES: u64 = 1024;

/// The keys in a file.
pub(super) fn read(path: &Path) -> Result<Vec<SealingKey>, SealError> {
    let fail = |source| SealError::File { path: path.to_owned(), verb: "read", source };
    let file = File::open(path).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SealError::Exposed { path: path.to_owned(), mode });
    }
    // As much as there may be and one more: bytes that were moved to a larger place would stay behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX_BYTES as usize + 1));
    file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    parse(&bytes).ok_or_else(|| SealError::NotAKey { path: path.to_owned() })
}

fn parse(bytes: &[u8]) -> Option<Vec<SealingKey>> {
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return None;
    }
    if bytes.len() == KEY_BYTES && !bytes.starts_with(HEADER.as_bytes()) {
        return SealingKey::read(bytes).map(|key| vec![key]);
    }
    let rest = std::str::from_utf8(bytes).ok()?.strip_prefix(HEADER)?.strip_prefix('\n')?.strip_suffix('\n')?;
    let keys: Vec<SealingKey> = rest.split('\n').map(parse_line).collect::<Option<_>>()?;
    let is_sound = (2..=KEYS_MAX).contains(&keys.len())
        && keys.iter().enumerate().all(|(at, key)| keys[..at].iter().all(|earlier| earlier.id() != key.id()));
    is_sound.then_some(keys)
}

/// The id is that of the key, so that a changed digit is noticed.
fn parse_line(line: &str) -> Option<SealingKey> {
    let (id, key) = line.split_once(' ')?;
    if key.len() != 2 * KEY_BYTES || !key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&key[2 * at..2 * at + 2], 16).ok()?;
    }
    SealingKey::read(bytes.as_slice()).filter(|key| key.id() == id)
}

fn written(keys: &[Arc<SealingKey>]) -> Zeroizing<Vec<u8>> {
    if let [only] = keys {
        return only.bytes();
    }
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_MAX_BYTES as usize));
    text.extend_from_slice(HEADER.as_bytes());
    text.push(b'\n');
    for key in keys {
        let bytes = key.bytes();
        let mut digits = hex(&bytes);
        text.extend_from_slice(format!("{} ", key.id()).as_bytes());
        text.extend_from_slice(digits.as_bytes());
        text.push(b'\n');
        digits.zeroize();
    }
    text
}

/// Puts these keys in the place of what is there. Blocks.
pub(super) fn write(path: &Path, keys: &[Arc<SealingKey>]) -> Result<(), SealError> {
    // With its mode, so that nobody else reads what is written over it.
    clear(path)?;
    let (directory, name) = (directory_of(path), path.file_name().unwrap_or_default().to_string_lossy());
    let written = disk::create_private_dir(directory)
        .and_then(|()| disk::write_whole(directory, &name, &written(keys)))
        .map(drop);
    written.map_err(|source| SealError::File { path: path.to_owned(), verb: "written", source })
}

/// Removes what a write that did not end has left.
pub(super) fn clear(path: &Path) -> Result<(), SealError> {
    let beside = beside(path);
    match std::fs::remove_file(&beside) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(SealError::File { path: beside, verb: "removed", source: e }),
        _ => Ok(()),
    }
}

/// Writes the keys that a cluster has given to a server which joins. Another one is never written over.
pub fn keep_given(path: &Path, given: &[Zeroizing<Vec<u8>>]) -> Result<(), SealError> {
    let keys: Option<Vec<Arc<SealingKey>>> = given.iter().map(|key| SealingKey::read(key).map(Arc::new)).collect();
    let keys = keys.filter(|keys| (1..=KEYS_MAX).contains(&keys.len())).ok_or(SealError::NotGiven)?;
    if path.exists() {
        // An answer that was lost on its way is asked for again; meanwhile there may be one more.
        let is_given = |present: &SealingKey| keys.iter().any(|key| key.id() == present.id());
        if !read(path).is_ok_and(|present| present.iter().all(is_given)) {
            return Err(SealError::AnotherIsThere { path: path.to_owned() });
        }
    }
    write(path, &keys)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(disk::UNFINISHED);
    path.with_file_name(name)
}

/// Where a file is. The parent of a bare name is empty, which is no directory.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Arc<SealingKey> {
        Arc::new(SealingKey::draw().expect("a key"))
    }

    fn ids(keys: &[SealingKey]) -> Vec<&str> {
        keys.iter().map(SealingKey::id).collect()
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }

    #[test]
    fn what_is_written_is_read_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("keys/seal.key");
        let (one, two) = (key(), key());
        std::fs::create_dir(dir.path().join("keys")).expect("made");
        std::fs::write(beside(&path), b"cut").expect("what a killed process left");
        for keys in [vec![one.clone()], vec![one.clone(), two.clone()], vec![two.clone()]] {
            write(&path, &keys).expect("written");
            assert_eq!(ids(&read(&path).expect("read")), keys.iter().map(|k| k.id()).collect::<Vec<_>>());
            let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
            assert_eq!((mode & 0o777, beside(&path).exists()), (0o600, false));
        }
        assert_eq!(std::fs::read(&path).expect("read"), *two.bytes(), "one key is as it always was");
    }

    #[test]
    fn a_file_that_is_no_ring_is_refused() {
        let (one, two) = (key(), key());
        let sound = written(&[one.clone(), two]);
        assert_eq!(parse(&sound).expect("is sound").len(), 2);
        for at in 0..sound.len() {
            let mut changed = sound.to_vec();
            changed[at] ^= 1;
            assert!(parse(&changed).is_none(), "byte {at} was changed");
            assert!(parse(&sound[..at]).is_none(), "cut at {at}");
        }
        let mut longer = sound.to_vec();
        longer.extend_from_slice(b"\n");
        let many: Vec<Arc<SealingKey>> = (0..=KEYS_MAX).map(|_| key()).collect();
        let twice = written(&[one.clone(), one.clone()]);
        let none = format!("{HEADER}\n\n");
        let huge = vec![b'a'; FILE_MAX_BYTES as usize + 1];
        for bad in [&longer[..], &written(&many), &twice, none.as_bytes(), &huge, b"", b"short", &[0_u8; KEY_BYTES]] {
            assert!(parse(bad).is_none(), "{} bytes", bad.len());
        }
    }

    #[test]
    fn a_missing_or_exposed_file_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("seal.key");
        assert!(matches!(read(&path), Err(SealError::File { .. })));
        write(&path, &[key(), key()]).expect("written");
        set_mode(&path, 0o640);
        assert!(matches!(read(&path), Err(SealError::Exposed { mode: 0o640, .. })));
        set_mode(&path, 0o600);
        std::fs::write(&path, b"short").expect("written");
        let error = read(&path).expect_err("is garbage");
        assert!(error.to_string().contains("restore it from your backup"), "{error}");
    }

    #[test]
    fn a_server_that_joins_keeps_what_it_is_given_and_overwrites_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("seal.key");
        let (one, two, other) = (key(), key(), key());
        assert!(matches!(keep_given(&path, &[]), Err(SealError::NotGiven)));
        assert!(matches!(keep_given(&path, &[Zeroizing::new(vec![7; 5])]), Err(SealError::NotGiven)));
        keep_given(&path, &[one.bytes()]).expect("kept");
        keep_given(&path, &[one.bytes(), two.bytes()]).expect("asked for again");
        assert_eq!(ids(&read(&path).expect("read")), [one.id(), two.id()]);
        assert!(matches!(keep_given(&path, &[other.bytes()]), Err(SealError::AnotherIsThere { .. })));
        std::fs::write(&path, b"precious").expect("written");
        assert!(matches!(keep_given(&path, &[one.bytes()]), Err(SealError::AnotherIsThere { .. })));
        assert_eq!(std::fs::read(&path).expect("read"), b"precious");
    }

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        assert_eq!(directory_of(Path::new("seal.key")), Path::new("."));
        assert_eq!(directory_of(Path::new("keys/seal.key")), Path::new("keys"));
        assert_eq!(directory_of(Path::new("/seal.key")), Path::new("/"));
        assert_eq!(beside(Path::new("keys/seal.key")), Path::new("keys/seal.key.tmp"));
    }
}
