//! A whole server on real sockets and a real log: what its doors promise. No Docker: the agent's side is spoken by hand.

use orchestrator::server::{RunningServer, ServerConfig, ServerError, start};
use proto::id::RequestId;
use proto::v1;
use proto::v1::agent_message::Message as FromAgent;
use proto::v1::agents_client::AgentsClient;
use proto::v1::control_client::ControlClient;
use proto::v1::server_message::Message as ToAgent;
use std::path::Path;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const SECRET: &str = "canary-0d1f-never-in-the-clear";

struct Server {
    dir: tempfile::TempDir,
    running: Option<RunningServer>,
}

fn config(dir: &Path) -> ServerConfig {
    ServerConfig {
        data_dir: dir.join("server"),
        api_socket: dir.join("api.sock"),
        agents_socket: dir.join("agents.sock"),
        seal_key: dir.join("keys/seal.key"),
        bootstrap: true,
        join: None,
        dev: true,
        range: None,
        used: Vec::new(),
        tcp: None,
    }
}

impl Server {
    async fn new() -> Server {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let running = start(config(dir.path())).await.expect("starts");
        Server { dir, running: Some(running) }
    }

    async fn restart(&mut self) {
        self.running.take().expect("runs").shutdown().await;
        self.running = Some(start(config(self.dir.path())).await.expect("starts again"));
    }

    async fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(connect(self.dir.path().join("api.sock")).await)
    }

    async fn agents(&self) -> AgentsClient<Channel> {
        AgentsClient::new(connect(self.dir.path().join("agents.sock")).await)
    }
}

async fn connect(path: std::path::PathBuf) -> Channel {
    connect_with(path, Endpoint::from_static("http://wherry")).await
}

async fn connect_with(path: std::path::PathBuf, endpoint: Endpoint) -> Channel {
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await.expect("the socket answers")
}

fn request(sequence: u64) -> Option<v1::RequestId> {
    Some(v1::RequestId { client: RequestId::client(1_000_000, 42), sequence })
}

fn service(image: &str) -> v1::ServiceSpec {
    v1::ServiceSpec {
        container: Some(v1::ContainerSpec {
            image: image.to_owned(),
            pull: v1::PullPolicy::Missing.into(),
            limits: Some(v1::Limits::default()),
            ..v1::ContainerSpec::default()
        }),
        replicas: 1,
        restart: Some(v1::RestartPolicy {
            policy: Some(v1::restart_policy::Policy::Always(v1::restart_policy::Always {})),
        }),
        health: Some(v1::HealthSpec {
            source: Some(v1::health_spec::Source::FromImage(v1::health_spec::FromImage {})),
        }),
        reservations: Some(v1::Reservations::default()),
        ..v1::ServiceSpec::default()
    }
}

fn project(services: &[(&str, v1::ServiceSpec)]) -> v1::ProjectSpec {
    v1::ProjectSpec {
        name: "shop".to_owned(),
        services: services.iter().map(|(n, s)| ((*n).to_owned(), s.clone())).collect(),
        ..v1::ProjectSpec::default()
    }
}

fn apply(sequence: u64, project: v1::ProjectSpec) -> v1::ApplyProjectRequest {
    v1::ApplyProjectRequest { request: request(sequence), project: Some(project), ..v1::ApplyProjectRequest::default() }
}

/// The agent's half of a session.
struct Session {
    sender: mpsc::Sender<v1::AgentMessage>,
    incoming: tonic::Streaming<v1::ServerMessage>,
}

impl Session {
    async fn open(server: &Server) -> Session {
        let (sender, receiver) = mpsc::channel(8);
        let node = v1::NodeInfo {
            id: "00000000000000aa".to_owned(),
            hostname: "n1".to_owned(),
            cpu_millis: 4_000,
            memory_bytes: 1 << 33,
            ..v1::NodeInfo::default()
        };
        let hello = proto::hello::hello(None, proto::revision::Epoch(0));
        let hello = FromAgent::Hello(v1::AgentHello { hello: Some(hello), node: Some(node) });
        sender.send(v1::AgentMessage { message: Some(hello) }).await.expect("room for a hello");
        let mut client = server.agents().await;
        let incoming = client.session(ReceiverStream::new(receiver)).await.expect("a session").into_inner();
        Session { sender, incoming }
    }

    async fn next(&mut self) -> ToAgent {
        self.incoming.next().await.expect("the stream goes on").expect("no error").message.expect("a message")
    }

    /// The next assignment set for which the test holds.
    async fn set(&mut self, test: impl Fn(&v1::AssignmentSet) -> bool) -> v1::AssignmentSet {
        loop {
            if let ToAgent::Assignments(set) = self.next().await
                && test(&set)
            {
                return set;
            }
        }
    }

    async fn report(&self, number: u64, task: u64, status: v1::TaskStatus) {
        let reports = vec![v1::TaskReport { task, status: Some(status) }];
        let batch = FromAgent::Statuses(v1::StatusBatch { number, reports });
        self.sender.send(v1::AgentMessage { message: Some(batch) }).await.expect("room for a batch");
    }
}

fn running(sequence: u64) -> v1::TaskStatus {
    v1::TaskStatus {
        incarnation: 1,
        phase: v1::Phase::Running.into(),
        health: v1::Health::None.into(),
        sequence,
        ..v1::TaskStatus::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_reaches_the_agent_and_its_report_the_operator() {
    let server = Server::new().await;
    let mut session = Session::open(&server).await;
    assert!(matches!(session.next().await, ToAgent::Welcome(_)), "the welcome comes first");
    let mut control = server.control().await;
    let answer = control.apply_project(apply(1, project(&[("web", service("web:1"))]))).await.expect("applied");
    assert!(answer.into_inner().changed);
    let set = session.set(|s| !s.tasks.is_empty()).await;
    session.report(7, set.tasks[0].task, running(1)).await;
    loop {
        if let ToAgent::Acknowledged(acknowledged) = session.next().await {
            assert_eq!(acknowledged.number, 7);
            break;
        }
    }
    let snapshot = control.get_snapshot(v1::GetSnapshotRequest::default()).await.expect("read").into_inner();
    assert_eq!((snapshot.services[0].state.as_str(), snapshot.services[0].ready), ("running", 1));
    assert_eq!(snapshot.nodes[0].state, "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_what_apply_then_does_and_changes_nothing() {
    let server = Server::new().await;
    let mut session = Session::open(&server).await;
    assert!(matches!(session.next().await, ToAgent::Welcome(_)));
    let mut control = server.control().await;
    let mut web = service("web:1");
    web.replicas = 2;
    let wanted = project(&[("web", web)]);
    let plan = control.plan_project(apply(1, wanted.clone())).await.expect("planned").into_inner();
    let changes: Vec<&str> = plan.changes.iter().map(|c| c.change.as_str()).collect();
    assert_eq!(changes, ["create shop/web.1 on n1", "create shop/web.2 on n1"]);
    let snapshot = control.get_snapshot(v1::GetSnapshotRequest::default()).await.expect("read").into_inner();
    assert!(snapshot.projects.is_empty(), "a plan changes nothing");
    let answer = control.apply_project(apply(1, wanted)).await.expect("applied").into_inner();
    let planned = plan.apply.expect("what apply would answer");
    assert_eq!((planned.release, planned.changed, planned.services), (answer.release, answer.changed, answer.services));
    let set = session.set(|s| !s.tasks.is_empty()).await;
    assert_eq!(set.tasks.len(), 2);
}

/// An agent that does what it is asked and says so, until the stream ends.
async fn obey(mut session: Session) {
    let (mut number, mut told) = (0, std::collections::BTreeMap::new());
    while let Some(Ok(message)) = session.incoming.next().await {
        let Some(ToAgent::Assignments(set)) = message.message else { continue };
        for task in set.tasks {
            let phase = match task.desired() {
                v1::Desired::Stop => v1::Phase::Stopped,
                v1::Desired::Prepare => v1::Phase::Prepared,
                _ => v1::Phase::Running,
            };
            if told.insert(task.task, phase) != Some(phase) {
                number += 1;
                let status = v1::TaskStatus { phase: phase.into(), ..running(number) };
                session.report(number, task.task, status).await;
            }
        }
    }
}

async fn settled(control: &mut ControlClient<Channel>) -> v1::Snapshot {
    loop {
        let wanted = v1::GetSnapshotRequest { events: 1_000, ..Default::default() };
        let snapshot = control.get_snapshot(wanted).await.expect("read").into_inner();
        if snapshot.services.iter().all(|s| s.state == "running") {
            return snapshot;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_plan_is_what_then_happens() {
    let server = Server::new().await;
    let mut session = Session::open(&server).await;
    assert!(matches!(session.next().await, ToAgent::Welcome(_)));
    tokio::spawn(obey(session));
    let mut control = server.control().await;
    let of = |image: &str, api: u32| {
        let mut web = service(image);
        web.replicas = 2;
        let on_failure = v1::FailureAction::Rollback.into();
        let update =
            v1::UpdateSpec { parallelism: 1, monitor_ms: 50, deadline_ms: 60_000, on_failure, ..Default::default() };
        web.update = Some(update);
        web.drain_ms = Some(0);
        let mut other = service("api:1");
        other.replicas = api;
        other.drain_ms = Some(0);
        project(&[("web", web), ("api", other)])
    };
    control.apply_project(apply(1, of("web:1", 3))).await.expect("applied");
    let before = settled(&mut control).await.revision;

    let plan = control.plan_project(apply(2, of("web:2", 1))).await.expect("planned").into_inner();
    assert_eq!(plan.present_release, 1);
    let fields = |name: &str| plan.differences.iter().find(|d| d.service == name).expect("it changes").fields.clone();
    let told: Vec<String> = [fields("api"), fields("web")].concat().into_iter().map(|f| f.field).collect();
    assert_eq!(told, ["deploy.replicas", "image"]);

    let expected = v1::ApplyProjectRequest { expected_release: Some(1), ..apply(2, of("web:2", 1)) };
    control.apply_project(expected).await.expect("applied");
    let mut events = settled(&mut control).await.events;
    events.retain(|e| e.revision > before && matches!(e.kind.as_str(), "task-created" | "task-stopping"));
    events.reverse();
    let happened = events.iter().map(|e| match e.kind.as_str() {
        "task-created" => format!("create {} {}", e.subject, e.message.split(':').next().unwrap_or_default()),
        _ => format!("stop {}", e.subject),
    });
    // `stop shop/web.1 (t4) on n1`: the event does not tell the number.
    let in_short = |change: &str| match change.split_once(" (") {
        Some((short, _)) if change.starts_with("stop ") => short.to_owned(),
        _ => change.to_owned(),
    };
    let tasks = |c: &&v1::PlannedChange| c.change.starts_with("create ") || c.change.starts_with("stop ");
    let foreseen: Vec<String> =
        plan.changes.iter().chain(&plan.foreseen).filter(tasks).map(|c| in_short(&c.change)).collect();
    assert_eq!(happened.collect::<Vec<_>>(), foreseen);
    assert_eq!(foreseen.len(), 6, "two of api stop, two of web are replaced: {foreseen:?}");

    let late = v1::ApplyProjectRequest { expected_release: Some(1), ..apply(3, of("web:3", 1)) };
    let refused = control.apply_project(late).await.expect_err("somebody was faster");
    assert_eq!(refused.code(), Code::Aborted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_with_files_stores_nothing() {
    let server = Server::new().await;
    let mut control = server.control().await;
    let put = v1::PutBlobRequest {
        request: None,
        kind: v1::BlobKind::Config.into(),
        content: b"settings".to_vec(),
        digest_only: true,
    };
    let digest = control.put_blob(put).await.expect("told").into_inner().digest;
    let mut web = service("web:1");
    web.container.as_mut().expect("a container").files.push(v1::FileMount {
        kind: v1::BlobKind::Config.into(),
        name: "settings".to_owned(),
        digest,
        target: "/settings".to_owned(),
        uid: 0,
        gid: 0,
        mode: 0o444,
    });
    let revision = async |control: &mut ControlClient<Channel>| {
        control.get_snapshot(v1::GetSnapshotRequest::default()).await.expect("read").into_inner().revision
    };
    let before = revision(&mut control).await;
    let wanted = project(&[("web", web)]);
    let plan = control.plan_project(apply(1, wanted.clone())).await.expect("planned").into_inner();
    assert_eq!(plan.unplaced.len(), 1, "there is no node");
    assert_eq!(plan.unplaced[0].why, "there is no node");
    assert_eq!(revision(&mut control).await, before);
    let refused = control.apply_project(apply(1, wanted)).await.expect_err("its content was not stored");
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_session_fences_the_earlier_one() {
    let server = Server::new().await;
    let mut first = Session::open(&server).await;
    assert!(matches!(first.next().await, ToAgent::Welcome(_)));
    let mut second = Session::open(&server).await;
    assert!(matches!(second.next().await, ToAgent::Welcome(_)));
    let ended = loop {
        match first.incoming.next().await.expect("an end with a reason") {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Aborted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resent_change_is_answered_and_not_done_again() {
    let server = Server::new().await;
    let mut control = server.control().await;
    let first = control.apply_project(apply(1, project(&[("web", service("web:1"))]))).await.expect("applied");
    control.apply_project(apply(2, project(&[("web", service("web:2"))]))).await.expect("applied");
    let again = control.apply_project(apply(1, project(&[("web", service("web:1"))]))).await.expect("answered");
    assert_eq!(first.into_inner(), again.into_inner());
    let snapshot = control.get_snapshot(v1::GetSnapshotRequest::default()).await.expect("read").into_inner();
    assert_eq!(snapshot.services[0].image, "web:2", "the resent change was not made a second time");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart() {
    let mut server = Server::new().await;
    let mut control = server.control().await;
    control.apply_project(apply(1, project(&[("web", service("web:1"))]))).await.expect("applied");
    let wanted = v1::GetSnapshotRequest { events: 100, ..v1::GetSnapshotRequest::default() };
    let before = control.get_snapshot(wanted.clone()).await.expect("read").into_inner();
    server.restart().await;
    let mut control = server.control().await;
    let after = control.get_snapshot(wanted).await.expect("read").into_inner();
    assert_eq!((before.projects, before.services, before.tasks), (after.projects, after.services, after.tasks));
    assert_eq!(before.events, after.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acceptable_names_the_field_and_changes_nothing() {
    let server = Server::new().await;
    let mut control = server.control().await;
    let mut web = service("web:1");
    let dependency = v1::Dependency { condition: v1::DependencyCondition::Started.into(), required: true };
    web.depends_on.insert("nothing".to_owned(), dependency);
    let refused = control.apply_project(apply(1, project(&[("web", web)]))).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let trailer = refused.metadata().get_bin("wherry-refusal-bin").expect("a trailer").to_bytes().expect("bytes");
    let refusal: v1::Refusal = prost::Message::decode(trailer).expect("a refusal");
    assert_eq!(refusal.problems[0].field, "services.web.depends_on");
    assert!(!refusal.problems[0].hint.is_empty());
    let of_service = v1::WhyRequest { service: Some(key("web")), ..Default::default() };
    let of_project = v1::WhyRequest { project: "nothing".into(), ..Default::default() };
    let of_node = v1::WhyRequest { node: "00000000000000ee".into(), ..Default::default() };
    for unknown in [of_project, of_node] {
        assert_eq!(control.why(unknown).await.expect_err("unknown").code(), tonic::Code::NotFound);
    }
    let missing = control.why(of_service).await.expect_err("unknown");
    assert_eq!(missing.code(), Code::NotFound);
    let snapshot = control.get_snapshot(v1::GetSnapshotRequest::default()).await.expect("read").into_inner();
    assert!(snapshot.projects.is_empty());
}

fn key(service: &str) -> v1::ServiceKey {
    v1::ServiceKey { project: "shop".to_owned(), service: service.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sealed_on_disk_and_given_only_to_who_mounts_it() {
    let server = Server::new().await;
    let mut control = server.control().await;
    let put = |sequence| v1::PutBlobRequest {
        request: request(sequence),
        kind: v1::BlobKind::Secret.into(),
        content: SECRET.as_bytes().to_vec(),
        digest_only: false,
    };
    let digest = control.put_blob(put(1)).await.expect("put").into_inner().digest;
    assert_eq!(control.put_blob(put(2)).await.expect("put").into_inner().digest, digest, "content is its address");
    let fetch = v1::FetchBlobRequest { node: "00000000000000aa".to_owned(), digest: digest.clone() };
    let mut agents = server.agents().await;
    let refused = agents.fetch_blob(fetch.clone()).await.expect_err("nobody mounts it yet");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut session = Session::open(&server).await;
    let mut web = service("web:1");
    web.container.as_mut().expect("a container").files.push(v1::FileMount {
        kind: v1::BlobKind::Secret.into(),
        name: "password".to_owned(),
        digest,
        target: "/run/secrets/password".to_owned(),
        uid: 0,
        gid: 0,
        mode: 0o400,
    });
    control.apply_project(apply(3, project(&[("web", web)]))).await.expect("applied");
    session.set(|s| !s.tasks.is_empty()).await;
    let content = agents.fetch_blob(fetch).await.expect("its node may have it").into_inner().content;
    assert_eq!(content, SECRET.as_bytes());
    let mut read = 0;
    let found = holds(server.dir.path(), SECRET.as_bytes(), &mut read);
    assert!(read > 1_000, "only {read} bytes were searched");
    assert!(found.is_empty(), "in the clear in {found:?}");
}

/// Files below a directory that contain some bytes.
fn holds(dir: &Path, needle: &[u8], read: &mut usize) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(holds(&entry.path(), needle, read));
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            *read += bytes.len();
            if bytes.windows(needle.len()).any(|w| w == needle) {
                found.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer() {
    let server = Server::new().await;
    let channel = connect(server.dir.path().join("api.sock")).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let ask = tonic_health::pb::HealthCheckRequest { service: "wherry.v1.Control".to_owned() };
    let answer = health.check(ask).await.expect("answers").into_inner();
    assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let list = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers =
        reflection.server_reflection_info(tokio_stream::iter([list])).await.expect("answers").into_inner();
    let answer = answers.next().await.expect("one answer").expect("no error").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("not a list: {answer:?}") };
    assert!(list.service.iter().any(|s| s.name == "wherry.v1.Control"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_and_an_empty_directory_are_refused() {
    let server = Server::new().await;
    let second = start(config(server.dir.path())).await.expect_err("the socket answers already");
    assert!(matches!(second, ServerError::Running { .. }), "{second}");
    let empty = tempfile::tempdir().expect("a temporary directory");
    let config = ServerConfig { bootstrap: false, ..config(empty.path()) };
    let refused = start(config).await.expect_err("nothing to start from");
    assert!(matches!(refused, ServerError::Empty { .. }), "{refused}");
}

/// The stream of events, read to the first message that does not come at once.
async fn events_of(control: &mut ControlClient<Channel>, request: v1::WatchEventsRequest) -> Vec<v1::EventBatch> {
    let mut stream = control.watch_events(request).await.expect("a stream").into_inner();
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        batches.push(batch.expect("no error"));
    }
    batches
}

fn numbers(batches: &[v1::EventBatch]) -> Vec<u64> {
    batches.iter().flat_map(|b| b.events.iter().map(|e| e.number)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_once_in_order_and_go_on_where_a_reader_stopped() {
    let server = Server::new().await;
    let mut control = server.control().await;
    control.apply_project(apply(1, project(&[("web", service("web:1"))]))).await.expect("applied");
    let once = v1::WatchEventsRequest { once: true, ..Default::default() };
    let first = events_of(&mut control, once.clone()).await;
    let last = first.last().expect("a batch even when there is nothing").last;
    assert_eq!(numbers(&first), (1..=last).collect::<Vec<_>>());

    let live = v1::WatchEventsRequest { after: Some(last), ..Default::default() };
    let mut stream = control.watch_events(live).await.expect("a stream").into_inner();
    control.apply_project(apply(2, project(&[("web", service("web:2"))]))).await.expect("applied");
    let batch = stream.next().await.expect("it goes on").expect("no error");
    assert_eq!((batch.events[0].number, batch.missed), (last + 1, 0), "nothing twice, nothing left out");
    drop(stream);

    control.apply_project(apply(3, project(&[("web", service("web:3"))]))).await.expect("applied");
    let again = events_of(&mut control, v1::WatchEventsRequest { after: Some(batch.last), ..once.clone() }).await;
    assert_eq!(numbers(&again).first(), Some(&(batch.last + 1)), "a reader that comes back goes on behind it");

    let of_web = v1::WatchEventsRequest { subject: "web".to_owned(), tail: Some(2), ..once.clone() };
    let told = events_of(&mut control, of_web).await;
    let subjects: Vec<&str> = told.iter().flat_map(|b| b.events.iter().map(|e| e.subject.as_str())).collect();
    assert_eq!(subjects, ["shop/web"; 2], "the newest two about it");
    let elsewhere = v1::WatchEventsRequest { project: "sho".to_owned(), ..once.clone() };
    assert!(numbers(&events_of(&mut control, elsewhere).await).is_empty(), "a beginning of a name is another name");
    let wrong = v1::WatchEventsRequest { after: Some(99_999), ..once };
    let refused = control.watch_events(wrong).await.expect_err("no such event");
    assert_eq!(refused.code(), Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whom_the_ring_overtook_is_told_how_many_it_missed() {
    let server = Server::new().await;
    let mut control = server.control().await;
    let many = |round: u64| {
        let names: Vec<String> = (0..500).map(|n| format!("s{n}")).collect();
        let image = format!("web:{round}");
        let services: Vec<(&str, v1::ServiceSpec)> = names.iter().map(|n| (n.as_str(), service(&image))).collect();
        apply(round, project(&services))
    };
    control.apply_project(many(1)).await.expect("applied");
    // A window of one page: what waits on the way is little.
    let narrow = Endpoint::from_static("http://wherry").initial_stream_window_size(4_096);
    let mut reader = ControlClient::new(connect_with(server.dir.path().join("api.sock"), narrow).await);
    let mut stream = reader.watch_events(v1::WatchEventsRequest::default()).await.expect("a stream").into_inner();
    let first = stream.next().await.expect("a batch").expect("no error");
    let mut expected = first.last;
    assert_eq!(first.missed, 0);
    // It does not read while more happens than is kept.
    for round in 2..=24 {
        control.apply_project(many(round)).await.expect("applied");
    }
    let last = events_of(&mut control, v1::WatchEventsRequest { once: true, ..Default::default() }).await;
    let last = last.last().expect("a batch").last;
    let (mut missed, mut read) = (0, 0);
    while expected < last {
        let batch = stream.next().await.expect("it goes on").expect("no error");
        missed += batch.missed;
        expected += batch.missed;
        for event in &batch.events {
            expected += 1;
            read += 1;
            assert_eq!(event.number, expected, "in order, none twice, and what is not there was counted");
        }
    }
    assert!(missed > 0, "the ring overtook a reader that had {read} of {last}");
}
