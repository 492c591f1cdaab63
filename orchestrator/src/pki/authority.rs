//! The cluster's authority: made once, its key sealed in State; issues certificates for public keys.
//!
//! What is in a certificate is decided here and by State alone, never by who asks for it.

use proto::id::{BlobDigest, ClusterId};
use proto::identity::{CertificateName, Subject, server_name};
use proto::peer::PrivateKey;
use proto::revision::Wall;
use proto::spec::BlobKind;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

use super::seal::SealError;
use super::sealer::Sealer;
use crate::engine::model::{self, Content};
use crate::raft::PeerIdentity;

/// How long the authority itself holds, in days: 20 years. Its rotation is a matter for later.
const AUTHORITY_DAYS: u64 = 20 * 365;
/// Clocks of hosts differ: a certificate holds from so long before it was issued, in seconds.
const BACKDATED_S: u64 = 3_600;

/// Why the authority cannot be made, opened or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its key does not open.
    #[error("the cluster's authority cannot be used: {0}")]
    Seal(#[from] SealError),
    /// The library says no.
    #[error("the cluster's authority cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// TLS says no.
    #[error("the cluster's authority cannot be used for TLS: {0}")]
    Tls(String),
    /// No key for a server.
    #[error(transparent)]
    Key(#[from] proto::peer::KeyError),
}

/// The authority, opened.
pub struct Authority {
    certificate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    cluster: ClusterId,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.cluster)
    }
}

/// A bare public key, as rcgen takes it.
struct Ed25519<'a>(&'a [u8]);

impl PublicKeyData for Ed25519<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

// === impl Authority ===

impl Authority {
    /// A new one, as it goes into the log.
    pub fn found(cluster: ClusterId, now: Wall, sealer: &Sealer) -> Result<model::Authority, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = own_params(cluster, now).self_signed(&key)?.der().to_vec();
        let label = label(&certificate);
        let key = sealer.seal(None, BlobKind::Secret, &label, key.serialized_der())?;
        Ok(model::Authority { certificate, key })
    }

    /// The one in State.
    pub fn open(kept: &model::Authority, cluster: ClusterId, sealer: &Sealer) -> Result<Authority, AuthorityError> {
        let pkcs8 = sealer.open_sealed(&label(&kept.certificate), &kept.key)?;
        let der = PrivateKeyDer::try_from(pkcs8.as_slice()).map_err(|e| AuthorityError::Tls(e.to_owned()))?;
        let key = KeyPair::from_der_and_sign_algo(&der, &PKCS_ED25519)?;
        // The dates are in its certificate; an issuer needs its name and key only.
        let issuer = Issuer::new(own_params(cluster, Wall(0)), key);
        Ok(Authority { certificate: kept.certificate.clone(), issuer, cluster })
    }

    /// The key of the one in State, sealed with another sealing key.
    pub fn reseal(kept: &model::Authority, sealer: &Sealer, to: &str) -> Result<Content, SealError> {
        sealer.reseal(&label(&kept.certificate), &kept.key, to)
    }

    /// Its certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// SHA-256 of its certificate: what a join token names it by.
    pub fn pin(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// A certificate for a public key, DER.
    pub fn issue(&self, name: &CertificateName, key: &[u8], now: Wall) -> Result<Vec<u8>, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&name.subject.to_string());
        params.not_before = at(now) - Duration::from_secs(BACKDATED_S);
        params.not_after = at(name.until);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = vec![SanType::URI(name.to_string().try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(name.subject, Subject::Server(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            params.subject_alt_names.push(SanType::DnsName(server_name(self.cluster).try_into()?));
        }
        Ok(params.signed_by(&Ed25519(key), &self.issuer)?.der().to_vec())
    }
}

/// How a server's doors speak TLS: with its certificate, and asking for the caller's.
pub fn server_config(own: &PeerIdentity) -> Result<ServerConfig, AuthorityError> {
    let tls = |e: &dyn std::fmt::Display| AuthorityError::Tls(e.to_string());
    let key = PrivateKey::from_pkcs8(&own.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(own.authority.clone())).map_err(|e| tls(&e))?;
    // Strangers come in as far as enrolment; `access` sees that it is no further.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| tls(&e))?;
    // The authority goes along: who joins has its pin only.
    let chain = vec![CertificateDer::from(own.certificate.clone()), CertificateDer::from(own.authority.clone())];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| tls(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.for_tls()))
        .map_err(|e| tls(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would bring back a certificate that nobody looks at again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn own_params(cluster: ClusterId, now: Wall) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("wherry {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let begin = at(now);
    params.not_before =
        begin.checked_sub(Duration::from_secs(BACKDATED_S).try_into().unwrap_or_default()).unwrap_or(begin);
    params.not_after = begin + Duration::from_secs(AUTHORITY_DAYS * 86_400);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// What the key is sealed with, so that it opens for this certificate alone.
fn label(certificate: &[u8]) -> BlobDigest {
    BlobDigest(format!("authority {}", proto::digest::sha256_hex(certificate)))
}

/// Certificates tell time in seconds.
fn at(wall: Wall) -> time::OffsetDateTime {
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(wall.0 / 1_000)
}
