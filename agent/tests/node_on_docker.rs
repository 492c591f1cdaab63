//! A whole node on a real Docker Engine: runs a task, restarts it after a kill, is taken down without a trace.
//!
//! Builds its own image from the machine's static busybox. Without an engine it fails: nothing here is skipped.

#![allow(clippy::unwrap_used)]

use agent::runtime::build::{BuildRequest, Dockerfile, build_image};
use agent::runtime::docker::{DEFAULT_ENDPOINT, DockerRuntime};
use agent::session::Door;
use agent::{Config, run, teardown};
use proto::assignment::{Assignment, AssignmentSet, Desired, NodeNetwork};
use proto::hello::hello;
use proto::id::{ClusterId, NodeId, ServiceKey, SessionId, Slot, TaskId};
use proto::revision::{Epoch, Revision};
use proto::spec::{ContainerSpec, HealthSpec, RestartPolicy};
use proto::v1;
use proto::v1::agent_message::Message as Said;
use proto::v1::agents_server::{Agents, AgentsServer};
use proto::v1::server_message::Message as Told;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

const CLUSTER: ClusterId = ClusterId(0xc0de_0001_0000_0001);

/// Welcomes, sends one set, acknowledges and hands statuses to the test.
#[derive(Debug)]
struct Server {
    image: String,
    statuses: mpsc::UnboundedSender<v1::TaskStatus>,
}

impl Server {
    fn answers(image: &str, statuses: &mpsc::UnboundedSender<v1::TaskStatus>, message: Said) -> Vec<Told> {
        match message {
            Said::Hello(agent) => {
                let welcome = Some(hello(Some(CLUSTER), Epoch(1)));
                let node = agent.node.unwrap().id.parse().unwrap();
                vec![
                    Told::Welcome(v1::Welcome { hello: welcome, session: 1, lease_ms: 3_000 }),
                    Told::Assignments((&set(node, image)).into()),
                ]
            }
            Said::Statuses(batch) => {
                batch.reports.into_iter().filter_map(|r| r.status).for_each(|s| statuses.send(s).unwrap());
                vec![Told::Acknowledged(v1::Acknowledged { number: batch.number })]
            }
            Said::Heartbeat(beat) => vec![Told::Heartbeat(v1::HeartbeatEcho { number: beat.number })],
            Said::Conditions(conditions) => {
                eprintln!("{conditions:?}");
                Vec::new()
            }
            Said::Fingerprint(_) => Vec::new(),
        }
    }
}

#[tonic::async_trait]
impl Agents for Server {
    type SessionStream = ReceiverStream<Result<v1::ServerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (to_agent, stream) = mpsc::channel(16);
        let (mut said, statuses, image) = (request.into_inner(), self.statuses.clone(), self.image.clone());
        tokio::spawn(async move {
            while let Ok(Some(v1::AgentMessage { message: Some(message) })) = said.message().await {
                for message in Server::answers(&image, &statuses, message) {
                    let _ = to_agent.send(Ok(v1::ServerMessage { message: Some(message) })).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn fetch_blob(&self, _: Request<v1::FetchBlobRequest>) -> Result<Response<v1::FetchBlobResponse>, Status> {
        Err(Status::not_found("none"))
    }

    async fn push_log(
        &self,
        _: Request<Streaming<v1::PushLogRequest>>,
    ) -> Result<Response<v1::PushLogResponse>, Status> {
        Ok(Response::new(v1::PushLogResponse {}))
    }
}

fn set(node: NodeId, image: &str) -> AssignmentSet {
    let words = |text: &str| Some(text.split(' ').map(str::to_owned).collect());
    let container = ContainerSpec {
        image: image.into(),
        entrypoint: words("/bin/busybox"),
        command: words("sleep 1000"),
        stop_grace_ms: 100,
        ..ContainerSpec::default()
    };
    let task = Assignment {
        task: TaskId(1),
        service: ServiceKey { project: "coretest".parse().unwrap(), service: "web".parse().unwrap() },
        slot: Slot(1),
        generation: 1,
        desired: Desired::Run,
        addresses: vec!["10.233.77.9".parse().unwrap()],
        spec_hash: container.hash(),
        container: Arc::new(container),
        restart: RestartPolicy::Always,
        health: HealthSpec::FromImage,
        host_ports: Vec::new(),
        expose: Vec::new(),
        volumes: BTreeMap::new(),
        drain_ms: 0,
    };
    let (subnet, gateway) = ("10.233.77.0".parse().unwrap(), "10.233.77.1".parse().unwrap());
    AssignmentSet {
        cluster: CLUSTER,
        epoch: Epoch(1),
        node,
        session: SessionId(1),
        revision: Revision(1),
        network: NodeNetwork { subnet, prefix: 24, gateway },
        tasks: BTreeMap::from([(task.task, task)]),
        forwards: Vec::new(),
        verdicts: BTreeMap::new(),
        remove_volumes: Vec::new(),
    }
}

fn docker(args: &[&str]) -> String {
    let out = Command::new("docker").args(args).output().unwrap();
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

async fn running(statuses: &mut mpsc::UnboundedReceiver<v1::TaskStatus>, incarnation: u32) -> v1::TaskStatus {
    let wait = async {
        loop {
            let status = statuses.recv().await.unwrap();
            eprintln!("#{} {:?} {}", status.incarnation, status.phase(), status.message);
            if status.phase() == v1::Phase::Running && status.incarnation >= incarnation {
                return status;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap()
}

/// The image all runs of this test share; it stays, so that the next build of it is a look.
async fn build(dir: &std::path::Path) -> String {
    let (context, tag) = (dir.join("image"), "wherry-node-test:1".to_owned());
    std::fs::create_dir(&context).unwrap();
    std::fs::copy("/bin/busybox", context.join("busybox")).expect("a static busybox: apt-get install busybox-static");
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY busybox /bin/busybox\n").unwrap();
    let request = BuildRequest {
        context,
        dockerfile: Dockerfile::default(),
        tag: tag.clone(),
        args: BTreeMap::new(),
        target: None,
        no_cache: false,
        labels: BTreeMap::new(),
    };
    build_image(&DockerRuntime::new(DEFAULT_ENDPOINT), request, |_| ()).await.expect("the engine builds");
    tag
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_restarts_adopts_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let image = build(dir.path()).await;
    let socket = dir.path().join("agents.sock");
    let (statuses, mut seen) = mpsc::unbounded_channel();
    let incoming = UnixListenerStream::new(tokio::net::UnixListener::bind(&socket).unwrap());
    let service = AgentsServer::new(Server { image, statuses });
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let config = Config {
        data_dir: dir.path().join("node"),
        door: Door::Unix(socket),
        docker: "unix:///var/run/docker.sock".into(),
        labels: BTreeMap::new(),
        allow: Default::default(),
        pulse: agent::pulse::Pulse::default(),
    };

    let stop = CancellationToken::new();
    let node = tokio::spawn(run(config.clone(), stop.clone()));
    let first = running(&mut seen, 1).await;
    let begun = std::time::Instant::now();
    docker(&["kill", &first.container_id]);
    let second = running(&mut seen, 2).await;
    eprintln!("killed to running again, the kill's own time included: {:?}", begun.elapsed());
    assert_eq!(second.container_id, first.container_id, "restarted in place");
    let resolv_conf = docker(&["exec", &first.container_id, "/bin/busybox", "cat", "/etc/resolv.conf"]);
    assert!(resolv_conf.starts_with("nameserver 10.233.77.1"), "{resolv_conf}");
    stop.cancel();
    node.await.unwrap().unwrap();
    assert_eq!(docker(&["inspect", "-f", "{{.State.Running}}", &first.container_id]), "true");

    let stop = CancellationToken::new();
    let node = tokio::spawn(run(config.clone(), stop.clone()));
    let adopted = running(&mut seen, 2).await;
    assert_eq!((adopted.incarnation, adopted.started_at_unix_ms), (second.incarnation, second.started_at_unix_ms));
    stop.cancel();
    node.await.unwrap().unwrap();

    teardown(&config).await.unwrap();
    let ours = format!("label=wherry.cluster={CLUSTER}");
    assert_eq!(docker(&["ps", "-aq", "--filter", &ours]), "");
    assert_eq!(docker(&["network", "ls", "-q", "--filter", "name=wherry-c0de00"]), "");
}
