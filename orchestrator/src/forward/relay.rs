//! A call on its way to another server: kept so that it can be sent again, or passed on as it flows.

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame};
use proto::limits::MESSAGE_MAX_BYTES;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::request::Parts;
use tonic::codegen::http::{HeaderMap, Request, Response, Uri};
use tower::Service;

use super::asker;
use crate::access::behalf;
use crate::engine::model::Asker;
use crate::raft::Peers;

/// Bytes before a gRPC message: a flag and its length.
const FRAME_BYTES: usize = 5;

/// A request whose body has been read whole.
#[derive(Debug)]
pub(super) struct Kept {
    parts: Parts,
    by: Asker,
    body: Bytes,
}

// === impl Kept ===

impl Kept {
    pub(super) async fn of(request: Request<Body>) -> Result<Kept, Status> {
        let by = asker(&request)?;
        let (parts, body) = request.into_parts();
        let (body, _) = whole(body, MESSAGE_MAX_BYTES + FRAME_BYTES).await?;
        Ok(Kept { parts, by, body })
    }

    /// To be answered here.
    pub(super) fn again(&self) -> Request<Body> {
        Request::from_parts(self.parts.clone(), Body::new(Whole::new(self.body.clone(), None)))
    }

    /// To be answered by another server.
    pub(super) fn for_another(&self) -> Request<Body> {
        addressed(self.again(), &self.by)
    }
}

fn addressed(request: Request<Body>, by: &Asker) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    parts.extensions.clear();
    behalf::put(&mut parts.headers, by);
    let mut uri = Uri::builder().scheme("http").authority("server.wherry");
    if let Some(path) = parts.uri.path_and_query() {
        uri = uri.path_and_query(path.clone());
    }
    // Made of parts that were a URI before.
    parts.uri = uri.build().unwrap_or_default();
    Request::from_parts(parts, body)
}

/// Has another server answer; the answer has arrived whole when this returns.
pub(super) async fn ask(peers: &Peers, address: &str, request: Request<Body>) -> Result<Response<Body>, String> {
    let response = sent(peers, address, request).await?;
    let (parts, body) = response.into_parts();
    let (body, trailers) = whole(body, usize::MAX).await.map_err(|status| status.message().to_owned())?;
    Ok(Response::from_parts(parts, Body::new(Whole::new(body, trailers))))
}

/// Has another server answer, piece by piece in both directions if the caller streams.
pub(super) async fn pass(
    peers: &Peers,
    address: &str,
    request: Request<Body>,
    streams: bool,
) -> Result<Response<Body>, String> {
    let by = asker(&request).map_err(|status| status.message().to_owned())?;
    let request = if streams {
        addressed(request, &by)
    } else {
        Kept::of(request).await.map_err(|status| status.message().to_owned())?.for_another()
    };
    let response = sent(peers, address, request).await?;
    Ok(response.map(|inner| Body::new(Passed { inner, is_over: false })))
}

async fn sent(peers: &Peers, address: &str, request: Request<Body>) -> Result<Response<Body>, String> {
    let mut channel = peers.calls(address)?;
    std::future::poll_fn(|context| channel.poll_ready(context)).await.map_err(|e| proto::peer::explain(&e))?;
    channel.call(request).await.map_err(|e| proto::peer::explain(&e))
}

/// All of a body, and its trailers.
async fn whole(mut body: Body, max: usize) -> Result<(Bytes, Option<HeaderMap>), Status> {
    let (mut bytes, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame?.into_data() {
            Ok(data) if bytes.len() + data.len() > max => {
                return Err(Status::resource_exhausted(format!("a message may have at most {max} bytes")));
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(other) => trailers = other.into_trailers().ok(),
        }
    }
    Ok((bytes.freeze(), trailers))
}

/// A body that is there already.
struct Whole(VecDeque<Frame<Bytes>>);

impl Whole {
    fn new(body: Bytes, trailers: Option<HeaderMap>) -> Whole {
        let data = (!body.is_empty()).then(|| Frame::data(body));
        Whole(data.into_iter().chain(trailers.map(Frame::trailers)).collect())
    }
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// A stream of another server: when the way to it breaks, it ends as if that server had said so.
struct Passed {
    inner: Body,
    is_over: bool,
}

impl http_body::Body for Passed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Err(error))) => {
                self.is_over = true;
                let mut trailers = HeaderMap::new();
                let status = Status::unavailable(format!("the leader went away ({}); ask again", error.message()));
                Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_kept_with_its_trailers_up_to_a_limit() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        let body = || Body::new(Whole::new(Bytes::from_static(b"12345"), Some(trailers.clone())));
        let (bytes, found) = whole(body(), 5).await.expect("fits");
        assert_eq!((&bytes[..], found), (&b"12345"[..], Some(trailers.clone())));
        let refused = whole(body(), 4).await.expect_err("is too long");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    }
}
