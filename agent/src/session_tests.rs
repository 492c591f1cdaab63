//! Sessions against a small server in this process, over a Unix socket.

use super::*;
use crate::engine::world::empty_set;
use proto::id::TaskId;
use proto::revision::Revision;
use proto::task_state::TaskStatus;
use proto::v1::agent_message::Message as Said;
use proto::v1::agents_server::{Agents, AgentsServer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

type ToAgent = mpsc::Sender<Result<v1::ServerMessage, Status>>;

/// Hands each session to the test.
#[derive(Debug)]
struct Server {
    sessions: mpsc::Sender<(ToAgent, Streaming<v1::AgentMessage>)>,
}

#[tonic::async_trait]
impl Agents for Server {
    type SessionStream = ReceiverStream<Result<v1::ServerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (to_agent, stream) = mpsc::channel(16);
        self.sessions.send((to_agent, request.into_inner())).await.map_err(|_| Status::unavailable("no test"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn fetch_blob(
        &self,
        request: Request<v1::FetchBlobRequest>,
    ) -> Result<Response<v1::FetchBlobResponse>, Status> {
        let content = request.into_inner().digest.into_bytes();
        Ok(Response::new(v1::FetchBlobResponse { kind: 1, content }))
    }

    async fn push_log(
        &self,
        _: Request<Streaming<v1::PushLogRequest>>,
    ) -> Result<Response<v1::PushLogResponse>, Status> {
        Ok(Response::new(v1::PushLogResponse {}))
    }
}

struct Test {
    sessions: mpsc::Receiver<(ToAgent, Streaming<v1::AgentMessage>)>,
    accepted: watch::Receiver<Option<Arc<AssignmentSet>>>,
    reporter: Reporter,
    ledger: Arc<Ledger>,
    door: Link,
    stop: CancellationToken,
    _conditions: watch::Sender<NodeConditions>,
    _view: watch::Sender<View>,
    _dir: tempfile::TempDir,
}

const NODE: NodeId = NodeId(7);

async fn begin() -> Test {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agents.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (sessions_out, sessions) = mpsc::channel(4);
    let service = AgentsServer::new(Server { sessions: sessions_out });
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(UnixListenerStream::new(listener)),
    );
    let door = Link::Unix(socket);
    let ledger = Arc::new(Ledger::open(&dir.path().join("node")).unwrap());
    let (accepted, accepted_seen) = watch::channel(None);
    let (endpoints, _) = watch::channel(Arc::default());
    let (conditions, conditions_seen) = watch::channel(NodeConditions::default());
    let (view, view_seen) = watch::channel(View::default());
    let runtime = Arc::new(crate::runtime::docker::DockerRuntime::new("unix:///nowhere.sock"));
    let reporter = Reporter::default();
    let session = Session {
        logs: LogStreams::new(runtime, door.clone()),
        link: door.clone(),
        node: NODE,
        labels: BTreeMap::new(),
        ledger: Arc::clone(&ledger),
        accepted,
        endpoints,
        reporter: reporter.clone(),
        conditions: conditions_seen,
        view: view_seen,
    };
    let stop = CancellationToken::new();
    tokio::spawn(session.run(stop.clone()));
    let (_conditions, _view, _dir) = (conditions, view, dir);
    Test { sessions, accepted: accepted_seen, reporter, ledger, door, stop, _conditions, _view, _dir }
}

impl Test {
    /// The next session, welcomed.
    async fn welcome(&mut self) -> (ToAgent, Streaming<v1::AgentMessage>) {
        let (to_agent, mut said) = self.sessions.recv().await.unwrap();
        let Some(Said::Hello(first)) = said.message().await.unwrap().unwrap().message else {
            panic!("hello comes first")
        };
        assert_eq!(first.node.unwrap().id, NODE.to_string());
        let welcome =
            v1::Welcome { hello: Some(hello(Some(empty_set().cluster), Epoch(1))), session: 1, lease_ms: 3_000 };
        send(&to_agent, v1::server_message::Message::Welcome(welcome)).await;
        (to_agent, said)
    }
}

async fn send(to_agent: &ToAgent, message: v1::server_message::Message) {
    to_agent.send(Ok(v1::ServerMessage { message: Some(message) })).await.unwrap();
}

async fn send_set(to_agent: &ToAgent, set: &AssignmentSet) {
    send(to_agent, v1::server_message::Message::Assignments(set.into())).await;
}

async fn next_batch(said: &mut Streaming<v1::AgentMessage>) -> v1::StatusBatch {
    loop {
        if let Some(Said::Statuses(batch)) = said.message().await.unwrap().unwrap().message {
            return batch;
        }
    }
}

async fn next_heartbeat(said: &mut Streaming<v1::AgentMessage>) -> v1::Heartbeat {
    loop {
        if let Some(Said::Heartbeat(beat)) = said.message().await.unwrap().unwrap().message {
            return beat;
        }
    }
}

fn at(revision: u64) -> AssignmentSet {
    AssignmentSet { revision: Revision(revision), ..empty_set() }
}

#[tokio::test]
async fn a_set_is_on_disk_when_it_is_accepted_and_an_older_or_foreign_one_is_refused() {
    let mut test = begin().await;
    let (to_agent, mut said) = test.welcome().await;
    send_set(&to_agent, &at(5)).await;
    let mut accepted = test.accepted.clone();
    accepted.wait_for(Option::is_some).await.unwrap();
    assert_eq!(test.ledger.assignments().unwrap().whole(), Some(at(5)));
    send_set(&to_agent, &at(4)).await;
    send_set(&to_agent, &AssignmentSet { node: NodeId(8), ..at(9) }).await;
    send_set(&to_agent, &at(6)).await;
    accepted.wait_for(|set| set.as_ref().is_some_and(|s| s.revision != Revision(5))).await.unwrap();
    assert_eq!(accepted.borrow().as_deref(), Some(&at(6)), "neither the older nor the foreign one was taken");
    while next_heartbeat(&mut said).await.assignment_revision != 6 {}
    test.stop.cancel();
}

#[tokio::test]
async fn a_status_is_sent_again_in_the_next_session_until_it_is_acknowledged() {
    let mut test = begin().await;
    let (to_agent, mut said) = test.welcome().await;
    test.reporter.put(TaskId(3), TaskStatus { sequence: 1, ..TaskStatus::default() });
    let first = next_batch(&mut said).await;
    assert_eq!(first.reports[0].task, 3);
    drop((to_agent, said));
    let (to_agent, mut said) = test.welcome().await;
    let again = next_batch(&mut said).await;
    assert_eq!(again.reports, first.reports);
    test.reporter.put(TaskId(4), TaskStatus { sequence: 1, ..TaskStatus::default() });
    send(&to_agent, v1::server_message::Message::Acknowledged(v1::Acknowledged { number: again.number })).await;
    let next = next_batch(&mut said).await;
    assert_eq!(next.reports.len(), 1, "what was acknowledged is not sent again");
    assert_eq!(next.reports[0].task, 4);
}

#[tokio::test]
async fn a_server_of_another_cluster_is_left() {
    let mut test = begin().await;
    let (to_agent, said) = test.welcome().await;
    send_set(&to_agent, &at(5)).await;
    test.accepted.clone().wait_for(Option::is_some).await.unwrap();
    drop((to_agent, said));
    let (to_agent, mut said) = test.sessions.recv().await.unwrap();
    let foreign = hello(Some(proto::id::ClusterId(99)), Epoch(1));
    let welcome = v1::Welcome { hello: Some(foreign), session: 2, lease_ms: 3_000 };
    send(&to_agent, v1::server_message::Message::Welcome(welcome)).await;
    while let Ok(Some(message)) = said.message().await {
        assert!(matches!(message.message, Some(Said::Hello(_))), "nothing but hello is said to a stranger");
    }
    assert_eq!(test.accepted.borrow().as_deref(), Some(&at(5)));
}

#[tokio::test]
async fn contents_are_fetched_for_this_node() {
    let test = begin().await;
    let blobs = ServerBlobs { link: test.door.clone(), node: NODE };
    assert_eq!(blobs.fetch(&BlobDigest("abc".into())).await.unwrap(), b"abc");
}

#[test]
fn what_may_replace_what() {
    let current = at(5);
    assert!(acceptable(&at(5), NODE, Some(&current)).is_ok(), "the same again, in another session");
    let restored = AssignmentSet { epoch: Epoch(2), ..at(1) };
    assert!(acceptable(&restored, NODE, Some(&current)).is_ok(), "a later epoch counts from the beginning");
    assert!(acceptable(&at(9), NODE, Some(&restored)).is_err());
    let foreign = AssignmentSet { cluster: proto::id::ClusterId(2), ..at(9) };
    assert!(acceptable(&foreign, NODE, Some(&current)).is_err());
    assert!(acceptable(&foreign, NODE, None).is_ok());
}
