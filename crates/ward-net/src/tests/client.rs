//! The client against peers that break the protocol, stall, flood or lure (X19, A19, A27).

use super::*;
use crate::FetchError;

const SOON: Duration = Duration::from_millis(400);

async fn fetch(
    says: impl Into<Vec<u8>>,
    then: Then,
    expected: &FetchError,
) -> Result<Response<Bytes>, FetchError> {
    let (address, _) = scripted(says.into(), then).await;
    // What must time out does so soon; everything else has its time on a busy machine.
    let within = if matches!(expected, FetchError::Timeout) { SOON } else { LONG };
    client_to(address).get(&format!("http://{address}/x"), 1000, within).await
}

#[tokio::test]
async fn broken_answers_are_clean_errors() {
    let flood = format!("HTTP/1.1 200 OK\r\n{}\r\n", many_headers(500));
    let vast = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let quick = Duration::ZERO;
    let slow = Duration::from_millis(50);
    let piece: &[u8] = b"5\r\nhello\r\n";
    for (name, says, then, expected) in [
        ("garbage", "\0\x01\x02 what?\r\n\r\n".into(), Then::Close, FetchError::Broken),
        ("nothing", String::new(), Then::Close, FetchError::Broken),
        ("silence", String::new(), Then::Hang, FetchError::Timeout),
        ("half a header", "HTTP/1.1 200 OK\r\nX".into(), Then::Hang, FetchError::Timeout),
        ("many headers", flood, Then::Close, FetchError::Broken),
        ("a vast header", vast, Then::Close, FetchError::Broken),
        (
            "dies in its body",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345".into(),
            Then::Close,
            FetchError::Broken,
        ),
        (
            "hangs in its body",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345".into(),
            Then::Hang,
            FetchError::Timeout,
        ),
        (
            "a declared gigabyte",
            "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".into(),
            Then::Hang,
            FetchError::TooLarge(1000),
        ),
        ("never ends", chunked.into(), Then::Flood(piece, quick), FetchError::TooLarge(1000)),
        ("drips", chunked.into(), Then::Flood(piece, slow), FetchError::Timeout),
        ("chunks break off", format!("{chunked}5\r\nhello\r\n"), Then::Close, FetchError::Broken),
        ("bad chunk", format!("{chunked}zz\r\nhello\r\n"), Then::Close, FetchError::Broken),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".into(),
            Then::Close,
            FetchError::Broken,
        ),
        (
            "coded",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx".into(),
            Then::Close,
            FetchError::Encoded,
        ),
        (
            "upgrades",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(),
            Then::Hang,
            FetchError::Broken,
        ),
    ] {
        let got = tokio::time::timeout(LONG, fetch(says, then, &expected)).await.expect(name);
        assert_eq!(got.map(|answer| answer.status()), Err(expected), "{name}");
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let (trap, sprung) = scripted(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Then::Close).await;
    for status in [301, 302, 303, 307, 308] {
        let says = format!(
            "HTTP/1.1 {status} Moved\r\nLocation: http://{trap}/\r\nContent-Length: 0\r\n\r\n"
        );
        let (address, count) = scripted(says.into_bytes(), Then::Close).await;
        let client = HttpClient::new(
            Egress::allowing([address.to_string(), trap.to_string()]),
            tls::client_config([]).unwrap(),
            Arc::new(limits()),
        );
        let got = client.get(&format!("http://{address}/"), 10, LONG).await.unwrap();
        assert_eq!(got.status().as_u16(), status);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
    assert_eq!(sprung.load(Ordering::SeqCst), 0, "a redirect was followed");
}

#[tokio::test]
async fn no_content_coding_is_asked_for_and_connections_are_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = |request: Request<Incoming>, peer: Peer| -> BoxFuture<'static, Response<Body>> {
        let codings: Vec<_> = request.headers().get_all("accept-encoding").iter().collect();
        let seen = format!("{codings:?} {}", peer.addr.port());
        Box::pin(async move { text(StatusCode::OK, seen) })
    };
    let server =
        Server::start(listener, None, Arc::new(handler), Arc::new(Limits::default())).unwrap();
    let client = client_to(address);
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = Request::get(format!("http://{address}/"))
            .header("accept-encoding", "br, zstd")
            .body(Bytes::new())
            .unwrap();
        answers.push(client.send(request, 100, LONG).await.unwrap().into_body());
    }
    assert!(answers[0].starts_with(b"[\"identity\"]"));
    assert_eq!(answers[0], answers[1], "a second connection was made");
    server.shutdown(LONG).await;
}

#[tokio::test]
async fn a_closed_door_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let got = client_to(address).get(&format!("http://{address}/"), 10, LONG).await;
    assert!(matches!(got, Err(FetchError::Connect(_))), "{got:?}");
}

/// A kept connection that was closed, or on which anything came unasked, carries no further request.
#[tokio::test]
async fn a_kept_connection_is_used_again_only_while_it_is_silent_and_open() {
    const LIE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nlie";
    for (unasked, closes) in [("", true), (LIE, false), (LIE, true), ("x", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let mut kept = Vec::new();
            for turn in 0..3 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                assert!(stream.read(&mut head).await.unwrap() > 0);
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{turn}{unasked}");
                stream.write_all(answer.as_bytes()).await.unwrap();
                if !closes {
                    kept.push(stream);
                }
            }
            kept
        });
        let client = client_to(address);
        for turn in 0..3 {
            let (target, long) = (format!("http://{address}/"), Duration::from_mins(1));
            let mut got = client.get(&target, 10, long).await;
            // A request may meet the end of its connection on the way.
            while closes && matches!(got, Err(FetchError::Broken)) {
                got = client.get(&target, 10, long).await;
            }
            assert_eq!(got.unwrap().into_body(), turn.to_string(), "{unasked:?} {closes}");
        }
        served.await.unwrap();
    }
}
