//! Who is known: the cluster's authority, join tokens, and identities with their keys.

use proto::id::ProjectName;
use proto::identity::{OperatorName, OperatorRole, Subject};
use proto::revision::{Revision, Wall};
use serde::{Deserialize, Serialize};

use super::{Content, as_bytes};

/// What issues certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Its own certificate, X.509 in DER.
    #[serde(with = "as_bytes")]
    pub certificate: Vec<u8>,
    /// Its private key, PKCS#8, sealed.
    pub key: Content,
}

/// A join token as it is kept: without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Drawn by the door that made it.
    pub id: u64,
    /// SHA-256 of its secret, which has 128 random bits.
    pub hash: String,
    /// What who joins by it may do.
    pub grant: Grant,
    /// How many may join by it.
    pub uses: u32,
    /// How many did.
    pub used: u32,
    /// When it was made.
    pub made: Wall,
    /// From then on nobody joins by it.
    pub expires: Wall,
}

/// What an identity may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// Run containers, as the node it says it is.
    Agent,
    /// Be a member of the control plane.
    Server,
    /// Operate.
    Operator {
        /// How far.
        role: OperatorRole,
        /// Only this project; `None`: all.
        project: Option<ProjectName>,
        /// The operator's name; with several uses, a number follows.
        name: OperatorName,
    },
}

/// Somebody who joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Who.
    pub subject: Subject,
    /// The public key that a certificate must have, 32 bytes: another one under the same name is somebody else.
    #[serde(with = "as_bytes")]
    pub key: Vec<u8>,
    /// What it may do.
    pub grant: Grant,
    /// The token it joined by.
    pub token: u64,
    /// When.
    pub enrolled: Wall,
    /// Revision that wrote it.
    pub modified: Revision,
}

// === impl Token ===

impl Token {
    /// Can somebody join by it now? `Err` says why not, in one word for screens.
    pub fn standing(&self, now: Wall) -> Result<(), &'static str> {
        if now >= self.expires {
            Err("expired")
        } else if self.used >= self.uses {
            Err("used-up")
        } else {
            Ok(())
        }
    }
}
