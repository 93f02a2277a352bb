//! What the upstream may do wrong, and the clean answer to each (A19, A27, E7; issue 2 "Bad input").

use std::sync::Arc;

use serde_json::json;
use ward_core::{Limits, Outcome};

use crate::support::*;

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

type Make = fn() -> Reply;

/// A19, A27, B6.
#[tokio::test]
async fn every_fault_of_the_upstream_has_one_clean_answer() {
    let table: &[(&str, Make, u16, u16)] = &[
        // (name, reply, status on a read, status on a search)
        ("not found", || reply(404, "text/html", "<h1>secret</h1>"), 404, 404),
        ("gone", || reply(410, "text/html", "secret"), 404, 404),
        ("bad request", || reply(400, "application/fhir+json", "secret"), 404, 400),
        ("unprocessable", || reply(422, "application/fhir+json", "secret"), 404, 400),
        ("forbidden", || reply(403, "text/plain", "HAPI-0335 secret"), 502, 502),
        ("error", || reply(500, "text/plain", "secret stack"), 502, 502),
        ("busy", || reply(503, "text/plain", "secret"), 503, 503),
        (
            "redirect",
            || raw("HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
            502,
            502,
        ),
        ("garbage body", || reply(200, "application/fhir+json", "secret{{{"), 404, 502),
        ("empty body", || reply(200, "application/fhir+json", ""), 404, 502),
        (
            "not UTF-8",
            || {
                Reply::Raw(b"HTTP/1.1 200 X\r\ncontent-type: application/fhir+json\r\ncontent-length: 2\r\n\r\n\xff\xff".to_vec())
            },
            404,
            502,
        ),
        ("HTML", || reply(200, "text/html", "<h1>secret</h1>"), 502, 502),
        ("XML", || reply(200, "application/fhir+xml", "<Patient/>"), 502, 502),
        ("UTF-16", || reply(200, "application/fhir+json; charset=utf-16", "{}"), 502, 502),
        ("no content type", || raw("HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}"), 502, 502),
        (
            "gzip",
            || {
                raw(
                    "HTTP/1.1 200 X\r\ncontent-type: application/fhir+json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
                )
            },
            502,
            502,
        ),
        (
            "duplicate members",
            || {
                reply(
                    200,
                    "application/fhir+json",
                    r#"{"resourceType":"Bundle","type":"searchset","type":"x"}"#,
                )
            },
            404,
            502,
        ),
        ("too deep", || reply(200, "application/fhir+json", &"[".repeat(10_000)), 404, 502),
        ("too large", || reply(200, "application/fhir+json", &"x".repeat(70_000)), 404, 200),
        (
            "died mid-body",
            || {
                raw(
                    "HTTP/1.1 200 X\r\ncontent-type: application/fhir+json\r\ncontent-length: 99\r\n\r\n{\"secret\"",
                )
            },
            502,
            502,
        ),
        ("no HTTP", || raw("secret\r\n\r\n"), 502, 502),
        ("nothing", || raw(""), 502, 502),
        ("hangs", || Reply::Hang, 504, 504),
        ("another type", || fhir(&json!({"resourceType": "Patient", "id": "1"})), 404, 502),
        (
            "another id",
            || {
                fhir(
                    &json!({"resourceType": "Observation", "id": "2", "subject": {"reference": "Patient/a"}}),
                )
            },
            404,
            502,
        ),
        ("no id", || fhir(&json!({"resourceType": "Observation"})), 404, 502),
        ("unknown type", || fhir(&json!({"resourceType": "Sercret", "id": "1"})), 404, 502),
        (
            "a batch",
            || fhir(&json!({"resourceType": "Bundle", "id": "1", "type": "batch-response"})),
            404,
            502,
        ),
        (
            "next leads away",
            || {
                fhir(
                    &json!({"resourceType": "Bundle", "id": "1", "type": "searchset", "link": [{"relation": "next", "url": "http://169.254.169.254/latest?a=b"}]}),
                )
            },
            404,
            502,
        ),
        (
            "next leads to itself",
            || {
                fhir(
                    &json!({"resourceType": "Bundle", "id": "1", "type": "searchset", "link": [{"relation": "next", "url": "?x=1"}]}),
                )
            },
            404,
            502,
        ),
        (
            "next climbs",
            || {
                fhir(
                    &json!({"resourceType": "Bundle", "id": "1", "type": "searchset", "link": [{"relation": "next", "url": "../admin?x=1"}]}),
                )
            },
            404,
            502,
        ),
    ];
    for (name, make, read, search) in table {
        let mut limits = Limits { upstream_body_bytes: 65_536, ..limits() };
        if *read == 504 {
            limits.upstream_timeout = std::time::Duration::from_millis(300);
        }
        let make = *make;
        let door = Door::before(Arc::new(move |_: &str, _: &str| make()), limits).await;
        for (target, status) in [("/Observation/1", read), ("/Observation", search)] {
            let answer = door.get(target).await;
            assert_eq!(answer.status.as_u16(), *status, "{name} {target}");
            let body = answer.json();
            if *status == 200 {
                // A single entry that is too large is nobody's; the answer does not pretend to be whole.
                assert!(body.get("entry").is_none() && body.get("total").is_none(), "{name}");
                continue;
            }
            assert_eq!(body["resourceType"], "OperationOutcome", "{name}");
            assert!(!body.to_string().contains("secret"), "{name}: {body}");
            assert_eq!(answer.headers.contains_key("retry-after"), *status == 503, "{name}");
            let event = door.events().pop().unwrap();
            assert_ne!(event.outcome, Outcome::Success, "{name}");
            assert_eq!(event.transfer.unwrap().status, *status, "{name}");
        }
    }
}

#[tokio::test]
async fn an_unreachable_upstream_is_503() {
    let door = Door::at("http://127.0.0.1:1/fhir", Arc::default(), limits());
    let answer = door.get("/Observation/1").await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn only_matches_of_the_asked_type_pass_a_search() {
    let entry = |resource: serde_json::Value, mode: &str| json!({"resource": resource, "search": {"mode": mode}});
    let page = json!({"resourceType": "Bundle", "type": "searchset", "total": 9, "entry": [
        entry(observation("1", "a"), "match"),
        entry(observation("2", "a"), "include"),
        entry(json!({"resourceType": "Patient", "id": "a"}), "match"),
        entry(json!({"resourceType": "OperationOutcome", "id": "o", "issue": [{"diagnostics": "secret"}]}), "outcome"),
        entry(observation("3", "z"), "match"),
        entry(json!({"resourceType": "Observation", "subject": {"reference": "Patient/a"}}), "match"),
        {"resource": observation("4", "b")},
    ]})
    .to_string()
    // B6: duplicate members within an entry.
    .replace(r#""id":"3""#, r#""id":"3","id":"5""#);
    let door = Door::before(
        Arc::new(move |_: &str, _: &str| reply(200, "application/json", &page)),
        limits(),
    )
    .await;
    let answer = door.get("/Observation").await;
    assert_eq!(answer.ids(), ["1", "4"]);
    let bundle = answer.json();
    assert_eq!(bundle["total"], 2);
    assert_eq!(bundle["entry"][0]["fullUrl"], format!("{PUBLIC}/Observation/1"));
    assert!(bundle.get("id").is_none() && bundle.get("meta").is_none());
}

/// A record on which the upstream fails is as one that is not there, as long as it answers for others: whether it fails is
/// a question of what is stored (result rule). Where it fails on all, that is said.
#[tokio::test]
async fn a_record_on_which_the_upstream_fails_is_as_absent() {
    for status in [403, 500, 501] {
        for all in [false, true] {
            let honest = server(vec![observation("o1", "a")]);
            let door = Door::before(
                Arc::new(move |base: &str, target: &str| {
                    if all || target.starts_with("/Observation/bad") {
                        return reply(status, "text/plain", "secret");
                    }
                    honest(base, target)
                }),
                limits(),
            )
            .await;
            let bad = door.get("/Observation/bad").await;
            if all {
                assert_eq!(bad.status, 502, "{status}");
            } else {
                let absent = door.get("/Observation/absent").await;
                assert_eq!(bad.comparable(), absent.comparable(), "{status}");
                assert_eq!(bad.status, 404);
                assert_eq!(door.get("/Observation/o1").await.status, 200);
            }
        }
    }
}

/// One record that is not UTF-8 is withheld; the rest of its page is not.
#[tokio::test]
async fn a_record_that_is_not_utf_8_is_withheld_and_its_page_is_not() {
    let honest =
        server(vec![observation("o1", "a"), observation("o2", "a"), observation("o3", "b")]);
    for (broken, left) in [("o2", vec!["o1", "o3"]), ("o1", vec!["o2", "o3"])] {
        let honest = Arc::clone(&honest);
        let door = Door::before(
            Arc::new(move |base: &str, target: &str| {
                let Reply::Raw(mut bytes) = honest(base, target) else { return Reply::Hang };
                let named = format!(r#""{broken}""#);
                let at = bytes.windows(named.len()).position(|text| text == named.as_bytes());
                if let Some(at) = at {
                    // As long as it was, and no text.
                    bytes[at + 2] = 0xff;
                }
                Reply::Raw(bytes)
            }),
            limits(),
        )
        .await;
        let answer = door.get("/Observation").await;
        assert_eq!(answer.status, 200, "{broken}");
        assert_eq!(answer.ids(), left);
    }
}
