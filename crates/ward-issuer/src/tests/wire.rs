//! The same endpoints over a real socket: framing, bodies that lie about their length, slow bodies.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use tokio::net::TcpListener;
use ward_net::http::Body;
use ward_net::server::{Peer, Running, Server};

use super::*;

async fn serve(world: &World) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = world.issuer.clone();
    let handler = move |request: Request<hyper::body::Incoming>,
                        peer: Peer|
          -> BoxFuture<'static, Response<Body>> {
        let issuer = issuer.clone();
        Box::pin(async move { issuer.handle(request, peer).await })
    };
    Server::start(listener, None, Arc::new(handler), world.limits.clone()).unwrap()
}

/// Sends the text, then as many octets of padding, and reads the answer.
async fn exchange(address: SocketAddr, head: String, padding: usize) -> String {
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(&vec![b'x'; padding]);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    })
    .await
    .unwrap()
}

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n{headers}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_over_a_socket() {
    let limits = Limits { body_timeout: Duration::from_secs(2), ..Limits::default() };
    let world = World::with(SCOPES, limits);
    let running = serve(&world).await;
    let at = running.local_addr();
    let register = "POST /default/oauth/register";
    let json = "Content-Type: application/json\r\n";
    let rows = [
        ("DSC-01", request("GET /default/fhir/.well-known/udap", ""), 0, "200", "etag: "),
        (
            "DSC-28",
            request("HEAD /default/fhir/.well-known/udap", ""),
            0,
            "200",
            "content-length: ",
        ),
        ("COM-04", request("GET /default/fhir/.well-known/udap?community=urn:x", ""), 0, "204", ""),
        ("REG-01", request("GET /default/oauth/register", ""), 0, "405", "allow: POST"),
        ("R02", request(register, "Content-Type: text/xml\r\nContent-Length: 3\r\n"), 3, "415", ""),
        (
            "R03 declared",
            request(register, &format!("{json}Content-Length: 1073741824\r\n")),
            0,
            "413",
            "",
        ),
        (
            "R03 chunked",
            request(register, &format!("{json}Transfer-Encoding: chunked\r\n")) + "20000\r\n",
            0x20000,
            "413",
            "",
        ),
        ("T35 slow", request(register, &format!("{json}Content-Length: 10\r\n")), 5, "408", ""),
        (
            "T08",
            request(
                "POST /default/oauth/token",
                "Authorization: Basic dTpw\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n",
            ),
            0,
            "401",
            "www-authenticate: Basic",
        ),
    ];
    for (id, head, padding, status, header) in rows {
        let answer = exchange(at, head, padding).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{id}: {answer:?}");
        let answer_lower = answer.to_ascii_lowercase();
        assert!(answer_lower.contains(&header.to_ascii_lowercase()), "{id}: {answer:?}");
        assert!(!answer.contains("evil.test"), "DSC-27 {id}");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert_eq!(body.is_empty(), status == "204" || id == "DSC-28", "{id}: {answer:?}");
    }
}
