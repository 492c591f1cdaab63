//! Promise: certificates of server, agent and operator that live for minutes are replaced for as long as it runs, and no call
//! fails: made on a connection of its own or on a kept one, a stream that is watched or followed, the agent's session.
//!
//! Short by default; `make rotation MINUTES=60` is the long form.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agent::runtime::fake::FakeRuntime;
use cli::args::{Args, Target};
use cli::client::Client;
use cli::command::wait::Watch;
use cli::output::{Buffer, Terminal};
use cli::place::Places;
use cli::session::Session;
use proto::peer::{Kept, explain};
use proto::revision::Wall;
use proto::v1;
use tests::docker::figures;
use tests::site::{Site, now_ms, shop, until};

/// Life of a certificate, and how long it runs: in the short form several lives, each a tenth of the long form's or less.
const SHORT: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(24));
const LONG_LIFE: Duration = Duration::from_secs(60);
/// Between two lines of the container whose output is followed.
const LINE_EVERY: Duration = Duration::from_millis(250);
/// Between a change and the next one.
const CHANGE_EVERY: Duration = Duration::from_millis(1_500);
/// The one whose context it is.
const OPERATOR: &str = "ada";

/// What was called, and what failed.
#[derive(Debug, Clone, Default)]
struct Tally(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    fresh: AtomicU64,
    kept: AtomicU64,
    changes: AtomicU64,
    snapshots: AtomicU64,
    failed: Mutex<Vec<String>>,
    certificates: Mutex<[BTreeSet<Vec<u8>>; 3]>,
}

impl Tally {
    fn failed(&self, what: &str, why: &dyn std::fmt::Display) {
        let mut failed = self.0.failed.lock().expect("nobody panics with it");
        eprintln!("failed: {what}: {why}");
        failed.push(format!("{what}: {why}"));
    }

    /// Counts a call, and notes what failed.
    fn call<T, E: std::fmt::Display>(&self, of: &AtomicU64, what: &str, result: Result<T, E>) -> Option<T> {
        of.fetch_add(1, Relaxed);
        result.map_err(|error| self.failed(what, &error)).ok()
    }

    fn saw(&self, whose: usize, certificate: Vec<u8>) {
        self.0.certificates.lock().expect("nobody panics with it")[whose].insert(certificate);
    }

    /// Certificates seen of server, agent and operator.
    fn seen(&self) -> [usize; 3] {
        self.0.certificates.lock().expect("nobody panics with it").each_ref().map(BTreeSet::len)
    }
}

fn session(dir: &Path) -> (Session, Buffer, Buffer) {
    let (terminal, out, err) = Terminal::buffered();
    let at = |name: &str| dir.join(name);
    let places = Places { state: at("state"), system_socket: at("none.sock"), config: at("config") };
    let target = Target { context: Some(OPERATOR.to_owned()), ..Target::default() };
    (Session { terminal, target, places, dir: dir.to_owned(), env: Default::default() }, out, err)
}

fn words(line: &str) -> Args {
    Args::of_words(std::iter::once("ctl").chain(line.split_whitespace())).expect("a command line")
}

fn web() -> v1::ServiceKey {
    v1::ServiceKey { project: "shop".into(), service: "web".into() }
}

/// As one ctl after the other, each in a runtime of its own as a process has: the context is opened, a connection made, a
/// question asked.
async fn fresh(site: &Site, tally: &Tally) {
    loop {
        let (dir, tally) = (site.dir.path().to_owned(), tally.clone());
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (session, ..) = session(&dir);
                let client = tally.call(&tally.0.fresh, "a connection", session.client().await);
                let Some(client) = client else { return };
                tally.call(&tally.0.fresh, "the version on a new connection", client.version().await);
                tally.call(&tally.0.fresh, "a snapshot on a new connection", client.snapshot("", 10).await);
            });
        };
        tokio::task::spawn_blocking(run).await.expect("no panic");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Questions of every kind on one client.
async fn kept(client: Client, tally: &Tally) {
    let of = &tally.0.kept;
    let why = v1::WhyRequest { service: Some(web()), ..Default::default() };
    let token = v1::CreateTokenRequest { kind: "agent".into(), uses: 1, valid_ms: 60_000, ..Default::default() };
    for round in 0_u64.. {
        tally.call(of, "the version", client.version().await);
        tally.call(of, "a snapshot", client.snapshot("shop", 10).await);
        tally.call(of, "why", client.why(why.clone()).await);
        tally.call(of, "the history", client.history(web()).await);
        tally.call(of, "who is known", client.identities().await);
        tally.call(of, "the audit", client.audit(v1::GetAuditRequest::default()).await);
        tally.call(of, "a digest", client.digest(v1::BlobKind::Secret, b"not kept".to_vec()).await);
        if round % 50 == 0 {
            let made = tally.call(of, "a token", client.create_token(token.clone()).await);
            let id =
                made.and_then(|made| made.token.parse::<proto::join_token::JoinToken>().ok()).map(|token| token.id);
            if let Some(id) = id {
                tally.call(of, "revoking it", client.revoke_token(&format!("{id:016x}")).await);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Changes, each of which has to reach the agent and come back to one stream that is watched all the time. New replicas
/// mount a secret that the agent fetches.
async fn changes(client: Client, tally: &Tally) {
    let mut watch = Watch::new(&client, "", 0);
    for round in 0_u32.. {
        let replicas = 1 + round % 2;
        let changed = tally.call(&tally.0.changes, "a change", client.scale(web(), replicas).await);
        let Some(changed) = changed else { continue };
        let begun = Instant::now();
        loop {
            let Some(snapshot) = tally.call(&tally.0.snapshots, "the watch", watch.next().await) else { return };
            if snapshot.nodes.iter().any(|node| node.state != "ready") {
                tally.failed("the agent's session", &format!("{:?}", snapshot.nodes));
            }
            let ready = snapshot.tasks.iter().filter(|task| task.state == "ready").count();
            if snapshot.revision >= changed.revision && ready == replicas as usize && snapshot.tasks.len() == ready {
                break;
            }
            if begun.elapsed() > tests::site::PATIENCE {
                tally.failed("a change", &format!("{ready} of {replicas} replicas are ready"));
                return;
            }
        }
        tokio::time::sleep(CHANGE_EVERY).await;
    }
}

/// A command without an end: it ends in failure only.
async fn endless(site: &Site, tally: &Tally, line: &str, out: &Mutex<Buffer>) {
    let (mut session, printed, errors) = session(site.dir.path());
    *out.lock().expect("nobody panics with it") = printed;
    let exit = cli::run_and_report(&mut session, &words(line).command).await;
    tally.failed(line, &format!("it ended with {exit:?}: {}", errors.text()));
}

/// Writes a line in the followed container's output each time, and keeps its clock; returns how many.
async fn lines(engine: &FakeRuntime, written: &AtomicU64) {
    loop {
        engine.set_now(Wall(now_ms()));
        let all = engine.containers();
        if let Some(task) = all.iter().find(|c| c.slot.0 == 1).map(|c| c.task) {
            let number = written.fetch_add(1, Relaxed);
            engine.write_log(task, false, format!("line {number}\n").as_bytes());
        }
        tokio::time::sleep(LINE_EVERY).await;
    }
}

/// Which certificates are shown: by the server to whoever connects, by the agent and the operator, from what they keep.
async fn look(site: &Site, tally: &Tally) {
    let config = site.dir.path().join(format!("config/contexts/{OPERATOR}.json"));
    let identity = site.dir.path().join("node/identity.json");
    let of = |path: &Path| {
        let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
        Kept::read(&bytes).map_err(|e| e.to_string())
    };
    loop {
        for (whose, path) in [(1, &identity), (2, &config)] {
            let shown = of(path).and_then(|kept| kept.credentials().map_err(|e| e.to_string()));
            match shown {
                Ok(credentials) => tally.saw(whose, credentials.certificate),
                Err(why) => tally.failed("a kept identity", &why),
            }
        }
        match of(&config).and_then(|kept| kept.remote().map_err(|e| e.to_string())) {
            Ok(remote) => match remote.connect().await {
                Ok(stream) => {
                    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    tally.saw(0, leaf.expect("a server shows one").to_vec());
                }
                Err(error) => tally.failed("a handshake", &explain(&error)),
            },
            Err(why) => tally.failed("a way", &why),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn wanted() -> (Duration, Duration) {
    match std::env::var("WHERRY_ROTATION_MINUTES") {
        Err(_) => SHORT,
        Ok(text) => {
            let minutes: u64 = text.parse().unwrap_or_else(|e| panic!("WHERRY_ROTATION_MINUTES={text}: {e}"));
            (LONG_LIFE, Duration::from_secs(60 * minutes))
        }
    }
}

/// A project whose replicas mount a secret, applied; and an operator by a context.
async fn settled(site: &Site) -> Client {
    let token = site.token_file("operator", &site.operator_token(OPERATOR, "admin", "").await);
    let (mut first, _, said) = session(site.dir.path());
    let add = format!("context add {OPERATOR} --server {} --token-file {}", site.operators(), token.display());
    let exit = cli::run_and_report(&mut first, &words(&add).command).await;
    assert_eq!(exit.code(), 0, "{}", said.text());
    let client = first.client().await.expect("it is let in");
    let digest = client.put_blob(v1::BlobKind::Secret, b"a secret".to_vec()).await.expect("is stored");
    let file = v1::FileMount {
        kind: v1::BlobKind::Secret.into(),
        name: "password".into(),
        digest,
        target: "/run/secrets/password".into(),
        mode: 0o400,
        ..Default::default()
    };
    client.apply(shop(vec![file]), false, None).await.expect("is applied");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_and_no_call_fails() {
    let (life, length) = wanted();
    let site = Site::new(life).await;
    let token = site.token_file("token", &site.agent_token(1).await);
    let guest = site.run_agent("node", site.door(&token));
    until("the node is ready", async || site.snapshot().await.nodes.iter().any(|n| n.state == "ready").then_some(()))
        .await;
    let client = settled(&site).await;
    until("it runs", async || site.snapshot().await.tasks.iter().any(|t| t.state == "ready").then_some(())).await;

    let tally = Tally::default();
    let (followed, told, written) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        () = fresh(&site, &tally) => {}
        () = fresh(&site, &tally) => {}
        () = kept(client.clone(), &tally) => {}
        () = changes(client.clone(), &tally) => {}
        () = endless(&site, &tally, "logs --follow shop/web.1", &followed) => {}
        () = endless(&site, &tally, "events --watch --tail 0", &told) => {}
        () = lines(&guest.engine, &written) => {}
        () = look(&site, &tally) => {}
    }
    let failed = tally.0.failed.lock().expect("nobody panics with it").clone();
    let [fresh, kept, changes, snapshots] =
        [&tally.0.fresh, &tally.0.kept, &tally.0.changes, &tally.0.snapshots].map(|count| count.load(Relaxed));
    let [server, agent, operator] = tally.seen();
    figures::note(&format!(
        "certificates of {life:?} for {length:?}: {} of {} calls failed ({fresh} on new connections, {kept} on a kept \
         one, {changes} changes, {snapshots} snapshots watched); certificates seen: server {server}, agent {agent}, operator {operator}",
        failed.len(),
        fresh + kept + changes + snapshots
    ));
    assert_eq!(failed, Vec::<String>::new());
    // Each is replaced at about half of its life.
    let least = usize::try_from(length.as_secs() * 3 / (life.as_secs() * 2)).expect("a few");
    assert!(server > least && agent > least && operator > least, "at least {least} each");
    assert!(fresh > 100 && kept > 100 && changes >= 4, "no stream of calls");
    // What was followed is whole: each line once, but for those at the end that are under way.
    let followed = followed.lock().expect("nobody panics with it").text();
    let numbers: Vec<u64> = followed.lines().filter_map(|line| line.rsplit_once("line ")?.1.parse().ok()).collect();
    let first = *numbers.first().expect("some lines");
    let whole: Vec<u64> = (first..).take(numbers.len()).collect();
    assert_eq!(numbers, whole, "lines that are missing or doubled");
    assert!(written.load(Relaxed) - numbers.last().expect("some lines") < 40, "the end is missing");
    let events = told.lock().expect("nobody panics with it").text();
    assert!(events.lines().count() as u64 >= changes, "{} events of {changes} changes", events.lines().count());
    guest.stop().await.expect("ends in order");
    site.shutdown().await;
}
