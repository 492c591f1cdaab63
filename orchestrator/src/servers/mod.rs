//! The servers' door: the log's messages of other servers, what each says of itself, and the sealing keys that one lacks.
//!
//! Never decides who is a member: `membership` does. Who may call is `access`'s.

mod announce;

use proto::id::ServerId;
use proto::v1;
use proto::v1::servers_server::Servers;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

use crate::access::may_still;
use crate::pki::sealer::Sealer;
use crate::raft::{PeerDoor, PeerError, RaftHandle};

pub use announce::announce;

/// The door.
#[derive(Debug, Clone)]
pub struct ServersDoor {
    raft: RaftHandle,
    door: PeerDoor,
    sealer: Arc<Sealer>,
}

// === impl ServersDoor ===

impl ServersDoor {
    /// Before this server's log and keys.
    pub fn new(raft: RaftHandle, sealer: Arc<Sealer>) -> ServersDoor {
        let door = raft.door();
        ServersDoor { raft, door, sealer }
    }
}

fn refused(error: &PeerError) -> Status {
    match error {
        // Aborted, because Unavailable is also what a broken connection looks like.
        PeerError::Stopped(_) => Status::aborted(error.to_string()),
        PeerError::Wire(_) => Status::failed_precondition(error.to_string()),
        PeerError::Broken(_) => Status::data_loss(error.to_string()),
    }
}

#[tonic::async_trait]
impl Servers for ServersDoor {
    async fn append(&self, request: Request<v1::PeerMessage>) -> Result<Response<v1::PeerMessage>, Status> {
        self.door.take_append(request.get_ref()).await.map(Response::new).map_err(|e| refused(&e))
    }

    async fn vote(&self, request: Request<v1::PeerMessage>) -> Result<Response<v1::PeerMessage>, Status> {
        self.door.take_vote(request.get_ref()).await.map(Response::new).map_err(|e| refused(&e))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotPart>>,
    ) -> Result<Response<v1::PeerMessage>, Status> {
        self.door.take_snapshot(request.into_inner()).await.map(Response::new).map_err(|e| refused(&e))
    }

    async fn canvass(&self, request: Request<v1::PeerMessage>) -> Result<Response<v1::CanvassResponse>, Status> {
        let would_vote = self.door.take_canvass(request.get_ref()).await.map_err(|e| refused(&e))?;
        Ok(Response::new(v1::CanvassResponse { would_vote }))
    }

    async fn take_lead(&self, request: Request<v1::TakeLeadRequest>) -> Result<Response<v1::TakeLeadResponse>, Status> {
        if ServerId(request.get_ref().server) != self.door.id() {
            return Err(Status::failed_precondition("another server is asked to lead"));
        }
        self.door.take_lead().await.map_err(|e| Status::unavailable(e.to_string()))?;
        Ok(Response::new(v1::TakeLeadResponse {}))
    }

    async fn propose(&self, request: Request<v1::PeerMessage>) -> Result<Response<v1::PeerMessage>, Status> {
        self.raft.take_passed(request.get_ref(), may_still).await.map(Response::new).map_err(|e| refused(&e))
    }

    async fn announce(&self, request: Request<v1::AnnounceRequest>) -> Result<Response<v1::AnnounceResponse>, Status> {
        announce::take(&self.raft, request).await.map(Response::new)
    }

    async fn fetch_sealing_key(
        &self,
        request: Request<v1::FetchSealingKeyRequest>,
    ) -> Result<Response<v1::FetchSealingKeyResponse>, Status> {
        // A server was given the keys of its day when it joined: it is no more than it would be given now.
        let found = self.sealer.key(&request.get_ref().id);
        let key = found.ok_or_else(|| Status::not_found("this server does not have that sealing key"))?;
        Ok(Response::new(v1::FetchSealingKeyResponse { key: key.bytes().to_vec() }))
    }
}
