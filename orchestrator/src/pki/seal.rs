//! One sealing key: seals secrets before they reach the log, opens them again, and says what their digests are.
//!
//! Never reads or writes a file (`ring` does) and never shows its bytes but to who writes them down.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use proto::id::BlobDigest;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use zeroize::{Zeroize, Zeroizing};

use crate::engine::model::Content;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;

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
    #[error(
        "the sealing key {path} is neither {KEY_BYTES} random bytes nor several keys as a rotation writes them; restore \
         it from your backup"
    )]
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
    /// What is to be sealed has to be with another key.
    #[error("sealing key {0} is in use, and this server does not have it; it asks the leader for it")]
    NotHeld(String),
    /// The file is full.
    #[error("the sealing key {path} holds {keys} keys already, of which none was given up yet; try again")]
    TooMany {
        /// Which file.
        path: PathBuf,
        /// How many.
        keys: usize,
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

/// A key and its id.
pub struct SealingKey {
    key: Zeroizing<[u8; KEY_BYTES]>,
    id: String,
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealingKey({})", self.id)
    }
}

// === impl SealingKey ===

impl SealingKey {
    /// A new one.
    pub fn draw() -> Result<SealingKey, SealError> {
        let mut key = [0_u8; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|e| SealError::Random(e.to_string()))?;
        Ok(SealingKey::of(key))
    }

    /// The one with these bytes; `None`: they are no key.
    pub fn read(bytes: &[u8]) -> Option<SealingKey> {
        let key: [u8; KEY_BYTES] = bytes.try_into().ok()?;
        (!key.iter().all(|b| *b == key[0])).then(|| SealingKey::of(key))
    }

    fn of(mut key: [u8; KEY_BYTES]) -> SealingKey {
        let mut hash = Sha256::new();
        hash.update(b"wherry key id");
        hash.update(key);
        let id = hex(&hash.finalize()[..8]);
        let read = SealingKey { key: Zeroizing::new(key), id };
        key.zeroize();
        read
    }

    /// What it is called where it must not be shown.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Itself, for the file and for another server.
    pub fn bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.key.to_vec())
    }

    /// The address of a secret. It depends on this key, so that it does not tell a guessed content.
    pub fn digest(&self, content: &[u8]) -> BlobDigest {
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

    /// What goes into the log for some content. It opens under this label only.
    pub fn seal(&self, label: &BlobDigest, content: &[u8]) -> Result<Content, SealError> {
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|e| SealError::Random(e.to_string()))?;
        let payload = Payload { msg: content, aad: label.0.as_bytes() };
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), payload);
        let bytes = sealed.map_err(|_| SealError::Broken { digest: label.clone() })?;
        Ok(Content::Sealed { key_id: self.id.clone(), nonce: nonce.to_vec(), bytes })
    }

    /// What was sealed with it, in the clear.
    pub fn open(&self, label: &BlobDigest, nonce: &[u8], bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let broken = || SealError::Broken { digest: label.clone() };
        if nonce.len() != NONCE_BYTES {
            return Err(broken());
        }
        let payload = Payload { msg: bytes, aad: label.0.as_bytes() };
        self.cipher().decrypt(XNonce::from_slice(nonce), payload).map(Zeroizing::new).map_err(|_| broken())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(Key::from_slice(self.key.as_slice()))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
