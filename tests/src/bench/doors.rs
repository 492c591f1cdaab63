//! A TLS listener under a flood: an authenticated client's calls beside the same without it, and the time until the flood's
//! sockets are free again.
//!
//! Three processes, so that they share no descriptors: the server (the product's listener with a health service), the flood,
//! and the client, which is this one. All on loopback; the flood comes from addresses of its own. Bounded in number and time.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use orchestrator::listener::{Limits, listen};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::report::{Report, Values};

/// Connections that finish their handshake and say nothing more.
const IDLE: usize = 5_000;
/// Connections that begin a handshake and go no further.
const STALLED: usize = 5_000;
/// Connections opened and reset each second.
const RESETS_PER_S: u64 = 500;
/// Calls timed in each turn, one after the other, and the wait between two.
const CALLS: usize = 2_000;
const CALL_EVERY: Duration = Duration::from_millis(3);
/// Turns with and without a flood, alternating.
const TURNS: usize = 3;
/// The whole may not take longer.
const FREED_WITHIN: Duration = Duration::from_secs(60);

/// The words by which this program is one of the other two processes.
pub const SERVER: &str = "doors-server";
/// See [`SERVER`].
pub const FLOOD: &str = "doors-flood";

/// Measures.
///
/// # Errors
/// When a process cannot be started, or a call of the authenticated client fails.
pub fn run(report: &Report) -> anyhow::Result<()> {
    report.part("doors: a listener under 5 000 idle, 5 000 stalled and 500 resets a second");
    let dir = tempfile::tempdir()?;
    write_certificates(dir.path())?;
    runtime()?.block_on(in_turns(report, dir.path()))
}

async fn in_turns(report: &Report, dir: &Path) -> anyhow::Result<()> {
    let mut server = Process::start(SERVER, dir, None)?;
    let address: SocketAddr = server.line()?.parse()?;
    let mut client = HealthClient::new(connect(dir, address).await?);
    let _ = calls(&mut client, 200).await?;
    let (mut with, mut without, mut freed) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        without.push(percentile_99(calls(&mut client, CALLS).await?));
        let mut flood = Process::start(FLOOD, dir, Some(address))?;
        // The worst is its beginning: thousands of handshakes that are finished.
        with.push(percentile_99(calls(&mut client, CALLS).await?));
        // It says so when all of its connections were begun.
        let begun = flood.line()?;
        let opened = Instant::now();
        HealthClient::new(connect(dir, address).await?).check(HealthCheckRequest::default()).await?;
        println!("   turn {turn}: flood {begun}; a new connection and its first call took {:?}", opened.elapsed());
        // It holds what it has and opens nothing more.
        flood.say("hold")?;
        flood.line()?;
        let mut open;
        loop {
            server.say("open")?;
            open = server.line()?;
            if open == "0" {
                break;
            }
            ensure!(opened.elapsed() < FREED_WITHIN, "{open} sockets of the flood are still open");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        freed.push(opened.elapsed().as_secs_f64());
    }
    server.say("counts")?;
    println!("   server: {}", server.line()?);
    let (with, without) = (Values::of(with), Values::of(without));
    report.against("authenticated call, 99th percentile, under the flood", &with, "without it", &without, "ms");
    report.alone(
        "from the flood's last connection until no socket of it is open at the server",
        &Values::of(freed),
        "s",
    );
    Ok(())
}

async fn calls(client: &mut HealthClient<Channel>, count: usize) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        client.check(HealthCheckRequest::default()).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(CALL_EVERY).await;
    }
    Ok(times)
}

fn percentile_99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}

async fn connect(dir: &Path, address: SocketAddr) -> anyhow::Result<Channel> {
    let connector = connector(dir, true)?;
    let connect = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let stream = connector.connect(name(), tcp).await?;
            std::io::Result::Ok(hyper_util::rt::TokioIo::new(stream))
        }
    });
    Ok(Endpoint::from_static("http://door").connect_with_connector(connect).await?)
}

// === the other two processes ===

/// The server: says where it listens, and on each line of standard input what is open.
///
/// # Errors
/// When it cannot listen.
pub fn serve(dir: &Path) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let (_config, tls) = watch::channel(server_config(dir)?);
        let stop = CancellationToken::new();
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), tls, Limits::default(), stop.clone())?;
        let (address, meter) = (listener.local_addr(), listener.meter());
        println!("{address}");
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let served =
            tonic::transport::Server::builder().add_service(health).serve_with_incoming(listener.into_incoming());
        let asked = tokio::task::spawn_blocking(move || {
            for line in std::io::stdin().lock().lines() {
                let open = meter.open();
                match line?.as_str() {
                    "open" => println!("{}", open.handshakes + open.strangers),
                    _ => println!("{:?}", meter.counts()),
                }
            }
            std::io::Result::Ok(())
        });
        tokio::select! {
            served = served => served?,
            asked = asked => asked??,
        }
        stop.cancel();
        Ok(())
    })
}

/// The flood: opens, says so, goes on until told to hold, holds until its input ends.
///
/// # Errors
/// When its own descriptors are too few.
pub fn flood(dir: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    runtime()?.block_on(async {
        let begun = Instant::now();
        let strangers = connector(dir, false)?;
        let (mut stalled, mut idle) = (Vec::new(), Vec::new());
        let resets = tokio::spawn(reset(address));
        for number in 0..STALLED.max(IDLE) {
            if number < STALLED {
                let mut tcp = from(number, address).await?;
                // The beginning of a hello that never comes.
                let _ = tcp.write_all(&[22, 3, 1, 2, 0, 1]).await;
                stalled.push(tcp);
            }
            if number < IDLE {
                let connector = strangers.clone();
                let tcp = from(number, address).await?;
                idle.push(tokio::spawn(async move { connector.connect(name(), tcp).await.ok() }));
            }
        }
        let mut held = Vec::new();
        for task in idle {
            held.extend(task.await?);
        }
        println!(
            "of {IDLE} idle, {} got through their handshake, in {:.1} s",
            held.len(),
            begun.elapsed().as_secs_f64()
        );
        let mut word = String::new();
        let word = tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut word).map(|_| word)).await??;
        resets.abort();
        println!("held after {}", word.trim());
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
        drop((stalled, held));
        Ok(())
    })
}

/// From one of 200 addresses of the loopback net.
async fn from(number: usize, address: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 1, 1 + (number % 200) as u8), 0).into())?;
    socket.connect(address).await.context("the flood cannot connect")
}

async fn reset(address: SocketAddr) {
    let mut tick = tokio::time::interval(Duration::from_millis(1_000 / RESETS_PER_S));
    for number in 0.. {
        tick.tick().await;
        if let Ok(tcp) = from(number, address).await {
            let _ = tcp.set_zero_linger();
        }
    }
}

struct Process {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(word: &str, dir: &Path, address: Option<SocketAddr>) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(word).arg(dir).args(address.map(|address| address.to_string()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(child.stdout.take().context("it was asked for")?);
        Ok(Process { child, said })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.said.read_line(&mut line)? > 0, "a process of the bench ended");
        Ok(line.trim().to_owned())
    }

    fn say(&mut self, word: &str) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().context("it was asked for")?;
        writeln!(input, "{word}")?;
        Ok(input.flush()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Their input ends, and so do they; otherwise they are ended.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

// === certificates ===

fn write_certificates(dir: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(dir.join("ca"), ca.der())?;
    for (file, purpose) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["door".to_owned()])?;
        params.extended_key_usages = vec![purpose];
        std::fs::write(dir.join(file), params.signed_by(&key, &ca)?.der())?;
        std::fs::write(dir.join(format!("{file}.key")), key.serialize_der())?;
    }
    Ok(())
}

fn leaf(dir: &Path, file: &str) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>)> {
    let certificate = CertificateDer::from(std::fs::read(dir.join(file))?);
    Ok((vec![certificate], PrivatePkcs8KeyDer::from(std::fs::read(dir.join(format!("{file}.key")))?)))
}

fn roots(dir: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(std::fs::read(dir.join("ca"))?))?;
    Ok(roots)
}

fn server_config(dir: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(dir)?), provider.clone());
    let (chain, key) = leaf(dir, "server")?;
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let config = config.with_client_cert_verifier(verifier.allow_unauthenticated().build()?);
    Ok(Arc::new(config.with_single_cert(chain, key.into())?))
}

fn connector(dir: &Path, is_known: bool) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let config = config.with_root_certificates(roots(dir)?);
    let config = if is_known {
        let (chain, key) = leaf(dir, "client")?;
        config.with_client_auth_cert(chain, key.into())?
    } else {
        config.with_no_client_auth()
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("door").expect("a name")
}
