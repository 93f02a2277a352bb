//! Flows over real sockets: client, server and lists against honest and hostile peers.

mod aia;
mod authorities;
mod client;
mod egress;
mod heads;
mod http2;
mod lists;
mod server;
mod server_tls;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use ward_core::{BoxFuture, Limits, Secret};

use crate::http::{Body, channel_body, read_body, respond, text};
use crate::{Egress, Handler, HttpClient, Peer, Running, Server, TlsReload, tls};

/// As long as a test waits for what must come, on a busy machine.
pub(crate) const LONG: Duration = Duration::from_mins(1);
/// As long as a caller may stall: a test can wait for it, and an honest caller is through before it on a busy machine.
pub(crate) const STALL: Duration = Duration::from_secs(2);

/// Limits that a test can wait for.
pub(crate) fn limits() -> Limits {
    Limits {
        header_timeout: STALL,
        body_timeout: STALL,
        connect_timeout: LONG,
        crl_timeout: LONG,
        ..Limits::default()
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect(what);
}

/// A handler with one path for each case.
pub(crate) struct Cases;

impl Handler for Cases {
    fn handle(&self, request: Request<Incoming>, _: Peer) -> BoxFuture<'_, Response<Body>> {
        assert_ne!(request.uri().path(), "/panic-early", "on purpose");
        Box::pin(async move {
            match request.uri().path() {
                "/panic" => panic!("on purpose"),
                "/slow" => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    text(StatusCode::OK, "slow")
                }
                "/never" => std::future::pending().await,
                "/echo" => match read_body(request.into_body(), 1024, STALL).await {
                    Ok(bytes) => text(StatusCode::OK, bytes),
                    Err(error) => text(error.status(), error.to_string()),
                },
                "/head" => {
                    let host = request.headers().get("host").map(|host| format!("{host:?}"));
                    text(StatusCode::OK, format!("{} {}", request.uri(), host.unwrap_or_default()))
                }
                "/whole" => streamed(true),
                "/aborted" => streamed(false),
                _ => text(StatusCode::OK, "hello"),
            }
        })
    }
}

fn streamed(whole: bool) -> Response<Body> {
    let (sender, body) = channel_body();
    tokio::spawn(async move {
        for _ in 0..3 {
            sender.send(Bytes::from_static(b"piece;")).await.unwrap();
        }
        if whole {
            sender.finish().await.unwrap();
        }
    });
    respond(StatusCode::OK, "text/plain", body)
}

/// A server with [`Cases`] on loopback.
pub(crate) async fn serve(limits: Limits, tls: Option<Arc<TlsReload>>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server::start(listener, tls, Arc::new(Cases), Arc::new(limits)).unwrap()
}

/// Header lines.
pub(crate) fn many_headers(count: usize) -> String {
    "x-filler: y\r\n".repeat(count)
}

/// Sends raw bytes and reads until the peer closes (or a minute passes: a failure).
pub(crate) async fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The peer may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(LONG, read).await;
    assert!(read.is_ok(), "the peer did not close");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A client that may go to `address` and nowhere else.
pub(crate) fn client_to(address: std::net::SocketAddr) -> HttpClient {
    let tls = tls::client_config([]).unwrap();
    HttpClient::new(Egress::allowing([address.to_string()]), tls, Arc::new(limits()))
}

/// What a scripted server does after it has read a request's header.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    Close,
    Hang,
    /// Repeats a chunk until the peer goes.
    Flood(&'static [u8], Duration),
}

/// A server that says what it is told; the counter counts connections.
pub(crate) async fn scripted(
    says: Vec<u8>,
    then: Then,
) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let says = says.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                let mut buffer = [0; 1024];
                while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(n) => seen.extend_from_slice(&buffer[..n]),
                    }
                }
                let _ = stream.write_all(&says).await;
                match then {
                    Then::Close => {}
                    Then::Hang => tokio::time::sleep(Duration::from_secs(30)).await,
                    Then::Flood(chunk, every) => {
                        while stream.write_all(chunk).await.is_ok() {
                            tokio::time::sleep(every).await;
                        }
                    }
                }
            });
        }
    });
    (address, count)
}

/// A TLS authority and server certificates from it.
pub(crate) struct TlsLab(CertifiedIssuer<'static, KeyPair>);

impl TlsLab {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn root(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    pub(crate) fn identity(&self, name: &str) -> (Vec<Vec<u8>>, Secret<Vec<u8>>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().to_vec()], Secret::new(key.serialize_der()))
    }
}
