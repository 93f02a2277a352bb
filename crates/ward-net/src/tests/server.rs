//! The server against callers that flood, stall, lie or hang up.

use super::*;
use crate::FetchError;

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or("none")
}

#[tokio::test]
async fn bad_requests_get_clean_errors() {
    let server = serve(limits(), None).await;
    let many = many_headers(200);
    let vast = format!("x: {}\r\n", "y".repeat(1 << 20));
    let long = "y".repeat(9000);
    let end = "Connection: close\r\n\r\n";
    for (name, request, expected) in [
        ("good", format!("GET / HTTP/1.1\r\nHost: x\r\n{end}"), "200"),
        ("many headers", format!("GET / HTTP/1.1\r\nHost: x\r\n{many}{end}"), "431"),
        ("a vast header", format!("GET / HTTP/1.1\r\nHost: x\r\n{vast}{end}"), "431"),
        ("a long target", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n{end}"), "414"),
        ("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n".to_owned(), "505"),
        ("garbage", "\0\x01 what\r\n\r\n".to_owned(), "400"),
        ("TLS to a plain port", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".to_owned(), "400"),
        (
            "a gigabyte declared",
            format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n{end}"),
            "413",
        ),
        (
            "chunks over the limit",
            format!(
                "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{end}800\r\n{}\r\n0\r\n\r\n",
                "x".repeat(0x800)
            ),
            "413",
        ),
        (
            "a body that does not come",
            format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n{end}123"),
            "408",
        ),
        (
            "a bad chunk",
            format!("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{end}zz\r\n"),
            "400",
        ),
        (
            "two lengths",
            format!(
                "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n{end}ab"
            ),
            "400",
        ),
    ] {
        let answer = exchange(server.local_addr(), request.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{name}: {answer:.200}");
    }
    let answer =
        exchange(server.local_addr(), b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await;
    assert!(answer.to_ascii_lowercase().contains("cache-control: no-store"), "{answer}");
}

#[tokio::test]
async fn a_panicking_handler_takes_nothing_else_down() {
    let server = serve(limits(), None).await;
    let client = client_to(server.local_addr());
    for path in ["panic", "panic-early"] {
        let url = format!("http://{}/{path}", server.local_addr());
        let got = client.get(&url, 100, LONG).await.unwrap();
        assert_eq!(got.status(), 500);
        assert!(!got.body().windows(7).any(|text| text == b"purpose"), "the panic's text leaked");
        let url = format!("http://{}/", server.local_addr());
        let got = client.get(&url, 100, LONG).await.unwrap();
        assert_eq!(got.body(), "hello");
    }
}

#[tokio::test]
async fn callers_that_stall_are_cut() {
    let server = serve(limits(), None).await;
    // Nothing; half a header; a header that drips; an idle connection after an answer.
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\nHo", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        exchange(server.local_addr(), bytes).await;
    }
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let dripping = async {
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX: ".iter().chain(&[b'y'; 10_000]) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, dripping).await.expect("the dripper is cut");
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_cut() {
    let (gone_sender, gone) = tokio::sync::oneshot::channel();
    let gone_sender = std::sync::Mutex::new(Some(gone_sender));
    let handler = move |_: Request<Incoming>, _: Peer| -> BoxFuture<'static, Response<Body>> {
        let (sender, body) = channel_body();
        let gone = gone_sender.lock().unwrap().take();
        tokio::spawn(async move {
            let piece = Bytes::from(vec![b'x'; 1 << 20]);
            while sender.send(piece.clone()).await.is_ok() {}
            gone.unwrap().send(()).unwrap();
        });
        Box::pin(async move { respond(StatusCode::OK, "text/plain", body) })
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(listener, None, Arc::new(handler), Arc::new(limits())).unwrap();
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::timeout(LONG, gone).await.expect("cut").unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_broken_off_answer_does_not_look_complete() {
    for lab in [None, Some(TlsLab::new())] {
        let tls = lab.as_ref().map(|lab| {
            let (chain, key) = lab.identity("localhost");
            TlsReload::new(tls::server_config(&chain, &key, tls::TlsVersions::Tls13).unwrap())
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = serve(limits(), tls).await;
        let target = format!("localhost:{}", server.local_addr().port());
        let roots = lab.as_ref().map(TlsLab::root);
        let config = tls::client_config(roots.iter().map(Vec::as_slice)).unwrap();
        let client = HttpClient::new(Egress::allowing([&*target]), config, Arc::new(limits()));
        let get =
            async |path: &str| client.get(&format!("{scheme}://{target}{path}"), 100, LONG).await;
        assert_eq!(get("/whole").await.unwrap().body(), "piece;piece;piece;");
        assert_eq!(get("/aborted").await.unwrap_err(), FetchError::Broken);
    }
    let server = serve(limits(), None).await;
    let request = b"GET /aborted HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = exchange(server.local_addr(), request).await;
    assert!(answer.contains("piece;"), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "the closing chunk was sent: {answer}");
}

#[tokio::test]
async fn a_request_under_way_keeps_its_place_and_an_idle_connection_gives_it_up() {
    let server = serve(Limits { connections: 1, ..limits() }, None).await;
    let connect = async || TcpStream::connect(server.local_addr()).await.unwrap();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut first = connect().await;
    first.write_all(request("/slow").as_bytes()).await.unwrap();
    while server.stats().snapshot().requests_http1 == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The second waits for the first one's answer, and then has the place of the connection that fell idle.
    let mut second = connect().await;
    second.write_all(request("/").as_bytes()).await.unwrap();
    let (mut one, mut two) = (Vec::new(), [0; 12]);
    let both = async { tokio::join!(first.read_to_end(&mut one), second.read_exact(&mut two)) };
    let (ended, served) = tokio::time::timeout(Duration::from_mins(1), both).await.unwrap();
    ended.unwrap();
    served.unwrap();
    assert!(one.ends_with(b"slow"), "the answer under way was cut");
    assert_eq!(&two, b"HTTP/1.1 200");
    assert_eq!(server.stats().snapshot().displaced, 1);
}

/// Those who connect and say nothing, or half a head, keep nobody out.
#[tokio::test]
async fn a_silent_crowd_keeps_nobody_out() {
    let patient = Limits { header_timeout: Duration::from_mins(10), connections: 8, ..limits() };
    let lab = TlsLab::new();
    let (chain, key) = lab.identity("localhost");
    let tls = tls::server_config(&chain, &key, tls::TlsVersions::Tls13).unwrap();
    for tls in [None, Some(TlsReload::new(tls))] {
        let plain = tls.is_none();
        let server = serve(patient.clone(), tls).await;
        let mut crowd = vec![];
        for n in 0..40 {
            let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
            if n % 2 == 0 {
                let half: &[u8] = if plain { b"GET / HTTP/1.1\r\nHo" } else { b"\x16\x03\x01\x02" };
                stream.write_all(half).await.unwrap();
            }
            crowd.push(stream);
        }
        let target = format!("localhost:{}", server.local_addr().port());
        let root = lab.root();
        let config = tls::client_config([&*root]).unwrap();
        let client = HttpClient::new(Egress::allowing([&*target]), config, Arc::new(limits()));
        let scheme = if plain { "http" } else { "https" };
        let got = client.get(&format!("{scheme}://{target}/"), 100, Duration::from_mins(1)).await;
        assert_eq!(got.unwrap().body(), "hello");
        let stats = server.stats().snapshot();
        assert!(stats.open <= 8 && stats.displaced >= 33, "{stats:?}");
    }
}

#[tokio::test]
async fn shutting_down_lets_running_requests_end() {
    let server = serve(limits(), None).await;
    let address = server.local_addr();
    let slow = tokio::spawn(async move {
        client_to(address).get(&format!("http://{address}/slow"), 100, LONG).await
    });
    until("a request is under way", || server.stats().snapshot().requests_http1 == 1).await;
    assert!(server.shutdown(LONG).await, "not drained");
    assert_eq!(slow.await.unwrap().unwrap().body(), "slow");
    assert!(TcpStream::connect(address).await.is_err(), "still listening");
}

#[tokio::test]
async fn shutting_down_does_not_wait_for_idle_connections() {
    let lab = TlsLab::new();
    let (chain, key) = lab.identity("localhost");
    let tls = tls::server_config(&chain, &key, tls::TlsVersions::Tls13).unwrap();
    for tls in [None, Some(TlsReload::new(tls))] {
        let patient = Limits { header_timeout: Duration::from_mins(10), ..limits() };
        let server = serve(patient, tls.clone()).await;
        let silent = TcpStream::connect(server.local_addr()).await.unwrap();
        let mut idle = TcpStream::connect(server.local_addr()).await.unwrap();
        if tls.is_none() {
            idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            idle.read_exact(&mut [0; 12]).await.unwrap();
        }
        until("both are accepted", || server.stats().snapshot().open == 2).await;
        assert!(server.shutdown(LONG).await, "not drained");
        drop((silent, idle));
    }
}

#[tokio::test]
async fn a_half_closed_caller_does_not_hold_its_connection() {
    let server = serve(limits(), None).await;
    for request in ["", "GET / HT", "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(LONG, stream.read_to_end(&mut rest));
        assert!(read.await.is_ok(), "{request:?} held the connection");
    }
}

#[tokio::test]
async fn noise_takes_nothing_down() {
    use ward_core::Rng as _;
    let server = serve(limits(), None).await;
    let address = server.local_addr();
    let rng = ward_core::SeededRng::new(7);
    let mut noise = tokio::task::JoinSet::new();
    for length in 0..64 {
        // Half of it pure, half behind a sound beginning.
        let mut bytes = vec![0; length * 40];
        rng.fill(&mut bytes);
        if length % 2 == 0 {
            bytes.splice(
                0..0,
                *b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
        }
        noise.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            let mut rest = Vec::new();
            // A reset is as good as an end.
            let read = tokio::time::timeout(LONG, stream.read_to_end(&mut rest));
            assert!(read.await.is_ok(), "noise holds a connection");
        });
    }
    while let Some(done) = noise.join_next().await {
        done.unwrap();
    }
    let got = client_to(address).get(&format!("http://{address}/"), 100, LONG).await.unwrap();
    assert_eq!(got.body(), "hello");
}

#[tokio::test]
async fn shutting_down_does_not_wait_for_ever() {
    let server = serve(Limits { header_timeout: Duration::from_mins(1), ..limits() }, None).await;
    let address = server.local_addr();
    let slow = tokio::spawn(async move {
        client_to(address).get(&format!("http://{address}/never"), 100, LONG).await
    });
    until("a request is under way", || server.stats().snapshot().requests_http1 == 1).await;
    assert!(!server.shutdown(Duration::from_millis(20)).await);
    assert_eq!(slow.await.unwrap().unwrap_err(), FetchError::Broken);
}
