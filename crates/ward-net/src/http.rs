//! HTTP vocabulary of the house: one body type, answers that caches leave alone, bodies read up to a
//! bound (REG-26), and bodies that can be broken off without looking complete (rule 3).
//!
//! Refuses bodies over their limit (a declared length is believed only when it is *too large*) and
//! bodies that take too long.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, combinators::BoxBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// Any error that a body can end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every answer.
pub type Body = BoxBody<Bytes, BoxError>;

/// A body of no octets.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body that is wholly in memory.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An answer with a content type, `Cache-Control: no-store`, `Pragma: no-cache` (RFC 6749 §5.1) and
/// `X-Content-Type-Options: nosniff`.
pub fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A JSON answer that caches leave alone.
pub fn json(status: StatusCode, json: impl Into<Bytes>) -> Response<Body> {
    respond(status, "application/json", full(json))
}

/// A FHIR answer that caches leave alone.
pub fn fhir(status: StatusCode, json: impl Into<Bytes>) -> Response<Body> {
    respond(status, "application/fhir+json; charset=utf-8", full(json))
}

/// A short plain text that caches leave alone.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", full(text))
}

/// An answer without a body that caches leave alone.
pub fn no_content(status: StatusCode) -> Response<Body> {
    let mut response = respond(status, "text/plain", empty());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// A public answer that caches may keep for `max_age`.
pub fn cacheable(
    content_type: &'static str,
    max_age: Duration,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = respond(StatusCode::OK, content_type, full(body));
    let headers = response.headers_mut();
    headers.remove(PRAGMA);
    let value = format!("public, max-age={}", max_age.as_secs());
    // Digits and commas are always a valid header value.
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(CACHE_CONTROL, value);
    }
    response
}

/// 405 with the methods that would do (RFC 9110 §15.5.6).
pub fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// The same answer with `Retry-After`, whole seconds, at least one.
#[must_use]
pub fn retry_after(mut response: Response<Body>, after: Duration) -> Response<Body> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    response
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More octets than the limit, or so declared: 413.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The sender was too slow: 408.
    #[error("the body did not arrive in time")]
    Timeout,
    /// The sender broke off or broke the protocol: 400.
    #[error("the body was broken off")]
    Broken,
}

impl BodyError {
    /// The status for a *caller* whose body could not be read.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a whole body of at most `limit` octets within `timeout`.
///
/// Never holds more than `limit` octets plus one frame. A declared length over the limit is refused
/// before anything is read; a smaller one is not believed.
pub async fn read_body<B>(body: B, limit: usize, timeout: Duration) -> Result<Bytes, BodyError>
where
    B: hyper::body::Body<Data = Bytes>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge(limit));
    }
    let collect = async {
        let mut body = std::pin::pin!(body);
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        let mut length = 0_usize;
        while let Some(frame) = body.as_mut().frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            length = length.saturating_add(data.len());
            if length > limit {
                return Err(BodyError::TooLarge(limit));
            }
            // Most bodies are one frame: those are handed on without a copy.
            match first.take() {
                None if rest.is_empty() => first = Some(data),
                None => rest.extend_from_slice(&data),
                Some(earlier) => {
                    rest.extend_from_slice(&earlier);
                    rest.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| rest.freeze()))
    };
    tokio::time::timeout(timeout, collect).await.unwrap_or(Err(BodyError::Timeout))
}

/// The reader of a channel body has gone: the caller hung up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the caller is gone")]
pub struct Gone;

/// A channel body was dropped before [`BodySender::finish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was broken off")]
pub struct Aborted;

enum Piece {
    Data(Bytes),
    End,
}

/// The writing end of [`channel_body`]. Dropping it without [`BodySender::finish`] breaks the answer
/// off: the connection is closed without the closing chunk, so the caller knows it is incomplete.
#[derive(Debug)]
#[must_use = "dropping it breaks the answer off"]
pub struct BodySender(mpsc::Sender<Piece>);

impl BodySender {
    /// Hands on one piece; waits while the caller is behind by the bound of the channel.
    pub async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.0.send(Piece::Data(bytes)).await.map_err(|_| Gone)
    }

    /// The answer is complete. `Err` if the caller hung up before.
    pub async fn finish(self) -> Result<(), Gone> {
        self.0.send(Piece::End).await.map_err(|_| Gone)
    }

    /// Breaks the answer off; the same as dropping.
    pub fn abort(self) {}
}

struct ChannelBody {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl hyper::body::Body for ChannelBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx));
        Poll::Ready(match piece {
            Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(Aborted.into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A body that is written piece by piece while it is sent. Two pieces may wait, so a slow caller
/// slows the writer and memory stays bounded.
pub fn channel_body() -> (BodySender, Body) {
    let (sender, pieces) = mpsc::channel(2);
    (BodySender(sender), ChannelBody { pieces, ended: false }.boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that declares one length and sends frames for as long as it is asked.
    struct Liar {
        declared: Option<u64>,
        frames: usize,
        polled: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    }

    impl hyper::body::Body for Liar {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            self.polled.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if self.frames == 0 {
                return Poll::Ready(None);
            }
            self.frames -= 1;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 100])))))
        }
        fn size_hint(&self) -> SizeHint {
            self.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    #[tokio::test]
    async fn bodies_are_read_up_to_their_limit_whatever_they_declare() {
        let long = Duration::from_secs(5);
        // (declared, frames of 100, limit, expected, most frames polled)
        for (declared, frames, limit, expected, polls) in [
            (None, 0, 0, Ok(0), 1),
            (None, 1, 100, Ok(100), 2),
            (None, 3, 300, Ok(300), 4),
            (None, 3, 299, Err(BodyError::TooLarge(299)), 3),
            (Some(1 << 30), usize::MAX, 65_536, Err(BodyError::TooLarge(65_536)), 0),
            (Some(10), usize::MAX, 250, Err(BodyError::TooLarge(250)), 3),
            (None, usize::MAX, 1_000, Err(BodyError::TooLarge(1_000)), 11),
        ] {
            let polled = std::sync::Arc::default();
            let body = Liar { declared, frames, polled: std::sync::Arc::clone(&polled) };
            let got = read_body(body, limit, long).await.map(|bytes| bytes.len());
            assert_eq!(got, expected, "{declared:?} {limit}");
            assert!(polled.load(std::sync::atomic::Ordering::SeqCst) <= polls);
        }
    }

    #[tokio::test]
    async fn a_body_that_never_ends_times_out() {
        let (sender, body) = channel_body();
        sender.send(Bytes::from_static(b"x")).await.unwrap();
        let got = read_body(body, 10, Duration::from_millis(20)).await;
        assert_eq!(got, Err(BodyError::Timeout));
        assert_eq!(sender.send(Bytes::from_static(b"y")).await, Err(Gone));
    }

    #[tokio::test]
    async fn only_a_finished_channel_body_is_complete() {
        let (sender, body) = channel_body();
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        sender.finish().await.unwrap();
        assert_eq!(read_body(body, 10, Duration::from_secs(1)).await.unwrap(), "a");

        let (sender, body) = channel_body();
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        drop(sender);
        assert_eq!(read_body(body, 10, Duration::from_secs(1)).await, Err(BodyError::Broken));
    }
}
