//! Who a certificate is of: the name and key in one that TLS has verified already.

use proto::identity::CertificateName;
use rustls::pki_types::CertificateDer;

/// SubjectPublicKeyInfo of an Ed25519 key, up to its 32 bytes (RFC 8410).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub name: CertificateName,
    /// Its public key, 32 bytes.
    pub key: Vec<u8>,
}

/// Reads a leaf, DER. `None`: it is not one of ours.
pub fn read(leaf: &[u8]) -> Option<Shown> {
    let der = CertificateDer::from(leaf);
    let certificate = webpki::EndEntityCert::try_from(&der).ok()?;
    let mut names = certificate.valid_uri_names();
    let name = names.next()?.parse().ok()?;
    if names.next().is_some() {
        return None;
    }
    let spki = certificate.subject_public_key_info();
    let key = spki.strip_prefix(&ED25519_SPKI)?;
    (key.len() == 32).then(|| Shown { name, key: key.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::authority::Authority;
    use crate::pki::sealer::Sealer;
    use proto::id::{ClusterId, NodeId};
    use proto::identity::Subject;
    use proto::peer::PrivateKey;
    use proto::revision::{Epoch, Wall};

    #[test]
    fn what_was_issued_is_read_back() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let sealer = Sealer::open(&dir.path().join("seal.key"), true).expect("a key");
        let now = Wall(1_800_000_000_000);
        let kept = Authority::found(ClusterId(7), now, &sealer).expect("founded");
        let authority = Authority::open(&kept, ClusterId(7), &sealer).expect("opens");
        let key = PrivateKey::generate().expect("a key").public();
        let until = Wall(now.0 + 1_000);
        let name =
            CertificateName { cluster: ClusterId(7), subject: Subject::Agent(NodeId(1)), epoch: Epoch(1), until };
        let leaf = authority.issue(&name, &key, now).expect("issued");
        assert_eq!(read(&leaf), Some(Shown { name, key }));
        assert_eq!(read(authority.certificate()), None, "the authority is nobody");
        assert_eq!(read(b"no certificate"), None);
    }
}
