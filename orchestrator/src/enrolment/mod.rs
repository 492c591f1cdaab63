//! How a stranger becomes known: a certificate for a token, and a new one for an old one.
//!
//! Never lets what a stranger sends into the log before its token has held here; `state/apply/identity` decides again,
//! so that a token cannot be used twice by racing. Whether a caller may call at all is `access`'s.

mod attempts;

use proto::id::{NodeId, ServerId};
use proto::identity::{CertificateName, Subject};
use proto::peer::proves_enrolment;
use proto::v1;
use proto::v1::enrolment_server::Enrolment;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tonic::{Request, Response, Status};

use crate::access::{Caller, Witness};
use crate::engine::command::Enrolling;
use crate::engine::model::Asker;
use crate::engine::{Command, Outcome, Rejection, State};
use crate::pki::keeper::{Founded, ends};
use crate::pki::sealer::Sealer;
use crate::raft::{Applied, Clock, ProposeError, RaftHandle};
use attempts::{ATTEMPTS_MAX, Attempts};

/// Bytes of an Ed25519 public key.
const KEY_BYTES: usize = 32;

/// The door for strangers.
#[derive(Debug, Clone)]
pub struct Desk {
    raft: RaftHandle,
    founded: Founded,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    /// Of the certificates it gives.
    life: Duration,
    attempts: Arc<Mutex<Attempts>>,
}

// === impl Desk ===

impl Desk {
    /// One for both doors: attempts are counted together.
    pub fn new(raft: RaftHandle, founded: Founded, sealer: Arc<Sealer>, clock: Arc<dyn Clock>, life: Duration) -> Desk {
        Desk { raft, founded, sealer, clock, life, attempts: Arc::default() }
    }

    fn count_attempt(&self, address: Option<IpAddr>) -> Result<(), Status> {
        let Some(address) = address else { return Ok(()) };
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.take(address, self.clock.monotonic_ms()) {
            return Ok(());
        }
        Err(Status::resource_exhausted(format!(
            "{address} has tried to join more than {ATTEMPTS_MAX} times within a minute; try again in a minute"
        )))
    }

    fn certificate(&self, state: &State, subject: Subject, key: &[u8]) -> Result<v1::EnrolResponse, Status> {
        let cluster = state.cluster().ok_or_else(|| Status::unavailable("there is no cluster yet"))?;
        let now = self.clock.wall();
        let name = CertificateName { cluster, subject, epoch: state.epoch(), until: ends(now, self.life) };
        let authority = self.founded.now()?;
        let certificate = authority.issue(&name, key, now).map_err(|e| Status::internal(e.to_string()))?;
        let mut sealing_keys = self.keys_for(state, &name.subject)?.into_iter();
        Ok(v1::EnrolResponse {
            certificate,
            authority: authority.certificate().to_vec(),
            subject: name.subject.to_string(),
            at_unix_ms: now.0,
            until_unix_ms: name.until.0,
            sealing_key: sealing_keys.next().unwrap_or_default(),
            more_sealing_keys: sealing_keys.collect(),
        })
    }

    /// A server opens what is sealed in the log; nobody else does.
    fn keys_for(&self, state: &State, subject: &Subject) -> Result<Vec<Vec<u8>>, Status> {
        match subject {
            Subject::Server(_) => {
                let keys = self.sealer.for_another_server(state.key_in_use());
                let keys = keys.map_err(|e| Status::unavailable(e.to_string()))?;
                Ok(keys.iter().map(|key| key.to_vec()).collect())
            }
            Subject::Agent(_) | Subject::Operator(_) => Ok(Vec::new()),
        }
    }

    fn check(&self, state: &State, asked: &v1::EnrolRequest, who: Enrolling, hash: &str) -> Result<(), Status> {
        let cluster = state.cluster().ok_or_else(|| Status::unavailable("there is no cluster yet"))?;
        let proved = proves_enrolment(&asked.public_key, &asked.proof, cluster, asked.token, &asked.kind, &asked.node);
        if asked.public_key.len() != KEY_BYTES || !proved {
            return Err(Status::permission_denied("the caller did not prove that it has the key it wants known"));
        }
        let token = state.token(asked.token).ok_or_else(|| refused(&Rejection::NoToken(asked.token)))?;
        if !proto::digest::same(token.hash.as_bytes(), hash.as_bytes()) {
            return Err(refused(&Rejection::WrongSecret(asked.token)));
        }
        // Judged on a copy, with this server's clock: what is refused does not reach the log.
        let command = Command::Enrol { token: asked.token, hash: hash.to_owned(), who, key: asked.public_key.clone() };
        let stamped =
            crate::engine::Stamped { at: state.clock(), wall: self.clock.wall(), request: None, by: None, command };
        match crate::engine::apply(&mut state.clone(), &stamped) {
            Outcome::Rejected(rejection) => Err(refused(&rejection)),
            _ => Ok(()),
        }
    }
}

fn refused(rejection: &Rejection) -> Status {
    Status::permission_denied(rejection.to_string())
}

#[tonic::async_trait]
impl Enrolment for Desk {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::EnrolResponse>, Status> {
        let from = Witness::of(&request)?.asker().from;
        self.count_attempt(from.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
        let asked = request.into_inner();
        let who = match asked.kind.as_str() {
            "agent" => Enrolling::Agent(node(&asked.node)?),
            "server" => Enrolling::Server(ServerId(node(&asked.node)?.0)),
            "operator" if asked.node.is_empty() => Enrolling::Operator,
            _ => {
                let wrong = "kind: `agent` with a node, `server` with an id, or `operator` without either";
                return Err(Status::invalid_argument(wrong));
            }
        };
        let hash = proto::digest::sha256_hex(&asked.secret);
        let state = self.raft.state().borrow().clone();
        self.check(&state, &asked, who, &hash)?;
        let key = asked.public_key.clone();
        let command = Command::Enrol { token: asked.token, hash, who, key };
        let by = Asker { who: format!("token/{:016x}", asked.token), from };
        let subject = match self.raft.propose_by(by, None, command).await {
            Ok(Applied { outcome: Outcome::Enrolled { subject, .. }, .. }) => subject,
            Ok(Applied { outcome: Outcome::Rejected(rejection), .. }) => return Err(refused(&rejection)),
            Ok(Applied { outcome, .. }) => return Err(Status::internal(format!("unexpected outcome {outcome:?}"))),
            Err(error @ ProposeError::NotLeader { .. }) => return Err(crate::forward::not_leading(&error)),
            Err(error) => return Err(Status::unavailable(error.to_string())),
        };
        tracing::info!(%subject, token = format!("{:016x}", asked.token), "joined");
        self.certificate(&self.raft.state().borrow(), subject, &asked.public_key).map(Response::new)
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::EnrolResponse>, Status> {
        let subject = match request.extensions().get::<Caller>() {
            Some(Caller::Agent(node)) => Subject::Agent(*node),
            Some(Caller::Operator { name, .. }) => Subject::Operator(name.clone()),
            _ => return Err(Status::unauthenticated("only who has a certificate gets a new one")),
        };
        let state = self.raft.state().borrow().clone();
        let known =
            state.identity(&subject).ok_or_else(|| Status::unauthenticated(format!("{subject} was revoked")))?;
        self.certificate(&state, subject, &known.key).map(Response::new)
    }
}

fn node(text: &str) -> Result<NodeId, Status> {
    let parsed = text.parse::<NodeId>().ok().filter(|node| node.to_string() == text && node.0 != 0);
    parsed.ok_or_else(|| Status::invalid_argument("node: 16 hexadecimal digits"))
}
