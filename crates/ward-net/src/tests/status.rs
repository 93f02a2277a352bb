//! Status endpoints of certifiers that say yes, no, nonsense and nothing (CRT-12, C09), over TLS.

use std::sync::Mutex;

use ward_core::ManualClock;

use super::*;
use crate::TlsVersions;
use crate::status::{CertificationStatus, StatusError};

struct Lab {
    clock: Arc<ManualClock>,
    says: Arc<Mutex<(u16, &'static str)>>,
    asked: Arc<AtomicUsize>,
    status: CertificationStatus,
    url: String,
    server: Running,
}

async fn lab() -> Lab {
    let says = Arc::new(Mutex::new((200, r#"{"valid":true}"#)));
    let asked = Arc::new(AtomicUsize::new(0));
    let (said, counter) = (says.clone(), asked.clone());
    let handler = move |_: Request<Incoming>, _: Peer| -> BoxFuture<'static, _> {
        counter.fetch_add(1, Ordering::SeqCst);
        let (status, body) = *said.lock().unwrap();
        Box::pin(async move { text(StatusCode::from_u16(status).unwrap(), body) })
    };
    let tls_lab = TlsLab::new();
    let (chain, key) = tls_lab.identity("localhost");
    let reload = TlsReload::new(tls::server_config(&chain, &key, TlsVersions::Tls13).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let limits = Arc::new(limits());
    let server = Server::start(listener, Some(reload), Arc::new(handler), limits.clone()).unwrap();
    let clock = Arc::new(ManualClock::at_unix_seconds(1_800_000_000));
    let root = tls_lab.root();
    let client = HttpClient::new(
        Egress::allowing([format!("localhost:{port}")]),
        tls::client_config([root.as_slice()]).unwrap(),
        limits.clone(),
    );
    let status = CertificationStatus::new(client, clock.clone(), limits);
    let url = format!("https://localhost:{port}/status?jti=1&exp=2");
    Lab { clock, says, asked, status, url, server }
}

#[tokio::test]
async fn only_a_plain_yes_is_a_yes() {
    let lab = lab().await;
    let again = Duration::from_mins(1);
    for (says, got) in [
        ((200, r#"{"valid":true}"#), Ok(true)),
        ((200, r#"{"valid":false}"#), Ok(false)),
        ((200, r#"{"valid":"true"}"#), Err(StatusError::Answer)),
        ((200, r#"{"valid":true,"x":1}"#), Err(StatusError::Answer)),
        ((200, r#"{"valid":true,"valid":true}"#), Err(StatusError::Answer)),
        ((200, "true"), Err(StatusError::Answer)),
        ((200, ""), Err(StatusError::Answer)),
        ((500, r#"{"valid":true}"#), Err(StatusError::Status(500))),
        ((302, r#"{"valid":true}"#), Err(StatusError::Status(302))),
    ] {
        *lab.says.lock().unwrap() = says;
        lab.clock.advance(again);
        assert_eq!(lab.status.is_valid(&lab.url).await, got, "{says:?}");
    }
    let plain = lab.url.replace("https:", "http:");
    assert_eq!(lab.status.is_valid(&plain).await, Err(StatusError::Plain));
    let elsewhere = lab.status.is_valid("https://127.0.0.1:1/").await;
    assert!(
        matches!(elsewhere, Err(StatusError::Fetch(crate::FetchError::Refused(_)))),
        "guarded egress: {elsewhere:?}"
    );
}

#[tokio::test]
async fn an_answer_counts_for_a_while_and_a_failure_hardly() {
    let lab = lab().await;
    let count = || lab.asked.load(Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(lab.status.is_valid(&lab.url).await, Ok(true));
    }
    assert_eq!(count(), 1);
    *lab.says.lock().unwrap() = (200, r#"{"valid":false}"#);
    lab.clock.advance(Duration::from_secs(59));
    assert_eq!(lab.status.is_valid(&lab.url).await, Ok(true));
    assert_eq!(lab.status.ask(&lab.url).await, Ok(false), "whoever wants to know now does");
    assert_eq!(count(), 2);
    *lab.says.lock().unwrap() = (503, "");
    lab.clock.advance(Duration::from_mins(1));
    for _ in 0..3 {
        assert_eq!(lab.status.is_valid(&lab.url).await, Err(StatusError::Status(503)));
    }
    assert_eq!(count(), 3, "a dead server is not asked by everybody");
    *lab.says.lock().unwrap() = (200, r#"{"valid":true}"#);
    lab.clock.advance(Duration::from_secs(1));
    assert_eq!(lab.status.is_valid(&lab.url).await, Ok(true));
    // A clock that was set back.
    lab.clock.set_back(Duration::from_hours(1));
    assert_eq!(lab.status.is_valid(&lab.url).await, Ok(true));
    assert_eq!(count(), 5);
    drop(lab.server);
}
