//! How a server with an empty data directory becomes one of a cluster: by a join token, before its log is opened.
//!
//! # Guarantees
//! Its id and key are on disk before they are shown: an answer that was lost is asked for again with the same ones. The
//! cluster's sealing keys are written where they belong, apart from the data, and nowhere else.

use getrandom::u64 as random;
use proto::id::ServerId;
use proto::identity::Subject;
use proto::join_token::JoinToken;
use proto::peer::{EnrolError, Kept, KeptError, KeyError, PrivateKey, enrol_server};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

use crate::disk;
use crate::pki::ring::keep_given;
use crate::pki::seal::SealError;
use crate::raft::PeerIdentity;

/// The identity a server joined with.
const IDENTITY: &str = "identity";
/// Id and key of one that is about to join.
const JOINING: &str = "joining";
/// Before an attempt that may go better is made again.
const AGAIN: Duration = Duration::from_secs(1);

/// How a server finds the cluster that it joins.
#[derive(Debug, Clone)]
pub struct Join {
    /// `HOST:PORT` of the cluster's port of each server that is known.
    pub servers: Vec<String>,
    /// The token.
    pub token: JoinToken,
}

/// Why a server did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A file.
    #[error("cannot {verb} {path}: {source}")]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// What was kept is no identity.
    #[error("the identity in {path} cannot be used: {source}; empty the directory, and join with a fresh token")]
    Kept {
        /// Where.
        path: PathBuf,
        /// Why.
        source: KeptError,
    },
    /// No randomness.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The cluster says no.
    #[error("cannot join: {0}")]
    Enrol(#[from] EnrolError),
    /// The sealing key.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// A server that was let in.
#[derive(Debug)]
pub(super) struct Joined {
    /// The id it drew.
    pub(super) id: ServerId,
    /// What it shows until it knows the authority.
    pub(super) identity: PeerIdentity,
    /// Whom it asks before it knows who leads.
    pub(super) servers: Vec<String>,
}

/// What an earlier start was let in with.
pub(super) fn earlier(data_dir: &Path) -> Result<Option<Joined>, JoinError> {
    let path = data_dir.join(IDENTITY);
    let Some(bytes) = read(&path)? else { return Ok(None) };
    let unusable = |source| JoinError::Kept { path: path.clone(), source };
    joined(&Kept::read(&bytes).map_err(unusable)?).map(Some).map_err(unusable)
}

/// Joins; tries again as long as no server answers.
pub(super) async fn join(data_dir: &Path, seal_key: &Path, join: &Join) -> Result<Joined, JoinError> {
    let (id, key) = drawn(data_dir)?;
    let mut told = String::new();
    let (kept, sealing_keys) = loop {
        match enrol_server(join.servers.clone(), &join.token, &key, &id.to_string()).await {
            Ok(enrolled) => break enrolled,
            Err(error) if error.may_pass() => {
                if told != error.to_string() {
                    tracing::warn!(%error, "not joined yet; tried again");
                    told = error.to_string();
                }
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    keep_given(seal_key, &sealing_keys)?;
    write(data_dir, IDENTITY, &kept.write())?;
    let path = data_dir.join(JOINING);
    std::fs::remove_file(&path).map_err(|source| JoinError::File { verb: "remove", path, source })?;
    tracing::info!(server = %id, "joined the cluster");
    joined(&kept).map_err(|source| JoinError::Kept { path: data_dir.join(IDENTITY), source })
}

fn joined(kept: &Kept) -> Result<Joined, KeptError> {
    let Subject::Server(id) = kept.subject()? else {
        return Err(KeptError::Damaged("it is not a server's".to_owned()));
    };
    let mine = kept.credentials()?;
    let identity = PeerIdentity {
        cluster: kept.cluster()?,
        authority: kept.authority()?,
        key: Zeroizing::new(mine.key.pkcs8().to_vec()),
        certificate: mine.certificate,
    };
    Ok(Joined { id, identity, servers: kept.servers.clone() })
}

/// The id and key of an attempt that did not end, or new ones: 8 bytes, then PKCS#8.
fn drawn(data_dir: &Path) -> Result<(ServerId, PrivateKey), JoinError> {
    let path = data_dir.join(JOINING);
    if let Some(bytes) = read(&path)?
        && let Some((id, key)) = bytes.split_first_chunk::<8>()
        && let Ok(key) = PrivateKey::from_pkcs8(key)
    {
        return Ok((ServerId(u64::from_be_bytes(*id)), key));
    }
    let id = random().map_err(|_| KeyError::Random)?.max(1);
    let key = PrivateKey::generate()?;
    let mut bytes = Zeroizing::new(id.to_be_bytes().to_vec());
    bytes.extend_from_slice(key.pkcs8());
    write(data_dir, JOINING, &bytes)?;
    Ok((ServerId(id), key))
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, JoinError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(JoinError::File { verb: "read", path: path.to_owned(), source }),
    }
}

/// For the owner's eyes.
fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), JoinError> {
    let written = disk::write_whole(dir, name, bytes).map(drop);
    written.map_err(|source| JoinError::File { verb: "write", path: dir.join(name), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_made_again_with_the_same_id_and_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let (id, key) = drawn(dir.path()).expect("draws");
        let (again, same) = drawn(dir.path()).expect("reads");
        assert_eq!((again, same.public()), (id, key.public()));
        std::fs::write(dir.path().join(JOINING), b"cut").expect("writes");
        let (other, _) = drawn(dir.path()).expect("draws anew");
        assert_ne!(other, id);
        assert!(earlier(dir.path()).expect("reads").is_none());
    }
}
