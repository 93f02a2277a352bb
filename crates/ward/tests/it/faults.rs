//! Upstreams that fail or lie, callers that do, and a log that cannot be written: a clean error, no leak,
//! nothing half-written.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ward_core::Limits;
use ward_sandbox::Sandbox;
use ward_sandbox::faults::{Fault, FaultyUpstream};

use crate::bad_input::world;
use crate::harness::{ISS, Setup, World};

/// One case: how the upstream fails, and the statuses of a read and of a search.
///
/// What one stored record could cause by itself (text that cannot be judged, a size beyond the bound) is the
/// uniform 404 on a read and a missing entry in a search, or its hiding could be told apart (review F2, F3);
/// what only a broken server causes is 502 or 504. The operator is told in either case.
fn cases(elsewhere: &str) -> Vec<(Fault, u16, u16)> {
    vec![
        (Fault::Honest, 200, 200),
        (Fault::Hang, 504, 504),
        (Fault::DieMidBody, 502, 502),
        (Fault::Garbage, 502, 502),
        (Fault::TruncatedJson, 404, 502),
        (Fault::Redirect(elsewhere.to_owned()), 502, 502),
        (Fault::HtmlError, 502, 502),
        (Fault::WrongContentType, 502, 502),
        (Fault::HugeBody(64 * 1024 * 1024), 404, 200),
        (Fault::SlowDrip(200), 504, 504),
        (Fault::DuplicateKeys, 404, 200),
        (Fault::IgnoresNarrowing, 200, 200),
        (Fault::WrongResource, 404, 200),
        (Fault::Gzip, 502, 502),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_upstream_is_a_clean_error() {
    // Only what must time out is given a short time: an honest answer has all it needs on a busy machine.
    let elsewhere = "http://127.0.0.1:1/fhir";
    let (silent, others): (Vec<_>, Vec<_>) =
        cases(elsewhere).into_iter().partition(|(_, read, _)| *read == 504);
    assert_eq!(silent.len(), 2);
    through(Duration::from_millis(1500), silent).await;
    through(Duration::from_mins(2), others).await;
}

async fn through(upstream_timeout: Duration, cases: Vec<(Fault, u16, u16)>) {
    let sandbox = Sandbox::generate(7, 20);
    let mut ids = sandbox.patient_ids();
    ids.sort();
    let strangers = ids.split_off(10);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = FaultyUpstream::start(sandbox, listener, Fault::Honest).unwrap();
    let setup = Setup {
        upstream: upstream.base_url().to_owned(),
        roster: ids.clone(),
        limits: Limits { upstream_timeout, ..Limits::default() },
        ceiling: 1000,
    };
    let mut world = World::raise(setup).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    let base = world.path(&world.base);
    let mut wrong = vec![];
    for (fault, read, search) in cases {
        upstream.set(fault.clone());
        let targets = [
            (format!("{base}/Patient/{}", ids[0]), read),
            (format!("{base}/Observation?patient=Patient/{}&_count=5", ids[0]), search),
        ];
        for (target, demanded) in targets {
            let answer = world.get(&target, &token).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            if answer.status != demanded {
                wrong.push(format!(
                    "{fault:?} {target}: demanded {demanded}, got {} {text:.200}",
                    answer.status
                ));
            }
            assert!(!text.contains(upstream.base_url()), "{fault:?}: the upstream's address leaks");
            assert!(!text.contains("at com."), "{fault:?}: a stack trace leaks");
            assert!(
                strangers.iter().all(|id| !text.contains(&format!("Patient/{id}"))),
                "{fault:?}: a stranger leaks"
            );
            if answer.status >= 400 {
                assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{fault:?}");
            }
        }
    }
    // Honest again: recovery without a restart.
    upstream.set(Fault::Honest);
    let read = format!("{base}/Patient/{}", ids[0]);
    let mut turns = 0;
    while world.get(&read, &token).await.status != 200 {
        turns += 1;
        assert!(turns < 40, "no answer from an upstream that is honest again");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Callers that break off, drip or talk nonsense do not keep others from being served.
#[tokio::test(flavor = "multi_thread")]
async fn a_rude_caller_is_cut_off() {
    let limits = Limits {
        header_timeout: Duration::from_secs(3),
        body_timeout: Duration::from_secs(3),
        ..Limits::default()
    };
    let (mut world, _upstream, ids, _) = world(limits).await;
    let member = world.pki.client(ISS);
    let client = world.register_client(&member, ISS).await;
    let token = world.access_token(&member, &client).await;
    let base = world.path(&world.base);
    let good = format!("{base}/Patient/{}", ids[0]);

    // Plain HTTP on the TLS port, and bytes that are neither.
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut tcp = tokio::net::TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
        let _ = tcp.write_all(nonsense).await;
        let mut sink = vec![];
        let ended = tokio::time::timeout(Duration::from_mins(1), tcp.read_to_end(&mut sink)).await;
        assert!(ended.is_ok(), "a half-done handshake ends");
    }
    // Slow headers: cut off.
    let mut slow = world.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
    let mut received = vec![];
    let ended = tokio::time::timeout(Duration::from_mins(1), slow.read_to_end(&mut received)).await;
    assert!(ended.is_ok(), "slow headers end");
    // A body that never comes: an answer, not a hang.
    let head = format!(
        "POST {base}/Patient/_search HTTP/1.1\r\nhost: localhost:{}\r\nauthorization: Bearer {token}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 10\r\n\r\nab",
        world.port
    );
    let answer = world.exchange(head.as_bytes()).await;
    assert!(matches!(answer.status, 400 | 408), "got {}", answer.status);
    // A caller that goes away in the middle of an answer.
    for _ in 0..20 {
        let mut gone = world.connect().await;
        let head = format!(
            "GET {good} HTTP/1.1\r\nhost: localhost:{}\r\nauthorization: Bearer {token}\r\n\r\n",
            world.port
        );
        gone.write_all(head.as_bytes()).await.unwrap();
        drop(gone);
    }
    assert_eq!(world.get(&good, &token).await.status, 200, "others are served");
}
