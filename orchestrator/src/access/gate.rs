//! The choke point: a layer around all services of a door.
//!
//! Never looks into messages. Puts a `Caller` beside the request, and ends the streams of callers whose right has ended.

use proto::id::ClusterId;
use proto::identity::Subject;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::{Caller, Guarded, Refusals, Witness, behalf, rights};
use crate::engine::State;
use crate::engine::model::Asker;
use crate::listener::Peer;
use crate::pki::shown::{self, Shown};
use crate::raft::Clock;

/// How callers of a door are known.
#[derive(Debug, Clone)]
pub struct Gate {
    state: watch::Receiver<Arc<State>>,
    clock: Arc<dyn Clock>,
    refusals: Refusals,
    local: bool,
    /// The cluster that this server joins, before it has its State.
    joins: Option<ClusterId>,
}

/// Who calls, what says so, and from where if not from the other end of the connection.
struct Found {
    caller: Caller,
    shown: Option<Shown>,
    /// Passed on by a server, for somebody.
    by: Option<Asker>,
}

// === impl Gate ===

impl Gate {
    /// Before a unix socket that only its owner may open: who comes through is local.
    pub fn local(state: watch::Receiver<Arc<State>>, clock: Arc<dyn Clock>, refusals: Refusals) -> Gate {
        Gate { state, clock, refusals, local: true, joins: None }
    }

    /// Before a TLS listener: who comes through is who its certificate says, or nobody.
    pub fn remote(
        state: watch::Receiver<Arc<State>>,
        clock: Arc<dyn Clock>,
        refusals: Refusals,
        joins: Option<ClusterId>,
    ) -> Gate {
        Gate { state, clock, refusals, local: false, joins }
    }

    /// Who calls, and the certificate that says so.
    fn found(&self, request: &Request<Body>) -> Result<Found, Status> {
        if self.local {
            return Ok(Found { caller: Caller::Local, shown: None, by: None });
        }
        let peer = request.extensions().get::<Arc<Peer>>();
        let Some(leaf) = peer.and_then(|peer| peer.certificate.as_ref()) else {
            return Ok(Found { caller: Caller::Nobody, shown: None, by: None });
        };
        let shown = shown::read(leaf)
            .ok_or_else(|| Status::unauthenticated("the certificate shown names nobody; join with a token"))?;
        let state = self.state.borrow().clone();
        let caller = self.judge(&shown, &state)?;
        match (&caller, behalf::of(request)) {
            // The server that passes it on looks after the stream's end.
            (Caller::Server(_), Some(by)) => {
                Ok(Found { caller: behalf::caller(&by, &state)?, shown: Some(shown), by: Some(by) })
            }
            _ => Ok(Found { caller, shown: Some(shown), by: None }),
        }
    }

    fn judge(&self, shown: &Shown, state: &State) -> Result<Caller, Status> {
        let now = self.clock.wall();
        match (&shown.name.subject, self.joins) {
            // Who sends the State has to be let in before it is here.
            (Subject::Server(id), Some(joins)) if state.cluster().is_none() => {
                let holds = shown.name.cluster == joins && now < shown.name.until;
                holds.then_some(Caller::Server(*id)).ok_or_else(|| {
                    Status::unauthenticated(format!(
                        "the certificate of {} is of another cluster, or expired",
                        shown.name.subject
                    ))
                })
            }
            _ => Caller::of(shown, state, now),
        }
    }

    /// Resolves when a caller may no longer make a call that it was allowed, with the reason.
    async fn ended(self, caller: Caller, shown: Shown, call: String) -> Status {
        let mut states = self.state.clone();
        loop {
            let now = self.clock.wall();
            let judged = self.judge(&shown, &states.borrow_and_update());
            match judged.and_then(|caller| rights::allow(&caller, &call).map(|()| caller)) {
                Err(status) => return status,
                Ok(present) if present != caller => {
                    return Status::permission_denied(format!("the rights of {caller} have changed: call again"));
                }
                Ok(_) => {}
            }
            let left = Duration::from_millis(shown.name.until.0.saturating_sub(now.0));
            tokio::select! {
                changed = states.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;
    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

/// A service behind the gate.
#[derive(Debug, Clone)]
pub struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let call = request.uri().path().to_owned();
        let judged = self.gate.found(&request).and_then(|Found { caller, shown, by }| {
            let is_passed_on = by.is_some();
            let witness = Witness::new(&caller, request.extensions(), &call, &self.gate.refusals, by);
            match rights::allow(&caller, &call) {
                // Its own right is looked after where it came in.
                Ok(()) if is_passed_on => Ok((caller, None, witness)),
                Ok(()) => Ok((caller, shown, witness)),
                // A stranger must not fill the log.
                Err(why) if caller == Caller::Nobody => Err(why),
                Err(why) => Err(witness.refused("", String::new(), why)),
            }
        });
        let (caller, shown, witness) = match judged {
            Ok(judged) => judged,
            Err(status) => {
                tracing::debug!(call, %status, "refused");
                return Box::pin(async move { Ok(status.into_http()) });
            }
        };
        request.extensions_mut().insert(caller.clone());
        request.extensions_mut().insert(witness);
        let Some(shown) = shown else { return Box::pin(self.inner.call(request)) };
        let ended = || self.gate.clone().ended(caller.clone(), shown.clone(), call.clone());
        let (of_request, of_response) = (ended(), ended());
        let request = request.map(|inner| Guarded::request(inner, of_request));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|inner| Guarded::response(inner, of_response)))
        })
    }
}
