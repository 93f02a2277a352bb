//! The server: HTTP/1.1 and, over TLS and by ALPN, HTTP/2; every wait and every buffer bounded (rule 12).
//!
//! Header bytes and count (431), header and handshake time, connections at once, target length (414),
//! callers that stop reading. A handler that panics answers 500 and takes nothing else down. HTTP/1.0
//! is refused (505) where the handler does not take it: it cannot tell a broken-off answer from a complete one.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use ward_core::{BoxFuture, Limits};

use crate::head::Framing;
use crate::heads::Heads;
use crate::http::{Body, text};
use crate::places::{Place, Places, Seat};
use crate::stats::ServerStats;
use crate::tls::TlsReload;
use crate::wire::{Duplex, Guarded, monotonic};

/// Who is on the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Address of the socket; a reverse proxy's, if there is one.
    pub addr: SocketAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Errors are answers too.
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> BoxFuture<'_, Response<Body>>;

    /// Whether HTTP/1.0 will do, which `openssl ocsp` and stapling servers speak: only where every answer is whole and
    /// signed by itself, so that one that is broken off is noticed.
    fn takes_http_1_0(&self) -> bool {
        false
    }
}

/// Makes a [`Handler`] of a function that returns a boxed future.
impl<F> Handler for F
where
    F: Fn(Request<Incoming>, Peer) -> BoxFuture<'static, Response<Body>> + Send + Sync + 'static,
{
    fn handle(&self, request: Request<Incoming>, peer: Peer) -> BoxFuture<'_, Response<Body>> {
        self(request, peer)
    }
}

/// Starts servers.
#[derive(Debug, Clone, Copy)]
pub struct Server;

impl Server {
    /// Serves `listener` until [`Running::shutdown`], or until the [`Running`] is dropped. With `tls`
    /// every connection must begin with a handshake.
    pub fn start(
        listener: TcpListener,
        tls: Option<Arc<TlsReload>>,
        handler: Arc<dyn Handler>,
        limits: Arc<Limits>,
    ) -> io::Result<Running> {
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let stats = Arc::<ServerStats>::default();
        let shared = Arc::new(Shared { tls, handler, limits, stats: Arc::clone(&stats) });
        let task = tokio::spawn(accept(listener, shared, stopped));
        Ok(Running { addr, stop, task: Some(task), stats })
    }
}

/// A server that runs. Dropping it stops it at once.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    stats: Arc<ServerStats>,
}

impl Running {
    /// What it counts about itself.
    pub fn stats(&self) -> Arc<ServerStats> {
        Arc::clone(&self.stats)
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, lets running requests end for at most `grace`, then cuts them.
    /// True if all ended by themselves.
    pub async fn shutdown(mut self, grace: Duration) -> bool {
        self.stop.send_replace(true);
        let Some(mut task) = self.task.take() else { return true };
        let drained = tokio::time::timeout(grace, &mut task).await.is_ok();
        task.abort();
        drained
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

pub(crate) struct Shared {
    tls: Option<Arc<TlsReload>>,
    handler: Arc<dyn Handler>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) stats: Arc<ServerStats>,
}

/// Accepts until told to stop, then waits for the connections. Dropping it (abort) cuts them: the
/// `JoinSet` aborts its tasks.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let places = Places::new(shared.limits.connections, Arc::clone(&shared.stats));
    let mut connections = JoinSet::new();
    // Who came and has no place yet; further callers wait in the listen queue.
    let mut came: Option<(TcpStream, SocketAddr)> = None;
    loop {
        let next = async {
            match &came {
                None => Next::Came(listener.accept().await),
                Some(_) => Next::Seated(places.take().await),
            }
        };
        let next = tokio::select! {
            () = told_to_stop(&mut stopped) => break,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match next {
            Next::Came(Ok((stream, addr))) => came = Some((stream, addr)),
            Next::Came(Err(error)) => {
                // Out of descriptors, or a caller that reset: neither may spin nor end the server.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Next::Seated(Some(place)) => {
                let Some((stream, addr)) = came.take() else { continue };
                shared.stats.accepted();
                let open = Open(Arc::clone(&shared.stats));
                let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
                let connection = serve(stream, addr, shared, place.seat(), stopped);
                connections.spawn(async move {
                    connection.await;
                    drop((place, open));
                });
            }
            Next::Seated(None) => break,
        }
    }
    drop((listener, came));
    while connections.join_next().await.is_some() {}
}

/// What happens next at the listener.
enum Next {
    Came(io::Result<(TcpStream, SocketAddr)>),
    Seated(Option<Place>),
}

/// One open connection, for the count.
struct Open(Arc<ServerStats>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// Resolves when the server is told to stop, or its handle is gone.
pub(crate) async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// One connection, from its handshake to its end.
async fn serve(
    stream: TcpStream,
    addr: SocketAddr,
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    mut stopped: watch::Receiver<bool>,
) {
    let limits = &shared.limits;
    // Small answers must not wait for acknowledgements; an error here means the caller has gone.
    let _ = stream.set_nodelay(true);
    let peer = Peer { addr, tls: shared.tls.is_some() };
    let mut http2 = false;
    let stream: Box<dyn Duplex> = match &shared.tls {
        None => Box::new(stream),
        Some(tls) => {
            let handshake = TlsAcceptor::from(tls.current()).accept(stream);
            let handshake = tokio::time::timeout(limits.header_timeout, handshake);
            let shaken = tokio::select! {
                shaken = handshake => shaken,
                () = told_to_stop(&mut stopped) => return,
                () = seat.asked_to_leave() => return,
            };
            match shaken {
                Ok(Ok(stream)) => {
                    http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    Box::new(stream)
                }
                Ok(Err(error)) => {
                    shared.stats.handshake_failed();
                    return tracing::debug!(%error, "TLS handshake failed");
                }
                Err(_) => {
                    shared.stats.handshake_failed();
                    return tracing::debug!("TLS handshake took too long");
                }
            }
        }
    };
    let stream = Guarded::new(stream, limits.body_timeout);
    if http2 {
        return crate::http2::serve(stream, peer, Arc::clone(&shared), seat, stopped).await;
    }
    let most = limits.header_bytes.max(MIN_BUFFER);
    let (stream, announced) = Heads::new(stream, most);
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, framing) = (Arc::clone(&shared), announced.agreed(request.body()));
        let busy = seat.begin();
        async move {
            let response = framed(&shared, request, peer, framing).await;
            Ok::<_, Infallible>(response.map(|body| busy.with(body)))
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(most);
    if limits.header_count != DEFAULT_HEADERS {
        http.max_headers(limits.header_count);
    }
    let io = TokioIo::new(stream);
    let mut connection = pin!(http.serve_connection(io, service));
    let mut leaving = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = told_to_stop(&mut stopped) => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
            () = seat.asked_to_leave(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = seat.overstays(), if leaving => return tracing::debug!("a connection was cut to make room"),
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers one HTTP/1.1 request, if hyper read its head as Ward did.
async fn framed(
    shared: &Shared,
    request: Request<Incoming>,
    peer: Peer,
    framing: Option<Framing>,
) -> Response<Body> {
    let mut response = match framing {
        Some(Framing::Length(_)) => return answer(shared, request, peer).await,
        Some(Framing::Chunked) => answer(shared, request, peer).await,
        None => {
            tracing::error!("a request head was read in two ways and refused: please report it");
            text(StatusCode::BAD_REQUEST, "a request that can be read in two ways\n")
        }
    };
    // Nobody follows where this body ends, so nothing may come behind it.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// hyper refuses smaller buffers.
const MIN_BUFFER: usize = 8192;
/// hyper's own bound on header fields, which needs no allocation.
const DEFAULT_HEADERS: usize = 100;

/// Asks the handler; whatever it does, there is an answer. Both protocols come through here.
pub(crate) async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
    peer: Peer,
) -> Response<Body> {
    let began = monotonic();
    shared.stats.request(request.version());
    let response = ask(shared, request, peer).await;
    shared.stats.answered(response.status().as_u16(), began.elapsed());
    response
}

async fn ask(shared: &Shared, request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let old = request.version() == Version::HTTP_10 && shared.handler.takes_http_1_0();
    if !old && !matches!(request.version(), Version::HTTP_11 | Version::HTTP_2) {
        return text(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 or HTTP/2\n");
    }
    // Over HTTP/1.1 hyper counts the fields as it reads them.
    if request.headers().len() > shared.limits.header_count {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return text(status, "too many header fields\n");
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > shared.limits.target_bytes {
        return text(StatusCode::URI_TOO_LONG, "the request target is too long\n");
    }
    let Ok(future) = catch_unwind(AssertUnwindSafe(|| shared.handler.handle(request, peer))) else {
        return panicked();
    };
    let mut future = future;
    // The future is not polled again after a panic, so no half-changed state of it is seen.
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll,
        Err(_) => Poll::Ready(panicked()),
    })
    .await
}

fn panicked() -> Response<Body> {
    tracing::error!("a request handler panicked; answered 500");
    text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
}
