//! The operators' door: reads State, admits and proposes changes.
//!
//! Never writes State but by proposing. Does not know the agents' door; streams from agents come by the switchboard.
//! Who may call is `access`'s: each request comes in through its `admit`.

mod audit;
mod blobs;
mod changes;
mod difference;
mod events;
mod identities;
mod logs;
mod nodes;
mod plan;
mod refusal;
mod rollout;
mod rotation;
mod servers;
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

use crate::access::{By, admit, admit_change};
use crate::engine::{Command, Outcome, State};
use crate::pki::keeper::Founded;
use crate::pki::sealer::Sealer;
use crate::raft::{Applied, Clock, ProposeError, RaftHandle, ReadError};
use crate::rotation::Trouble;
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
    founded: Founded,
    clock: Arc<dyn Clock>,
    place: Place,
    trouble: Trouble,
    views: views::Views,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A one-node cluster made by `ctl dev`.
    pub dev: bool,
    /// `HOST:PORT` where operators and agents reach it; empty: it has no TCP doors.
    pub reached: [String; 2],
}

// === impl Api ===

impl Api {
    /// Opens the door.
    pub fn new(
        raft: RaftHandle,
        switchboard: Switchboard,
        sealer: Arc<Sealer>,
        founded: Founded,
        clock: Arc<dyn Clock>,
        place: Place,
        trouble: Trouble,
    ) -> Api {
        let state = raft.state();
        Api { raft, state, switchboard, sealer, founded, clock, place, trouble, views: views::Views::default() }
    }

    async fn read_barrier(&self) -> Result<(), Status> {
        self.raft.read_barrier().await.map_err(|error| match error {
            ReadError::NotLeader { .. } => crate::forward::not_leading(&error),
            _ => Status::unavailable(error.to_string()),
        })
    }

    fn present(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// Proposes a change for somebody and refuses with its rejection. Both are in the audit.
    async fn change(&self, by: By, request: Option<v1::RequestId>, command: Command) -> Result<Outcome, Status> {
        let request = request.map(|r| RequestId { client: r.client, sequence: r.sequence });
        became(self.raft.propose_by(by.asker, request, command).await)
    }

    /// The same, also while another server leads: for calls that are answered with the outcome alone.
    async fn change_anywhere(
        &self,
        by: By,
        request: Option<v1::RequestId>,
        command: Command,
    ) -> Result<Outcome, Status> {
        let request = request.map(|r| RequestId { client: r.client, sequence: r.sequence });
        became(self.raft.propose_for(by.right, by.asker, request, command).await)
    }
}

fn became(proposed: Result<Applied, ProposeError>) -> Result<Outcome, Status> {
    match proposed {
        Ok(Applied { outcome: Outcome::Rejected(rejection), .. }) => Err(refusal::rejected(&rejection)),
        Ok(Applied { outcome, .. }) => Ok(outcome),
        Err(error) => Err(refusal::not_proposed(&error)),
    }
}

#[tonic::async_trait]
impl Control for Api {
    async fn get_version(&self, request: Request<v1::GetVersionRequest>) -> Answer<v1::GetVersionResponse> {
        admit(request)?;
        Ok(Response::new(self.version()))
    }

    async fn put_blob(&self, request: Request<v1::PutBlobRequest>) -> Answer<v1::PutBlobResponse> {
        let (by, asked) = admit_change(request)?;
        self.store_blob(by, asked).await.map(Response::new)
    }

    async fn apply_project(&self, request: Request<v1::ApplyProjectRequest>) -> Answer<v1::ApplyProjectResponse> {
        let (by, asked) = admit_change(request)?;
        self.apply(by, asked).await.map(Response::new)
    }

    async fn plan_project(&self, request: Request<v1::ApplyProjectRequest>) -> Answer<v1::PlanProjectResponse> {
        self.plan(admit(request)?).await.map(Response::new)
    }

    async fn delete_project(&self, request: Request<v1::DeleteProjectRequest>) -> Answer<v1::ChangeResponse> {
        let (by, asked) = admit_change(request)?;
        self.remove_project(by, asked).await.map(Response::new)
    }

    async fn delete_service(&self, request: Request<v1::DeleteServiceRequest>) -> Answer<v1::ChangeResponse> {
        let (by, asked) = admit_change(request)?;
        self.remove_service(by, asked).await.map(Response::new)
    }

    async fn scale_service(&self, request: Request<v1::ScaleServiceRequest>) -> Answer<v1::ChangeResponse> {
        let (by, asked) = admit_change(request)?;
        self.scale(by, asked).await.map(Response::new)
    }

    async fn steer_rollout(&self, request: Request<v1::SteerRolloutRequest>) -> Answer<v1::ApplyProjectResponse> {
        let (by, asked) = admit_change(request)?;
        self.steer(by, asked).await.map(Response::new)
    }

    async fn get_history(&self, request: Request<v1::GetHistoryRequest>) -> Answer<v1::GetHistoryResponse> {
        self.history(admit(request)?).map(Response::new)
    }

    async fn get_snapshot(&self, request: Request<v1::GetSnapshotRequest>) -> Answer<v1::Snapshot> {
        if !request.metadata().contains_key(proto::STALE) {
            self.read_barrier().await?;
        }
        snapshot::snapshot(&self.present(), &self.views, self.servers(), &admit(request)?, self.clock.wall())
            .map(Response::new)
    }

    type WatchSnapshotStream = Flow<v1::Snapshot>;

    async fn watch_snapshot(&self, request: Request<v1::GetSnapshotRequest>) -> Answer<Self::WatchSnapshotStream> {
        let request = admit(request)?;
        let api = self.clone();
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut states = api.state.clone();
            loop {
                let state = states.borrow_and_update().clone();
                let answer = snapshot::snapshot(&state, &api.views, api.servers(), &request, api.clock.wall());
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
        self.open_events(admit(request)?).map(Response::new)
    }

    async fn why(&self, request: Request<v1::WhyRequest>) -> Answer<v1::WhyResponse> {
        self.explain(admit(request)?).map(Response::new)
    }

    type LogsStream = Flow<v1::LogChunk>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        self.open_logs(admit(request)?).await.map(Response::new)
    }

    async fn create_token(&self, request: Request<v1::CreateTokenRequest>) -> Answer<v1::CreateTokenResponse> {
        let (by, asked) = admit_change(request)?;
        self.make_token(by, asked).await.map(Response::new)
    }

    async fn get_tokens(&self, request: Request<v1::GetTokensRequest>) -> Answer<v1::GetTokensResponse> {
        admit(request)?;
        Ok(Response::new(self.tokens()))
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Answer<v1::ChangeResponse> {
        let (by, asked) = admit_change(request)?;
        self.forget_token(by, asked).await.map(Response::new)
    }

    async fn get_audit(&self, request: Request<v1::GetAuditRequest>) -> Answer<v1::GetAuditResponse> {
        self.read_barrier().await?;
        Ok(Response::new(self.audit(&admit(request)?)))
    }

    async fn get_identities(&self, request: Request<v1::GetIdentitiesRequest>) -> Answer<v1::GetIdentitiesResponse> {
        admit(request)?;
        Ok(Response::new(self.identities()))
    }

    async fn revoke_identity(&self, request: Request<v1::RevokeIdentityRequest>) -> Answer<v1::ChangeResponse> {
        let (by, asked) = admit_change(request)?;
        self.forget_identity(by, asked).await.map(Response::new)
    }

    async fn promote_server(&self, request: Request<v1::PromoteServerRequest>) -> Answer<v1::ChangeResponse> {
        let (by, asked) = admit_change(request)?;
        self.promote(by, asked).await.map(Response::new)
    }

    async fn remove_server(&self, request: Request<v1::RemoveServerRequest>) -> Answer<v1::ChangeResponse> {
        let (by, asked) = admit_change(request)?;
        self.dismiss(by, asked).await.map(Response::new)
    }

    async fn rotate_sealing_key(
        &self,
        request: Request<v1::RotateSealingKeyRequest>,
    ) -> Answer<v1::RotateSealingKeyResponse> {
        let (by, asked) = admit_change(request)?;
        self.rotate_key(by, asked).await.map(Response::new)
    }

    async fn label_node(&self, request: Request<v1::LabelNodeRequest>) -> Answer<v1::ChangeResponse> {
        let (by, asked) = admit_change(request)?;
        self.label(by, asked).await.map(Response::new)
    }
}
