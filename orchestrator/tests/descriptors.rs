//! Promise: a listener whose process has no descriptor left goes on once there are some again.
//!
//! Alone in its binary: the limit it lowers is the whole process's.

use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use orchestrator::listener::{Limits, listen};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;

/// Enough for the test's own, and few enough to be used up.
const DESCRIPTORS: u64 = 128;
const PATIENCE: Duration = Duration::from_secs(30);

fn tls() -> Arc<ServerConfig> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["door".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate with its key");
    Arc::new(config)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_once_descriptors_are_free_again() {
    // The listener asks for as many as it may have: so both limits are low.
    let few = Rlimit { current: Some(DESCRIPTORS), maximum: Some(DESCRIPTORS) };
    setrlimit(Resource::Nofile, few).expect("a limit may be lowered");
    let (_config, tls) = watch::channel(tls());
    let stop = CancellationToken::new();
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), tls, Limits::default(), stop.clone()).expect("it listens");
    let (address, meter) = (listener.local_addr(), listener.meter());
    let mut incoming = Box::pin(listener.into_incoming());
    let taking = tokio::spawn(async move { while incoming.next().await.is_some() {} });
    let sockets = [(); 3].map(|()| TcpSocket::new_v4().expect("a socket"));
    let mut held = Vec::new();
    let error = loop {
        match File::open("/dev/null") {
            Ok(file) => held.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()), "{error}");
    let mut waiting = Vec::new();
    for socket in sockets {
        // The kernel shakes hands for us; nobody takes it.
        waiting.push(socket.connect(address).await.expect("it connects"));
    }
    until("several times none could be taken", || meter.counts().accept_errors >= 2).await;
    assert_eq!(meter.counts().accepted, 0);
    drop(held);
    until("those who waited are taken", || meter.counts().accepted == 3).await;
    let before = meter.counts().accept_errors;
    let late = TcpSocket::new_v4().expect("a socket").connect(address).await.expect("it connects");
    until("and who comes later", || meter.counts().accepted == 4).await;
    assert_eq!(meter.counts().accept_errors, before);
    drop((waiting, late));
    stop.cancel();
    taking.await.expect("it ends");
}
