//! A Control server that answers what a test told it to, on a unix socket; and short ways to write snapshots.
//!
//! Never decides: it has no engine. Used by this room's tests only.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use prost::Message;
use proto::v1::{self, control_server};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::args::Target;
use crate::output::{Buffer, Terminal};
use crate::place::Places;
use crate::session::Session;

/// What the server does and has seen.
#[derive(Debug, Default)]
pub struct Script {
    /// Statuses given to the next changes before they are accepted.
    pub refusals: VecDeque<Status>,
    /// The answer to an apply.
    pub applied: v1::ApplyProjectResponse,
    /// The snapshot that an accepted change brings about.
    pub afterwards: Option<v1::Snapshot>,
    /// Applied projects, with their request ids.
    pub applies: Vec<(v1::RequestId, v1::ProjectSpec)>,
    /// Whether each of them asked to prune.
    pub prunes: Vec<bool>,
    /// The release each of them expected.
    pub expected: Vec<Option<u64>>,
    /// Scalings.
    pub scales: Vec<v1::ScaleServiceRequest>,
    /// Deletions.
    pub deletes: Vec<v1::DeleteProjectRequest>,
    /// What was done to rollouts.
    pub steered: Vec<v1::SteerRolloutRequest>,
    /// A service's releases.
    pub releases: Vec<v1::Release>,
    /// What was asked of events.
    pub watches: Vec<v1::WatchEventsRequest>,
    /// What each stream of events brings before it ends.
    pub streams: VecDeque<Vec<Result<v1::EventBatch, Status>>>,
    /// Log chunks.
    pub logs: Vec<v1::LogChunk>,
    /// The answer to `Why`, instead of a made-up one.
    pub why: Option<v1::WhyResponse>,
    /// The answer to a plan.
    pub planned: v1::PlanProjectResponse,
    /// What `GetVersion` says of being a dev cluster.
    pub dev: bool,
    /// Tokens that were asked for.
    pub tokens_asked: Vec<v1::CreateTokenRequest>,
    /// What the audit was asked for.
    pub audit: Vec<v1::GetAuditRequest>,
    /// What each look at a rotation of the sealing key tells; the last one stays.
    pub rotation: VecDeque<v1::RotateSealingKeyResponse>,
    /// The numbers of the rotations that were asked for.
    pub rotated: Vec<u64>,
    /// Nodes that were labelled.
    pub labelled: Vec<v1::LabelNodeRequest>,
    /// Identities that were revoked.
    pub revoked: Vec<v1::RevokeIdentityRequest>,
}

/// The server.
#[derive(Debug, Clone)]
pub struct Fake {
    pub script: Arc<Mutex<Script>>,
    pub snapshots: watch::Sender<v1::Snapshot>,
}

/// A running server, a session that talks to it, and what the session writes.
pub struct World {
    pub fake: Fake,
    pub session: Session,
    pub out: Buffer,
    pub err: Buffer,
    _dir: tempfile::TempDir,
}

impl World {
    /// A server with this snapshot.
    pub fn new(snapshot: v1::Snapshot) -> World {
        let dir = tempfile::tempdir().expect("temporary directory");
        let socket = dir.path().join("api.sock");
        let fake = Fake { script: Arc::default(), snapshots: watch::Sender::new(snapshot) };
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket).expect("can listen"));
        let service = control_server::ControlServer::new(fake.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let (session, out, err) = session(dir.path().to_owned(), Some(socket));
        World { fake, session, out, err, _dir: dir }
    }

    /// Writes the directory's Compose file.
    pub fn compose(&self, text: &str) {
        std::fs::write(self.session.dir.join("compose.yaml"), text).expect("writes");
    }

    /// Runs a command line, reporting a failure as `main` does; returns the exit code.
    pub async fn ctl(&mut self, line: &str) -> u8 {
        let words = std::iter::once("ctl").chain(line.split_whitespace());
        let args = crate::args::Args::of_words(words).expect("is a command line");
        crate::run_and_report(&mut self.session, &args.command).await.code()
    }

    pub fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.fake.script.lock().expect("no test panics while it holds it"))
    }
}

/// A session in that directory.
pub fn session(dir: PathBuf, socket: Option<PathBuf>) -> (Session, Buffer, Buffer) {
    let (terminal, out, err) = Terminal::buffered();
    let places =
        Places { state: dir.join("state"), system_socket: dir.join("system.sock"), config: dir.join("config") };
    let env = [("WHERRY_SOCKET".to_owned(), "set, so that hints stay short".to_owned())].into();
    (Session { terminal, target: Target { socket, ..Target::default() }, places, dir, env }, out, err)
}

impl Fake {
    fn change(&self) -> Result<(), Status> {
        let mut script = self.script.lock().expect("no test panics while it holds it");
        match script.refusals.pop_front() {
            Some(status) => Err(status),
            None => {
                if let Some(after) = script.afterwards.clone() {
                    self.snapshots.send_replace(after);
                }
                Ok(())
            }
        }
    }

    fn noted(&self, note: impl FnOnce(&mut Script)) {
        note(&mut self.script.lock().expect("no test panics while it holds it"));
    }
}

type Boxed<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl control_server::Control for Fake {
    type WatchSnapshotStream = Boxed<v1::Snapshot>;
    type LogsStream = Boxed<v1::LogChunk>;
    type WatchEventsStream = Boxed<v1::EventBatch>;

    async fn get_version(&self, _: Request<v1::GetVersionRequest>) -> Result<Response<v1::GetVersionResponse>, Status> {
        let hello = proto::hello::hello(Some(proto::id::ClusterId(7)), proto::revision::Epoch(1));
        let dev = self.script.lock().expect("no test panics while it holds it").dev;
        Ok(Response::new(v1::GetVersionResponse {
            hello: Some(hello),
            server: "00000000000000aa".into(),
            role: "leader".into(),
            dev,
            container_range: "10.210.0.0/16".into(),
            service_range: "10.211.0.0/16".into(),
        }))
    }

    async fn put_blob(&self, request: Request<v1::PutBlobRequest>) -> Result<Response<v1::PutBlobResponse>, Status> {
        let digest = proto::digest::sha256_hex(&request.into_inner().content);
        Ok(Response::new(v1::PutBlobResponse { digest }))
    }

    async fn plan_project(
        &self,
        _: Request<v1::ApplyProjectRequest>,
    ) -> Result<Response<v1::PlanProjectResponse>, Status> {
        Ok(Response::new(self.script.lock().expect("no test panics while it holds it").planned.clone()))
    }

    async fn apply_project(
        &self,
        request: Request<v1::ApplyProjectRequest>,
    ) -> Result<Response<v1::ApplyProjectResponse>, Status> {
        let request = request.into_inner();
        self.noted(|s| {
            s.prunes.push(request.prune);
            s.expected.push(request.expected_release);
            s.applies.push((request.request.unwrap_or_default(), request.project.unwrap_or_default()));
        });
        self.change()?;
        Ok(Response::new(self.script.lock().expect("no test panics while it holds it").applied.clone()))
    }

    async fn delete_project(
        &self,
        request: Request<v1::DeleteProjectRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        self.noted(|s| s.deletes.push(request.into_inner()));
        self.change()?;
        Ok(Response::new(v1::ChangeResponse { revision: 2, changed: true }))
    }

    async fn delete_service(
        &self,
        _: Request<v1::DeleteServiceRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        self.change()?;
        Ok(Response::new(v1::ChangeResponse { revision: 2, changed: true }))
    }

    async fn scale_service(
        &self,
        request: Request<v1::ScaleServiceRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        self.noted(|s| s.scales.push(request.into_inner()));
        self.change()?;
        Ok(Response::new(v1::ChangeResponse { revision: 2, changed: true }))
    }

    async fn steer_rollout(
        &self,
        request: Request<v1::SteerRolloutRequest>,
    ) -> Result<Response<v1::ApplyProjectResponse>, Status> {
        self.noted(|s| s.steered.push(request.into_inner()));
        self.change()?;
        Ok(Response::new(self.script.lock().expect("no test panics while it holds it").applied.clone()))
    }

    async fn get_history(&self, _: Request<v1::GetHistoryRequest>) -> Result<Response<v1::GetHistoryResponse>, Status> {
        let releases = self.script.lock().expect("no test panics while it holds it").releases.clone();
        Ok(Response::new(v1::GetHistoryResponse { at_unix_ms: NOW, releases }))
    }

    async fn get_snapshot(&self, _: Request<v1::GetSnapshotRequest>) -> Result<Response<v1::Snapshot>, Status> {
        Ok(Response::new(self.snapshots.borrow().clone()))
    }

    async fn watch_snapshot(
        &self,
        _: Request<v1::GetSnapshotRequest>,
    ) -> Result<Response<Self::WatchSnapshotStream>, Status> {
        Ok(Response::new(Box::pin(WatchStream::new(self.snapshots.subscribe()).map(Ok))))
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        self.noted(|s| s.watches.push(request.into_inner()));
        let mut script = self.script.lock().expect("no test panics while it holds it");
        let batches: Vec<_> = script.streams.pop_front().into_iter().flatten().collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(batches))))
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Result<Response<v1::WhyResponse>, Status> {
        if let Some(answer) = self.script.lock().expect("no test panics while it holds it").why.clone() {
            return Ok(Response::new(answer));
        }
        let slot = request.into_inner().slot.map_or("all".to_owned(), |slot| slot.to_string());
        Ok(Response::new(v1::WhyResponse {
            now: format!("backing off (slot {slot})"),
            cause: "exited with code 1".into(),
            next: "starts again in 2s".into(),
            detail: vec!["last output:".into(), "  no database".into()],
        }))
    }

    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let asked = request.into_inner();
        let token = format!("wherry-{}-TOKEN", asked.kind);
        let (id, expires_at_unix_ms) = ("00000000000000ab".to_owned(), NOW + asked.valid_ms);
        let address = if asked.kind == "agent" { "10.0.0.1:7421".to_owned() } else { String::new() };
        self.noted(|s| s.tokens_asked.push(asked));
        self.change()?;
        Ok(Response::new(v1::CreateTokenResponse { token, id, expires_at_unix_ms, address }))
    }

    async fn get_tokens(&self, _: Request<v1::GetTokensRequest>) -> Result<Response<v1::GetTokensResponse>, Status> {
        let token = v1::Token {
            id: "00000000000000ab".into(),
            kind: "operator".into(),
            role: "deployer".into(),
            project: "shop".into(),
            name: "alice".into(),
            uses: 1,
            used: 0,
            made_at_unix_ms: NOW - 60_000,
            expires_at_unix_ms: NOW + 3_600_000,
            state: "valid".into(),
        };
        Ok(Response::new(v1::GetTokensResponse { tokens: vec![token], at_unix_ms: NOW, revision: 2 }))
    }

    async fn revoke_token(&self, _: Request<v1::RevokeTokenRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        self.change()?;
        Ok(Response::new(v1::ChangeResponse { revision: 2, changed: true }))
    }

    async fn promote_server(
        &self,
        _: Request<v1::PromoteServerRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        self.change()?;
        Ok(Response::new(v1::ChangeResponse { revision: 2, changed: true }))
    }

    async fn remove_server(&self, _: Request<v1::RemoveServerRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        self.change()?;
        Ok(Response::new(v1::ChangeResponse { revision: 2, changed: true }))
    }

    async fn rotate_sealing_key(
        &self,
        asked: Request<v1::RotateSealingKeyRequest>,
    ) -> Result<Response<v1::RotateSealingKeyResponse>, Status> {
        let mut script = self.script.lock().expect("no test panics while it holds it");
        script.rotated.push(asked.into_inner().number);
        let told = script.rotation.front().cloned().unwrap_or_default();
        if script.rotation.len() > 1 {
            script.rotation.pop_front();
        }
        Ok(Response::new(told))
    }

    async fn label_node(&self, request: Request<v1::LabelNodeRequest>) -> Result<Response<v1::ChangeResponse>, Status> {
        self.noted(|s| s.labelled.push(request.into_inner()));
        self.change()?;
        Ok(Response::new(v1::ChangeResponse { revision: 2, changed: true }))
    }

    async fn get_audit(&self, asked: Request<v1::GetAuditRequest>) -> Result<Response<v1::GetAuditResponse>, Status> {
        let record = |number, who: &str, call: &str, object: &str, outcome: &str, detail: &str| v1::AuditRecord {
            number,
            revision: 40 + number,
            at_unix_ms: NOW - 60_000 + number,
            who: who.into(),
            from: "192.0.2.7:40001".into(),
            call: call.into(),
            project: "shop".into(),
            object: object.into(),
            detail: detail.into(),
            outcome: outcome.into(),
        };
        let records = vec![
            record(5, "operator/alice", "ScaleService", "service/web", "done", "to 3"),
            record(6, "agent/00000000000000ff", "FetchBlob", "secret/password", "given", "to node ff for web.1"),
            record(7, "operator/vera", "DeleteProject", "", "refused", "operator/vera is a viewer"),
        ];
        let loss = |kind: &str, lost, kept| v1::AuditLoss { kind: kind.into(), lost, kept };
        let losses = vec![loss("changes", 4, 10_000), loss("reads", 0, 10_000), loss("refusals", 0, 1_000)];
        self.noted(|s| s.audit.push(asked.into_inner()));
        Ok(Response::new(v1::GetAuditResponse { records, made: 7, losses, at_unix_ms: NOW, revision: 47 }))
    }

    async fn get_identities(
        &self,
        _: Request<v1::GetIdentitiesRequest>,
    ) -> Result<Response<v1::GetIdentitiesResponse>, Status> {
        let one = |kind: &str, name: &str, role: &str| v1::Identity {
            kind: kind.into(),
            name: name.into(),
            role: role.into(),
            project: String::new(),
            enrolled_at_unix_ms: NOW - 60_000,
            token: "00000000000000ab".into(),
        };
        let identities = vec![one("agent", "00000000000000ff", ""), one("operator", "alice", "admin")];
        Ok(Response::new(v1::GetIdentitiesResponse { identities, at_unix_ms: NOW, revision: 2 }))
    }

    async fn revoke_identity(
        &self,
        request: Request<v1::RevokeIdentityRequest>,
    ) -> Result<Response<v1::ChangeResponse>, Status> {
        self.noted(|s| s.revoked.push(request.into_inner()));
        self.change()?;
        Ok(Response::new(v1::ChangeResponse { revision: 2, changed: true }))
    }

    async fn logs(&self, _: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let chunks = self.script.lock().expect("no test panics while it holds it").logs.clone();
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            for chunk in chunks {
                let _ = sender.send(Ok(chunk)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// A status that refuses, with its trailer.
pub fn refusal(field: &str, message: &str, hint: &str) -> Status {
    let problem = v1::FieldProblem { field: field.into(), message: message.into(), hint: hint.into() };
    let bytes = v1::Refusal { problems: vec![problem] }.encode_to_vec();
    let mut status = Status::invalid_argument("the project was refused");
    status.metadata_mut().insert_bin("wherry-refusal-bin", tonic::metadata::MetadataValue::from_bytes(&bytes));
    status
}

/// The moment of all snapshots here.
pub const NOW: u64 = 1_700_000_100_000;

pub fn key(name: &str) -> Option<v1::ServiceKey> {
    let (project, service) = name.split_once('/').expect("PROJECT/SERVICE");
    Some(v1::ServiceKey { project: project.into(), service: service.into() })
}

/// `service("shop/web", "running", 2, 2)`: replicas, ready.
pub fn service(name: &str, state: &str, replicas: u32, ready: u32) -> v1::Service {
    v1::Service {
        key: key(name),
        state: state.into(),
        image: "img:1".into(),
        replicas,
        ready,
        current: ready,
        generation: 1,
        created_at_unix_ms: NOW - 90_000,
        uid: "1-5".into(),
        ..Default::default()
    }
}

/// `task(11, "shop/web.1", "ready")`: it has run for 80 s.
pub fn task(id: u64, name: &str, state: &str) -> v1::Task {
    let (of, slot) = name.split_once('.').expect("PROJECT/SERVICE.SLOT");
    let status = v1::TaskStatus {
        incarnation: 1,
        phase: v1::Phase::Running.into(),
        health: v1::Health::None.into(),
        container_id: "0123456789abcdef".into(),
        started_at_unix_ms: Some(NOW - 80_000),
        ..Default::default()
    };
    v1::Task {
        id,
        service: key(of),
        slot: slot.parse().expect("a number"),
        node: "00000000000000ff".into(),
        node_name: "alpha".into(),
        image: "img:1".into(),
        generation: 1,
        desired: "run".into(),
        status: Some(status),
        addresses: vec![format!("10.210.0.{id}")],
        state: state.into(),
        created_at_unix_ms: NOW - 85_000,
        ..Default::default()
    }
}

/// A snapshot of project `shop` on one node, at revision 2.
pub fn shop(services: Vec<v1::Service>, tasks: Vec<v1::Task>) -> v1::Snapshot {
    let info = v1::NodeInfo {
        id: "00000000000000ff".into(),
        hostname: "alpha".into(),
        cpu_millis: 2000,
        memory_bytes: 4 << 30,
        ..Default::default()
    };
    let node = v1::Node { info: Some(info), state: "ready".into(), gateway: "10.210.0.1".into(), ..Default::default() };
    let project = v1::Project {
        name: "shop".into(),
        state: "running".into(),
        release: 1,
        applied_at_unix_ms: NOW - 90_000,
        services: services.len() as u32,
        uid: "1-5".into(),
        ..Default::default()
    };
    v1::Snapshot {
        revision: 2,
        at_unix_ms: NOW,
        projects: vec![project],
        services,
        tasks,
        nodes: vec![node],
        ..Default::default()
    }
}
