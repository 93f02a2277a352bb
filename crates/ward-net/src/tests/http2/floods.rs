//! Callers that flood, stall and take back, written as raw frames, bounded in number.

use super::*;

#[tokio::test]
async fn rapid_reset_ends_the_connection_and_nothing_else() {
    let lab = Lab::new(Limits { http2_resets: 20, ..limits() }).await;
    let mut stream = lab.raw(&[]).await;
    let head = head("/slow");
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let flood = async {
        for n in 0..5_000_u32 {
            let id = 2 * n + 1;
            let mut pair = frame(HEADERS, END_STREAM | END_HEADERS, id, &head);
            pair.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
            if write.write_all(&pair).await.is_err() || write.flush().await.is_err() {
                return n;
            }
            // Slow enough for the requests to be seen before they are taken back.
            if n % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        5_000
    };
    let reading = async {
        let mut rest = Vec::new();
        let _ = read.read_to_end(&mut rest).await;
    };
    let both = async { tokio::join!(flood, reading).0 };
    let sent = tokio::time::timeout(LONG, both).await.expect("it is cut");
    assert!(sent < 5_000, "the whole flood was taken");
    let stats = lab.server.stats().snapshot();
    assert!(stats.requests_http2 < 500, "the flood made work: {stats:?}");
    assert_eq!(get(&mut lab.client().await, "/").await.1, "hello");
}

#[tokio::test]
async fn resets_of_accepted_requests_are_counted() {
    let lab = Lab::new(Limits { http2_resets: 5, ..limits() }).await;
    let mut stream = lab.raw(&[]).await;
    let head = head("/never");
    // Each is under way when it is taken back, and counted before the next: the sixth is one too many.
    for n in 0..6_u32 {
        let id = 2 * n + 1;
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, id, &head)).await.unwrap();
        stream.flush().await.unwrap();
        let seen = || lab.server.stats().snapshot();
        until("a request is under way", || seen().requests_http2 == u64::from(n) + 1).await;
        stream.write_all(&frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())).await.unwrap();
        stream.flush().await.unwrap();
        until("it is counted", || seen().abandoned == u64::from(n) + 1).await;
    }
    closed(&mut stream, LONG).await;
    let stats = lab.server.stats().snapshot();
    assert_eq!((stats.abandoned, stats.requests_http2), (6, 6), "{stats:?}");
}

#[tokio::test]
async fn a_continuation_flood_is_cut() {
    let lab = Lab::new(limits()).await;
    let mut stream = lab.raw(&[]).await;
    let mut sent = 0_usize;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head("/"))).await.unwrap();
    let filler = block(&[("x-filler", &"y".repeat(100))]).repeat(9);
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let flood = async {
        for _ in 0..20_000 {
            let part = frame(CONTINUATION, 0, 1, &filler);
            if write.write_all(&part).await.is_err() || write.flush().await.is_err() {
                break;
            }
            sent += part.len();
        }
    };
    let reading = async {
        let mut rest = Vec::new();
        let _ = read.read_to_end(&mut rest).await;
    };
    let both = async { tokio::join!(flood, reading) };
    tokio::time::timeout(LONG, both).await.expect("it is cut");
    assert!(sent < 10 << 20, "{sent} octets of one header block were taken");
    assert_eq!(lab.server.stats().snapshot().requests_http2, 0);
    assert_eq!(get(&mut lab.client().await, "/").await.1, "hello");
}

#[tokio::test]
async fn a_header_block_that_drips_is_cut() {
    let lab = Lab::new(limits()).await;
    let mut stream = lab.raw(&[]).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head("/"))).await.unwrap();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let drip = async {
        for _ in 0..200 {
            let part = frame(CONTINUATION, 0, 1, &block(&[("x", "y")]));
            if write.write_all(&part).await.is_err() || write.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let reading = async {
        let mut rest = Vec::new();
        let _ = read.read_to_end(&mut rest).await;
    };
    let both = async { tokio::join!(drip, reading) };
    tokio::time::timeout(LONG, both).await.expect("the dripper is cut");
}

#[tokio::test]
async fn silent_and_idle_connections_are_closed() {
    let lab = Lab::new(Limits { http2_idle: STALL, ..limits() }).await;
    // No preface; half of it; a preface and nothing more.
    for begin in [&b""[..], &PREFACE[..10], PREFACE] {
        let mut stream = lab.connect(&[b"h2"]).await;
        stream.write_all(begin).await.unwrap();
        closed(&mut stream, LONG).await;
    }
    let mut client = lab.client().await;
    assert_eq!(get(&mut client, "/").await.1, "hello");
    until("an idle connection is closed", || client.is_closed()).await;
    until("nothing is open", || lab.server.stats().snapshot().open == 0).await;
}

#[tokio::test]
async fn a_caller_that_opens_no_window_is_cut() {
    let lab = Lab::new(Limits { http2_idle: Duration::from_mins(1), ..limits() }).await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    let mut stream = lab.raw(&[0, 4, 0, 0, 0, 0]).await;
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &head("/whole"))).await.unwrap();
    let got = closed(&mut stream, LONG).await;
    assert!(!got.windows(6).any(|piece| piece == b"piece;"), "no window, no data");
    assert_eq!(lab.server.stats().snapshot().cut, 1);
}

#[tokio::test]
async fn more_requests_at_once_than_allowed_are_reset() {
    let lab = Lab::new(Limits { http2_streams: 3, ..limits() }).await;
    let mut stream = lab.raw(&[]).await;
    for n in 0..6_u32 {
        let head = frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &head("/slow"));
        stream.write_all(&head).await.unwrap();
    }
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    let count = |got: &[u8]| {
        let (mut refused, mut data, mut at) = (0, 0, 0);
        while let Some([a, b, c, kind, ..]) = got.get(at..at + 9) {
            refused += u32::from(*kind == RST_STREAM);
            data += u32::from(*kind == DATA);
            at += 9 + usize::try_from(u32::from_be_bytes([0, *a, *b, *c])).unwrap();
        }
        (refused, data)
    };
    let reading = async {
        while count(&got) != (3, 3)
            && let Ok(n @ 1..) = stream.read(&mut buffer).await
        {
            got.extend_from_slice(&buffer[..n]);
        }
    };
    let _ = tokio::time::timeout(LONG, reading).await;
    assert_eq!(count(&got), (3, 3));
}

#[tokio::test]
async fn noise_takes_nothing_down() {
    use ward_core::Rng as _;
    let lab = Lab::new(limits()).await;
    let rng = ward_core::SeededRng::new(11);
    for length in 0..16 {
        let mut bytes = vec![0; 1 + length * 60];
        rng.fill(&mut bytes);
        let mut stream = lab.raw(&[]).await;
        let _ = stream.write_all(&bytes).await;
        closed(&mut stream, LONG).await;
    }
    assert_eq!(get(&mut lab.client().await, "/").await.1, "hello");
}
