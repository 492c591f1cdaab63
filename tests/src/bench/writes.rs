//! Writes of a thousand clients to three servers, beside three members of etcd with the same disk, in turns.
//!
//! Each client has one object of its own and sets 256 bytes of it, if nobody changed it since: here a label of a node, by the
//! revision that last changed its labels, and in a turn of its own the labels of a service, with the whole project, by its
//! release; there a key, by its revision. Every answer is an acknowledgement that a majority has on disk. Ours reconciles,
//! audits and talks TLS between servers meanwhile; etcd does as it comes, without TLS.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::session::Link;
use anyhow::{Context, bail, ensure};
use proto::id::{NodeId, RequestId};
use proto::v1;
use proto::v1::agents_client::AgentsClient;
use proto::v1::control_client::ControlClient;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};

use super::report::{Report, Values};
use crate::lab::Lab;
use crate::site::{hello, now_ms, shop};

const CLIENTS: usize = 1_000;
const BYTES: usize = 256;
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(8);
/// Connections to each server, shared by the clients.
const CONNECTIONS: usize = 4;

/// Measures below `dir`, which must be on a disk.
///
/// # Errors
/// When a server cannot be started, or refuses a write.
pub fn run(report: &mut Report, dir: &Path) -> anyhow::Result<()> {
    report.part("writes: 1 000 clients, three servers");
    std::fs::create_dir_all(dir)?;
    let scratch = tempfile::tempdir_in(dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let Some(etcd) = Etcd::start(scratch.path()).await? else {
            report.leave_out("writes", "there is no etcd; install etcd-server");
            return Ok(());
        };
        let lab = Lab::below(scratch.path(), 3).await;
        in_turns(report, &lab, &etcd).await
    })
}

async fn in_turns(report: &Report, lab: &Lab, etcd: &Etcd) -> anyhow::Result<()> {
    let doors: Vec<_> = (0..3 * CONNECTIONS).map(|n| lab.connection(n % 3)).collect();
    register(lab).await?;
    let door = |n: usize| doors[n % doors.len()].clone();
    let mut ours: Vec<Labels> = (0..CLIENTS).map(|n| Labels::new(door(n), n)).collect();
    let mut applied: Vec<Projects> = (0..CLIENTS).map(|n| Projects::new(door(n), n)).collect();
    let mut theirs: Vec<Theirs> = (0..CLIENTS).map(|n| Theirs::new(etcd, n)).collect();
    // The first write of each makes its object.
    ours = turn(ours, Duration::ZERO).await?.clients;
    theirs = turn(theirs, Duration::ZERO).await?.clients;
    let (mut our, mut their, mut whole) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..TURNS {
        let done = turn(ours, TURN).await?;
        our.take(&done);
        ours = done.clients;
        let done = turn(theirs, TURN).await?;
        their.take(&done);
        theirs = done.clients;
    }
    applied = turn(applied, Duration::ZERO).await?.clients;
    for _ in 0..TURNS {
        let done = turn(applied, TURN).await?;
        whole.take(&done);
        applied = done.clients;
    }
    let (rates, beside) = (Values::of(our.rates), Values::of(their.rates));
    report.against("writes per second, 1 000 clients", &rates, "etcd", &beside, "/s");
    report.alone("the same with whole projects", &Values::of(whole.rates), "/s");
    report.against("a write, median", &Values::of(our.medians), "etcd", &Values::of(their.medians), "ms");
    report.against("a write, 99th percentile", &Values::of(our.tails), "etcd", &Values::of(their.tails), "ms");
    let memory = |pids: Vec<u32>| pids.into_iter().map(resident_mib).collect::<anyhow::Result<Vec<f64>>>();
    let (held, beside) = (memory(lab.pids())?, memory(etcd.members.iter().map(|m| m.0.id()).collect())?);
    report.against("resident memory of a server after that", &Values::of(held), "etcd", &Values::of(beside), "MiB");
    Ok(())
}

#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    medians: Vec<f64>,
    tails: Vec<f64>,
}

impl Figures {
    fn take<C>(&mut self, turn: &Turn<C>) {
        let mut times = turn.times.clone();
        times.sort_by(f64::total_cmp);
        self.rates.push(times.len() as f64 / turn.took.as_secs_f64());
        self.medians.push(times[times.len() / 2]);
        self.tails.push(times[times.len() * 99 / 100]);
    }
}

/// One that writes.
trait Writes: Send + 'static {
    fn write(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

struct Turn<C> {
    clients: Vec<C>,
    times: Vec<f64>,
    took: Duration,
}

/// All write at once, each the next when the last one is answered, at least one each.
async fn turn<C: Writes>(clients: Vec<C>, length: Duration) -> anyhow::Result<Turn<C>> {
    let begun = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut times = Vec::new();
                loop {
                    let asked = Instant::now();
                    client.write().await?;
                    times.push(asked.elapsed().as_secs_f64() * 1e3);
                    if begun.elapsed() >= length {
                        return anyhow::Ok((client, times));
                    }
                }
            })
        })
        .collect();
    let mut turn = Turn { clients: Vec::new(), times: Vec::new(), took: Duration::ZERO };
    for task in tasks {
        let (client, times) = task.await??;
        turn.clients.push(client);
        turn.times.extend(times);
    }
    turn.took = begun.elapsed();
    Ok(turn)
}

// === ours ===

/// A node for each client, as an agent would make it known.
async fn register(lab: &Lab) -> anyhow::Result<()> {
    let leader = lab.leader(&[0, 1, 2]).await;
    let agents = AgentsClient::new(Link::Unix(lab.agents_socket(leader)).channel());
    for number in 0..CLIENTS {
        let info = v1::NodeInfo {
            id: node(number),
            hostname: format!("host{number}"),
            cpu_millis: 4_000,
            memory_bytes: 1 << 33,
            ..Default::default()
        };
        // It stays open until the node is welcome.
        let open = tokio_stream::once(hello(info)).chain(tokio_stream::pending());
        agents.clone().session(open).await?.into_inner().message().await?;
    }
    Ok(())
}

fn node(number: usize) -> String {
    NodeId(0xa000 + number as u64).to_string()
}

struct Labels {
    door: ControlClient<Channel>,
    node: String,
    client: u64,
    sequence: u64,
    revision: u64,
}

impl Labels {
    fn new(door: ControlClient<Channel>, number: usize) -> Labels {
        // Born a second apart from those that apply projects.
        let client = RequestId::client(now_ms() + 1_000, u32::try_from(number).unwrap_or_default());
        Labels { door, node: node(number), client, sequence: 0, revision: 0 }
    }
}

impl Writes for Labels {
    async fn write(&mut self) -> anyhow::Result<()> {
        self.sequence += 1;
        let asked = v1::LabelNodeRequest {
            request: Some(v1::RequestId { client: self.client, sequence: self.sequence }),
            node: self.node.clone(),
            set: [("n".to_owned(), value(self.sequence))].into(),
            remove: Vec::new(),
            expected_revision: Some(self.revision),
        };
        let answer = self.door.label_node(asked).await?.into_inner();
        ensure!(answer.changed && answer.revision > self.revision, "{answer:?} follows {}", self.revision);
        self.revision = answer.revision;
        Ok(())
    }
}

struct Projects {
    door: ControlClient<Channel>,
    project: v1::ProjectSpec,
    client: u64,
    sequence: u64,
    release: u64,
}

impl Projects {
    fn new(door: ControlClient<Channel>, number: usize) -> Projects {
        let mut project = shop(Vec::new());
        project.name = format!("p{number}");
        for service in project.services.values_mut() {
            service.replicas = 0;
        }
        let client = RequestId::client(now_ms(), u32::try_from(number).unwrap_or_default());
        Projects { door, project, client, sequence: 0, release: 0 }
    }
}

impl Writes for Projects {
    async fn write(&mut self) -> anyhow::Result<()> {
        self.sequence += 1;
        for service in self.project.services.values_mut() {
            service.labels = BTreeMap::from([("n".to_owned(), value(self.sequence))]).into_iter().collect();
        }
        let request = Some(v1::RequestId { client: self.client, sequence: self.sequence });
        let expected_release = Some(self.release).filter(|release| *release > 0);
        let asked =
            v1::ApplyProjectRequest { request, project: Some(self.project.clone()), expected_release, prune: false };
        let answer = self.door.apply_project(asked).await?.into_inner();
        ensure!(answer.release > self.release, "release {} follows {}", answer.release, self.release);
        self.release = answer.release;
        Ok(())
    }
}

fn value(sequence: u64) -> String {
    format!("{sequence:0>BYTES$}")
}

// === etcd ===

struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Etcd {
    members: Vec<Member>,
    channels: Vec<Vec<Channel>>,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|path| path.is_file())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Etcd {
    async fn start(dir: &Path) -> anyhow::Result<Option<Etcd>> {
        let Some(program) = program() else { return Ok(None) };
        let ports: Vec<(u16, u16)> = (0..3).map(|_| Ok((free_port()?, free_port()?))).collect::<anyhow::Result<_>>()?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = ports.iter().enumerate().map(|(n, p)| format!("e{n}={}", url(p.1))).collect();
        let mut members = Vec::new();
        for (n, (client, peer)) in ports.iter().enumerate() {
            let mut command = Command::new(&program);
            command.arg("--name").arg(format!("e{n}")).arg("--data-dir").arg(dir.join(format!("etcd{n}")));
            command.args(["--listen-client-urls", &url(*client), "--advertise-client-urls", &url(*client)]);
            command.args(["--listen-peer-urls", &url(*peer), "--initial-advertise-peer-urls", &url(*peer)]);
            command.args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            members.push(Member(command.spawn().with_context(|| format!("{}", program.display()))?));
        }
        let mut channels = Vec::new();
        for (client, _) in &ports {
            let endpoint = Endpoint::from_shared(url(*client))?;
            channels.push((0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect());
        }
        let etcd = Etcd { members, channels };
        let end = Instant::now() + Duration::from_secs(30);
        while Theirs::new(&etcd, CLIENTS).write().await.is_err() {
            if Instant::now() > end {
                bail!("etcd does not answer");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(Some(etcd))
    }
}

struct Theirs {
    channel: Channel,
    key: Vec<u8>,
    revision: i64,
    sequence: u64,
}

impl Theirs {
    fn new(etcd: &Etcd, number: usize) -> Theirs {
        let channel = etcd.channels[number % 3][number / 3 % CONNECTIONS].clone();
        Theirs { channel, key: format!("/p/{number}/n").into_bytes(), revision: 0, sequence: 0 }
    }
}

impl Writes for Theirs {
    async fn write(&mut self) -> anyhow::Result<()> {
        self.sequence += 1;
        let put = etcd::PutRequest { key: self.key.clone(), value: value(self.sequence).into_bytes() };
        let compare = etcd::Compare {
            target: etcd::TARGET_MOD_REVISION,
            key: self.key.clone(),
            mod_revision: Some(self.revision),
            ..Default::default()
        };
        let request = etcd::TxnRequest { compare: vec![compare], success: vec![etcd::RequestOp { put: Some(put) }] };
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await?;
        let path = tonic::codegen::http::uri::PathAndQuery::from_static("/etcdserverpb.KV/Txn");
        let codec = tonic_prost::ProstCodec::<etcd::TxnRequest, etcd::TxnResponse>::default();
        let answer = grpc.unary(tonic::Request::new(request), path, codec).await?.into_inner();
        ensure!(answer.succeeded, "somebody else wrote the key");
        self.revision = answer.header.map(|h| h.revision).context("no header")?;
        Ok(())
    }
}

/// The few messages of etcd's API that are needed, by their numbers.
mod etcd {
    pub const TARGET_MOD_REVISION: i32 = 2;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TxnRequest {
        #[prost(message, repeated, tag = "1")]
        pub compare: Vec<Compare>,
        #[prost(message, repeated, tag = "2")]
        pub success: Vec<RequestOp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Compare {
        #[prost(int32, tag = "1")]
        pub result: i32,
        #[prost(int32, tag = "2")]
        pub target: i32,
        #[prost(bytes, tag = "3")]
        pub key: Vec<u8>,
        #[prost(int64, optional, tag = "6")]
        pub mod_revision: Option<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct RequestOp {
        #[prost(message, optional, tag = "2")]
        pub put: Option<PutRequest>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct PutRequest {
        #[prost(bytes, tag = "1")]
        pub key: Vec<u8>,
        #[prost(bytes, tag = "2")]
        pub value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TxnResponse {
        #[prost(message, optional, tag = "1")]
        pub header: Option<Header>,
        #[prost(bool, tag = "2")]
        pub succeeded: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Header {
        #[prost(int64, tag = "3")]
        pub revision: i64,
    }
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib / 1024.0)
}
