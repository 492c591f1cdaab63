//! The sealing keys that this server holds: seals with the one that State says is in use, opens with whichever it takes.
//!
//! Never logs content or keys. Called by `api` (seal), `dispatcher` (open), `authority`, and `rotation`, which alone says
//! which keys are kept and forgotten.

use proto::id::BlobDigest;
use proto::spec::BlobKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::ring::{self, KEYS_MAX};
use super::seal::{SealError, SealingKey};
use crate::engine::State;
use crate::engine::model::{Blob, Content};

/// All keys of this server. What is in memory is on disk, but for one that was drawn and is nowhere used yet.
pub struct Sealer {
    path: PathBuf,
    ring: RwLock<Ring>,
    /// Ids of those on disk.
    held: watch::Sender<Vec<String>>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Ring {
    keys: Vec<Arc<SealingKey>>,
    drawn: Option<Arc<SealingKey>>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({:?})", *self.held.borrow())
    }
}

/// What the digest key is sealed as.
fn digest_label() -> BlobDigest {
    BlobDigest("digest key".to_owned())
}

// === impl Sealer ===

impl Sealer {
    /// Reads the key file; makes it when it is absent and `create` allows it (a new cluster only).
    pub fn open(path: &Path, create: bool) -> Result<Sealer, SealError> {
        if !path.exists() && create {
            ring::write(path, &[Arc::new(SealingKey::draw()?)])?;
        }
        let keys: Vec<Arc<SealingKey>> = ring::read(path)?.into_iter().map(Arc::new).collect();
        ring::clear(path)?;
        let held = watch::Sender::new(ids(&keys));
        let ring = RwLock::new(Ring { keys, drawn: None });
        Ok(Sealer { path: path.to_owned(), ring, held, writing: Mutex::default() })
    }

    /// The ids of the keys on disk, and every change of them.
    pub fn held(&self) -> watch::Receiver<Vec<String>> {
        self.held.subscribe()
    }

    /// Is this key on disk?
    pub fn holds(&self, id: &str) -> bool {
        self.held.borrow().iter().any(|held| held == id)
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key on disk.
    pub fn key(&self, id: &str) -> Option<Arc<SealingKey>> {
        self.ring().keys.iter().find(|key| key.id() == id).cloned()
    }

    /// The one to seal with; `None`: nothing is sealed yet, and there is one only.
    fn using(&self, in_use: Option<&str>) -> Result<Arc<SealingKey>, SealError> {
        let found = match in_use {
            Some(id) => self.key(id),
            None => self.ring().keys.first().cloned(),
        };
        found.ok_or_else(|| SealError::NotHeld(in_use.unwrap_or_default().to_owned()))
    }

    /// For a server that joins: the key in use first, then the others.
    pub fn for_another_server(&self, in_use: Option<&str>) -> Result<Vec<Zeroizing<Vec<u8>>>, SealError> {
        let first = self.using(in_use)?;
        let ring = self.ring();
        let others = ring.keys.iter().filter(|key| key.id() != first.id());
        Ok(std::iter::once(&first).chain(others).map(|key| key.bytes()).collect())
    }

    /// The address of some content. A secret's depends on a key that stays when the sealing key goes: specs refer to it.
    pub fn digest(&self, state: &State, kind: BlobKind, content: &[u8]) -> Result<BlobDigest, SealError> {
        match kind {
            BlobKind::Config => Ok(BlobDigest(proto::digest::sha256_hex(content))),
            BlobKind::Secret => Ok(self.digest_key(state)?.digest(content)),
        }
    }

    fn digest_key(&self, state: &State) -> Result<Arc<SealingKey>, SealError> {
        let Some(sealed) = &state.sealing().digest_key else { return self.using(state.key_in_use()) };
        let opened = self.open_sealed(&digest_label(), sealed)?;
        SealingKey::read(&opened).map(Arc::new).ok_or_else(|| SealError::Broken { digest: digest_label() })
    }

    /// What digests of secrets are made with, sealed with this key.
    pub fn digest_key_for(&self, state: &State, to: &str) -> Result<Content, SealError> {
        self.using(Some(to))?.seal(&digest_label(), &self.digest_key(state)?.bytes())
    }

    /// What goes into the log for some content, sealed with this key.
    pub fn seal(
        &self,
        in_use: Option<&str>,
        kind: BlobKind,
        digest: &BlobDigest,
        content: &[u8],
    ) -> Result<Content, SealError> {
        match kind {
            BlobKind::Config => Ok(Content::Plain { bytes: content.to_vec() }),
            BlobKind::Secret => self.using(in_use)?.seal(digest, content),
        }
    }

    /// The content of a blob in the clear.
    pub fn unseal(&self, blob: &Blob) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.open_sealed(&blob.digest, &blob.content)
    }

    /// What was sealed under this label, in the clear.
    pub fn open_sealed(&self, label: &BlobDigest, content: &Content) -> Result<Zeroizing<Vec<u8>>, SealError> {
        match content {
            Content::Plain { bytes } => Ok(Zeroizing::new(bytes.clone())),
            Content::Sealed { key_id, nonce, bytes } => {
                let other = || SealError::OtherKey { digest: label.clone(), key_id: key_id.clone() };
                self.key(key_id).ok_or_else(other)?.open(label, nonce, bytes)
            }
        }
    }

    /// The same content, sealed with another key.
    pub fn reseal(&self, label: &BlobDigest, content: &Content, to: &str) -> Result<Content, SealError> {
        let opened = self.open_sealed(label, content)?;
        self.using(Some(to))?.seal(label, &opened)
    }

    /// Draws a key that may take the place of the one in use; it is nowhere but in memory. Asked again, it is the same one
    /// until it is kept, unless it is one of those that are `retired`.
    pub fn draw(&self, retired: impl Fn(&str) -> bool) -> Result<String, SealError> {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(drawn) = ring.drawn.as_ref().filter(|drawn| !retired(drawn.id())) {
            return Ok(drawn.id().to_owned());
        }
        let drawn = SealingKey::draw()?;
        let id = drawn.id().to_owned();
        ring.drawn = Some(Arc::new(drawn));
        Ok(id)
    }

    /// The drawn key, if it is this one.
    pub fn drawn(&self, id: &str) -> Option<Arc<SealingKey>> {
        self.ring().drawn.clone().filter(|drawn| drawn.id() == id)
    }

    /// Takes a key in; it is on disk when this returns. Blocks.
    pub fn keep(&self, key: Arc<SealingKey>) -> Result<(), SealError> {
        self.replace(|keys| {
            if keys.iter().all(|present| present.id() != key.id()) {
                keys.push(key);
            }
        })
    }

    /// Gives keys up, in the file and in memory. Blocks.
    pub fn forget(&self, ids: &[String]) -> Result<(), SealError> {
        self.replace(|keys| keys.retain(|key| !ids.iter().any(|id| id == key.id())))
    }

    /// Writes the file, and only then is it so.
    fn replace(&self, change: impl FnOnce(&mut Vec<Arc<SealingKey>>)) -> Result<(), SealError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = self.ring().keys.clone();
        change(&mut keys);
        // The last one is never given up, whatever is said.
        if keys.is_empty() || ids(&keys) == *self.held.borrow() {
            return Ok(());
        }
        if keys.len() > KEYS_MAX {
            return Err(SealError::TooMany { path: self.path.clone(), keys: KEYS_MAX });
        }
        ring::write(&self.path, &keys)?;
        let held = ids(&keys);
        {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            if ring.drawn.as_ref().is_some_and(|drawn| held.iter().any(|id| id == drawn.id())) {
                ring.drawn = None;
            }
            ring.keys = keys;
        }
        self.held.send_replace(held);
        Ok(())
    }
}

fn ids(keys: &[Arc<SealingKey>]) -> Vec<String> {
    keys.iter().map(|key| key.id().to_owned()).collect()
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

    /// A secret, its digest and what it is sealed as.
    fn sealed(sealer: &Sealer, content: &[u8]) -> (BlobDigest, Content) {
        let digest = sealer.digest(&State::empty(), BlobKind::Secret, content).expect("a digest");
        let sealed = sealer.seal(None, BlobKind::Secret, &digest, content).expect("sealed");
        (digest, sealed)
    }

    #[test]
    fn a_secret_is_unreadable_when_sealed_and_comes_back() {
        let (_dir, sealer) = sealer();
        let (digest, content) = sealed(&sealer, b"hunter2");
        let Content::Sealed { bytes, .. } = &content else { panic!("a secret is sealed") };
        assert!(!bytes.windows(7).any(|w| w == b"hunter2"));
        let opened = sealer.unseal(&blob(BlobKind::Secret, digest, content)).expect("opened");
        assert_eq!(opened.as_slice(), b"hunter2");
    }

    #[test]
    fn a_changed_or_moved_secret_does_not_open() {
        let (_dir, sealer) = sealer();
        let (digest, content) = sealed(&sealer, b"hunter2");
        let moved = blob(BlobKind::Secret, BlobDigest("0".repeat(64)), content.clone());
        assert!(matches!(sealer.unseal(&moved), Err(SealError::Broken { .. })));
        let Content::Sealed { key_id, nonce, mut bytes } = content else { panic!("a secret is sealed") };
        bytes[0] ^= 1;
        let cut = Content::Sealed { key_id: key_id.clone(), nonce: nonce[1..].to_vec(), bytes: bytes.clone() };
        for content in [Content::Sealed { key_id, nonce, bytes }, cut] {
            let changed = blob(BlobKind::Secret, digest.clone(), content);
            assert!(matches!(sealer.unseal(&changed), Err(SealError::Broken { .. })));
        }
    }

    #[test]
    fn another_key_is_named() {
        let (_one, sealer) = sealer();
        let (_two, other) = self::sealer();
        let (digest, content) = sealed(&sealer, b"x");
        assert_ne!(digest, sealed(&other, b"x").0, "the digest does not tell the content");
        assert!(matches!(other.unseal(&blob(BlobKind::Secret, digest, content)), Err(SealError::OtherKey { .. })));
        assert!(matches!(
            other.seal(Some("none"), BlobKind::Secret, &digest_label(), b"x"),
            Err(SealError::NotHeld(_))
        ));
    }

    #[test]
    fn a_key_is_kept_on_disk_and_given_up_there() {
        let (dir, sealer) = sealer();
        let path = dir.path().join("seal.key");
        let old = sealer.held().borrow().clone();
        let (digest, content) = sealed(&sealer, b"hunter2");
        let to = sealer.draw(|_| false).expect("drawn");
        assert_eq!(sealer.draw(|_| false).expect("the same"), to);
        assert!(!sealer.holds(&to) && sealer.key(&to).is_none(), "it is nowhere used");
        sealer.keep(sealer.drawn(&to).expect("was drawn")).expect("kept");
        assert!(sealer.holds(&to) && sealer.drawn(&to).is_none());
        let anew = sealer.reseal(&digest, &content, &to).expect("sealed anew");
        // As after a crash: both open with what is in the file.
        let again = Sealer::open(&path, false).expect("opens");
        for content in [&content, &anew] {
            assert_eq!(again.open_sealed(&digest, content).expect("opens").as_slice(), b"hunter2");
        }
        let given = again.for_another_server(Some(&to)).expect("given");
        assert_eq!((given.len(), &given[0]), (2, &again.key(&to).expect("is held").bytes()));
        sealer.forget(&old).expect("forgotten");
        let again = Sealer::open(&path, false).expect("opens");
        assert!(matches!(again.open_sealed(&digest, &content), Err(SealError::OtherKey { .. })));
        assert_eq!(again.open_sealed(&digest, &anew).expect("opens").as_slice(), b"hunter2");
        sealer.forget(std::slice::from_ref(&to)).expect("nothing happens");
        assert!(sealer.holds(&to), "the last one stays");
    }

    #[test]
    fn no_more_keys_are_kept_than_are_read_again() {
        let (dir, sealer) = sealer();
        for _ in 1..KEYS_MAX {
            sealer.keep(Arc::new(SealingKey::draw().expect("a key"))).expect("kept");
        }
        let one_more = sealer.keep(Arc::new(SealingKey::draw().expect("a key")));
        assert!(matches!(one_more, Err(SealError::TooMany { .. })));
        let again = Sealer::open(&dir.path().join("seal.key"), false).expect("opens");
        assert_eq!(*again.held().borrow(), *sealer.held().borrow());
    }

    #[test]
    fn what_is_written_of_it_shows_ids_only() {
        let (_dir, sealer) = sealer();
        sealer.draw(|_| false).expect("drawn");
        let key = sealer.ring().keys[0].bytes();
        let shown = format!("{sealer:?} {:?}", sealer.ring());
        assert!(shown.contains(&sealer.held().borrow()[0]), "{shown}");
        let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
        assert!(!shown.contains(&hex) && !shown.contains(&format!("{}, {}", key[0], key[1])), "{shown}");
    }
}
