//! Each fault does what its name says.

use std::time::Duration;

use tokio::net::TcpListener;

use super::{call, get, raw};
use crate::Sandbox;
use crate::faults::{Fault, FaultyUpstream};

async fn faulty(fault: Fault) -> FaultyUpstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    FaultyUpstream::start(Sandbox::generate(2, 4), listener, fault).unwrap()
}

const READ: &[u8] = b"GET /fhir/Observation/obs-00001-1 HTTP/1.1\r\nHost: x\r\n\r\n";

async fn bytes(fault: Fault) -> Vec<u8> {
    raw(faulty(fault).await.base_url(), READ).await
}

#[tokio::test]
async fn faults_on_the_wire() {
    let honest = bytes(Fault::Honest).await;
    let is_whole = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        (
            length.parse::<usize>().unwrap() == body.len(),
            serde_json::from_str::<serde_json::Value>(body).is_ok(),
        )
    };
    assert_eq!(is_whole(&honest), (true, true));
    assert_eq!(is_whole(&bytes(Fault::DieMidBody).await), (false, false));
    assert_eq!(is_whole(&bytes(Fault::TruncatedJson).await), (true, false));
    assert!(!bytes(Fault::Garbage).await.starts_with(b"HTTP"));
    assert!(bytes(Fault::HugeBody(10_000_000)).await.len() > 9_000_000);
    let both = String::from_utf8(bytes(Fault::BothFramings).await).unwrap();
    assert!(both.contains("Content-Length: ") && both.contains("Transfer-Encoding: chunked"));
    let hanging = faulty(Fault::Hang).await;
    let waiting = raw(hanging.base_url(), READ);
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err());
}

#[tokio::test]
async fn faults_of_the_answer() {
    let upstream = faulty(Fault::HtmlError).await;
    let base = upstream.base_url();
    let reply = get(base, "/Patient").await;
    assert_eq!((reply.status, reply.header("content-type").as_deref()), (500, Some("text/html")));

    upstream.set(Fault::Redirect("http://evil/".into()));
    let reply = get(base, "/Patient").await;
    assert_eq!((reply.status, reply.header("location").as_deref()), (302, Some("http://evil/")));

    upstream.set(Fault::Status(429));
    let reply = get(base, "/Patient").await;
    assert_eq!((reply.status, &reply.json()["resourceType"]), (429, &"OperationOutcome".into()));

    upstream.set(Fault::WrongContentType);
    assert_eq!(get(base, "/Patient").await.header("content-type").as_deref(), Some("text/html"));

    upstream.set(Fault::Gzip);
    let reply = get(base, "/Patient").await;
    assert_eq!(reply.header("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(reply.body[..2], [0x1f, 0x8b]);

    upstream.set(Fault::DuplicateKeys);
    let text = String::from_utf8(get(base, "/Observation?_count=2").await.body).unwrap();
    assert_eq!(text.matches(r#""id":"nobody""#).count(), 2);
    let text = String::from_utf8(get(base, "/Observation/obs-00001-1").await.body).unwrap();
    assert_eq!(text.matches(r#""subject":"#).count(), 2);

    upstream.set(Fault::IgnoresNarrowing);
    let everybody = get(base, "/Observation?patient=Patient/pt-00001").await;
    let text = String::from_utf8(everybody.body).unwrap();
    assert!(text.contains("Patient/pt-00002"));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let everybody = call(base, "POST", "/Patient/_search", form, "_id=pt-00001").await;
    assert_eq!(everybody.ids().len(), 4);
    assert_eq!(get(base, "/Patient/pt-00002").await.json()["id"], "pt-00002");

    upstream.set(Fault::WrongResource);
    assert_eq!(get(base, "/Patient/pt-00001").await.json()["id"], "pt-00002");

    upstream.set(Fault::ForeignNext("http://evil/next".into()));
    assert_eq!(get(base, "/Patient").await.link("next").as_deref(), Some("http://evil/next"));
    assert_eq!(upstream.requests().len(), 12);
    upstream.stop();
}
