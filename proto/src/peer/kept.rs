//! What a host keeps of its identity, as a file: agents in their data directory, ctl as a context.
//!
//! Holds a private key: whoever writes it makes it readable by its owner alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::dial::{Credentials, Remote, Trust};
use super::key::{KeyError, PrivateKey};
use crate::id::ClusterId;
use crate::identity::Subject;

/// Version of the form.
const VERSION: u32 = 1;

/// An identity with the way to its cluster.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    version: u32,
    /// `HOST:PORT` of each server.
    pub servers: Vec<String>,
    cluster: String,
    subject: String,
    token: u64,
    key: String,
    certificate: String,
    authority: String,
    /// When the certificate came, in milliseconds since 1970 by this host's clock.
    pub from_unix_ms: u64,
    /// When it ends, by this host's clock.
    pub until_unix_ms: u64,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({} of {})", self.subject, self.cluster)
    }
}

/// A certificate with what belongs to it.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The cluster.
    pub cluster: ClusterId,
    /// For whom.
    pub subject: Subject,
    /// The token it came by.
    pub token: u64,
    /// DER.
    pub certificate: Vec<u8>,
    /// DER.
    pub authority: Vec<u8>,
    /// By this host's clock.
    pub from_unix_ms: u64,
    /// By this host's clock.
    pub until_unix_ms: u64,
}

/// Why a file holds no identity.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It is of a later version.
    #[error("it is of version {0}, this program reads up to {VERSION}; upgrade it")]
    Newer(u32),
    /// It is damaged.
    #[error("it does not hold an identity: {0}")]
    Damaged(String),
}

impl From<KeyError> for KeptError {
    fn from(error: KeyError) -> KeptError {
        KeptError::Damaged(error.to_string())
    }
}

// === impl Kept ===

impl Kept {
    /// What is to be kept of an identity.
    pub fn new(servers: Vec<String>, key: &PrivateKey, issued: &Issued) -> Kept {
        Kept {
            version: VERSION,
            servers,
            cluster: issued.cluster.to_string(),
            subject: issued.subject.to_string(),
            token: issued.token,
            key: STANDARD.encode(key.pkcs8()),
            certificate: STANDARD.encode(&issued.certificate),
            authority: STANDARD.encode(&issued.authority),
            from_unix_ms: issued.from_unix_ms,
            until_unix_ms: issued.until_unix_ms,
        }
    }

    /// The same identity with a newer certificate.
    pub fn renewed(&self, issued: &Issued) -> Kept {
        Kept {
            certificate: STANDARD.encode(&issued.certificate),
            authority: STANDARD.encode(&issued.authority),
            from_unix_ms: issued.from_unix_ms,
            until_unix_ms: issued.until_unix_ms,
            ..self.clone()
        }
    }

    /// Reads a file's content.
    pub fn read(bytes: &[u8]) -> Result<Kept, KeptError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let damaged = |e: serde_json::Error| KeptError::Damaged(e.to_string());
        let Versioned { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version > VERSION {
            return Err(KeptError::Newer(version));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// A file's content.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("texts and numbers have no failing serializer");
        bytes.push(b'\n');
        bytes
    }

    /// The key.
    pub fn key(&self) -> Result<PrivateKey, KeptError> {
        Ok(PrivateKey::from_pkcs8(&decoded(&self.key)?)?)
    }

    /// Whose it is.
    pub fn subject(&self) -> Result<Subject, KeptError> {
        self.subject.parse().map_err(|e: crate::identity::NotAName| KeptError::Damaged(e.to_string()))
    }

    /// The cluster.
    pub fn cluster(&self) -> Result<ClusterId, KeptError> {
        self.cluster.parse().map_err(|e: crate::id::IdError| KeptError::Damaged(e.to_string()))
    }

    /// Is the other one this one with an earlier or later certificate?
    pub fn is_same_identity(&self, other: &Kept) -> bool {
        (&self.cluster, &self.subject, &self.key) == (&other.cluster, &other.subject, &other.key)
    }

    /// The token it came by.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Who issues the cluster's certificates, DER.
    pub fn authority(&self) -> Result<Vec<u8>, KeptError> {
        decoded(&self.authority)
    }

    /// What to show.
    pub fn credentials(&self) -> Result<Credentials, KeptError> {
        Ok(Credentials { key: self.key()?, certificate: decoded(&self.certificate)? })
    }

    /// The cluster's servers, seen as this identity.
    pub fn remote(&self) -> Result<Arc<Remote>, KeptError> {
        let trust = Trust::Authority(self.authority()?);
        Ok(Arc::new(Remote::new(self.servers.clone(), self.cluster()?, trust, Some(self.credentials()?))))
    }

    /// Has the certificate ended?
    pub fn is_over(&self, now_unix_ms: u64) -> bool {
        now_unix_ms >= self.until_unix_ms
    }

    /// Half of the certificate's life, in milliseconds since 1970: from then on it is to be renewed.
    pub fn half_unix_ms(&self) -> u64 {
        self.from_unix_ms + self.until_unix_ms.saturating_sub(self.from_unix_ms) / 2
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, KeptError> {
    STANDARD.decode(text).map_err(|e| KeptError::Damaged(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    #[test]
    fn it_comes_back_and_shows_nothing() {
        let key = PrivateKey::generate().expect("a key");
        let issued = Issued {
            cluster: ClusterId(7),
            subject: Subject::Agent(NodeId(3)),
            token: 9,
            certificate: vec![1, 2],
            authority: vec![3],
            from_unix_ms: 100,
            until_unix_ms: 300,
        };
        let kept = Kept::new(vec!["a:1".into()], &key, &issued);
        let read = Kept::read(&kept.write()).expect("reads");
        assert_eq!(read.key().expect("a key").public(), key.public());
        assert_eq!(read.subject().expect("a subject"), Subject::Agent(NodeId(3)));
        assert_eq!((read.half_unix_ms(), read.is_over(299), read.is_over(300)), (200, false, true));
        assert_eq!(format!("{read:?}"), "Kept(agent/0000000000000003 of 0000000000000007)");
        let newer = String::from_utf8(kept.write()).expect("text").replace("\"version\": 1", "\"version\": 2");
        assert!(matches!(Kept::read(newer.as_bytes()), Err(KeptError::Newer(2))));
        assert!(matches!(Kept::read(&kept.write()[..40]), Err(KeptError::Damaged(_))));
    }
}
