//! HTTP/2 with a real client, and what could be read in two ways as raw frames.

mod floods;

use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

struct Lab {
    server: Running,
    root: Vec<u8>,
}

impl Lab {
    async fn new(limits: Limits) -> Self {
        let lab = TlsLab::new();
        let (chain, key) = lab.identity("localhost");
        let config = tls::server_config(&chain, &key, tls::TlsVersions::Tls13).unwrap();
        Self { server: serve(limits, Some(TlsReload::new(config))).await, root: lab.root() }
    }

    async fn connect(&self, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        let mut config = (*tls::client_config([&*self.root]).unwrap()).clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(self.server.local_addr()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    async fn client(&self) -> SendRequest<Body> {
        let io = TokioIo::new(self.connect(&[b"h2"]).await);
        let (send, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        send
    }

    /// A connection that has said hello, for raw frames.
    async fn raw(&self, settings: &[u8]) -> TlsStream<TcpStream> {
        let mut stream = self.connect(&[b"h2"]).await;
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
        stream
    }
}

fn request(path: &str) -> http::request::Builder {
    Request::builder().uri(format!("https://localhost{path}"))
}

async fn get(client: &mut SendRequest<Body>, path: &str) -> (StatusCode, String) {
    let request = request(path).body(crate::http::empty()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    let status = answer.status();
    let body = read_body(answer.into_body(), 10_000, LONG).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// A header block of literals without indexing (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            out.push(u8::try_from(text.len()).unwrap());
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

fn head(path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)])
}

/// Reads to the end of the connection, which must come in time.
async fn closed(stream: &mut TlsStream<TcpStream>, within: Duration) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is as good as an end.
    let read = tokio::time::timeout(within, stream.read_to_end(&mut rest));
    assert!(read.await.is_ok(), "the connection was not closed");
    rest
}

#[tokio::test]
async fn both_protocols_are_spoken_and_look_alike_inside() {
    let lab = Lab::new(limits()).await;
    let mut client = lab.client().await;
    assert_eq!(get(&mut client, "/").await, (StatusCode::OK, "hello".to_owned()));
    let (_, seen) = get(&mut client, "/head?a=b").await;
    assert_eq!(seen, "/head?a=b \"localhost\"");
    // Many at once over one connection.
    let mut many = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut client = client.clone();
        many.spawn(async move { get(&mut client, "/slow").await.1 });
    }
    while let Some(answer) = many.join_next().await {
        assert_eq!(answer.unwrap(), "slow");
    }
    // Without ALPN, and with HTTP/1.1 alone.
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let mut stream = lab.connect(alpn).await;
        let request = b"GET /head HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("/head \"localhost\""), "{answer}");
    }
    let stats = lab.server.stats().snapshot();
    assert_eq!((stats.requests_http1, stats.requests_http2), (2, 52));
    assert_eq!((stats.accepted, stats.abandoned), (3, 0));
}

#[tokio::test]
async fn bad_requests_get_clean_errors() {
    let lab = Lab::new(Limits { header_bytes: 16 * 1024, ..limits() }).await;
    let mut client = lab.client().await;
    let long = "y".repeat(9000);
    let mut many = request("/");
    for n in 0..150 {
        many = many.header(format!("x-{n}"), "y");
    }
    for (name, request, expected) in [
        ("another host", request("/").header("host", "other"), 400),
        ("the same host", request("/").header("host", "localhost"), 200),
        ("a long target", request(&format!("/{long}")), 414),
        ("a vast header", request("/").header("x", "y".repeat(30_000)), 431),
        ("many headers", many, 431),
    ] {
        let request = request.body(crate::http::empty()).unwrap();
        let status = client.send_request(request).await.unwrap().status();
        assert_eq!(status, expected, "{name}");
    }
    let body = crate::http::full(vec![b'x'; 2000]);
    let vast = request("/echo").method("POST").body(body).unwrap();
    assert_eq!(client.send_request(vast).await.unwrap().status(), 413);
    for path in ["/panic", "/panic-early"] {
        assert_eq!(get(&mut client, path).await.0, 500);
    }
    assert_eq!(get(&mut client, "/").await.1, "hello");
}

#[tokio::test]
async fn a_broken_off_answer_does_not_look_complete() {
    let lab = Lab::new(limits()).await;
    let mut client = lab.client().await;
    assert_eq!(get(&mut client, "/whole").await.1, "piece;piece;piece;");
    let aborted = request("/aborted").body(crate::http::empty()).unwrap();
    let answer = client.send_request(aborted).await.unwrap();
    let read = read_body(answer.into_body(), 100, LONG).await;
    assert_eq!(read, Err(crate::http::BodyError::Broken));
    assert_eq!(get(&mut client, "/").await.1, "hello");
}

/// A11: what could become two requests further on, where somebody writes it as HTTP/1.1, is reset or refused.
#[tokio::test]
async fn what_could_be_two_requests_further_on_is_refused() {
    const INDEXED_200: u8 = 0x88;
    let lab = Lab::new(limits()).await;
    let with = |path: &str, method: &str, more: &[(&str, &str)]| {
        let mut fields = vec![
            (":method", method),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
        ];
        fields.extend_from_slice(more);
        block(&fields)
    };
    // (what, header block, data; none: the stream ends with its head)
    let smuggled = "a\r\nx: y";
    let shapes = [
        ("CR and LF in :path", with("/ HTTP/1.1\r\nhost: x\r\n\r\nGET /", "GET", &[]), None),
        ("a space in :path", with("/ HTTP/1.1", "GET", &[]), None),
        ("CR and LF in a value", with("/", "GET", &[("x-a", smuggled)]), None),
        ("LF in a value", with("/", "GET", &[("x-a", "a\nb")]), None),
        ("CR and LF in a name", with("/", "GET", &[("x\r\ny", "z")]), None),
        ("a colon in a name", with("/", "GET", &[("x:y", "z")]), None),
        ("a name in capitals", with("/", "GET", &[("Host", "other")]), None),
        (
            "transfer-encoding",
            with("/echo", "POST", &[("transfer-encoding", "chunked")]),
            Some("x"),
        ),
        ("connection", with("/", "GET", &[("connection", "close")]), None),
        ("a length and no data", with("/echo", "POST", &[("content-length", "5")]), None),
        ("less data than said", with("/echo", "POST", &[("content-length", "5")]), Some("abc")),
        ("more data than said", with("/echo", "POST", &[("content-length", "2")]), Some("abc")),
        ("two lengths", with("/echo", "POST", &[("content-length", "3, 4")]), Some("abc")),
        ("a method with a space", with("/", "GET /x HTTP/1.1", &[]), None),
    ];
    let mut wrong = vec![];
    for (what, head, data) in shapes {
        let mut stream = lab.raw(&[]).await;
        let end = if data.is_none() { END_STREAM } else { 0 };
        let mut bytes = frame(HEADERS, END_HEADERS | end, 1, &head);
        if let Some(data) = data {
            bytes.extend(frame(DATA, END_STREAM, 1, data.as_bytes()));
        }
        stream.write_all(&bytes).await.unwrap();
        // The first word about the stream, or the end of the connection.
        let answered = tokio::time::timeout(Duration::from_mins(1), async {
            loop {
                let mut head = [0; 9];
                if stream.read_exact(&mut head).await.is_err() {
                    return "closed";
                }
                let length = usize::from(head[1]) << 8 | usize::from(head[2]);
                let mut payload = vec![0; length];
                if stream.read_exact(&mut payload).await.is_err() {
                    return "closed";
                }
                match (head[3], head[8]) {
                    (RST_STREAM, 1) | (GOAWAY, _) => return "reset",
                    (HEADERS, 1) if payload.first() == Some(&INDEXED_200) => return "answered",
                    (HEADERS, 1) => return "refused",
                    _ => {}
                }
            }
        });
        if answered.await.expect("an answer") == "answered" {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "answered: {wrong:?}");
    assert_eq!(get(&mut lab.client().await, "/").await.1, "hello", "control");
}

/// Whoever falls idle while others wait has its whole answer first.
#[tokio::test]
async fn making_room_cuts_off_no_answer() {
    for _ in 0..8 {
        let lab = Lab::new(Limits { connections: 1, ..limits() }).await;
        let mut client = lab.client().await;
        let asked = tokio::spawn(async move { get(&mut client, "/slow").await });
        while lab.server.stats().snapshot().requests_http2 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let next = lab.client();
        let next = async { get(&mut next.await, "/").await.0 };
        let (served, answer) = tokio::join!(next, asked);
        assert_eq!(answer.unwrap(), (StatusCode::OK, "slow".to_owned()));
        assert_eq!(served, StatusCode::OK);
    }
}

#[tokio::test]
async fn shutting_down_lets_running_requests_end() {
    let lab = Lab::new(limits()).await;
    let mut client = lab.client().await;
    let silent = lab.connect(&[b"h2"]).await;
    let slow = tokio::spawn(async move { get(&mut client, "/slow").await.1 });
    until("a request is under way", || lab.server.stats().snapshot().requests_http2 == 1).await;
    assert!(lab.server.shutdown(LONG).await, "not drained");
    assert_eq!(slow.await.unwrap(), "slow");
    drop(silent);
}
