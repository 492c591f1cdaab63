//! What a server says of itself, from both sides: it sees to it that State has it, the leader puts it there.

use proto::id::ServerId;
use proto::v1;
use proto::v1::servers_client::ServersClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

use crate::access::Caller;
use crate::engine::model::ServerInfo;
use crate::engine::{Command, KEY_ROTATION, Outcome, SERVERS};
use crate::raft::{Applied, Leadership, Peers, ProposeError, RaftHandle};

/// Before it is said again.
const AGAIN: Duration = Duration::from_millis(300);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest text in it.
const TEXT_MAX: usize = 256;
/// Most keys in it.
const KEYS_MAX: usize = 16;

/// Takes what another server says of itself.
pub(super) async fn take(
    raft: &RaftHandle,
    request: Request<v1::AnnounceRequest>,
) -> Result<v1::AnnounceResponse, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    let asked = request.into_inner();
    let id: ServerId = asked.id.parse().map_err(|e| Status::invalid_argument(format!("id: {e}")))?;
    if caller != Some(Caller::Server(id)) {
        return Err(Status::permission_denied(format!("server {id} is not who says so")));
    }
    let texts = [&asked.hostname, &asked.peers, &asked.operators, &asked.program];
    if texts.into_iter().chain(&asked.sealing_keys).any(|text| text.len() > TEXT_MAX) {
        return Err(Status::invalid_argument(format!("a text is longer than {TEXT_MAX} bytes")));
    }
    if asked.sealing_keys.len() > KEYS_MAX {
        return Err(Status::invalid_argument(format!("more than {KEYS_MAX} keys")));
    }
    let info = ServerInfo {
        id,
        hostname: asked.hostname,
        peers: asked.peers,
        operators: asked.operators,
        understands: asked.understands,
        program: asked.program,
        sealing_keys: asked.sealing_keys,
    };
    match raft.propose(None, Command::PutServer { info }).await {
        Ok(Applied { outcome: Outcome::Rejected(why), .. }) => Err(Status::failed_precondition(why.to_string())),
        Ok(_) => Ok(v1::AnnounceResponse {}),
        Err(error @ ProposeError::NotLeader { .. }) => Err(crate::forward::not_leading(&error)),
        Err(error) => Err(Status::unavailable(error.to_string())),
    }
}

/// Sees to it that State has what this server says of itself, until stopped. `known`: servers to ask before one is known.
/// `keys`: ids of the sealing keys that are on its disk.
pub async fn announce(
    raft: RaftHandle,
    peers: Arc<Peers>,
    mut info: ServerInfo,
    known: Vec<String>,
    mut keys: watch::Receiver<Vec<String>>,
    stop: CancellationToken,
) {
    let mut states = raft.state();
    let mut leadership = raft.leadership();
    let mut told = String::new();
    loop {
        let state = states.borrow_and_update().clone();
        // An earlier version has no place for it.
        info.sealing_keys = match state.version() >= KEY_ROTATION {
            true => keys.borrow_and_update().clone(),
            false => Vec::new(),
        };
        let is_known = state.server(info.id).is_some_and(|server| server.info == info);
        let may_be_said = state.version() >= SERVERS || state.cluster().is_none();
        if !is_known && may_be_said {
            let leads = leadership.borrow_and_update().clone();
            match say(&raft, &peers, &info, &leads, &known).await {
                Ok(()) => told.clear(),
                Err(problem) if problem != told => {
                    tracing::warn!(problem, "the cluster does not take up this server yet");
                    told = problem;
                }
                Err(_) => {}
            }
        }
        let again = async {
            if is_known || !may_be_said {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(AGAIN).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = again => {}
            changed = states.changed(), if is_known || !may_be_said => if changed.is_err() { return },
            changed = keys.changed() => if changed.is_err() { return },
        }
    }
}

async fn say(
    raft: &RaftHandle,
    peers: &Peers,
    info: &ServerInfo,
    leads: &Leadership,
    known: &[String],
) -> Result<(), String> {
    let addresses: Vec<&str> = match leads {
        Leadership::Leading(_) => {
            return match raft.propose(None, Command::PutServer { info: info.clone() }).await {
                Ok(Applied { outcome: Outcome::Rejected(why), .. }) => Err(why.to_string()),
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
        }
        Leadership::Following { leader: Some(leader) } if !leader.address.is_empty() => vec![&leader.address],
        Leadership::Following { .. } => known.iter().map(String::as_str).collect(),
    };
    let mut problems = Vec::new();
    for address in addresses {
        match ask(peers, address, info).await {
            Ok(()) => return Ok(()),
            Err(problem) => problems.push(format!("{address}: {problem}")),
        }
    }
    Err(problems.join("; "))
}

async fn ask(peers: &Peers, address: &str, info: &ServerInfo) -> Result<(), String> {
    let mut client = ServersClient::new(peers.calls(address)?);
    let request = v1::AnnounceRequest {
        id: info.id.to_string(),
        hostname: info.hostname.clone(),
        peers: info.peers.clone(),
        operators: info.operators.clone(),
        understands: info.understands,
        program: info.program.clone(),
        sealing_keys: info.sealing_keys.clone(),
    };
    match tokio::time::timeout(ANSWER_WITHIN, client.announce(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) if status.code() == Code::Unauthenticated => {
            Err(format!("{}; this server is no member any more", status.message()))
        }
        Ok(Err(status)) => Err(proto::peer::explain_status(&status)),
        Err(_) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
    }
}
