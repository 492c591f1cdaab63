//! Promise: another sealing key takes the place of the one in use while everything goes on: every secret opens at every
//! moment, whoever is killed, loses its power or is away, its digest stays, and at the end no server has the old key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::session::Link;
use proto::id::RequestId;
use proto::v1;
use proto::v1::agent_message::Message as FromAgent;
use proto::v1::agents_client::AgentsClient;
use proto::v1::control_client::ControlClient;
use tests::council::Council;
use tests::disk::Survivors;
use tests::lab::Lab;
use tests::site::{LONG, Site, hello, now_ms, shop, until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tonic::transport::Channel;

/// Bytes of a file with one key.
const KEY_BYTES: usize = 32;

/// Another one each time.
fn request() -> Option<v1::RequestId> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    Some(v1::RequestId { client: RequestId::client(now_ms(), ASKED.fetch_add(1, Ordering::Relaxed)), sequence: 1 })
}

/// A node on the host of a server, that is there and does nothing: what it may fetch is asked for by hand.
struct Node {
    id: String,
    _session: AbortOnDropHandle<()>,
}

impl Node {
    fn start(agents_socket: PathBuf) -> Node {
        let id = "00000000000000a1".to_owned();
        let info = v1::NodeInfo {
            id: id.clone(),
            hostname: "host-a1".into(),
            cpu_millis: 4_000,
            memory_bytes: 1 << 33,
            ..Default::default()
        };
        let session = tokio::spawn(async move {
            loop {
                // It ends with the server that holds it.
                let _ = session(&agents_socket, &info).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Node { id, _session: AbortOnDropHandle::new(session) }
    }
}

/// One session, heartbeats and all, until it ends.
async fn session(agents_socket: &Path, info: &v1::NodeInfo) -> Result<(), tonic::Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let say = async |message| sender.send(v1::AgentMessage { message: Some(message) }).await.is_ok();
    let _ = sender.send(hello(info.clone())).await;
    let mut agents = AgentsClient::new(Link::Unix(agents_socket.to_owned()).channel());
    let mut sets = agents.session(ReceiverStream::new(receiver)).await?.into_inner();
    let mut beats = tokio::time::interval(Duration::from_millis(500));
    let mut number = 0;
    loop {
        tokio::select! {
            set = sets.message() => if set?.is_none() { return Ok(()) },
            _ = beats.tick() => {
                number += 1;
                let beat = v1::Heartbeat { number, ..Default::default() };
                if !say(FromAgent::Heartbeat(beat)).await {
                    return Ok(());
                }
            }
        }
    }
}

/// Nobody leads for a moment, or the connection has ended with the server behind it.
fn passes(status: &tonic::Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Aborted | Code::Cancelled | Code::DeadlineExceeded => true,
        Code::Unknown => status.message().contains("transport error"),
        _ => false,
    }
}

/// Secrets that a task of a node mounts: content by digest.
struct Secrets {
    node: String,
    of: BTreeMap<String, Vec<u8>>,
}

impl Secrets {
    /// So many, of so many bytes each.
    async fn put(control: &mut ControlClient<Channel>, node: &str, count: usize, bytes: usize) -> Secrets {
        let mut of = BTreeMap::new();
        let mut files = Vec::new();
        for n in 0..count {
            let content = format!("canary {n} ").into_bytes().into_iter().cycle().take(bytes).collect::<Vec<u8>>();
            let digest = put(control, content.clone(), false).await;
            files.push(v1::FileMount {
                name: format!("s{n}"),
                target: format!("/run/secrets/s{n}"),
                digest: digest.clone(),
                kind: v1::BlobKind::Secret.into(),
                mode: 0o400,
                ..Default::default()
            });
            of.insert(digest, content);
        }
        let apply = v1::ApplyProjectRequest { request: request(), project: Some(shop(files)), ..Default::default() };
        control.apply_project(apply).await.expect("is applied");
        until("its task has a node", async || {
            let asked = v1::GetSnapshotRequest::default();
            let tasks = control.clone().get_snapshot(asked).await.ok()?.into_inner().tasks;
            tasks.iter().any(|task| task.node == node).then_some(())
        })
        .await;
        Secrets { node: node.to_owned(), of }
    }

    /// All of them are given as they were put, by the server behind this socket.
    async fn open(&self, agents_socket: &Path) {
        let agents = AgentsClient::new(Link::Unix(agents_socket.to_owned()).channel());
        for (digest, content) in &self.of {
            let asked = v1::FetchBlobRequest { node: self.node.clone(), digest: digest.clone() };
            let given = until("a secret is given", async || match agents.clone().fetch_blob(asked.clone()).await {
                Ok(given) => Some(given.into_inner().content),
                // That it does not open would be another matter.
                Err(status) if passes(&status) => None,
                Err(status) => panic!("{digest}: {status}"),
            })
            .await;
            assert!(given == *content, "{digest} is another secret now");
        }
    }
}

async fn put(control: &mut ControlClient<Channel>, content: Vec<u8>, digest_only: bool) -> String {
    let kind = v1::BlobKind::Secret.into();
    let asked = v1::PutBlobRequest { request: request(), kind, content, digest_only };
    control.put_blob(asked).await.expect("is stored").into_inner().digest
}

/// Begins a rotation (0) or looks at one; `None`: nobody answers for a moment.
async fn rotation(control: &ControlClient<Channel>, number: u64) -> Option<v1::RotateSealingKeyResponse> {
    let asked = v1::RotateSealingKeyRequest { request: request(), number };
    match control.clone().rotate_sealing_key(asked).await {
        Ok(told) => Some(told.into_inner()),
        Err(status) if passes(&status) => None,
        Err(status) => panic!("{status}"),
    }
}

/// Follows a rotation to its end.
async fn done(control: &ControlClient<Channel>, number: u64) -> v1::RotateSealingKeyResponse {
    until("the rotation is over", async || rotation(control, number).await.filter(|told| told.phase == "done")).await
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Neither as bytes nor as digits is a key in a file below a directory.
fn is_nowhere_in(dir: &Path, key: &[u8]) {
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    for entry in std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            is_nowhere_in(&entry, key);
        } else {
            let bytes = std::fs::read(&entry).unwrap_or_default();
            assert!(!contains(&bytes, key) && !contains(&bytes, digits.as_bytes()), "a key is in {}", entry.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_replaces_its_key_and_gives_its_secrets_as_before() {
    let site = Site::new(LONG).await;
    let (file, agents) = (site.dir.path().join("keys/seal.key"), site.dir.path().join("agents.sock"));
    let first = std::fs::read(&file).expect("a key");
    let node = Node::start(agents.clone());
    let secrets = Secrets::put(&mut site.control(), &node.id, 3, 100).await;
    let told = rotation(&site.control(), 0).await.expect("answers");
    let end = done(&site.control(), told.number).await;
    assert_eq!((end.number, end.left, end.contents, end.waits_for.len()), (1, 0, 4, 0), "three and the authority's");
    let second = std::fs::read(&file).expect("a key");
    assert!(second.len() == KEY_BYTES && second != first, "the old one is gone from the file");
    // It would not have been given up if a start could begin with a State that needs it.
    let snapshots = std::fs::read_dir(site.dir.path().join("server/snapshots")).expect("a directory");
    assert!(snapshots.count() > 0, "State is in a snapshot");
    secrets.open(&agents).await;
    // The same content is the same secret, also after a start with the new key alone, and after another rotation.
    let digest = secrets.of.iter().next().map(|(digest, content)| (digest.clone(), content.clone())).expect("one");
    assert_eq!(put(&mut site.control(), digest.1.clone(), true).await, digest.0);
    let site = site.restart(LONG).await;
    secrets.open(&agents).await;
    assert_eq!(put(&mut site.control(), digest.1.clone(), true).await, digest.0);
    let told = rotation(&site.control(), 0).await.expect("answers");
    assert_eq!(done(&site.control(), told.number).await.number, 2);
    assert_eq!(rotation(&site.control(), 1).await.map(|told| told.phase), Some("done".to_owned()));
    assert_eq!(put(&mut site.control(), digest.1.clone(), true).await, digest.0);
    secrets.open(&agents).await;
    let asked = v1::RotateSealingKeyRequest { request: None, number: 3 };
    let refused = site.control().rotate_sealing_key(asked).await.expect_err("there was none");
    assert_eq!(refused.code(), Code::NotFound, "and none was begun");

    // Who asked for it is on record; no key ever was.
    let audit = site.control().get_audit(v1::GetAuditRequest::default()).await.expect("answers").into_inner();
    let asked: Vec<&v1::AuditRecord> = audit.records.iter().filter(|r| r.call == "RotateSealingKey").collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|r| r.object.starts_with("sealing-key/") && r.outcome == "done"), "{asked:?}");
    let third = std::fs::read(&file).expect("a key");
    for key in [&first, &second, &third] {
        is_nowhere_in(&site.dir.path().join("server"), key);
    }
    site.shutdown().await;
}

/// The key that all of these files have, once it is the only one in each.
async fn the_one_in(files: &[PathBuf]) -> Vec<u8> {
    until("every server has one key, the same", async || {
        let keys: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("a key")).collect();
        let key = keys.first()?.clone();
        (key.len() == KEY_BYTES && keys.iter().all(|other| *other == key)).then_some(key)
    })
    .await
}

/// When servers are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Asked,
    TwoKeysInTheFile,
    SealingBegins,
    SealingGoesOn,
    OldKeyIsToGo,
}

impl Moment {
    fn has_come(self, keys: usize, told: &v1::RotateSealingKeyResponse) -> bool {
        match self {
            Moment::Asked => told.phase == "spreading",
            Moment::TwoKeysInTheFile => keys > KEY_BYTES,
            Moment::SealingBegins => told.phase == "resealing",
            Moment::SealingGoesOn => told.phase == "resealing" && told.left < told.contents,
            Moment::OldKeyIsToGo => told.phase == "forgetting" && keys > KEY_BYTES,
        }
    }
}

/// Who is lost at some moment, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// The leader is killed.
    LeaderKilled,
    /// The leader's power goes; so much of what was not synced is on its disk.
    LeaderWithoutPower(Survivors),
    /// Everybody's.
    AllWithoutPower(Survivors),
}

/// Servers as processes of their own, and what must not be lost.
struct World {
    lab: Lab,
    count: usize,
    secrets: Secrets,
    _node: Node,
}

impl World {
    async fn of(count: usize) -> World {
        let lab = Lab::on_disks(count).await;
        let node = Node::start(agents_of(&lab, 0));
        let secrets = Secrets::put(&mut lab.control(0), &node.id, 40, 20_000).await;
        World { lab, count, secrets, _node: node }
    }

    /// A rotation, which is interrupted when this moment has come and then goes on to its end. A moment that was over
    /// before it was seen is waited for in the next rotation.
    async fn rotate(&mut self, moment: Moment, loss: Loss) {
        for _ in 0..20 {
            if self.rotated(moment, loss).await {
                return;
            }
        }
        panic!("{moment:?} was never seen");
    }

    /// One rotation. Was it interrupted?
    async fn rotated(&mut self, moment: Moment, loss: Loss) -> bool {
        let World { lab, count, secrets, .. } = self;
        let all: Vec<usize> = (0..*count).collect();
        let files: Vec<PathBuf> = all.iter().map(|at| lab.seal_key(*at)).collect();
        let leader = lab.leader(&all).await;
        let other = (leader + 1) % *count;
        let before = the_one_in(&files).await;
        let mut told = until("it is begun", async || rotation(&lab.control(other), 0).await).await;
        let keys = || std::fs::read(&files[leader]).expect("the file is always there").len();
        while !moment.has_come(keys(), &told) && told.phase != "done" {
            told = rotation(&lab.control(other), told.number).await.unwrap_or(told);
        }
        let is_under_way = told.phase != "done";
        if is_under_way {
            let lost = match loss {
                Loss::LeaderKilled | Loss::LeaderWithoutPower(_) => vec![leader],
                Loss::AllWithoutPower(_) => all.clone(),
            };
            match loss {
                Loss::LeaderKilled => lab.kill(leader),
                Loss::LeaderWithoutPower(survivors) | Loss::AllWithoutPower(survivors) => {
                    lab.cut_power(&lost, survivors);
                }
            }
            if !lost.contains(&other) {
                secrets.open(&agents_of(lab, other)).await;
            }
            for at in lost {
                lab.start(at).await;
            }
            secrets.open(&agents_of(lab, leader)).await;
        }
        done(&lab.control(other), told.number).await;
        assert!(the_one_in(&files).await != before, "{moment:?}, {loss:?}");
        secrets.open(&agents_of(lab, leader)).await;
        is_under_way
    }
}

fn agents_of(lab: &Lab, at: usize) -> PathBuf {
    lab.dir().join(format!("s{at}/run/agents.sock"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_lost_in_the_middle_goes_on_and_loses_no_secret() {
    let mut world = World::of(1).await;
    let moments =
        [Moment::Asked, Moment::TwoKeysInTheFile, Moment::SealingBegins, Moment::SealingGoesOn, Moment::OldKeyIsToGo];
    for (seed, moment) in (1..).zip(moments) {
        world.rotate(moment, Loss::LeaderWithoutPower(Survivors::None)).await;
        world.rotate(moment, Loss::LeaderWithoutPower(Survivors::Half(seed))).await;
    }
    world.rotate(Moment::SealingGoesOn, Loss::LeaderKilled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_of_three_is_lost_in_the_middle_the_others_go_on() {
    let mut world = World::of(3).await;
    world.rotate(Moment::Asked, Loss::LeaderKilled).await;
    world.rotate(Moment::TwoKeysInTheFile, Loss::AllWithoutPower(Survivors::None)).await;
    world.rotate(Moment::SealingGoesOn, Loss::LeaderWithoutPower(Survivors::Half(7))).await;
    world.rotate(Moment::OldKeyIsToGo, Loss::AllWithoutPower(Survivors::Half(8))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for_by_name() {
    let mut council = Council::of(3).await;
    until("three vote", async || council.voters().await.filter(|(voters, _)| *voters == 3)).await;
    let file = |council: &Council, at: usize| council.home(at).join("keys/seal.key");
    let key = |council: &Council, at: usize| std::fs::read(file(council, at)).expect("a key");
    let first = key(&council, 0);
    assert_eq!((key(&council, 1), key(&council, 2)), (first.clone(), first.clone()), "all have the same");
    let leader = council.leader().await;
    let others: Vec<usize> = council.running().into_iter().filter(|at| *at != leader).collect();
    let (away, stays) = (others[0], others[1]);
    let agents = council.home(stays).join("agents.sock");
    let node = Node::start(agents.clone());
    let secrets = Secrets::put(&mut council.control(stays), &node.id, 3, 100).await;

    council.stop(away).await;
    let id = council.id(away);
    let told = rotation(&council.control(stays), 0).await.expect("answers");
    let waits = until("it is waited for alone", async || {
        let told = rotation(&council.control(stays), told.number).await?;
        (told.waits_for.len() == 1 && told.waits_for[0].away).then_some(told)
    })
    .await;
    assert_eq!((waits.phase.as_str(), waits.waits_for[0].server.as_str()), ("spreading", id.as_str()));
    assert!(!waits.waits_for[0].hostname.is_empty(), "it has a name");
    assert!(key(&council, stays).len() > KEY_BYTES, "the others have both keys");
    assert_eq!(key(&council, away), first);
    secrets.open(&agents).await;
    // Asked for again, it is the same rotation; a server that joins meanwhile is given both keys.
    assert_eq!(rotation(&council.control(stays), 0).await.map(|told| told.number), Some(told.number));
    let joined = council.add().await;
    assert!(key(&council, joined).len() > KEY_BYTES);

    council.start(away).await;
    done(&council.control(stays), told.number).await;
    let files = |council: &Council| council.running().into_iter().map(|at| file(council, at)).collect::<Vec<_>>();
    assert!(the_one_in(&files(&council)).await != first);
    // Whoever leads opens them, and whoever starts with the new key alone.
    secrets.open(&agents).await;
    council.stop(leader).await;
    secrets.open(&agents).await;
    council.start(leader).await;
    let back = council.id(leader);
    until("it has caught up", async || council.server(&back).await.filter(|s| s.state == "ready")).await;

    // One that is removed holds nothing up, and the key it may have been given is none any more.
    council.stop(away).await;
    let told = rotation(&council.control(stays), 0).await.expect("answers");
    until("it is waited for", async || {
        let told = rotation(&council.control(stays), told.number).await?;
        told.waits_for.iter().any(|server| server.server == id && server.away).then_some(())
    })
    .await;
    let drawn = rotation(&council.control(stays), told.number).await.expect("answers").key;
    let remove = v1::RemoveServerRequest { request: request(), server: id.clone() };
    council.control(stays).remove_server(remove).await.expect("enough stay");
    let end = done(&council.control(stays), told.number).await;
    assert_ne!(end.key, drawn, "another key was drawn");
    the_one_in(&files(&council)).await;
    secrets.open(&agents).await;
    council.shutdown().await;
}
