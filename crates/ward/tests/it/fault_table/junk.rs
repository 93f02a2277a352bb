//! Junk at the registration endpoint, as fast as one client can send it: bounded work, bounded memory, and everybody else is
//! served, be it from another address or with what they have already (P25, REG-26).

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use ward_core::ManualClock;

use super::*;
use crate::harness::{Answer, parse};
use crate::pki::Pki;
use crate::pki::authorities::By;
use crate::pki::ocsp::access;
use crate::place::{Place, Serving, sandbox};
use crate::rows::{Words, form, jwt};

/// Requests in all, and on how many connections.
const JUNK: usize = 10_000;
const LANES: usize = 8;

/// Statements of strangers, each well signed under a certificate of its own root, which is not sent and stands at a place of
/// its own.
fn statements(
    pki: &mut Pki,
    words: &Words,
    claims: impl Fn(&str) -> serde_json::Value,
) -> Vec<String> {
    let root = pki.another_root("Nobody", |_| {});
    let one = |n: usize| {
        let uri = format!("https://nobody.example/{n}");
        let place = access(2, &pki.url(&format!("/nobody-{n}.cer")));
        let member =
            pki.client_by(By::Other(&root), &uri, &[], |p| p.custom_extensions.push(place));
        jwt(&World::good_row(), words, claims(&uri), &member, &member)
    };
    (0..40).map(one).collect()
}

/// Bodies that nobody should do much for.
fn bodies(statements: &[String]) -> Vec<String> {
    let signed = statements
        .iter()
        .map(|statement| json!({ "udap": "1", "software_statement": statement }).to_string());
    let signed: Vec<String> = signed.collect();
    let others = statements.iter().enumerate().map(|(n, statement)| match n % 5 {
        0 => "junk".to_owned(),
        1 => json!({ "udap": "1", "software_statement": "e30.e30.e30" }).to_string(),
        2 => "[".repeat(5000) + &"]".repeat(5000),
        3 => json!({ "udap": "1", "software_statement": "A".repeat(60_000) }).to_string(),
        _ => format!("{{\"udap\":\"1\",\"software_statement\":\"{statement}x\"}}"),
    });
    signed.into_iter().chain(others).collect()
}

/// Sends its share, one after the other, on a connection that is made anew whenever Ward closes it; how often each status
/// came. Whatever was not answered is sent again.
async fn lane(
    connect: impl AsyncFn() -> TlsStream<TcpStream>,
    head: &str,
    bodies: &[String],
    count: usize,
) -> BTreeMap<u16, usize> {
    let mut statuses = BTreeMap::new();
    let mut stream = None;
    let mut answered = 0;
    for _ in 0..count * 20 {
        if answered == count {
            break;
        }
        let body = &bodies[answered % bodies.len()];
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let mut open = match stream.take() {
            Some(open) => open,
            None => connect().await,
        };
        // The answer may come before everything was sent.
        let _ = open.write_all(request.as_bytes()).await;
        let _ = open.flush().await;
        let Some((answer, stays)) = answer(&mut open).await else { continue };
        assert!(answer.status != 429 || answer.header("retry-after").is_some(), "{answer:?}");
        *statuses.entry(answer.status).or_default() += 1;
        answered += 1;
        stream = stays.then_some(open);
    }
    statuses
}

/// One answer, and whether the connection stays; `None` if it was lost.
async fn answer(stream: &mut TlsStream<TcpStream>) -> Option<(Answer, bool)> {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => received.extend_from_slice(&buffer[..n]),
        }
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let answer = parse(&received);
        let length: usize = answer.header("content-length").map_or(0, |v| v.parse().unwrap());
        if received.len() >= end + 4 + length {
            let stays = answer.header("connection") != Some("close");
            return Some((answer, stays));
        }
    }
}

fn head(path: &str, port: u16) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost:{port}\r\ncontent-type: application/json\r\n")
}

fn added(all: Vec<BTreeMap<u16, usize>>) -> BTreeMap<u16, usize> {
    let mut sum = BTreeMap::new();
    for (status, count) in all.into_iter().flatten() {
        *sum.entry(status).or_default() += count;
    }
    sum
}

/// One request from 127.0.0.2, as somebody else.
async fn from_elsewhere(world: &World, url: &str, kind: &str, body: &str) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let tcp = socket.connect(SocketAddr::from(([127, 0, 0, 1], world.port))).await.unwrap();
    let mut stream = shake(world, tcp, &[b"http/1.1"]).await.unwrap();
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: localhost:{}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        world.path(url),
        world.port,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    parse(&received)
}

/// All of it within one minute of Ward's clock, so that what is counted is exact.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_junk_registrations_make_little_work_and_keep_nobody_out() {
    let limits = Limits { tokens_per_client_per_minute: 100_000, ..Limits::default() };
    let allowed = limits.registrations_per_minute as usize;
    let clock = Arc::new(ManualClock::at_unix_seconds(system().clock.now().as_seconds()));
    let mut stage = Stage::set_on(limits, 1000, clock.clone(), |_| {}).await;
    let words = stage.world.words(ISS, "");
    let now = clock.now().as_seconds();
    let audience = stage.world.register.clone();
    let statements = statements(&mut stage.world.pki, &words, |uri| {
        json!({
            "iss": uri, "sub": uri, "aud": audience, "iat": now, "exp": now + 280, "jti": uri,
            "client_name": "Nobody", "grant_types": ["client_credentials"], "scope": "system/*.rs",
            "contacts": ["mailto:a@nobody.example"], "token_endpoint_auth_method": "private_key_jwt",
        })
    });
    let bodies = bodies(&statements);
    let head = head(&stage.world.path(&stage.world.register), stage.world.port);
    let (fetched, before) = (stage.world.pki.fetched(), logged(&stage.world));
    let over = AtomicBool::new(false);
    let honest = async {
        let world = &stage.world;
        let mut served = 0;
        // A member's own quota is for its registrations from anywhere.
        while !over.load(Ordering::SeqCst) || served == 0 {
            let words = world.words(ISS, &stage.client);
            let row = World::good_row();
            if served < 20 {
                let claims = world.statement_claims(ISS);
                let statement = jwt(&row, &words, claims, &stage.member, &stage.member);
                let body = json!({ "udap": "1", "software_statement": statement }).to_string();
                let answer =
                    from_elsewhere(world, &world.register, "application/json", &body).await;
                assert_eq!(answer.status, 200, "an honest registration");
            }
            let claims = world.assertion_claims(&stage.client);
            let assertion = jwt(&row, &words, claims, &stage.member, &stage.member);
            let body = form(&World::token_form(&assertion));
            let kind = "application/x-www-form-urlencoded";
            let answer = from_elsewhere(world, &world.token, kind, &body).await;
            assert_eq!(answer.status, 200, "an honest token request");
            served += 1;
        }
        served
    };
    let flood = async {
        let mut lanes = vec![];
        for _ in 0..LANES {
            let connect = async || {
                shake(&stage.world, dial(&stage.world).await, &[b"http/1.1"]).await.unwrap()
            };
            lanes.push(Box::pin(lane(connect, &head, &bodies, JUNK / LANES)));
        }
        let statuses = added(join_all(&mut lanes).await);
        over.store(true, Ordering::SeqCst);
        statuses
    };
    let (tally, (served, statuses)) =
        stage.beside(2, async { tokio::join!(Box::pin(honest), Box::pin(flood)) }).await;
    tally.only(&[200]);
    let log = logged(&stage.world);
    tally.is_in(&log);

    // All were answered, and no more were looked at than one address may ask for in a minute.
    assert_eq!(statuses.values().sum::<usize>(), JUNK, "{statuses:?}");
    let looked_at: usize =
        statuses.iter().filter(|(status, _)| **status != 429).map(|(_, n)| n).sum();
    // An answer can be lost with its connection, under a body that was not read.
    assert!(looked_at <= allowed, "{statuses:?}");
    let stats = stage.world.house.ops.server.snapshot();
    assert!(stats.requests_http1 >= JUNK as u64, "{stats:?}");
    let known = statuses.keys().all(|status| [400, 413, 429].contains(status));
    assert!(known, "{statuses:?}");
    // Nobody was registered by it, and strangers write nothing into the log.
    let mine = served.min(20);
    assert_eq!(log.registrations, before.registrations + mine);
    let refused = refusals(&stage.world);
    assert_eq!(refused, 0, "a stranger's refusals are in the log");
    // What strangers make Ward fetch has a bound of its own.
    let fetches = stage.world.pki.fetched() - fetched;
    assert!(fetches <= allowed, "{fetches} fetches");
    println!(
        "junk: {JUNK} registrations answered {statuses:?}; {fetches} fetches; honest: {served} turns from another address, {tally}"
    );
}

fn refusals(world: &World) -> usize {
    let reader = Reader::open_dir(&world.house.paths.log(), None).unwrap();
    let leaves = reader.leaves(0..reader.size()).map(|leaf| leaf.unwrap().1);
    leaves
        .filter(|leaf| leaf.kind == EventKind::Registration && leaf.outcome != Outcome::Success)
        .count()
}

/// The same against a process of its own, whose memory can be looked at.
#[tokio::test(flavor = "multi_thread")]
async fn junk_registrations_take_no_memory() {
    let upstream = sandbox().await;
    let mut pki = Pki::start().await;
    let place = Place::init(&upstream.base_url);
    place.join(&mut pki);
    place.patient();
    let serving = Serving::start(&place).await;
    let register = format!("https://localhost:{}/default/oauth/register", place.port);
    let now = system().clock.now().as_seconds();
    let words = Words {
        now,
        register: register.clone(),
        token: register.clone(),
        base: place.base.clone(),
        iss: ISS.to_owned(),
        client: String::new(),
    };
    let statements = statements(&mut pki, &words, |uri| {
        json!({
            "iss": uri, "sub": uri, "aud": register, "iat": now, "exp": now + 280, "jti": uri,
            "client_name": "Nobody", "grant_types": ["client_credentials"], "scope": "system/*.rs",
        })
    });
    let bodies = bodies(&statements);
    let head = head("/default/oauth/register", place.port);
    let flood = async || {
        let mut lanes = vec![];
        for _ in 0..LANES {
            let connect = async || place.connect().await.1;
            lanes.push(Box::pin(lane(connect, &head, &bodies, JUNK / LANES / 2)));
        }
        added(join_all(&mut lanes).await)
    };
    // Once to have everything in place that a server needs to be busy at all.
    let first = flood().await;
    let before = resident(serving.child.id());
    let second = flood().await;
    let after = resident(serving.child.id());
    assert_eq!(place.discover().await.0, 200);
    for statuses in [&first, &second] {
        assert_eq!(statuses.values().sum::<usize>(), JUNK / 2, "{statuses:?}");
        assert!(statuses.keys().all(|status| [400, 413, 429].contains(status)), "{statuses:?}");
    }
    let grown = after.saturating_sub(before);
    println!("junk: {before} KiB after {first:?}, {after} KiB after {second:?}");
    assert!(grown < 32 * 1024, "{grown} KiB for {} junk registrations", JUNK / 2);
    assert!(!serving.said().contains("panicked"), "{}", serving.said());
}
