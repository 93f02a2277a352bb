//! Connections of the client that are kept for the next request. Each is driven by the request that uses it, not by
//! a task of its own, so that an answer wakes one task instead of handing itself from one to the next.
//!
//! A kept connection that its server has closed is not used, nor one on which anything came unasked; a request that
//! was not sent because of that goes over another.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Connection, SendRequest};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use crate::client::{FetchError, Wire};
use crate::wire::monotonic;

/// Shorter than servers keep idle connections (ours: ten seconds), so that a request does not meet a closing one.
const IDLE: Duration = Duration::from_secs(5);

/// Kept connections to one place.
const MOST: usize = 64;

/// A connection for one request at a time.
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// None once it has ended.
    connection: Option<Box<Connection<Wire, Full<Bytes>>>>,
}

/// A request that got no answer.
pub(crate) enum Failure {
    /// It never left: the connection had ended.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Its answer is no HTTP, or did not come.
    Broken,
}

impl Line {
    pub(crate) fn new(
        sender: SendRequest<Full<Bytes>>,
        connection: Connection<Wire, Full<Bytes>>,
    ) -> Self {
        Self { sender, connection: Some(Box::new(connection)) }
    }

    /// Reads and writes what can be.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection.as_mut()).poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether it may carry another request.
    async fn is_free(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(self.connection.is_some() && self.sender.is_ready())
        })
        .await
    }

    /// Sends a request; the answer's body carries this on.
    pub(crate) async fn send(
        mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Answer>, Failure> {
        // Whatever becomes of the answer becomes so while the connection is driven here: it needs to wake nobody.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        let answer = std::future::poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        });
        match answer.await {
            Ok(response) => Ok(response.map(|body| Answer { body, line: self, ended: false })),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => Failure::Unsent(Box::new(request)),
                None => Failure::Broken,
            }),
        }
    }
}

/// The body of an answer; reading it drives its connection.
pub(crate) struct Answer {
    body: Incoming,
    line: Line,
    ended: bool,
}

impl Answer {
    /// The connection, if the answer was read to its end and another request may follow.
    async fn line(mut self) -> Option<Line> {
        (self.ended && self.line.is_free().await).then_some(self.line)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.ended |= matches!(frame, Poll::Ready(None));
        frame
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let ready @ Poll::Ready(_) = self.poll(cx) {
            return ready;
        }
        self.line.drive(cx);
        self.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The kept connections, by scheme, host and port.
#[derive(Default)]
pub(crate) struct Lines(Mutex<BTreeMap<String, Vec<(Instant, Line)>>>);

impl Lines {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Vec<(Instant, Line)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that was used before and still stands.
    pub(crate) async fn take(&self, place: &str) -> Option<Line> {
        loop {
            let (since, mut line) = self.kept().get_mut(place)?.pop()?;
            if monotonic().duration_since(since) < IDLE && line.is_free().await {
                return Some(line);
            }
        }
    }

    /// Keeps the connection of an answer that was read, if it may be used again.
    pub(crate) async fn keep(self: &Arc<Self>, place: &str, answer: Answer) {
        let Some(line) = answer.line().await else { return };
        let mut kept = self.kept();
        if kept.is_empty() {
            tokio::spawn(close_idle(Arc::downgrade(self)));
        }
        let lines = match kept.get_mut(place) {
            Some(lines) => lines,
            None => kept.entry(place.to_owned()).or_default(),
        };
        if lines.len() < MOST {
            lines.push((monotonic(), line));
        }
    }
}

/// Closes what nobody used again, until nothing is kept.
async fn close_idle(lines: Weak<Lines>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(lines) = lines.upgrade() else { return };
        let mut kept = lines.kept();
        let now = monotonic();
        kept.retain(|_, lines| {
            lines.retain(|(since, _)| now.duration_since(*since) < IDLE);
            !lines.is_empty()
        });
        if kept.is_empty() {
            return;
        }
    }
}

impl From<Failure> for FetchError {
    fn from(_: Failure) -> Self {
        Self::Broken
    }
}
