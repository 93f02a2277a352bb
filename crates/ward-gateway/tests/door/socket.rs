//! The door behind the real server, seen from a raw socket: framing rows of `enforcement.md` §2.A, and
//! that a broken-off answer cannot be taken for a complete one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use ward_core::{BoxFuture, Limits};
use ward_net::http::Body;
use ward_net::{Handler, Peer, Server};

use crate::support::*;

struct Roof(Arc<Door>);

impl Handler for Roof {
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> BoxFuture<'_, http::Response<Body>> {
        Box::pin(self.0.gateway.handle(request, peer))
    }
}

async fn serve(door: &Arc<Door>) -> ward_net::Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server::start(listener, None, Arc::new(Roof(Arc::clone(door))), Arc::new(limits())).unwrap()
}

/// Sends octets, reads until the server closes.
async fn exchange(server: &ward_net::Running, text: &str) -> String {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

const HEAD: &str = "Host: ward.example\r\nAuthorization: Bearer good\r\nConnection: close\r\n";

#[tokio::test]
async fn framing_that_can_be_read_in_two_ways_is_refused() {
    let door = Arc::new(Door::over(vec![observation("1", "a")]).await);
    let server = serve(&door).await;
    let ok =
        exchange(&server, &format!("GET /default/fhir/Observation/1 HTTP/1.1\r\n{HEAD}\r\n")).await;
    assert!(ok.starts_with("HTTP/1.1 200"), "{ok}");
    let absolute =
        format!("GET https://ward.example/default/fhir/Observation/1 HTTP/1.1\r\n{HEAD}\r\n");
    assert!(exchange(&server, &absolute).await.starts_with("HTTP/1.1 200"));
    let asked = door.seen.lock().unwrap().len();
    for (row, head) in [
        ("A8", "GET http://internal/default/fhir/Observation/1 HTTP/1.1\r\n"),
        (
            "A10",
            "POST /default/fhir/Observation/_search HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        ),
        (
            "A10",
            "POST /default/fhir/Observation/_search HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n",
        ),
        (
            "A10",
            "POST /default/fhir/Observation/_search HTTP/1.1\r\nTransfer-Encoding: identity, chunked\r\n",
        ),
        ("A10", "GET /default/fhir/Observation/1 HTTP/1.1\r\nX-A: b\r\n folded\r\n"),
        ("A12", "CONNECT ward.example:443 HTTP/1.1\r\n"),
        ("A12", "GET /default/fhir/Observation/1 HTTP/1.1\r\nUpgrade: h2c\r\n"),
        ("A2", "GET /default/fhir/Observation/../Observation/1 HTTP/1.1\r\n"),
        ("A7", "GET /default/fhir/Observation\\1 HTTP/1.1\r\n"),
    ] {
        let answer = exchange(&server, &format!("{head}{HEAD}\r\n")).await;
        let status: u16 = answer.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
        assert!(status == 0 || (400..600).contains(&status), "{row} {head}: {answer}");
    }
    assert_eq!(door.seen.lock().unwrap().len(), asked, "the upstream was asked");
}

/// F7 of a hostile review: what follows an ambiguous body is never read as a request. Two framings are refused
/// before hyper resolves them (A10), and nothing comes behind a chunked body.
#[tokio::test]
async fn ambiguous_framing_closes_the_connection() {
    let door = Arc::new(Door::over(vec![observation("1", "a")]).await);
    let server = serve(&door).await;
    let head = HEAD.replace("Connection: close\r\n", "");
    for (framing, status) in [
        ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n", 400),
        ("Transfer-Encoding: identity, chunked\r\n", 400),
        // Sound, and the last of its connection.
        ("Transfer-Encoding: chunked\r\n", 200),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
    ] {
        let text = format!(
            "POST /default/fhir/Observation/_search HTTP/1.1\r\n{head}Content-Type: application/x-www-form-urlencoded\r\n{framing}\r\n\
             0\r\n\r\nGET /default/fhir/Observation/1 HTTP/1.1\r\n{head}\r\n"
        );
        let answer = exchange(&server, &text).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{framing}: {answer}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{framing}: {answer}");
    }
    let read = |head: &String| head.starts_with("GET /fhir/Observation/1 ");
    assert!(!door.seen.lock().unwrap().iter().any(read), "the smuggled request was answered");
}

#[tokio::test]
async fn a_broken_off_answer_has_no_closing_chunk() {
    let records = (0..20).map(|n| observation(&format!("o{n}"), "a")).collect();
    let limits = Limits { window_resources: 8, ..limits() };
    let door = Arc::new(Door::before(server(records), limits).await);
    let server = serve(&door).await;
    let text = format!("GET /default/fhir/Observation?_count=20 HTTP/1.1\r\n{HEAD}\r\n");
    let whole = exchange(&server, &text).await;
    assert!(whole.ends_with("\r\n0\r\n\r\n"), "{whole}");
    door.ledger.room.store(2, Ordering::SeqCst);
    let broken = exchange(&server, &text).await;
    // The first window was recorded and may have left; the second was not and must not have.
    assert!(broken.starts_with("HTTP/1.1 200") && !broken.contains(r#""id":"o8""#), "{broken}");
    assert!(whole.contains(r#""id":"o8""#));
    assert!(!broken.ends_with("\r\n0\r\n\r\n"), "looks complete");
}
