//! The operators' door: reads State, admits and proposes changes.
//!
//! Never writes State but by proposing. Does not know the agents' door; streams from agents come by the switchboard.
//! Authorisation is the unix socket's permissions until the first TCP listener opens.

mod blobs;
mod changes;
mod difference;
mod events;
mod logs;
mod plan;
mod refusal;
mod rollout;
mod snapshot;
mod views;
mod words;

use proto::id::RequestId;
use proto::v1;
use proto::v1::control_server::Control;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::engine::{Command, Outcome, State};
use crate::pki::seal::Sealer;
use crate::raft::{Applied, Clock, RaftHandle};
use crate::switchboard::Switchboard;

type Answer<T> = Result<Response<T>, Status>;
type Flow<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The operators' door.
#[derive(Debug, Clone)]
pub struct Api {
    raft: RaftHandle,
    state: watch::Receiver<Arc<State>>,
    switchboard: Switchboard,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    dev: bool,
    views: views::Views,
}

// === impl Api ===

impl Api {
    /// Opens the door.
    pub fn new(
        raft: RaftHandle,
        switchboard: Switchboard,
        sealer: Arc<Sealer>,
        clock: Arc<dyn Clock>,
        dev: bool,
    ) -> Api {
        let state = raft.state();
        Api { raft, state, switchboard, sealer, clock, dev, views: views::Views::default() }
    }

    fn present(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// Proposes a change and refuses with its rejection.
    async fn change(&self, request: Option<v1::RequestId>, command: Command) -> Result<Outcome, Status> {
        let request = request.map(|r| RequestId { client: r.client, sequence: r.sequence });
        match self.raft.propose(request, command).await {
            Ok(Applied { outcome: Outcome::Rejected(rejection), .. }) => Err(refusal::rejected(&rejection)),
            Ok(Applied { outcome, .. }) => Ok(outcome),
            Err(error) => Err(refusal::not_proposed(&error)),
        }
    }
}

#[tonic::async_trait]
impl Control for Api {
    async fn get_version(&self, _: Request<v1::GetVersionRequest>) -> Answer<v1::GetVersionResponse> {
        Ok(Response::new(self.version()))
    }

    async fn put_blob(&self, request: Request<v1::PutBlobRequest>) -> Answer<v1::PutBlobResponse> {
        self.store_blob(request.into_inner()).await.map(Response::new)
    }

    async fn apply_project(&self, request: Request<v1::ApplyProjectRequest>) -> Answer<v1::ApplyProjectResponse> {
        self.apply(request.into_inner()).await.map(Response::new)
    }

    async fn plan_project(&self, request: Request<v1::ApplyProjectRequest>) -> Answer<v1::PlanProjectResponse> {
        self.plan(request.into_inner()).await.map(Response::new)
    }

    async fn delete_project(&self, request: Request<v1::DeleteProjectRequest>) -> Answer<v1::ChangeResponse> {
        self.remove_project(request.into_inner()).await.map(Response::new)
    }

    async fn delete_service(&self, request: Request<v1::DeleteServiceRequest>) -> Answer<v1::ChangeResponse> {
        self.remove_service(request.into_inner()).await.map(Response::new)
    }

    async fn scale_service(&self, request: Request<v1::ScaleServiceRequest>) -> Answer<v1::ChangeResponse> {
        self.scale(request.into_inner()).await.map(Response::new)
    }

    async fn steer_rollout(&self, request: Request<v1::SteerRolloutRequest>) -> Answer<v1::ApplyProjectResponse> {
        self.steer(request.into_inner()).await.map(Response::new)
    }

    async fn get_history(&self, request: Request<v1::GetHistoryRequest>) -> Answer<v1::GetHistoryResponse> {
        self.history(request.into_inner()).map(Response::new)
    }

    async fn get_snapshot(&self, request: Request<v1::GetSnapshotRequest>) -> Answer<v1::Snapshot> {
        self.raft.read_barrier().await.map_err(|e| Status::unavailable(e.to_string()))?;
        snapshot::snapshot(&self.present(), &self.views, &self.servers(), &request.into_inner(), self.clock.wall())
            .map(Response::new)
    }

    type WatchSnapshotStream = Flow<v1::Snapshot>;

    async fn watch_snapshot(&self, request: Request<v1::GetSnapshotRequest>) -> Answer<Self::WatchSnapshotStream> {
        let request = request.into_inner();
        let api = self.clone();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut states = api.state.clone();
            loop {
                let state = states.borrow_and_update().clone();
                let answer = snapshot::snapshot(&state, &api.views, &api.servers(), &request, api.clock.wall());
                let is_over = answer.is_err();
                if sender.send(answer).await.is_err() || is_over {
                    return;
                }
                tokio::select! {
                    changed = states.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type WatchEventsStream = Flow<v1::EventBatch>;

    async fn watch_events(&self, request: Request<v1::WatchEventsRequest>) -> Answer<Self::WatchEventsStream> {
        self.open_events(request.into_inner()).map(Response::new)
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Answer<v1::WhyResponse> {
        self.explain(request.into_inner()).map(Response::new)
    }

    type LogsStream = Flow<v1::LogChunk>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        self.open_logs(request.into_inner()).await.map(Response::new)
    }
}
