//! Who asks, in the words of the audit; and how a refusal to somebody who is known gets there.
//!
//! The gate puts one beside each request it lets through. Never waits for the log.

use proto::limits::AUDIT_TEXT_MAX;
use std::sync::Arc;
use tonic::codegen::http::Extensions;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

use super::Caller;
use super::refusals::Refusals;
use crate::engine::model::{Asker, AuditNote};
use crate::listener::Peer;

/// One call, as far as the audit is concerned.
#[derive(Debug, Clone)]
pub struct Witness {
    by: Asker,
    call: String,
    /// Who asks, as other servers are told.
    named: String,
    refusals: Refusals,
}

/// From where a request came: `IP:PORT`, or the user and process at the other end of a unix socket.
pub fn origin(extensions: &Extensions) -> String {
    if let Some(peer) = extensions.get::<Arc<Peer>>() {
        return peer.address.to_string();
    }
    match extensions.get::<UdsConnectInfo>().and_then(|info| info.peer_cred) {
        Some(user) => match user.pid() {
            Some(pid) => format!("uid {} pid {pid}", user.uid()),
            None => format!("uid {}", user.uid()),
        },
        None => "unix socket".to_owned(),
    }
}

// === impl Witness ===

impl Witness {
    /// Of a call that the gate looks at.
    /// `from`: for whom a server passes it on.
    pub(super) fn new(
        caller: &Caller,
        extensions: &Extensions,
        path: &str,
        refusals: &Refusals,
        from: Option<Asker>,
    ) -> Witness {
        let from = from.map_or_else(|| origin(extensions), |by| by.from);
        let by = Asker { who: caller.to_string(), from };
        let call = path.rsplit('/').next().unwrap_or(path).to_owned();
        Witness { by, call, named: caller.for_servers(), refusals: refusals.clone() }
    }

    /// The one beside a request.
    pub fn of<T>(request: &Request<T>) -> Result<Witness, Status> {
        let witness = request.extensions().get::<Witness>();
        witness.cloned().ok_or_else(|| Status::internal("the call came past the gate"))
    }

    /// Who asks.
    pub fn asker(&self) -> Asker {
        self.by.clone()
    }

    /// The call's name.
    pub fn call(&self) -> &str {
        &self.call
    }

    /// Who asks, for the server that the call is passed on to.
    pub fn for_servers(&self) -> Asker {
        Asker { who: self.named.clone(), from: self.by.from.clone() }
    }

    /// The call, about something.
    pub fn note(&self, project: &str, object: String, detail: String) -> AuditNote {
        AuditNote { call: self.call.clone(), project: bounded(project), object, detail, refused: false }
    }

    /// Has it noted that the call is refused, and hands the refusal on.
    pub fn refused(&self, project: &str, object: String, why: Status) -> Status {
        let note = self.note(project, object, bounded(why.message()));
        self.refusals.note(self.asker(), AuditNote { refused: true, ..note });
        why
    }
}

/// What a caller wrote does not get longer into the log than it will be kept.
fn bounded(text: &str) -> String {
    text.chars().take(AUDIT_TEXT_MAX).collect()
}
