//! TLS that is cut off, at every stage of a connection.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::harness::parse;

/// A ClientHello, as long as its record says, whose second half never comes.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// How far a caller goes before it is gone.
#[derive(Debug, Clone, Copy)]
enum Point {
    Connected,
    Garbage,
    HalfHello,
    /// The same, but the caller stays and says nothing.
    HalfHelloThenSilence,
    Shaken,
    HalfHead,
    HalfLength,
    HalfChunked,
    Asked,
    HalfAnswer,
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_tls_acts_on_nothing_and_takes_nothing_down() {
    use Point::*;
    let limits = Limits {
        header_timeout: Duration::from_secs(4),
        body_timeout: Duration::from_secs(4),
        ..crate::bad_input::generous()
    };
    let stage = Stage::set(limits).await;
    let world = &stage.world;
    // A good one, so that only its missing end keeps it from being acted upon.
    let (statement, words) = (world.statement_claims(ISS), world.words(ISS, ""));
    let jwt = crate::rows::jwt(&World::good_row(), &words, statement, &stage.member, &stage.member);
    let body = format!(r#"{{"udap":"1","software_statement":"{jwt}"}}"#);
    let register = |framing: &str| {
        let (path, port) = (world.path(&world.register), world.port);
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost:{port}\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
        )
    };
    let cut = async |how: Point, reset: bool| {
        let mut tcp = dial(world).await;
        if reset {
            tcp.set_zero_linger().unwrap();
        }
        let before = match how {
            Connected => return,
            Garbage => &[0xff; 300][..],
            HalfHello | HalfHelloThenSilence => HALF_HELLO,
            _ => &[],
        };
        tcp.write_all(before).await.unwrap();
        match how {
            Garbage | HalfHelloThenSilence => {
                // Ward ends it.
                let mut rest = vec![];
                let ended =
                    tokio::time::timeout(Duration::from_mins(1), tcp.read_to_end(&mut rest));
                assert!(ended.await.is_ok(), "{how:?} is kept");
                return;
            }
            HalfHello => return,
            _ => {}
        }
        let mut stream = shake(world, tcp, &[b"http/1.1"]).await.unwrap();
        // Dropping the stream closes the socket without `close_notify`.
        let says = match how {
            HalfHead => stage.read(&stage.good),
            HalfLength => register(&format!("content-length: {}", body.len() + 1)) + &body,
            HalfChunked => {
                register("transfer-encoding: chunked") + &format!("{:x}\r\n{body}\r\n", body.len())
            }
            Asked | HalfAnswer => stage.read(&stage.good) + "\r\n",
            _ => String::new(),
        };
        stream.write_all(says.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        if matches!(how, HalfAnswer) {
            stream.read_exact(&mut [0; 20]).await.unwrap();
        }
    };
    let stages = [
        Connected,
        Garbage,
        HalfHello,
        HalfHelloThenSilence,
        Shaken,
        HalfHead,
        HalfLength,
        HalfChunked,
        Asked,
        HalfAnswer,
    ];
    let (mut cuts, rounds) = (0, 2);
    let (tally, ()) = stage
        .beside(2, async {
            for _ in 0..rounds {
                for reset in [false, true] {
                    for how in stages {
                        cut(how, reset).await;
                        cuts += 1;
                    }
                }
            }
        })
        .await;
    stage.drained(0).await;
    tally.only(&[200]);
    let log = logged(world);
    tally.is_in(&log);
    assert_eq!(log.registrations, 1, "half a registration was acted upon");

    // The same statement, whole, is taken: nothing had used it.
    let mut stream = world.connect().await;
    let whole = register(&format!("content-length: {}\r\nconnection: close", body.len())) + &body;
    stream.write_all(whole.as_bytes()).await.unwrap();
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer).await;
    let answer = parse(&answer);
    assert!(matches!(answer.status, 200 | 201), "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(logged(world).registrations, 2);
    let stats = world.house.ops.server.snapshot();
    println!(
        "truncated TLS: {cuts} connections cut at {} stages; honest: {tally}; failed handshakes counted: {}",
        stages.len(),
        stats.handshakes_failed
    );
}
