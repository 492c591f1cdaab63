//! A key of one's own (Ed25519): generated where it is used, shown to nobody.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::fmt;

use crate::id::ClusterId;

/// What an enrolment's proof is over, so that no other signature can be taken for one.
const PURPOSE: &[u8] = b"wherry enrolment 1";

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system gave no random bytes.
    #[error("the system gives no random bytes, so no key can be made")]
    Random,
    /// The bytes are none.
    #[error("these bytes are not an Ed25519 key")]
    NotAKey,
}

/// A private key. Prints nothing of itself.
pub struct PrivateKey {
    pkcs8: Vec<u8>,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pkcs8.fill(0);
    }
}

// === impl PrivateKey ===

impl PrivateKey {
    /// A new one.
    pub fn generate() -> Result<PrivateKey, KeyError> {
        let random = ring::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Random)?;
        PrivateKey::from_pkcs8(document.as_ref())
    }

    /// One that was kept.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<PrivateKey, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes).map_err(|_| KeyError::NotAKey)?;
        Ok(PrivateKey { pkcs8: bytes.to_vec(), pair })
    }

    /// To be kept, readable by its owner alone.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half, 32 bytes.
    pub fn public(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// As rustls takes it.
    pub fn for_tls(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pkcs8.clone())
    }
}

fn enrolment(cluster: ClusterId, token: u64, kind: &str, node: &str) -> Vec<u8> {
    let mut message = PURPOSE.to_vec();
    message.extend_from_slice(&cluster.0.to_be_bytes());
    message.extend_from_slice(&token.to_be_bytes());
    for text in [kind, node] {
        // With its length, so that no two pairs of texts look the same.
        message.extend_from_slice(&(text.len() as u64).to_be_bytes());
        message.extend_from_slice(text.as_bytes());
    }
    message
}

/// Proof that whoever enrols has the key.
pub fn enrolment_proof(key: &PrivateKey, cluster: ClusterId, token: u64, kind: &str, node: &str) -> Vec<u8> {
    key.pair.sign(&enrolment(cluster, token, kind, node)).as_ref().to_vec()
}

/// Does the proof hold?
pub fn proves_enrolment(public: &[u8], proof: &[u8], cluster: ClusterId, token: u64, kind: &str, node: &str) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(&enrolment(cluster, token, kind, node), proof).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_for_one_enrolment_by_one_key() {
        let (key, other) = (PrivateKey::generate().expect("a key"), PrivateKey::generate().expect("a key"));
        let again = PrivateKey::from_pkcs8(key.pkcs8()).expect("kept");
        assert_eq!(key.public(), again.public());
        let proof = enrolment_proof(&again, ClusterId(1), 2, "agent", "ab");
        assert!(proves_enrolment(&key.public(), &proof, ClusterId(1), 2, "agent", "ab"));
        assert!(!proves_enrolment(&other.public(), &proof, ClusterId(1), 2, "agent", "ab"));
        assert!(!proves_enrolment(&key.public(), &proof, ClusterId(2), 2, "agent", "ab"));
        assert!(!proves_enrolment(&key.public(), &proof, ClusterId(1), 3, "agent", "ab"));
        assert!(!proves_enrolment(&key.public(), &proof, ClusterId(1), 2, "agenta", "b"));
        assert!(!proves_enrolment(&[], &proof, ClusterId(1), 2, "agent", "ab"));
        assert_eq!(format!("{key:?}"), "PrivateKey");
        assert_eq!(PrivateKey::from_pkcs8(b"no").err(), Some(KeyError::NotAKey));
    }
}
