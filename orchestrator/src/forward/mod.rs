//! Any server answers: calls that only the leader can answer are passed on to it, with who asks.
//!
//! # Guarantees
//! A call with one message is sent again when the leader changes within it: changes carry a request id, so that they
//! happen once. A stream ends with UNAVAILABLE when who answers it does not lead any more: the caller opens it again.
//!
//! # Caveats
//! Never looks into messages. Stands behind the gate: whoever comes here may make the call.

mod relay;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::access::{Guarded, Witness};
use crate::raft::{Leadership, Peers, Term};

/// How long a call looks for a leader.
const LEADER_WITHIN: Duration = Duration::from_secs(8);
/// Before a call is passed on again.
const AGAIN: Duration = Duration::from_millis(50);
/// The call that is answered here if who asks wants it so.
const GET_SNAPSHOT: &str = "/wherry.v1.Control/GetSnapshot";
/// Calls that stand for one command, and are answered with its outcome alone.
const COMMANDS: [&str; 5] = [
    "/wherry.v1.Control/ApplyProject",
    "/wherry.v1.Control/DeleteProject",
    "/wherry.v1.Control/DeleteService",
    "/wherry.v1.Control/ScaleService",
    "/wherry.v1.Control/LabelNode",
];
/// Header of an answer that only says that this server does not lead.
const NOT_LEADING: &str = "wherry-not-leading";

/// A refusal by which the call goes on to the leader.
pub fn not_leading(why: &dyn std::fmt::Display) -> Status {
    let mut status = Status::unavailable(why.to_string());
    status.metadata_mut().insert(NOT_LEADING, MetadataValue::from_static("1"));
    status
}

/// How a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By whichever server was asked.
    Here,
    /// By the leader: one message, one answer.
    Once,
    /// By whichever server was asked, which passes the command on that it stands for; by the leader if that cannot be done.
    Command,
    /// By the leader: one message, a stream of answers.
    Watch,
    /// By the leader: a stream of messages.
    Stream,
}

fn way(path: &str) -> Way {
    match path {
        "/wherry.v1.Agents/Session" | "/wherry.v1.Agents/PushLog" => Way::Stream,
        "/wherry.v1.Control/WatchSnapshot" | "/wherry.v1.Control/WatchEvents" | "/wherry.v1.Control/Logs" => Way::Watch,
        "/wherry.v1.Servers/Announce" => Way::Once,
        _ if COMMANDS.contains(&path) => Way::Command,
        _ if path.starts_with("/wherry.v1.Servers/") => Way::Here,
        _ if path.starts_with("/wherry.v1.") => Way::Once,
        _ => Way::Here,
    }
}

/// Passes calls on while this server does not lead.
#[derive(Debug, Clone)]
pub struct Forward {
    leadership: watch::Receiver<Leadership>,
    peers: Arc<Peers>,
}

// === impl Forward ===

impl Forward {
    /// Between the servers of a cluster.
    pub fn new(leadership: watch::Receiver<Leadership>, peers: Arc<Peers>) -> Forward {
        Forward { leadership, peers }
    }

    /// Who leads, once somebody does.
    async fn leader(&self, end: Instant) -> Result<Leader, Status> {
        let mut leadership = self.leadership.clone();
        let known = leadership.wait_for(|l| l.leading().is_some() || l.leader().is_some_and(|p| !p.address.is_empty()));
        match tokio::time::timeout_at(end, known).await {
            Ok(Ok(found)) => Ok(match &*found {
                Leadership::Leading(term) => Leader::Here(*term),
                Leadership::Following { leader } => {
                    Leader::There(leader.clone().map(|p| p.address).unwrap_or_default())
                }
            }),
            Ok(Err(_)) => Err(Status::unavailable("this server is going down; ask another")),
            Err(_) => Err(Status::unavailable(
                "no server leads now: fewer than a majority of them answer each other; bring them back \
                 (`ctl get servers --stale` shows what this one knows)",
            )),
        }
    }

    /// Resolves when this server does not lead in this term any more.
    async fn no_longer(self, term: Term) -> Status {
        let mut leadership = self.leadership.clone();
        let _ = leadership.wait_for(|l| l.leading().is_none_or(|t| t.term != term.term)).await;
        Status::unavailable("this server does not lead any more; ask again")
    }
}

/// Who answers.
#[derive(Debug)]
enum Leader {
    Here(Term),
    There(String),
}

impl<S> Layer<S> for Forward {
    type Service = Forwarding<S>;
    fn layer(&self, inner: S) -> Forwarding<S> {
        Forwarding { forward: self.clone(), inner }
    }
}

/// A service whose calls may be answered elsewhere.
#[derive(Debug, Clone)]
pub struct Forwarding<S> {
    forward: Forward,
    inner: S,
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Forwarding<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let way = match request.uri().path() {
            GET_SNAPSHOT if request.headers().contains_key(proto::STALE) => Way::Here,
            path => way(path),
        };
        // The one that is ready answers; its clone takes its place.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        if way == Way::Here {
            return Box::pin(inner.call(request));
        }
        let forward = self.forward.clone();
        let leads = forward.leadership.borrow().leading().copied();
        match (way, leads) {
            (Way::Once | Way::Command, _) => Box::pin(once(forward, inner, request, way == Way::Command)),
            // Nothing is copied while there is nothing to pass on.
            (_, Some(term)) => Box::pin(here(forward, inner, request, term)),
            (_, None) => Box::pin(stream(forward, inner, request, way)),
        }
    }
}

/// Answers a stream as long as this server leads.
async fn here<S>(forward: Forward, mut inner: S, request: Request<Body>, term: Term) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let response = inner.call(request).await?;
    Ok(response.map(|body| Guarded::response(body, forward.no_longer(term))))
}

/// One message and one answer, by whoever leads.
async fn once<S>(
    forward: Forward,
    inner: S,
    request: Request<Body>,
    mut as_command: bool,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone,
{
    let end = Instant::now() + LEADER_WITHIN;
    let kept = match relay::Kept::of(request).await {
        Ok(kept) => kept,
        Err(status) => return Ok(status.into_http()),
    };
    loop {
        let response = match forward.leader(end).await {
            Err(status) => return Ok(status.into_http()),
            Ok(Leader::Here(_)) => by_this(inner.clone(), kept.again()).await?,
            Ok(Leader::There(_)) if std::mem::take(&mut as_command) => {
                let response = by_this(inner.clone(), kept.again()).await?;
                if is_not_leading(response.headers()) {
                    continue;
                }
                response
            }
            Ok(Leader::There(address)) => match relay::ask(&forward.peers, &address, kept.for_another()).await {
                Ok(response) => response,
                Err(problem) => {
                    if Instant::now() + AGAIN >= end {
                        return Ok(Status::unavailable(format!("the leader cannot be reached: {problem}")).into_http());
                    }
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            },
        };
        if !is_not_leading(response.headers()) || Instant::now() + AGAIN >= end {
            return Ok(response);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// One answer of this server.
async fn by_this<S>(inner: S, request: Request<Body>) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone,
{
    let mut inner = ready(inner).await?;
    inner.call(request).await
}

async fn ready<S: Service<Request<Body>>>(mut inner: S) -> Result<S, S::Error> {
    std::future::poll_fn(|context| inner.poll_ready(context)).await?;
    Ok(inner)
}

/// A stream, by whoever leads when it begins.
async fn stream<S>(forward: Forward, inner: S, request: Request<Body>, way: Way) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone,
{
    match forward.leader(Instant::now() + LEADER_WITHIN).await {
        Err(status) => Ok(status.into_http()),
        Ok(Leader::Here(term)) => {
            let inner = ready(inner).await?;
            here(forward, inner, request, term).await
        }
        Ok(Leader::There(address)) => match relay::pass(&forward.peers, &address, request, way == Way::Stream).await {
            Ok(response) => Ok(response),
            Err(problem) => Ok(Status::unavailable(format!("the leader cannot be reached: {problem}")).into_http()),
        },
    }
}

fn is_not_leading(headers: &HeaderMap) -> bool {
    let unavailable = (Code::Unavailable as i32).to_string();
    headers.contains_key(NOT_LEADING) && headers.get("grpc-status").is_some_and(|v| *v == *unavailable)
}

/// Who asks, as the gate found out.
fn asker(request: &Request<Body>) -> Result<crate::engine::model::Asker, Status> {
    let witness = request.extensions().get::<Witness>();
    witness.map(Witness::for_servers).ok_or_else(|| Status::internal("the call came past the gate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that is added is thought of here: the schema's streams are exactly those that are named.
    #[test]
    fn every_stream_of_the_schema_is_passed_on_as_one() {
        use prost::Message;
        let set = prost_types::FileDescriptorSet::decode(proto::v1::DESCRIPTOR).expect("a schema");
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let found = way(&path);
                    let wanted = match (method.client_streaming(), method.server_streaming()) {
                        _ if service.name() == "Servers" && method.name() != "Announce" => Way::Here,
                        (true, _) => Way::Stream,
                        (false, true) => Way::Watch,
                        (false, false) if COMMANDS.contains(&path.as_str()) => Way::Command,
                        (false, false) => Way::Once,
                    };
                    assert_eq!(found, wanted, "{path}");
                }
            }
        }
        assert_eq!(way("/grpc.health.v1.Health/Check"), Way::Here);
    }

    #[test]
    fn a_refusal_for_want_of_leadership_is_told_from_others() {
        let headers = |status: Status| status.into_http::<Body>().headers().clone();
        assert!(is_not_leading(&headers(not_leading(&"no"))));
        assert!(!is_not_leading(&headers(Status::unavailable("no"))));
    }
}
