//! A body that ends before its stream does, with a reason: the right to it has ended, or who answers has.

use bytes::Bytes;
use http_body::Frame;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::HeaderMap;

/// Which half of a call a body is, and whether it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Request,
    Response,
    Over,
}

/// A body that ends when a future resolves.
pub struct Guarded<F> {
    inner: Body,
    ended: Pin<Box<F>>,
    half: Half,
}

impl<F> std::fmt::Debug for Guarded<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").field("half", &self.half).finish_non_exhaustive()
    }
}

// === impl Guarded ===

impl<F: Future<Output = Status> + Send + 'static> Guarded<F> {
    /// What a caller sends.
    pub fn request(inner: Body, ended: F) -> Body {
        Body::new(Guarded { inner, ended: Box::pin(ended), half: Half::Request })
    }

    /// What a caller is sent: it ends with the reason as its status.
    pub fn response(inner: Body, ended: F) -> Body {
        Body::new(Guarded { inner, ended: Box::pin(ended), half: Half::Response })
    }
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
