//! HTTP/2 floods at the front door. What the protocol engine and the bounds of one connection do is in `ward-net`'s own
//! tests (`http2.rs`); here honest callers stand beside the flood, and the log is read.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Literals without indexing (RFC 7541 §6.2.2); values of up to 126 + 255 octets.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(short) if short < 127 => out.push(short),
                _ => {
                    let mut rest = text.len() - 127;
                    out.push(127);
                    while rest >= 128 {
                        out.push(u8::try_from(rest % 128).unwrap() | 128);
                        rest /= 128;
                    }
                    out.push(u8::try_from(rest).unwrap());
                }
            }
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

/// Writes frames until Ward takes no more; how many were taken.
async fn flood(stage: &Stage, first: &[u8], frames: impl Fn(u32) -> Vec<u8>, most: u32) -> u32 {
    let world = &stage.world;
    let mut stream = shake(world, dial(world).await, &[b"h2"]).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), first].concat()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        for n in 0..most {
            if write.write_all(&frames(n)).await.is_err() || write.flush().await.is_err() {
                return n;
            }
            if n.is_multiple_of(10) {
                // The flood goes on for a while.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        most
    };
    let reading = async { drop(read.read_to_end(&mut vec![]).await) };
    let both = async { tokio::join!(writing, reading).0 };
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("a flood goes on")
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_floods_are_cut_and_keep_nobody_out() {
    let stage = Stage::set(Limits { http2_resets: 20, ..Limits::default() }).await;
    let authority = format!("localhost:{}", stage.world.port);
    let bearer = format!("Bearer {}", stage.token);
    let head = block(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", &authority),
        (":path", &stage.good),
        ("authorization", &bearer),
    ]);
    let reset = |n: u32| {
        let id = 2 * n + 1;
        let take_back = frame(RST_STREAM, 0, id, &8_u32.to_be_bytes());
        [frame(HEADERS, END_STREAM | END_HEADERS, id, &head), take_back].concat()
    };
    let filler = block(&[("x-filler", &"y".repeat(100))]).repeat(9);
    let begun = frame(HEADERS, END_STREAM, 1, &head);
    let most = 20_000;
    let (tally, (resets, continuations)) = stage
        .beside(2, async {
            let mut resets = vec![];
            let mut continuations = vec![];
            for _ in 0..3 {
                let (one, two) = tokio::join!(
                    Box::pin(flood(&stage, &[], reset, most)),
                    Box::pin(flood(&stage, &begun, |_| frame(CONTINUATION, 0, 1, &filler), most))
                );
                resets.push(one);
                continuations.push(two);
            }
            (resets, continuations)
        })
        .await;
    stage.drained(0).await;
    assert!(
        resets.iter().chain(&continuations).all(|taken| *taken < most),
        "{resets:?} {continuations:?}"
    );
    tally.only(&[200]);
    let log = logged(&stage.world);
    tally.is_in(&log);
    let stats = stage.world.house.ops.server.snapshot();
    // What was taken back made little work, and no record that nobody answers for.
    assert!(log.accesses.len() as u64 <= stats.requests_http1 + stats.requests_http2);
    assert!(stats.requests_http2 < 3 * 500, "{stats:?}");
    println!(
        "HTTP/2 floods: cut after {resets:?} resets and {continuations:?} CONTINUATION frames; {} requests reached Ward; honest: {tally}",
        stats.requests_http2
    );
}
