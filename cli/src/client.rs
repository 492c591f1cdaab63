//! The operators' door seen from outside: one connection over a unix socket or TLS, deadlines, request ids, typed failures.
//!
//! Guarantees: every unary call ends by its deadline; a change is resent under its own request id while the server is
//! unavailable, so it happens at most once. Never prints. Called by every command.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prost::Message;
use proto::id::RequestId;
use proto::peer::Remote;
use proto::v1::{self, control_client::ControlClient};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::exit::{Exit, Failure};

mod way;

use way::Way;
pub use way::{Incoming, Place};

/// How long a question may take.
pub const READ_DEADLINE: Duration = Duration::from_secs(10);
/// How long a change may take, resends included.
pub const CHANGE_DEADLINE: Duration = Duration::from_secs(30);
/// Trailer that carries a `v1::Refusal`.
const REFUSAL_TRAILER: &str = "wherry-refusal-bin";
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// Nobody answers.
    #[error("no server answers at {place}: {cause}")]
    Unreachable {
        /// The socket, or the context.
        place: Place,
        /// Why.
        cause: String,
    },
    /// The socket is another user's.
    #[error("the server's socket {socket} may not be opened by this user")]
    Forbidden {
        /// The socket.
        socket: PathBuf,
    },
    /// A change whose outcome is not known.
    #[error("{what}: the outcome is unknown: {cause}")]
    OutcomeUnknown {
        /// What was asked.
        what: &'static str,
        /// Why.
        cause: String,
    },
    /// A question that got no answer in time.
    #[error("{what}: no answer within {after_s} s")]
    Deadline {
        /// What was asked.
        what: &'static str,
        /// After how long.
        after_s: u64,
    },
    /// What was asked is not allowed as it is.
    #[error("{message}")]
    Refused {
        /// The server's words.
        message: String,
        /// Field by field.
        refusal: v1::Refusal,
    },
    /// There is no such thing.
    #[error("{message}")]
    NotFound {
        /// The server's words.
        message: String,
    },
    /// Anything else the server said.
    #[error("{what} failed: {message}")]
    Failed {
        /// What was asked.
        what: &'static str,
        /// The server's words.
        message: String,
    },
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        let message = error.to_string();
        match error {
            CallError::Unreachable { place: Place::Socket(_), .. } => Failure::new(Exit::Unreachable, message)
                .hint("start one with `ctl dev`, or name another with --socket PATH"),
            CallError::Unreachable { .. } => {
                Failure::new(Exit::Unreachable, message).hint("`ctl context list` shows the servers of each context")
            }
            CallError::Forbidden { .. } => Failure::new(Exit::Unreachable, message).hint("use `sudo ctl`"),
            CallError::OutcomeUnknown { .. } => {
                Failure::new(Exit::TimedOut, message).hint("look with `ctl ps`; doing it again is safe")
            }
            CallError::Deadline { .. } => Failure::new(Exit::TimedOut, message)
                .hint("the server is there but slow or without a leader: try again"),
            CallError::Refused { refusal, .. } => refused(message, &refusal),
            CallError::NotFound { .. } | CallError::Failed { .. } => Failure::refused(message),
        }
    }
}

fn refused(message: String, refusal: &v1::Refusal) -> Failure {
    let lines = refusal.problems.iter().map(|problem| match problem.field.as_str() {
        "" => problem.message.clone(),
        field => format!("{field}: {}", problem.message),
    });
    let mut failure = Failure::refused(message).lines(lines);
    failure.hints.extend(refusal.problems.iter().map(|p| p.hint.clone()).filter(|hint| !hint.is_empty()));
    failure.hints.dedup();
    failure
}

/// One connection to one server.
#[derive(Debug, Clone)]
pub struct Client {
    way: Way,
    place: Place,
    /// Keeps the certificate young as long as a clone of this client is there.
    _keeper: Option<Arc<AbortOnDropHandle<()>>>,
    /// Drawn when ctl starts: half of every request id.
    session: u64,
    sequence: Arc<AtomicU64>,
    /// How long a question may take.
    pub read_deadline: Duration,
    /// How long a change may take.
    pub change_deadline: Duration,
}

// === impl Client ===

impl Client {
    /// Connects, or says why not.
    pub async fn connect(socket: &Path) -> Result<Client, CallError> {
        // A first knock tells "not there" from "not yours" better than a status does.
        if let Err(e) = UnixStream::connect(socket).await {
            return Err(match e.kind() {
                std::io::ErrorKind::PermissionDenied => CallError::Forbidden { socket: socket.to_owned() },
                _ => CallError::Unreachable { place: Place::Socket(socket.to_owned()), cause: in_words(&e) },
            });
        }
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://wherry.local").connect_with_connector_lazy(connector);
        Ok(Client::on(Way::Local(channel), Place::Socket(socket.to_owned())))
    }

    /// The server of this host, once it has a node that is ready; else why not yet. Asks briefly: it is asked again.
    pub async fn of_ready_node(socket: &Path) -> Result<Client, String> {
        let mut client = Client::connect(socket).await.map_err(|e| e.to_string())?;
        let patient = std::mem::replace(&mut client.read_deadline, Duration::from_secs(2));
        let snapshot = client.snapshot("", 0).await.map_err(|e| e.to_string())?;
        client.read_deadline = patient;
        if snapshot.nodes.iter().any(|n| n.state == "ready") {
            return Ok(client);
        }
        let reason = snapshot.nodes.iter().map(|n| n.reason.clone()).find(|r| !r.is_empty());
        Err(reason.map_or("its node has not joined yet".to_owned(), |r| format!("its node is not ready: {r}")))
    }

    /// Connects to the first of a context's servers that answers, or says why none does. `keeper` runs as long as the client.
    pub async fn remote(
        name: &str,
        remote: &Arc<Remote>,
        keeper: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Client, CallError> {
        let place = Place::Context { name: name.to_owned(), servers: remote.shown() };
        // A first knock says at once what a call would only say at its deadline.
        if let Err(e) = remote.connect().await {
            return Err(CallError::Unreachable { place, cause: proto::peer::explain(&e) });
        }
        let client = Client::on(Way::Remote(Arc::clone(remote)), place);
        Ok(Client { _keeper: Some(Arc::new(AbortOnDropHandle::new(tokio::spawn(keeper)))), ..client })
    }

    fn on(way: Way, place: Place) -> Client {
        Client {
            way,
            place,
            _keeper: None,
            session: draw(),
            sequence: Arc::new(AtomicU64::new(1)),
            read_deadline: READ_DEADLINE,
            change_deadline: CHANGE_DEADLINE,
        }
    }

    fn control(&self) -> ControlClient<Channel> {
        let limit = proto::limits::MESSAGE_MAX_BYTES;
        ControlClient::new(self.way.channel()).max_decoding_message_size(limit).max_encoding_message_size(limit)
    }

    /// The socket it talks to, if it is one.
    pub fn socket(&self) -> Option<&Path> {
        match &self.place {
            Place::Socket(path) => Some(path),
            Place::Context { .. } => None,
        }
    }

    /// A new join token.
    pub async fn create_token(&self, asked: v1::CreateTokenRequest) -> Result<v1::CreateTokenResponse, CallError> {
        self.read("making a join token", asked, async |mut c, r| c.create_token(r).await).await
    }

    /// The join tokens.
    pub async fn tokens(&self) -> Result<v1::GetTokensResponse, CallError> {
        self.read("listing join tokens", v1::GetTokensRequest {}, async |mut c, r| c.get_tokens(r).await).await
    }

    /// Forgets a join token.
    pub async fn revoke_token(&self, id: &str) -> Result<v1::ChangeResponse, CallError> {
        let request = v1::RevokeTokenRequest { request: self.next_id(), id: id.to_owned() };
        self.change("revoking the token", request, async |mut c, r| c.revoke_token(r).await).await
    }

    /// Who did what.
    pub async fn audit(&self, asked: v1::GetAuditRequest) -> Result<v1::GetAuditResponse, CallError> {
        self.read("reading the audit", asked, async |mut c, r| c.get_audit(r).await).await
    }

    /// Who is known.
    pub async fn identities(&self) -> Result<v1::GetIdentitiesResponse, CallError> {
        let request = v1::GetIdentitiesRequest {};
        self.read("listing who is known", request, async |mut c, r| c.get_identities(r).await).await
    }

    /// Forgets an agent or operator.
    pub async fn revoke_identity(&self, kind: &str, name: &str) -> Result<v1::ChangeResponse, CallError> {
        let request =
            v1::RevokeIdentityRequest { request: self.next_id(), kind: kind.to_owned(), name: name.to_owned() };
        self.change("revoking", request, async |mut c, r| c.revoke_identity(r).await).await
    }

    /// Lets a server vote.
    pub async fn promote_server(&self, server: &str) -> Result<v1::ChangeResponse, CallError> {
        let request = v1::PromoteServerRequest { request: self.next_id(), server: server.to_owned() };
        self.change("promoting the server", request, async |mut c, r| c.promote_server(r).await).await
    }

    /// Removes a server.
    pub async fn remove_server(&self, server: &str) -> Result<v1::ChangeResponse, CallError> {
        let request = v1::RemoveServerRequest { request: self.next_id(), server: server.to_owned() };
        self.change("removing the server", request, async |mut c, r| c.remove_server(r).await).await
    }

    /// Begins a rotation of the sealing key, unless one is under way, and tells how far it is.
    pub async fn begin_key_rotation(&self) -> Result<v1::RotateSealingKeyResponse, CallError> {
        let request = v1::RotateSealingKeyRequest { request: self.next_id(), number: 0 };
        self.change("rotating the sealing key", request, async |mut c, r| c.rotate_sealing_key(r).await).await
    }

    /// How far a rotation of the sealing key is; begins none.
    pub async fn key_rotation(&self, number: u64) -> Result<v1::RotateSealingKeyResponse, CallError> {
        let request = v1::RotateSealingKeyRequest { request: None, number };
        self.read("following the rotation", request, async |mut c, r| c.rotate_sealing_key(r).await).await
    }

    /// Labels a node. `expected`: it is refused unless that revision was the last that changed an operator's label of it.
    pub async fn label_node(
        &self,
        node: &str,
        set: BTreeMap<String, String>,
        remove: Vec<String>,
        expected: Option<u64>,
    ) -> Result<v1::ChangeResponse, CallError> {
        let (request, node) = (self.next_id(), node.to_owned());
        let request = v1::LabelNodeRequest { request, node, set, remove, expected_revision: expected };
        self.change("labelling the node", request, async |mut c, r| c.label_node(r).await).await
    }

    /// Who answers.
    pub async fn version(&self) -> Result<v1::GetVersionResponse, CallError> {
        self.read("asking for the version", v1::GetVersionRequest {}, async |mut c, r| c.get_version(r).await).await
    }

    /// Everything, or one project's part (`""`: all), with at most so many events.
    pub async fn snapshot(&self, project: &str, events: u32) -> Result<v1::Snapshot, CallError> {
        let request = v1::GetSnapshotRequest { project: project.to_owned(), events };
        self.read("reading the cluster's state", request, async |mut c, r| c.get_snapshot(r).await).await
    }

    /// The same as the server that is asked knows it, be it old.
    pub async fn stale_snapshot(&self) -> Result<v1::Snapshot, CallError> {
        let request = v1::GetSnapshotRequest::default();
        self.read("reading what a server knows", request, async |mut c, mut r| {
            r.metadata_mut().insert(proto::STALE, tonic::metadata::MetadataValue::from_static("1"));
            c.get_snapshot(r).await
        })
        .await
    }

    /// Snapshots as they change.
    pub async fn watch(&self, project: &str, events: u32) -> Result<Incoming<v1::Snapshot>, CallError> {
        let request = v1::GetSnapshotRequest { project: project.to_owned(), events };
        self.stream("watching the cluster's state", request, true, async |mut c, r| c.watch_snapshot(r).await).await
    }

    /// What happened, and as it happens.
    pub async fn events(&self, request: v1::WatchEventsRequest) -> Result<Incoming<v1::EventBatch>, CallError> {
        let is_endless = !request.once;
        self.stream("watching events", request, is_endless, async |mut c, r| c.watch_events(r).await).await
    }

    /// The state in words.
    pub async fn why(&self, request: v1::WhyRequest) -> Result<v1::WhyResponse, CallError> {
        self.read("asking why", request, async |mut c, r| c.why(r).await).await
    }

    /// Output of tasks.
    pub async fn logs(&self, request: v1::LogsRequest) -> Result<Incoming<v1::LogChunk>, CallError> {
        let is_endless = request.query.is_some_and(|query| query.follow);
        self.stream("reading logs", request, is_endless, async |mut c, r| c.logs(r).await).await
    }

    /// Uploads a config or secret; returns its digest.
    pub async fn put_blob(&self, kind: v1::BlobKind, content: Vec<u8>) -> Result<String, CallError> {
        let request = v1::PutBlobRequest { request: self.next_id(), kind: kind.into(), content, digest_only: false };
        let response = self.change("uploading a file", request, async |mut c, r| c.put_blob(r).await).await?;
        Ok(response.digest)
    }

    /// Creates or changes a project. `prune`: services that the spec does not name are removed. `expected_release`: it is
    /// refused unless that is the present one (0: there is none).
    pub async fn apply(
        &self,
        project: v1::ProjectSpec,
        prune: bool,
        expected_release: Option<u64>,
    ) -> Result<v1::ApplyProjectResponse, CallError> {
        let (request, project) = (self.next_id(), Some(project));
        let request = v1::ApplyProjectRequest { request, project, expected_release, prune };
        self.change("applying the project", request, async |mut c, r| c.apply_project(r).await).await
    }

    /// What an apply would do now; nothing changes.
    pub async fn plan(&self, project: v1::ProjectSpec, prune: bool) -> Result<v1::PlanProjectResponse, CallError> {
        let project = Some(project);
        let request = v1::ApplyProjectRequest { request: None, project, expected_release: None, prune };
        self.read("planning the project", request, async |mut c, r| c.plan_project(r).await).await
    }

    /// The digest a config or secret would have; nothing is stored.
    pub async fn digest(&self, kind: v1::BlobKind, content: Vec<u8>) -> Result<String, CallError> {
        let request = v1::PutBlobRequest { request: None, kind: kind.into(), content, digest_only: true };
        Ok(self.read("asking for a file's digest", request, async |mut c, r| c.put_blob(r).await).await?.digest)
    }

    /// Removes a project.
    pub async fn delete_project(&self, project: &str, volumes: bool) -> Result<v1::ChangeResponse, CallError> {
        let request = v1::DeleteProjectRequest { request: self.next_id(), project: project.to_owned(), volumes };
        self.change("deleting the project", request, async |mut c, r| c.delete_project(r).await).await
    }

    /// Removes a service.
    pub async fn delete_service(&self, service: v1::ServiceKey) -> Result<v1::ChangeResponse, CallError> {
        let request = v1::DeleteServiceRequest { request: self.next_id(), service: Some(service) };
        self.change("deleting the service", request, async |mut c, r| c.delete_service(r).await).await
    }

    /// Sets the number of replicas.
    pub async fn scale(&self, service: v1::ServiceKey, replicas: u32) -> Result<v1::ChangeResponse, CallError> {
        let request = v1::ScaleServiceRequest { request: self.next_id(), service: Some(service), replicas };
        self.change("scaling the service", request, async |mut c, r| c.scale_service(r).await).await
    }

    /// Pauses, resumes or undoes a service's rollout. `to`: with undoing, which release's spec it gets.
    pub async fn steer(
        &self,
        service: v1::ServiceKey,
        action: v1::RolloutAction,
        to: Option<u64>,
    ) -> Result<v1::ApplyProjectResponse, CallError> {
        let (request, service) = (self.next_id(), Some(service));
        let request = v1::SteerRolloutRequest { request, service, action: action.into(), to_release: to };
        self.change("changing the rollout", request, async |mut c, r| c.steer_rollout(r).await).await
    }

    /// The releases that changed a service.
    pub async fn history(&self, service: v1::ServiceKey) -> Result<v1::GetHistoryResponse, CallError> {
        let request = v1::GetHistoryRequest { service: Some(service) };
        self.read("reading the history", request, async |mut c, r| c.get_history(r).await).await
    }

    fn next_id(&self) -> Option<v1::RequestId> {
        Some(v1::RequestId { client: self.session, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) })
    }

    async fn read<Q, A, F>(&self, what: &'static str, message: Q, call: F) -> Result<A, CallError>
    where
        Q: Clone,
        F: AsyncFn(ControlClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    {
        self.unary(what, message, self.read_deadline, false, call).await
    }

    async fn change<Q, A, F>(&self, what: &'static str, message: Q, call: F) -> Result<A, CallError>
    where
        Q: Clone,
        F: AsyncFn(ControlClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    {
        self.unary(what, message, self.change_deadline, true, call).await
    }

    /// One call, resent under the same message (hence the same request id) while the server is unavailable.
    async fn unary<Q, A, F>(
        &self,
        what: &'static str,
        message: Q,
        within: Duration,
        changes: bool,
        call: F,
    ) -> Result<A, CallError>
    where
        Q: Clone,
        F: AsyncFn(ControlClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    {
        let end = Instant::now() + within;
        let mut pause = RETRY_FIRST;
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(end.saturating_duration_since(Instant::now()));
            let status = match timeout_at(end, call(self.control(), request)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!("no answer within {} s", within.as_secs())),
            };
            if status.code() != Code::Unavailable || Instant::now() + pause >= end {
                return Err(self.judge(what, within, changes, &status));
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    async fn stream<Q, A, F, Fut>(
        &self,
        what: &'static str,
        message: Q,
        is_endless: bool,
        call: F,
    ) -> Result<Incoming<A>, CallError>
    where
        F: FnOnce(ControlClient<Channel>, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<Streaming<A>>, Status>>,
    {
        let end = Instant::now() + self.read_deadline;
        let shown = if is_endless { self.way.shown() } else { None };
        match timeout_at(end, call(self.control(), Request::new(message))).await {
            Ok(Ok(response)) => Ok(Incoming::new(response.into_inner(), shown)),
            Ok(Err(status)) => Err(self.judge(what, self.read_deadline, false, &status)),
            Err(_) => Err(CallError::Deadline { what, after_s: self.read_deadline.as_secs() }),
        }
    }

    /// What it means that a stream without an end ended.
    pub fn stream_ended(&self) -> CallError {
        CallError::Unreachable { place: self.place.clone(), cause: "the stream ended".to_owned() }
    }

    /// What a status in the middle of a stream means.
    pub fn judge_stream(&self, what: &'static str, status: &Status) -> CallError {
        self.judge(what, self.read_deadline, false, status)
    }

    fn judge(&self, what: &'static str, within: Duration, changes: bool, status: &Status) -> CallError {
        let message = proto::peer::explain_status(status);
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown if changes => {
                CallError::OutcomeUnknown { what, cause: message }
            }
            Code::Unavailable => CallError::Unreachable { place: self.place.clone(), cause: message },
            Code::DeadlineExceeded | Code::Cancelled => CallError::Deadline { what, after_s: within.as_secs() },
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::ResourceExhausted => {
                CallError::Refused { message, refusal: refusal_of(status) }
            }
            Code::NotFound => CallError::NotFound { message },
            Code::Unimplemented => {
                CallError::Failed { what, message: "the server is older than this ctl and cannot do it".to_owned() }
            }
            _ => CallError::Failed { what, message },
        }
    }
}

/// The refusal a status carries, empty when it carries none that can be read.
fn refusal_of(status: &Status) -> v1::Refusal {
    let bytes = status.metadata().get_bin(REFUSAL_TRAILER).and_then(|value| value.to_bytes().ok());
    bytes.and_then(|bytes| v1::Refusal::decode(bytes).ok()).unwrap_or_default()
}

/// This run's client id; without the kernel's randomness the process id keeps two runs of one second apart.
fn draw() -> u64 {
    let random = getrandom::u32().unwrap_or_else(|_| std::process::id());
    RequestId::client(crate::time::now_ms(), random)
}

fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        std::io::ErrorKind::ConnectionRefused => "nobody listens there any more".to_owned(),
        _ => error.to_string(),
    }
}
