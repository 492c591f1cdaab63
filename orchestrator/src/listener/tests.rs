//! The listener on real sockets: a flood beside a peer with a certificate.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// Longest wait for what must happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Ca(CertifiedIssuer<'static, KeyPair>);

struct Leaf {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Ca {
    fn new() -> Ca {
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ca(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    fn leaf(&self, purpose: ExtendedKeyUsagePurpose) -> Leaf {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["door".to_owned()]).expect("a name");
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Leaf { certificate: certificate.der().clone(), key: key.serialize_der() }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        Arc::new(roots)
    }

    fn server(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone());
        let verifier = verifier.allow_unauthenticated().build().expect("a verifier");
        let leaf = self.leaf(ExtendedKeyUsagePurpose::ServerAuth);
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![leaf.certificate.clone()], leaf.key())
            .expect("a certificate with its key");
        Arc::new(config)
    }

    fn client(&self, leaf: Option<&Leaf>) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(self.roots());
        let config = match leaf {
            Some(leaf) => config.with_client_auth_cert(vec![leaf.certificate.clone()], leaf.key()).expect("a key"),
            None => config.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

impl Leaf {
    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

/// A listener whose server sends back what it gets, and first who it takes the peer for.
struct Door {
    address: SocketAddr,
    meter: Meter,
    stop: CancellationToken,
    tls: watch::Sender<Arc<ServerConfig>>,
}

impl Door {
    fn open(ca: &Ca, limits: Limits) -> Door {
        let (tls, receiver) = watch::channel(ca.server());
        let stop = CancellationToken::new();
        let listener = listen(([127, 0, 0, 1], 0).into(), receiver, limits, stop.clone()).expect("a free port");
        let (address, meter) = (listener.local_addr(), listener.meter());
        let incoming = listener.into_incoming();
        tokio::spawn(async move {
            let mut incoming = std::pin::pin!(incoming);
            while let Some(conn) = incoming.next().await {
                tokio::spawn(echo(conn.expect("the stream has no errors")));
            }
        });
        Door { address, meter, stop, tls }
    }

    /// A finished handshake, and what the server says of us.
    async fn enter(&self, connector: &TlsConnector) -> io::Result<(TlsStream<TcpStream>, u8)> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("door").expect("a name");
        let mut stream = connector.connect(name, tcp).await?;
        let word = stream.read_u8().await?;
        Ok((stream, word))
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Counts, Open) -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !is_so(&self.meter.counts(), self.meter.open()) {
            assert!(tokio::time::Instant::now() < end, "{what}: {:?} {:?}", self.meter.counts(), self.meter.open());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn echo(mut conn: Conn) -> io::Result<()> {
    conn.write_u8(if conn.peer().certificate.is_some() { b'k' } else { b's' }).await?;
    conn.flush().await?;
    let mut byte = [0];
    while conn.read(&mut byte).await? > 0 {
        conn.write_all(&byte).await?;
        conn.flush().await?;
    }
    Ok(())
}

async fn round_trip(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    stream.write_u8(7).await?;
    stream.flush().await?;
    assert_eq!(stream.read_u8().await?, 7);
    Ok(())
}

/// Connections and their sockets that are still open at the server, as the kernel sees them.
fn sockets_of(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("the kernel's table");
    let local = format!("0100007F:{:04X}", address.port());
    // 0A is the one that listens; 06 (TIME_WAIT) has no owner any more.
    let is_open = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&local.as_str()) && !matches!(words.get(3), Some(&"0A" | &"06"))
    };
    table.lines().filter(is_open).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_a_certificate_is_served_beside_a_flood() {
    let ca = Ca::new();
    let limits = Limits::default();
    let door = Door::open(&ca, limits);
    let leaf = ca.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    let known = ca.client(Some(&leaf));
    let (mut before, word) = door.enter(&known).await.expect("served before the flood");
    assert_eq!(word, b'k');

    let mut flood = Vec::new();
    for number in 0..500 {
        let mut tcp = TcpStream::connect(door.address).await.expect("accepted by the kernel");
        if number % 2 == 0 {
            // The beginning of a record that never comes.
            let _ = tcp.write_all(&[22, 3, 1]).await;
        }
        flood.push(tcp);
    }
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.extend(door.enter(&ca.client(None)).await);
    }
    for _ in 0..200 {
        let tcp = TcpStream::connect(door.address).await.expect("accepted by the kernel");
        tcp.set_zero_linger().expect("a socket");
    }
    let counts = door.meter.counts();
    let share = limits.handshakes_per_address;
    assert!(counts.refused[&Limit::HandshakesPerAddress] >= 500 - share as u64, "{counts:?}");
    assert!(counts.refused[&Limit::StrangersPerAddress] >= 36, "{counts:?}");
    assert!(door.meter.open().strangers <= limits.strangers_per_address);

    round_trip(&mut before).await.expect("still served");
    for _ in 0..20 {
        let (mut stream, word) = door.enter(&known).await.expect("let in during the flood");
        assert_eq!(word, b'k');
        round_trip(&mut stream).await.expect("served during the flood");
    }
    drop(idle);
    door.until("handshakes end at their deadline", |counts, open| {
        counts.handshakes_late > 0 && open.handshakes == 0 && open.strangers == 0
    })
    .await;
    assert_eq!(sockets_of(door.address), 1, "only that of the peer with the certificate");
    assert_eq!(flood.len(), 500, "the flood held on to the last");
    round_trip(&mut before).await.expect("served to the end");
}

#[tokio::test]
async fn a_silent_stranger_is_closed_and_a_speaking_one_is_not() {
    let ca = Ca::new();
    let limits = Limits { stranger_idle: Duration::from_secs(4), ..Limits::default() };
    let door = Door::open(&ca, limits);
    let leaf = ca.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    let (mut known, _) = door.enter(&ca.client(Some(&leaf))).await.expect("let in");
    let (mut speaking, word) = door.enter(&ca.client(None)).await.expect("let in");
    let (mut silent, _) = door.enter(&ca.client(None)).await.expect("let in");
    assert_eq!(word, b's');
    let mut byte = [0];
    let closed = loop {
        tokio::select! {
            read = silent.read(&mut byte) => break read,
            () = tokio::time::sleep(Duration::from_millis(100)) => round_trip(&mut speaking).await.expect("served"),
        }
    };
    assert!(closed.is_err(), "reset, not left half open: {closed:?}");
    let counts = door.meter.counts();
    assert_eq!((counts.idle_closed, counts.strangers, counts.known), (1, 2, 1));
    round_trip(&mut speaking).await.expect("who speaks stays");
    round_trip(&mut known).await.expect("who is known may be silent");
    drop((speaking, known));
    door.until("those who left are forgotten", |_, open| open == Open::default()).await;
}

#[tokio::test]
async fn a_refused_certificate_is_told_why() {
    let (ca, other) = (Ca::new(), Ca::new());
    let door = Door::open(&ca, Limits::default());
    let foreign = other.leaf(ExtendedKeyUsagePurpose::ClientAuth);
    for attempt in 1..=20 {
        let error = door.enter(&ca.client(Some(&foreign))).await.expect_err("a foreign certificate");
        assert!(error.to_string().contains("UnknownCA") || error.to_string().contains("DecryptError"), "{error}");
        door.until("counted", |counts, _| counts.handshakes_failed == attempt).await;
    }
    door.until("freed", |_, open| open == Open::default()).await;
}

#[tokio::test]
async fn a_new_configuration_is_used_without_a_restart() {
    let (old, new) = (Ca::new(), Ca::new());
    let door = Door::open(&old, Limits::default());
    let (mut before, _) = door.enter(&old.client(None)).await.expect("the old one");
    door.tls.send_replace(new.server());
    door.enter(&old.client(None)).await.expect_err("the old one is not shown any more");
    door.enter(&new.client(None)).await.expect("the new one");
    round_trip(&mut before).await.expect("what was open stays");
}

#[tokio::test]
async fn what_is_not_tls_is_turned_away() {
    let ca = Ca::new();
    let door = Door::open(&ca, Limits::default());
    for words in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0; 4_096], &[22, 3, 3, 255, 255]]
    {
        let mut tcp = TcpStream::connect(door.address).await.expect("accepted");
        tcp.write_all(words).await.expect("sent");
        let _ = tcp.shutdown().await;
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest).await;
        assert!(rest.len() < 16, "an alert at most: {rest:?}");
    }
    door.until("all failed", |counts, open| counts.handshakes_failed == 4 && open == Open::default()).await;
}

#[tokio::test]
async fn it_ends_when_told_and_lets_open_connections_be() {
    let ca = Ca::new();
    let door = Door::open(&ca, Limits::default());
    let (mut stream, _) = door.enter(&ca.client(None)).await.expect("let in");
    let _stalled = TcpStream::connect(door.address).await.expect("accepted");
    door.until("a handshake is under way", |_, open| open.handshakes == 1).await;
    door.stop.cancel();
    door.until("it is ended", |_, open| open.handshakes == 0).await;
    let end = tokio::time::Instant::now() + PATIENCE;
    while TcpStream::connect(door.address).await.is_ok() {
        assert!(tokio::time::Instant::now() < end, "it listens on");
    }
    round_trip(&mut stream).await.expect("what was open stays");
}
