//! The choke point: a layer around all services of a door.
//!
//! Never looks into messages. Puts a `Caller` beside the request, and ends the streams of callers whose right has ended.

use bytes::Bytes;
use http_body::Frame;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};

use super::{Caller, Refusals, Witness, rights};
use crate::engine::State;
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
}

// === impl Gate ===

impl Gate {
    /// Before a unix socket that only its owner may open: who comes through is local.
    pub fn local(state: watch::Receiver<Arc<State>>, clock: Arc<dyn Clock>, refusals: Refusals) -> Gate {
        Gate { state, clock, refusals, local: true }
    }

    /// Before a TLS listener: who comes through is who its certificate says, or nobody.
    pub fn remote(state: watch::Receiver<Arc<State>>, clock: Arc<dyn Clock>, refusals: Refusals) -> Gate {
        Gate { state, clock, refusals, local: false }
    }

    /// Who calls, and the certificate that says so.
    fn caller(&self, request: &Request<Body>) -> Result<(Caller, Option<Shown>), Status> {
        if self.local {
            return Ok((Caller::Local, None));
        }
        let peer = request.extensions().get::<Arc<Peer>>();
        let Some(leaf) = peer.and_then(|peer| peer.certificate.as_ref()) else { return Ok((Caller::Nobody, None)) };
        let shown = shown::read(leaf)
            .ok_or_else(|| Status::unauthenticated("the certificate shown names nobody; join with a token"))?;
        let caller = Caller::of(&shown, &self.state.borrow(), self.clock.wall())?;
        Ok((caller, Some(shown)))
    }

    /// Resolves when a caller may no longer make a call that it was allowed, with the reason.
    async fn ended(self, caller: Caller, shown: Shown, call: String) -> Status {
        let mut states = self.state.clone();
        loop {
            let now = self.clock.wall();
            let judged = Caller::of(&shown, &states.borrow_and_update(), now);
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
        let judged = self.gate.caller(&request).and_then(|(caller, shown)| {
            let witness = Witness::new(&caller, request.extensions(), &call, &self.gate.refusals);
            match rights::allow(&caller, &call) {
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
        let ended = || Box::pin(self.gate.clone().ended(caller.clone(), shown.clone(), call.clone()));
        let (of_request, of_response) = (ended(), ended());
        let request = request.map(|inner| Body::new(Guarded { inner, ended: of_request, half: Half::Request }));
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|inner| Body::new(Guarded { inner, ended: of_response, half: Half::Response })))
        })
    }
}

/// Which half of a call a body is, and whether it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Request,
    Response,
    Over,
}

/// A body that ends when the right to it ends.
struct Guarded<F> {
    inner: Body,
    ended: Pin<Box<F>>,
    half: Half,
}

impl<F: Future<Output = Status>> http_body::Body for Guarded<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.half == Half::Over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(status) = self.ended.as_mut().poll(context) {
            let half = std::mem::replace(&mut self.half, Half::Over);
            let mut trailers = HeaderMap::new();
            let answer = match half {
                Half::Response if status.add_header(&mut trailers).is_ok() => Ok(Frame::trailers(trailers)),
                _ => Err(status),
            };
            return Poll::Ready(Some(answer));
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.half == Half::Over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
