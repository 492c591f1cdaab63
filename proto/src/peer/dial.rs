//! A TLS connection to the first server that answers, on whichever of its addresses.

use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::key::PrivateKey;
use crate::id::ClusterId;
use crate::identity::server_name;

/// Time for one address to accept a connection and shake hands.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Whom a caller takes for the cluster.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Who shows an authority whose certificate has this SHA-256, and a certificate issued by it.
    Pin([u8; 32]),
    /// Who shows a certificate issued by this authority (DER).
    Authority(Vec<u8>),
}

/// What a caller shows of itself.
#[derive(Debug)]
pub struct Credentials {
    /// Its key.
    pub key: PrivateKey,
    /// The certificate for it, DER.
    pub certificate: Vec<u8>,
}

/// The servers of a cluster, from outside.
#[derive(Debug)]
pub struct Remote {
    // Apart from the channel, which connects by it: what holds itself would never end, nor its connection.
    dial: Arc<Dial>,
    /// Counts credentials.
    shown: watch::Sender<u64>,
    /// The channel that all calls share, and the credentials it began with.
    channel: Mutex<Option<(u64, Channel)>>,
}

/// What a connection needs.
#[derive(Debug)]
struct Dial {
    addresses: Mutex<Addresses>,
    cluster: ClusterId,
    trust: Trust,
    mine: Mutex<Option<Arc<Credentials>>>,
    /// Index of the address to begin with: the one that answered last, or the one behind one that did not.
    next: AtomicUsize,
}

/// Where servers are.
#[derive(Debug)]
struct Addresses {
    /// As the operator named them: these are tried first, and always.
    named: Vec<String>,
    /// As the cluster says.
    learned: Vec<String>,
}

// === impl Addresses ===

impl Addresses {
    fn all(&self) -> Vec<String> {
        let more = self.learned.iter().filter(|address| !self.named.contains(address));
        self.named.iter().chain(more).cloned().collect()
    }
}

// === impl Remote ===

impl Remote {
    /// Servers at these addresses, `HOST:PORT` each. Without credentials the caller is a stranger.
    pub fn new(addresses: Vec<String>, cluster: ClusterId, trust: Trust, mine: Option<Credentials>) -> Remote {
        let mine = Mutex::new(mine.map(Arc::new));
        let addresses = Mutex::new(Addresses { named: addresses, learned: Vec::new() });
        let dial = Dial { addresses, cluster, trust, mine, next: AtomicUsize::new(0) };
        Remote { dial: Arc::new(dial), shown: watch::channel(0).0, channel: Mutex::default() }
    }

    /// As a person reads it.
    pub fn shown(&self) -> String {
        self.addresses().join(", ")
    }

    /// Every address that is tried, in this order.
    pub fn addresses(&self) -> Vec<String> {
        self.dial.addresses()
    }

    /// The cluster says that its servers are there: tried from now on beside those that the operator named, in the place of
    /// what it said before. Whether that is news.
    pub fn learn(&self, servers: Vec<String>) -> bool {
        let mut addresses = self.dial.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = addresses.learned != servers;
        addresses.learned = servers;
        is_news
    }

    /// Connections made from now on show these.
    pub fn show(&self, mine: Credentials) {
        *self.dial.mine.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(mine));
        self.shown.send_modify(|count| *count += 1);
    }

    /// Changes whenever other credentials are shown.
    pub fn shown_now(&self) -> watch::Receiver<u64> {
        self.shown.subscribe()
    }

    /// The channel that calls share: it connects with the first one. Other credentials begin another channel; calls that are
    /// under way end on the earlier one.
    pub fn channel(&self, endpoint: Endpoint) -> Channel {
        let shown = *self.shown.borrow();
        let mut kept = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((with, channel)) if *with == shown => channel.clone(),
            _ => {
                let channel = self.new_channel(endpoint);
                *kept = Some((shown, channel.clone()));
                channel
            }
        }
    }

    fn new_channel(&self, endpoint: Endpoint) -> Channel {
        let dial = Arc::clone(&self.dial);
        endpoint.connect_timeout(self.connect_within()).connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let dial = Arc::clone(&dial);
            async move { dial.connect().await.map(TokioIo::new) }
        }))
    }

    /// The longest that `connect` may take.
    pub fn connect_within(&self) -> Duration {
        CONNECT_WITHIN * u32::try_from(self.addresses().len()).unwrap_or(1).max(1)
    }

    /// A connection to the first address that answers, the one that did last time first.
    pub async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        self.dial.connect().await
    }
}

// === impl Dial ===

impl Dial {
    fn addresses(&self) -> Vec<String> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::new(self.config()?);
        let name = ServerName::try_from(server_name(self.cluster)).map_err(io::Error::other)?;
        let first = self.next.load(Ordering::Relaxed);
        let mut problems = Vec::new();
        let addresses = self.addresses();
        for offset in 0..addresses.len() {
            let at = (first + offset) % addresses.len();
            // Whoever gives up waiting for this one begins with another the next time.
            self.next.store(at + 1, Ordering::Relaxed);
            let one = connect_one(&addresses[at], config.clone(), name.clone());
            match tokio::time::timeout(CONNECT_WITHIN, one).await {
                Ok(Ok(stream)) => {
                    self.next.store(at, Ordering::Relaxed);
                    return Ok(stream);
                }
                Ok(Err(error)) => problems.push(format!("{}: {}", addresses[at], explain(&error))),
                Err(_) => {
                    problems.push(format!("{}: no answer within {} s", addresses[at], CONNECT_WITHIN.as_secs()));
                }
            }
        }
        Err(io::Error::other(problems.join("; ")))
    }

    fn config(&self) -> io::Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match &self.trust {
            Trust::Pin(pin) => Arc::new(Pinned { pin: *pin, provider: provider.clone() }),
            Trust::Authority(der) => verifier_of(der, &provider).map_err(io::Error::other)?,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mine = self.mine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut config = match mine {
            None => builder.with_no_client_auth(),
            Some(mine) => {
                let chain = vec![CertificateDer::from(mine.certificate.clone())];
                let key = PrivateKeyDer::Pkcs8(mine.key.for_tls());
                builder.with_client_auth_cert(chain, key).map_err(io::Error::other)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Each connection shows the present certificate.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

async fn connect_one(
    address: &str,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    // The server judges this side's certificate after this side is done, and speaks first once it has: an alert instead is
    // the reason, which would be lost if something were sent before it is read.
    if stream.fill_buf().await?.is_empty() {
        return Err(io::Error::other("the server closed the connection before it said anything; try again"));
    }
    Ok(stream)
}

fn verifier_of(
    authority: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.to_vec()))?;
    Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?)
}

/// Trusts the authority that a join token names: it stands in the chain that the server shows.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = chain.iter().find(|c| Sha256::digest(c.as_ref()).as_slice() == self.pin);
        let authority = pinned.ok_or(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let verifier = verifier_of(authority, &self.provider).map_err(|e| rustls::Error::General(e.to_string()))?;
        verifier.verify_server_cert(leaf, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed connection means: cause and remedy where TLS is the cause, else the innermost words.
pub fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = Some(error);
    let mut words = error.to_string();
    while let Some(one) = at {
        if let Some(tls) = one.downcast_ref::<rustls::Error>() {
            return in_words(tls);
        }
        words = one.to_string();
        // An io::Error gives its content's source, not its content.
        let inner = one.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        at = match inner {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => one.source(),
        };
    }
    words
}

/// The same of a call that failed: the server's words, or why there are none.
pub fn explain_status(status: &tonic::Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => explain(cause),
        None => status.message().to_owned(),
    }
}

fn in_words(error: &rustls::Error) -> String {
    use CertificateError as C;
    match error {
        rustls::Error::InvalidCertificate(
            C::UnknownIssuer | C::BadSignature | C::NotValidForName | C::NotValidForNameContext { .. },
        ) => "the server there belongs to another cluster, or somebody stands between: check the address; if it is right, do not go on".to_owned(),
        rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
            "the server's certificate has expired: compare the clocks of both hosts".to_owned()
        }
        rustls::Error::InvalidCertificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            "the server's certificate is not valid yet: compare the clocks of both hosts".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the server says that this side's certificate has expired: join again with a fresh token".to_owned()
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError,
        ) => "the server says that this side's certificate is of another cluster: check the address, or join with a token of that cluster".to_owned(),
        rustls::Error::InvalidMessage(_) => "what answers there does not speak TLS: check the port".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_found_however_deep_it_lies() {
        let tls = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
        let deep = io::Error::other(io::Error::other(tls));
        assert!(explain(&deep).contains("join again with a fresh token"), "{}", explain(&deep));
        assert_eq!(explain(&io::Error::other("plain")), "plain");
    }

    #[tokio::test]
    async fn a_channel_does_not_keep_alive_what_it_came_from() {
        let remote = Arc::new(Remote::new(vec!["127.0.0.1:1".into()], ClusterId(1), Trust::Pin([0; 32]), None));
        let dial = Arc::downgrade(&remote.dial);
        let channel = remote.channel(Endpoint::from_static("http://server.wherry"));
        drop(remote);
        assert!(dial.upgrade().is_some(), "a channel that is used can connect");
        drop(channel);
        // The channel's worker ends in its own time.
        while dial.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn what_is_learned_stands_behind_what_was_named_and_is_replaced() {
        let named = vec!["a:1".to_owned(), "b:1".to_owned()];
        let remote = Remote::new(named, ClusterId(1), Trust::Pin([0; 32]), None);
        let learn = |servers: &[&str]| remote.learn(servers.iter().map(|s| (*s).to_owned()).collect());
        assert!(learn(&["b:1", "c:1"]));
        assert!(!learn(&["b:1", "c:1"]));
        assert_eq!(remote.addresses(), ["a:1", "b:1", "c:1"]);
        assert!(learn(&["d:1"]));
        assert_eq!(remote.shown(), "a:1, b:1, d:1");
    }

    #[tokio::test]
    async fn every_address_is_tried_and_named() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = closed.local_addr().expect("an address").to_string();
        drop(closed);
        let remote = Remote::new(vec![address.clone(), "127.0.0.1:1".into()], ClusterId(1), Trust::Pin([0; 32]), None);
        let error = remote.connect().await.expect_err("nobody is there").to_string();
        assert!(error.contains(&address) && error.contains("127.0.0.1:1"), "{error}");
    }
}
