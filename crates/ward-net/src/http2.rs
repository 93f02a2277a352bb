//! HTTP/2 (RFC 9113) for the server: one connection, with everything bounded that the protocol leaves
//! open (rule 12).
//!
//! hyper and h2 bound the header list and its CONTINUATION frames, streams at once, streams reset before
//! they were seen, and answer pings. This adds what they leave out: a connection without requests, or
//! whose first request does not come, is closed; one that takes requests back again and again (rapid
//! reset) is closed and then cut; one whose caller lets an answer stall is cut. The tasks of its
//! requests end with it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use ward_core::Limits;

use crate::http::{Body, BoxError, text};
use crate::places::Seat;
use crate::server::{Peer, Shared, answer, told_to_stop};
use crate::wire::{Guarded, monotonic};

/// Frames of this size at most, so that no caller makes Ward buffer more (RFC 9113's own default).
const FRAME: u32 = 16 * 1024;
/// What callers may send before a handler reads it, per request and per connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A caller that never made a request is not waited for longer than this when the connection closes, nor is one who
/// has to make room, behind the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one HTTP/2 connection to its end.
pub(crate) async fn serve(
    io: Guarded,
    peer: Peer,
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    mut stopped: watch::Receiver<bool>,
) {
    let limits = Arc::clone(&shared.limits);
    let activity = Arc::new(Activity::new(limits.http2_resets));
    let tasks = Arc::new(Mutex::new(JoinSet::new()));
    let service = {
        let (shared, activity) = (Arc::clone(&shared), Arc::clone(&activity));
        let seat = Arc::clone(&seat);
        service_fn(move |request| {
            let (shared, activity) = (Arc::clone(&shared), Arc::clone(&activity));
            let busy = seat.begin();
            async move {
                let response = respond(&shared, &activity, request, peer).await;
                Ok::<_, Infallible>(response.map(|body| busy.with(body)))
            }
        })
    };
    let mut http = hyper::server::conn::http2::Builder::new(Tasks(Arc::downgrade(&tasks)));
    http.timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.http2_resets.min(64))
        .max_local_error_reset_streams(limits.http2_resets.min(1024))
        .max_send_buf_size(limits.http2_send_buffer.min(u32::MAX as usize))
        .max_frame_size(FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(limits.http2_ping_interval)
        .keep_alive_timeout(limits.http2_ping_timeout);
    let mut connection = pin!(http.serve_connection(TokioIo::new(io), service));
    let shortest = limits.header_timeout.min(limits.body_timeout).min(limits.http2_idle);
    let mut tick = tokio::time::interval(
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1)),
    );
    let mut closing: Option<Instant> = None;
    let mut leaving = false;
    loop {
        let stop = async {
            if closing.is_some() {
                std::future::pending::<()>().await;
            }
            told_to_stop(&mut stopped).await;
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stop => {
                closing = Some(monotonic());
                connection.as_mut().graceful_shutdown();
                None
            }
            () = seat.asked_to_leave() => {
                leaving = true;
                closing = closing.or_else(|| Some(monotonic()));
                connection.as_mut().graceful_shutdown();
                None
            }
            _ = tick.tick() => None,
            () = activity.alarm.notified() => None,
        };
        match ended {
            Some(Ok(())) => return,
            Some(Err(error)) => return tracing::debug!(%error, "a connection ended early"),
            None => {}
        }
        // An answer that was just handed over may still stand in a buffer.
        if leaving && activity.is_idle_for(LINGER, monotonic()) {
            return tracing::debug!("an idle HTTP/2 connection made room");
        }
        match activity.verdict(monotonic(), closing, &limits) {
            Verdict::GoOn => {}
            Verdict::Close => {
                closing = Some(monotonic());
                connection.as_mut().graceful_shutdown();
            }
            Verdict::Cut(why) => {
                shared.stats.cut();
                return tracing::debug!(why, "an HTTP/2 connection was cut");
            }
        }
    }
}

/// Answers one request and keeps count of it until the last octet of its answer was taken.
async fn respond(
    shared: &Shared,
    activity: &Arc<Activity>,
    request: Request<Incoming>,
    peer: Peer,
) -> Response<Body> {
    let mut under_way = activity.begin(&shared.stats);
    if activity.flooded() {
        under_way.done = true;
        return text(StatusCode::SERVICE_UNAVAILABLE, "too many requests were taken back\n");
    }
    let response = match as_http1(request) {
        Ok(request) => answer(shared, request, peer).await,
        Err((status, why)) => text(status, why),
    };
    response.map(|body| Counted { body, under_way }.boxed())
}

/// An answer that needs no handler.
type Refused = (StatusCode, &'static str);

/// The form that the rooms know: `Host` from `:authority` and a target in origin form, so that there is
/// one spelling of who is asked. A `Host` that says otherwise is refused (RFC 9113 §8.3.1).
fn as_http1(mut request: Request<Incoming>) -> Result<Request<Incoming>, Refused> {
    let bad = || (StatusCode::BAD_REQUEST, "Host and :authority differ\n");
    if let Some(authority) = request.uri().authority() {
        let value = HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?;
        let mut hosts = request.headers().get_all(HOST).iter();
        let agrees = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(value.as_bytes());
        if !hosts.all(agrees) {
            return Err(bad());
        }
        request.headers_mut().insert(HOST, value);
    }
    let target = request.uri().path_and_query().cloned();
    // `CONNECT` has no target; Ward is no tunnel.
    let target: PathAndQuery =
        target.ok_or((StatusCode::METHOD_NOT_ALLOWED, "a request has a target\n"))?;
    *request.uri_mut() = Uri::from(target);
    Ok(request)
}

/// What a connection does, for the one who decides whether it goes on.
struct Activity {
    state: Mutex<State>,
    /// Rung when a bound was passed, so that the verdict does not wait for the next tick.
    alarm: Notify,
    resets: usize,
}

struct State {
    active: usize,
    served: u64,
    abandoned: usize,
    idle_since: Instant,
    /// Answers of which a piece waits to be taken, by request, and since when.
    stalled: BTreeMap<u64, Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    GoOn,
    Close,
    Cut(&'static str),
}

impl Activity {
    fn new(resets: usize) -> Self {
        Self {
            state: Mutex::new(State {
                active: 0,
                served: 0,
                abandoned: 0,
                idle_since: monotonic(),
                stalled: BTreeMap::new(),
            }),
            alarm: Notify::new(),
            resets,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>, stats: &Arc<crate::stats::ServerStats>) -> UnderWay {
        let mut state = self.state();
        state.active += 1;
        state.served += 1;
        UnderWay {
            number: state.served,
            activity: Arc::clone(self),
            stats: Arc::clone(stats),
            done: false,
        }
    }

    /// Whether no request was under way for so long.
    fn is_idle_for(&self, time: Duration, now: Instant) -> bool {
        let state = self.state();
        state.active == 0 && now.duration_since(state.idle_since) >= time
    }

    /// Whether requests of this connection are not worth any work.
    fn flooded(&self) -> bool {
        self.state().abandoned > self.resets.saturating_mul(2)
    }

    fn verdict(&self, now: Instant, closing: Option<Instant>, limits: &Limits) -> Verdict {
        let state = self.state();
        if state.abandoned > self.resets.saturating_mul(2) {
            return Verdict::Cut("it takes back what it asks for");
        }
        let stuck = |since: &Instant| now.duration_since(*since) > limits.body_timeout;
        if state.stalled.values().any(stuck) {
            return Verdict::Cut("an answer is not taken");
        }
        if let Some(since) = closing {
            let patience = if state.served == 0 { LINGER } else { limits.body_timeout };
            let over = state.active == 0 && now.duration_since(since) > patience;
            return if over { Verdict::Cut("it does not close") } else { Verdict::GoOn };
        }
        let patience = if state.served == 0 { limits.header_timeout } else { limits.http2_idle };
        let idle = state.active == 0 && now.duration_since(state.idle_since) > patience;
        if idle || state.abandoned > self.resets { Verdict::Close } else { Verdict::GoOn }
    }
}

/// One request, from its head to the end of its answer.
struct UnderWay {
    number: u64,
    activity: Arc<Activity>,
    stats: Arc<crate::stats::ServerStats>,
    done: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.active = state.active.saturating_sub(1);
        state.stalled.remove(&self.number);
        if state.active == 0 {
            state.idle_since = monotonic();
        }
        if !self.done {
            state.abandoned += 1;
            let ring = state.abandoned > self.activity.resets;
            drop(state);
            self.stats.abandoned();
            if ring {
                self.activity.alarm.notify_one();
            }
        }
    }
}

/// An answer's body that tells how it is taken.
struct Counted {
    body: Body,
    under_way: UnderWay,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let number = self.under_way.number;
        self.under_way.activity.state().stalled.remove(&number);
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            // The piece waits from here until the next poll, or until this is dropped.
            Poll::Ready(Some(Ok(_))) => {
                self.under_way.activity.state().stalled.insert(number, monotonic());
                if self.body.is_end_stream() {
                    self.under_way.done = true;
                }
            }
            // An answer that breaks off was not taken back by the caller.
            Poll::Ready(_) => self.under_way.done = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Spawns the requests of one connection; they end with it. Weak, because each request holds one.
#[derive(Clone)]
struct Tasks(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let Some(tasks) = self.0.upgrade() else { return };
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }
}
