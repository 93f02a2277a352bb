//! The one HTTP client, with guarded egress (X19, X20, A19, A27).
//!
//! Only `http` and `https`, no user information; the host is resolved first, every address it resolves
//! to is judged, and the connection goes to a judged address (no second resolution, so DNS cannot
//! change its mind). Private, loopback, link-local and other special addresses are refused unless
//! `host:port` is on the allow list. Redirects are never followed: a 3xx is handed back as it is.
//! Bodies are bounded in size and time; content codings are neither asked for nor accepted.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, Entry, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use ward_core::Limits;

use crate::http::{Body, BodyError, read_body};
use crate::lines::{Answer, Failure, Line, Lines};
use crate::wire::{Duplex, Guarded};

/// Why an answer could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The target is not one that Ward may call; nothing was sent.
    #[error("egress refused: {0}")]
    Refused(&'static str),
    /// No connection: unknown host, refused, TLS failure.
    #[error("no connection: {0}")]
    Connect(String),
    /// Not answered in time.
    #[error("no complete answer in time")]
    Timeout,
    /// The body is larger than this many bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer is not HTTP, or was broken off.
    #[error("the answer is broken")]
    Broken,
    /// The answer has a content coding, which was not asked for (A19).
    #[error("the answer has a content coding")]
    Encoded,
}

/// Where the client may go.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    allowed: BTreeSet<String>,
    anywhere: bool,
}

impl Egress {
    /// Public addresses only.
    pub fn public_only() -> Self {
        Self::default()
    }

    /// Public addresses, and these `host:port` (host as in the URL, IPv6 in brackets) whatever they
    /// resolve to.
    pub fn allowing<S: Into<String>>(targets: impl IntoIterator<Item = S>) -> Self {
        Self {
            allowed: targets.into_iter().map(|target| target.into().to_ascii_lowercase()).collect(),
            anywhere: false,
        }
    }

    /// Any address: for a tool that a person runs in a network of their own, never for a server.
    pub fn anywhere() -> Self {
        Self { anywhere: true, ..Self::default() }
    }

    /// The same with one more `host:port`.
    #[must_use]
    pub fn and(mut self, target: impl Into<String>) -> Self {
        self.allowed.insert(target.into().to_ascii_lowercase());
        self
    }

    fn allows(&self, target: &Target) -> bool {
        self.anywhere || self.allowed.contains(&format!("{}:{}", target.host, target.port))
    }
}

/// Whether an address is one of the open Internet (IANA special-purpose registries).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., _, _)            // this net, private, loopback, multicast, reserved
            | (100, 64..=127, _)                // shared by carriers (CGNAT)
            | (169, 254, _)                     // link-local, cloud metadata
            | (172, 16..=31, _) | (192, 168, _) // private
            | (192, 0, 0 | 2) | (192, 88, 99)   // protocol assignments, documentation, 6to4 relays
            | (198, 18..=19, _)                 // benchmarks
            | (198, 51, 100) | (203, 0, 113) // documentation
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64 (RFC 6052): as public as the IPv4 address inside.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        // Protocol assignments and Teredo, documentation, 6to4, documentation again.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast; everything else (mapped, unique-local, link-local, multicast …) is not.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// A target whose form is acceptable.
struct Target {
    https: bool,
    /// Lower case; IPv6 in brackets.
    host: String,
    port: u16,
}

impl Target {
    fn parse(uri: &Uri) -> Result<Self, FetchError> {
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(FetchError::Refused("the scheme is neither http nor https")),
            None => return Err(FetchError::Refused("not an absolute URL")),
        };
        let authority = uri.authority().ok_or(FetchError::Refused("the URL has no host"))?;
        if authority.as_str().contains('@') {
            return Err(FetchError::Refused("the URL has user information"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            // `host:` with an empty or oversized port is not the default port.
            None if authority.as_str().len() == authority.host().len() => {
                if https {
                    443
                } else {
                    80
                }
            }
            None => return Err(FetchError::Refused("the URL has a malformed port")),
        };
        if authority.host().is_empty() || port == 0 {
            return Err(FetchError::Refused("the URL has no host or no port"));
        }
        Ok(Self { https, host: authority.host().to_ascii_lowercase(), port })
    }

    /// What connections are kept by.
    fn place(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    /// The `Host` field; without a port that goes without saying.
    fn host_header(&self) -> Result<HeaderValue, FetchError> {
        let usual = if self.https { 443 } else { 80 };
        let text = match self.port {
            port if port == usual => self.host.clone(),
            port => format!("{}:{port}", self.host),
        };
        HeaderValue::try_from(text).map_err(|_| FetchError::Refused("the host is not one"))
    }

    fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }
}

/// Connects to judged addresses only.
#[derive(Clone)]
struct Connector {
    egress: Arc<Egress>,
    tls: Arc<ClientConfig>,
    limits: Arc<Limits>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Wire, FetchError> {
        let target = Target::parse(&uri)?;
        let connected = tokio::time::timeout(self.limits.connect_timeout, self.open(&target));
        let stream = connected
            .await
            .map_err(|_| FetchError::Connect("connecting took too long".into()))??;
        // A peer that stops reading is cut like one that stops answering.
        Ok(Wire(TokioIo::new(Guarded::new(stream, self.limits.upstream_timeout))))
    }

    async fn open(&self, target: &Target) -> Result<Box<dyn Duplex>, FetchError> {
        let refused = |error: std::io::Error| FetchError::Connect(error.to_string());
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((target.bare_host(), target.port))
            .await
            .map_err(refused)?
            .take(MAX_ADDRESSES)
            .collect();
        // One address that is not public spoils them all: an honest public name has none.
        if !self.egress.allows(target) && !addresses.iter().all(|address| is_public(address.ip())) {
            return Err(FetchError::Refused("the target is not a public address"));
        }
        let stream = self.first(&addresses).await?;
        stream.set_nodelay(true).map_err(refused)?;
        if !target.https {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(target.bare_host().to_owned())
            .map_err(|_| FetchError::Refused("the host is not a DNS name or address"))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map_err(refused)?;
        Ok(Box::new(stream))
    }
}

impl Connector {
    /// Connects to the first address that answers; each gets its share of the time.
    async fn first(&self, addresses: &[SocketAddr]) -> Result<TcpStream, FetchError> {
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let share = self.limits.connect_timeout / count;
        let mut failure = FetchError::Connect("the host has no address".to_owned());
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = FetchError::Connect(error.to_string()),
                Err(_) => failure = FetchError::Connect("connecting took too long".to_owned()),
            }
        }
        Err(failure)
    }
}

/// Octets that an answer's head may have at least, whatever the bound for callers.
const LEAST_BUFFER: usize = 64 * 1024;
/// Addresses of one host that are looked at.
const MAX_ADDRESSES: usize = 16;

/// A connection as hyper wants it.
pub(crate) struct Wire(TokioIo<Guarded>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Wire;
    type Error = FetchError;
    type Future = ward_core::BoxFuture<'static, Result<Wire, FetchError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), FetchError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// The HTTP client. Cloning shares its connections.
#[derive(Clone)]
pub struct HttpClient {
    connector: Connector,
    /// Connections of whole requests.
    lines: Arc<Lines>,
    /// Those of requests whose bodies are still coming.
    streaming: Client<Connector, Body>,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client that goes where `egress` lets it and trusts what `tls` trusts
    /// ([`crate::tls::client_config`]).
    pub fn new(egress: Egress, tls: Arc<ClientConfig>, limits: Arc<Limits>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place where a client is made")]
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            // Shorter than servers keep idle connections (ours: ten seconds), so that a request does
            // not meet a closing one.
            .pool_idle_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(64)
            .http1_max_buf_size(limits.header_bytes.max(LEAST_BUFFER))
            .http1_max_headers(limits.header_count);
        let connector = Connector { egress: Arc::new(egress), tls, limits };
        let streaming = builder.build(connector.clone());
        Self { connector, lines: Arc::default(), streaming }
    }

    /// Sends a request to its absolute URL and reads the whole answer: at most `max_body` octets, all
    /// within `timeout`. Any status is an answer, 3xx too.
    pub async fn send(
        &self,
        mut request: Request<Bytes>,
        max_body: usize,
        timeout: Duration,
    ) -> Result<Response<Bytes>, FetchError> {
        let target = Target::parse(request.uri())?;
        let uri = request.uri().clone();
        // Towards the server it is the path and query, and the host is a header (RFC 9112 §3.2.1).
        *request.uri_mut() = uri
            .path_and_query()
            .map_or_else(|| Uri::from_static("/"), |below| Uri::from(below.clone()));
        let headers = request.headers_mut();
        if let Entry::Vacant(host) = headers.entry(HOST) {
            host.insert(target.host_header()?);
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("ward/", env!("CARGO_PKG_VERSION"))));
        let exchange = async {
            let place = target.place();
            let answer = self.ask(&place, &uri, request.map(Full::new)).await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Err(FetchError::Broken);
            }
            let coded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
            if answer.headers().get_all(CONTENT_ENCODING).iter().any(coded) {
                return Err(FetchError::Encoded);
            }
            let (head, mut answer) = answer.into_parts();
            let body = read_body(&mut answer, max_body, timeout).await;
            let body = body.map_err(|error| match error {
                BodyError::TooLarge(limit) => FetchError::TooLarge(limit),
                BodyError::Timeout => FetchError::Timeout,
                BodyError::Broken => FetchError::Broken,
            })?;
            self.lines.keep(&place, answer).await;
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(FetchError::Timeout))
    }

    /// Sends a request over a kept connection, or over a new one.
    async fn ask(
        &self,
        place: &str,
        uri: &Uri,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Answer>, FetchError> {
        while let Some(line) = self.lines.take(place).await {
            request = match line.send(request).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Unsent(request)) => *request,
                Err(Failure::Broken) => return Err(FetchError::Broken),
            };
        }
        let wire = self.connector.clone().connect(uri.clone()).await?;
        let limits = &self.connector.limits;
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(limits.header_bytes.max(LEAST_BUFFER))
            .max_headers(limits.header_count)
            .handshake(wire)
            .await
            .map_err(|_| FetchError::Broken)?;
        Ok(Line::new(sender, connection).send(request).await?)
    }

    /// Sends a request whose body is still coming, and hands the answer back as its head arrives, within
    /// `timeout`; reading the body is the caller's to bound. Any status is an answer, 3xx too. A content
    /// coding is not asked for, and not refused.
    pub async fn stream(
        &self,
        mut request: Request<Body>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, FetchError> {
        Target::parse(request.uri())?;
        *request.version_mut() = http::Version::HTTP_11;
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let answer = tokio::time::timeout(timeout, self.streaming.request(request))
            .await
            .map_err(|_| FetchError::Timeout)?
            .map_err(|error| explain(&error))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(FetchError::Broken);
        }
        Ok(answer)
    }

    /// `GET` of an absolute URL; the same bounds as [`HttpClient::send`].
    pub async fn get(
        &self,
        url: &str,
        max_body: usize,
        timeout: Duration,
    ) -> Result<Response<Bytes>, FetchError> {
        let uri: Uri = url.parse().map_err(|_| FetchError::Refused("not a URL"))?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        self.send(request, max_body, timeout).await
    }
}

/// Finds our own error in what the pooled client wraps around it.
fn explain(error: &hyper_util::client::legacy::Error) -> FetchError {
    let connect = error.is_connect();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<FetchError>() {
            return own.clone();
        }
        cause = error.source();
    }
    if connect { FetchError::Connect("connection failed".into()) } else { FetchError::Broken }
}
