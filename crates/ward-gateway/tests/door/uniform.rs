//! C1–C5, A15, A21, RSV-03: one answer for whatever the caller may not see.

use http::StatusCode;
use serde_json::json;
use ward_core::{Outcome, Purpose};

use crate::support::*;

fn world() -> Vec<serde_json::Value> {
    vec![
        observation("mine", "a"),
        observation("hidden", "z"),
        json!({"resourceType": "Observation", "id": "nobody"}),
        json!({"resourceType": "Observation", "id": "gone", "deleted": true}),
        json!({"resourceType": "Patient", "id": "a"}),
        json!({"resourceType": "Patient", "id": "z"}),
        json!({"resourceType": "Practitioner", "id": "p"}),
        // Moved: version 1 was z's, version 2 is a's; and the reverse (C3).
        json!({"resourceType": "Observation", "id": "in", "meta": {"versionId": "1"}, "subject": {"reference": "Patient/z"}}),
        json!({"resourceType": "Observation", "id": "in", "meta": {"versionId": "2"}, "subject": {"reference": "Patient/a"}}),
        json!({"resourceType": "Observation", "id": "out", "meta": {"versionId": "1"}, "subject": {"reference": "Patient/a"}}),
        json!({"resourceType": "Observation", "id": "out", "meta": {"versionId": "2"}, "subject": {"reference": "Patient/z"}}),
    ]
}

/// A25: fetched and judged alike, and answered alike.
/// RSV-03.
#[tokio::test]
async fn what_may_not_be_seen_looks_like_what_is_not_there() {
    let door = Door::over(world()).await;
    let absent = door.get("/Observation/absent").await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
    for target in [
        "/Observation/hidden",
        "/Observation/nobody",
        "/Observation/gone",
        "/Patient/z",
        "/Patient/absent",
        "/Observation/absent/_history/1",
        "/Observation/mine/_history/2",
        "/Observation/hidden/_history/1",
        "/Observation/in/_history/1",
        "/Observation/out/_history/1",
        "/Observation/out/_history/2",
    ] {
        let answer = door.get(target).await;
        assert_eq!(answer.comparable(), absent.comparable(), "{target}");
    }
    for event in door.events() {
        assert_eq!(event.outcome, Outcome::Refused);
        assert!(event.rule.is_some() && event.body.released.is_empty());
        assert!(event.body.detail["reference"].contains('/'));
    }
    assert_eq!(door.events()[1].rule.as_deref(), Some("ROSTER"));
    assert_eq!(door.events()[0].rule.as_deref(), Some("NOT-FOUND"));
}

#[tokio::test]
async fn what_may_be_seen_leaves_byte_for_byte_with_our_own_headers_only() {
    let door = Door::over(world()).await;
    for (target, id) in [
        ("/Observation/mine", "mine"),
        ("/Observation/mine/_history/1", "mine"),
        ("/Observation/in/_history/2", "in"),
        ("/Patient/a", "a"),
        ("/Practitioner/p", "p"),
    ] {
        let answer = door.get(target).await;
        assert_eq!(answer.status, StatusCode::OK, "{target}");
        assert_eq!(answer.json()["id"], id);
        let mut names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "cache-control",
                "content-type",
                "vary",
                "x-content-type-options",
                "x-correlation-id",
                "x-ward-notice"
            ]
        );
        assert_eq!(answer.headers["cache-control"], "no-store, private");
    }
    let answer = door.get("/Observation/mine").await;
    assert_eq!(answer.body.unwrap(), observation("mine", "a").to_string());
    let event = door.events().pop().unwrap();
    let transfer = event.transfer.unwrap();
    assert_eq!((transfer.status, transfer.resources, transfer.patients), (200, 1, 1));
    assert_eq!(event.body.released[0].reference, "Observation/mine");
    assert_eq!(event.body.released[0].owners[0].as_str(), "a");
    assert!(event.body.facts.is_some() && event.body.policy.is_some());
    assert_eq!(event.purposes, [Purpose::Treatment]);
    // The request was written anew: nothing of the client's is in it.
    let seen = door.seen.lock().unwrap().join("");
    assert!(!seen.to_lowercase().contains("authorization") && !seen.contains("ward.example"));
}

#[tokio::test]
async fn conditions_ranges_and_head_tell_nothing_more() {
    let door = Door::over(world()).await;
    let auth = ("authorization", "Bearer good");
    for target in ["/Observation/hidden", "/Observation/absent"] {
        let plain = door.get(target).await;
        for extra in [
            ("if-none-match", "W/\"7\""),
            ("if-none-match", "*"),
            ("if-modified-since", "Sat, 21 Nov 2026 00:00:00 GMT"),
            ("range", "bytes=0-10"),
            ("accept-encoding", "br, zstd"),
        ] {
            let answer = door.send(request("GET", target, &[auth, extra])).await;
            assert_eq!(answer.comparable(), plain.comparable(), "{extra:?}");
        }
    }
    let whole = door.get("/Observation/mine").await;
    for extra in [("range", "bytes=0-10"), ("if-none-match", "W/\"7\"")] {
        let answer = door.send(request("GET", "/Observation/mine", &[auth, extra])).await;
        assert_eq!(answer.comparable(), whole.comparable(), "{extra:?}");
    }
    let before = door.events().len();
    let head = door.send(request("HEAD", "/Observation/mine", &[auth])).await;
    assert_eq!((head.status, head.body.unwrap().len()), (StatusCode::OK, 0));
    assert_eq!(door.events().len(), before + 1);
    let head = door.send(request("HEAD", "/Observation/hidden", &[auth])).await;
    assert_eq!((head.status, head.body.unwrap().len()), (StatusCode::NOT_FOUND, 0));
}

#[tokio::test]
async fn the_notice_follows_the_purpose_and_never_the_data() {
    let door = Door::over(world()).await;
    let mut pays = principal(6, "system/*.rs");
    pays.purposes = vec![Purpose::Payment];
    door.tokens.0.lock().unwrap().insert("pays".into(), pays);
    for target in ["/Observation/mine", "/Observation/absent", "/Observation", "/ValueSet/1"] {
        assert!(door.get(target).await.headers.contains_key("x-ward-notice"), "{target}");
        let answer = door.send(request("GET", target, &[("authorization", "Bearer pays")])).await;
        assert!(!answer.headers.contains_key("x-ward-notice"), "{target}");
    }
}

#[tokio::test]
async fn stored_text_keeps_its_bytes() {
    let raw =
        r#"{"resourceType" : "Patient","multipleBirthInteger":1.50, "id":"a","text":"\u00e9é"}"#;
    let door = Door::before(
        std::sync::Arc::new(move |_: &str, _: &str| {
            reply(200, "application/fhir+json;charset=UTF-8", raw)
        }),
        limits(),
    )
    .await;
    assert_eq!(door.get("/Patient/a").await.body.unwrap(), raw);
}
