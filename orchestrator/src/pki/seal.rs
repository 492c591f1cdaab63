//! Seals secrets before they reach the log, and opens them for the agents that mount them.
//!
//! The key is a file outside the data directory, so that a stolen data directory or backup tells no secret.
//! Never logs content. Called by `api` (seal) and `dispatcher` (open).

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use proto::id::BlobDigest;
use proto::spec::BlobKind;
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

use crate::engine::model::{Blob, Content};

const KEY_BYTES: usize = 32;

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error("the sealing key {path} cannot be {verb}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        verb: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The key file holds no key.
    #[error("the sealing key {path} is not {KEY_BYTES} random bytes; restore it from your backup")]
    NotAKey {
        /// Which file.
        path: PathBuf,
    },
    /// Others may read the key.
    #[error("the sealing key {path} can be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It was sealed with another key.
    #[error("content {digest} was sealed with key {key_id}, which is not the one in use; restore that key file")]
    OtherKey {
        /// Which content.
        digest: BlobDigest,
        /// The key it needs.
        key_id: String,
    },
    /// The bytes do not authenticate.
    #[error("content {digest} does not authenticate: it was changed after it was sealed")]
    Broken {
        /// Which content.
        digest: BlobDigest,
    },
    /// A server that joins was given none.
    #[error("the cluster gave no sealing key: its servers are older than this one; upgrade them first")]
    NotGiven,
    /// A server that joins has one already.
    #[error(
        "{path} holds another sealing key than the cluster's: name another file with --seal-key, or move that one away"
    )]
    AnotherIsThere {
        /// Which file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

/// Seals and opens with one key.
pub struct Sealer {
    key: Zeroizing<[u8; KEY_BYTES]>,
    key_id: String,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer(key {})", self.key_id)
    }
}

// === impl Sealer ===

impl Sealer {
    /// Reads the key file; makes it when it is absent and `create` allows it (a new cluster only).
    pub fn open(path: &Path, create: bool) -> Result<Sealer, SealError> {
        if !path.exists() && create {
            write_key(path)?;
        }
        let fail = |source| SealError::File { path: path.to_owned(), verb: "read", source };
        let mut file = std::fs::File::open(path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SealError::Exposed { path: path.to_owned(), mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        file.read_to_end(&mut bytes).map_err(fail)?;
        let key: [u8; KEY_BYTES] =
            bytes.as_slice().try_into().map_err(|_| SealError::NotAKey { path: path.to_owned() })?;
        if key.iter().all(|b| *b == key[0]) {
            return Err(SealError::NotAKey { path: path.to_owned() });
        }
        Ok(Sealer::with_key(key))
    }

    fn with_key(mut key: [u8; KEY_BYTES]) -> Sealer {
        let mut hash = Sha256::new();
        hash.update(b"wherry key id");
        hash.update(key);
        let key_id = hex(&hash.finalize()[..8]);
        let sealer = Sealer { key: Zeroizing::new(key), key_id };
        key.zeroize();
        sealer
    }

    /// The key itself, for a server that joins.
    pub fn for_another_server(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.key.to_vec())
    }

    /// The address of some content. A secret's depends on the key, so that it does not tell a guessed content.
    pub fn digest(&self, kind: BlobKind, content: &[u8]) -> BlobDigest {
        match kind {
            BlobKind::Config => BlobDigest(proto::digest::sha256_hex(content)),
            BlobKind::Secret => {
                let mut inner = Sha256::new();
                inner.update(b"wherry secret digest, inner");
                inner.update(self.key.as_slice());
                inner.update(content);
                let mut outer = Sha256::new();
                outer.update(b"wherry secret digest, outer");
                outer.update(self.key.as_slice());
                outer.update(inner.finalize());
                BlobDigest(hex(&outer.finalize()))
            }
        }
    }

    /// What goes into the log for some content.
    pub fn seal(&self, kind: BlobKind, digest: &BlobDigest, content: &[u8]) -> Result<Content, SealError> {
        if kind == BlobKind::Config {
            return Ok(Content::Plain { bytes: content.to_vec() });
        }
        let mut nonce = [0_u8; 24];
        getrandom::fill(&mut nonce).map_err(|e| SealError::Random(e.to_string()))?;
        let payload = Payload { msg: content, aad: digest.0.as_bytes() };
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        let bytes = sealed.map_err(|_| SealError::Broken { digest: digest.clone() })?;
        Ok(Content::Sealed { key_id: self.key_id.clone(), nonce: nonce.to_vec(), bytes })
    }

    /// The content of a blob in the clear.
    pub fn unseal(&self, blob: &Blob) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let digest = &blob.digest;
        match &blob.content {
            Content::Plain { bytes } => Ok(Zeroizing::new(bytes.clone())),
            Content::Sealed { key_id, .. } if *key_id != self.key_id => {
                Err(SealError::OtherKey { digest: digest.clone(), key_id: key_id.clone() })
            }
            Content::Sealed { nonce, bytes, .. } if nonce.len() == 24 => {
                let payload = Payload { msg: bytes, aad: digest.0.as_bytes() };
                let opened = self.cipher().decrypt(XNonce::from_slice(nonce), payload);
                opened.map(Zeroizing::new).map_err(|_| SealError::Broken { digest: digest.clone() })
            }
            Content::Sealed { .. } => Err(SealError::Broken { digest: digest.clone() }),
        }
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(Key::from_slice(self.key.as_slice()))
    }
}

/// Writes the key that a cluster has given to a server which joins. Another key is never written over.
pub fn keep_given_key(path: &Path, key: &[u8]) -> Result<(), SealError> {
    if key.len() != KEY_BYTES {
        return Err(SealError::NotGiven);
    }
    match std::fs::read(path).map(Zeroizing::new) {
        Ok(present) if present.as_slice() == key => Ok(()),
        Ok(_) => Err(SealError::AnotherIsThere { path: path.to_owned() }),
        Err(_) => write_bytes(path, key),
    }
}

fn write_key(path: &Path) -> Result<(), SealError> {
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    getrandom::fill(key.as_mut_slice()).map_err(|e| SealError::Random(e.to_string()))?;
    write_bytes(path, key.as_slice())
}

fn write_bytes(path: &Path, key: &[u8]) -> Result<(), SealError> {
    let fail = |source| SealError::File { path: path.to_owned(), verb: "written", source };
    let directory = directory_of(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    file.write_all(key).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::File::open(directory).and_then(|d| d.sync_all()).map_err(fail)
}

/// Where a file is. The parent of a bare name is empty, which is no directory.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::revision::{Revision, Time};

    fn sealer() -> (tempfile::TempDir, Sealer) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let sealer = Sealer::open(&dir.path().join("seal.key"), true).expect("a new key");
        (dir, sealer)
    }

    fn blob(kind: BlobKind, digest: BlobDigest, content: Content) -> Blob {
        Blob { digest, kind, content, put_at: Time(0), modified: Revision(1) }
    }

    #[test]
    fn a_secret_is_unreadable_when_sealed_and_comes_back() {
        let (_dir, sealer) = sealer();
        let digest = sealer.digest(BlobKind::Secret, b"hunter2");
        let sealed = sealer.seal(BlobKind::Secret, &digest, b"hunter2").expect("sealed");
        let Content::Sealed { bytes, .. } = &sealed else { panic!("a secret is sealed") };
        assert!(!bytes.windows(7).any(|w| w == b"hunter2"));
        let opened = sealer.unseal(&blob(BlobKind::Secret, digest, sealed)).expect("opened");
        assert_eq!(opened.as_slice(), b"hunter2");
    }

    #[test]
    fn a_changed_or_moved_secret_does_not_open() {
        let (_dir, sealer) = sealer();
        let digest = sealer.digest(BlobKind::Secret, b"hunter2");
        let sealed = sealer.seal(BlobKind::Secret, &digest, b"hunter2").expect("sealed");
        let moved = blob(BlobKind::Secret, BlobDigest("0".repeat(64)), sealed.clone());
        assert!(matches!(sealer.unseal(&moved), Err(SealError::Broken { .. })));
        let Content::Sealed { key_id, nonce, mut bytes } = sealed else { panic!("a secret is sealed") };
        bytes[0] ^= 1;
        let changed = blob(BlobKind::Secret, digest, Content::Sealed { key_id, nonce, bytes });
        assert!(matches!(sealer.unseal(&changed), Err(SealError::Broken { .. })));
    }

    #[test]
    fn another_key_is_named() {
        let (_one, sealer) = sealer();
        let (_two, other) = self::sealer();
        let digest = sealer.digest(BlobKind::Secret, b"x");
        assert_ne!(digest, other.digest(BlobKind::Secret, b"x"), "the digest does not tell the content");
        let sealed = sealer.seal(BlobKind::Secret, &digest, b"x").expect("sealed");
        assert!(matches!(other.unseal(&blob(BlobKind::Secret, digest, sealed)), Err(SealError::OtherKey { .. })));
    }

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        assert_eq!(directory_of(Path::new("seal.key")), Path::new("."));
        assert_eq!(directory_of(Path::new("keys/seal.key")), Path::new("keys"));
        assert_eq!(directory_of(Path::new("/seal.key")), Path::new("/"));
    }

    #[test]
    fn a_missing_exposed_or_default_key_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("seal.key");
        assert!(matches!(Sealer::open(&path, false), Err(SealError::File { .. })));
        std::fs::write(&path, [0_u8; KEY_BYTES]).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(Sealer::open(&path, false), Err(SealError::Exposed { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(matches!(Sealer::open(&path, false), Err(SealError::NotAKey { .. })));
        std::fs::write(&path, b"short").expect("written");
        assert!(matches!(Sealer::open(&path, false), Err(SealError::NotAKey { .. })));
    }
}
