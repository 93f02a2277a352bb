//! Observe mode at the door: what Ward lends, what fails closed, and that it is off unless somebody turns it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderValue, StatusCode};
use ward_core::{Limits, Outcome};
use ward_policy::Enforcement;

use crate::support::*;

fn observing() -> Enforcement {
    Enforcement::observing([], [])
}

/// Ward's own credentials go with what a known caller reads or searches, and with nothing that could change
/// something; headers that could make another request of it, or another caller, stay behind.
#[tokio::test]
async fn credentials_are_lent_to_known_callers_for_reads_only() {
    let door = Door::over(vec![observation("1", "c")]).await;
    let secret = HeaderValue::from_static("Basic d2FyZDpzZWNyZXQ=");
    door.gateway.credentials().turn(Some(secret));
    door.gateway.dial().turn(observing());
    let lent = "authorization: basic d2fyzdpzzwnyzxq=";
    let odd = [("x-http-method-override", "DELETE"), ("x-remote-user", "root"), ("cookie", "a=b")];
    for (method, target, token, ours) in [
        ("GET", "/Observation/1", "good", true),
        ("HEAD", "/Observation/1", "good", true),
        ("GET", "/Observation?code=x", "good", true),
        ("GET", "/Observation/1/_history", "good", true),
        ("GET", "/Observation/$lastn", "good", false),
        ("GET", "/admin/reset", "good", false),
        ("DELETE", "/Observation/1", "good", false),
        ("PUT", "/Observation/1", "good", false),
        ("POST", "/Observation", "good", false),
        ("POST", "/", "good", false),
        ("GET", "/Observation/1", "unknown", false),
    ] {
        door.seen.lock().unwrap().clear();
        let bearer = format!("Bearer {token}");
        let headers = [&[("authorization", bearer.as_str())][..], &odd].concat();
        door.send(request(method, target, &headers)).await;
        let seen = door.seen.lock().unwrap().first().cloned().unwrap().to_lowercase();
        assert!(seen.starts_with(&method.to_lowercase()), "{seen}");
        assert_eq!(seen.contains(lent), ours, "{method} {target} {token}: {seen}");
        assert_eq!(seen.contains("x-http-method-override"), !ours, "{method} {target}: {seen}");
        assert_eq!(seen.contains("x-remote-user") || seen.contains("cookie"), !ours, "{seen}");
        assert!(!seen.contains("bearer"), "{seen}");
    }
}

/// A fact that cannot be had refuses nothing while observing; what says whose request it is must be known.
#[tokio::test]
async fn missing_facts_are_observed_and_unknown_callers_are_not() {
    let door = Door::over(vec![observation("1", "a")]).await;
    *door.roster.0.lock().unwrap() = None;
    assert_eq!(door.get("/Observation/1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    door.gateway.dial().turn(observing());
    assert_eq!(door.get("/Observation/1").await.status, StatusCode::OK);
    let event = door.events().pop().unwrap();
    assert_eq!((event.outcome, event.rule.as_deref()), (Outcome::Observed, Some("FACTS")));
    let busy = request("GET", "/Observation/1", &[("authorization", "Bearer busy")]);
    assert_eq!(door.send(busy).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// An answer in windows is broken off when the log fails in its midst, as ever.
#[tokio::test]
async fn a_window_that_is_not_recorded_does_not_leave() {
    let records = (0..20).map(|n| observation(&format!("o{n}"), "c")).collect();
    let limits = Limits { window_resources: 8, ..limits() };
    let door = Door::before(server(records), limits).await;
    door.gateway.dial().turn(observing());
    let whole = door.get("/Observation?_count=20").await;
    assert!(whole.body.is_some_and(|body| !body.is_empty()));
    let events = door.events();
    assert!(events.len() > 3 && events.iter().all(|event| event.outcome == Outcome::Observed));
    // What would have been held back is told once, with the first of them.
    for (name, what) in [("shape", "GET Observation"), ("would_withhold", "ROSTER=20")] {
        let told: Vec<_> = events.iter().map(|event| event.body.detail.get(name)).collect();
        assert!(told[0].is_some_and(|text| text.starts_with(what)), "{name}: {told:?}");
        assert!(told[1..].iter().all(Option::is_none), "{name}: {told:?}");
    }
    door.ledger.room.store(2, Ordering::SeqCst);
    let broken = door.get("/Observation?_count=20").await;
    assert_eq!((broken.status, broken.body), (StatusCode::OK, None), "broken off");
    door.ledger.room.store(0, Ordering::SeqCst);
    let shut = door.get("/Observation?_count=20").await;
    assert_eq!(shut.status, StatusCode::SERVICE_UNAVAILABLE);
}

/// Nothing passes a door that nobody has turned, nor one that was turned back.
#[tokio::test]
async fn a_door_enforces_unless_it_is_turned() {
    let door = Door::over(vec![observation("1", "c")]).await;
    let refused = || async { door.get("/Observation/1").await.status };
    assert_eq!(refused().await, StatusCode::NOT_FOUND);
    door.gateway.dial().turn(observing());
    assert_eq!(refused().await, StatusCode::OK);
    door.gateway.dial().turn(Enforcement::full());
    assert_eq!(refused().await, StatusCode::NOT_FOUND);
}

/// What the upstream could read as another path stays here, whatever stands before it and is only observed.
#[tokio::test]
async fn no_fault_of_a_path_hides_another_behind_it() {
    let door = Door::over(vec![observation("1", "a")]).await;
    door.gateway.dial().turn(observing());
    for target in [
        "//../../other/fhir/Patient/1/_history",
        "/Patient//../../metadata",
        "/Patient//..%2f..%2fadmin",
        "/a%20b/../../admin",
        "/%zz/%2e%2e/admin",
        "/Patient//..;/admin",
        "/%c0%ae%c0%ae/admin",
        "/..%20/admin",
        "/x%0d%0a/../admin",
    ] {
        assert_eq!(door.get(target).await.status, StatusCode::BAD_REQUEST, "{target}");
    }
    assert!(door.seen.lock().unwrap().is_empty(), "{:?}", door.seen.lock().unwrap());
    assert_eq!(door.get("//Observation/1").await.status, StatusCode::OK, "an empty segment alone");
}

/// The target of a page is no new question to whoever reads it; under another method it would be a conditional
/// write, and is judged as one.
#[tokio::test]
async fn a_page_is_read_and_not_written() {
    let records = (0..9).map(|n| observation(&format!("o{n}"), "a")).collect();
    let door = Door::over(records).await;
    door.gateway.dial().turn(Enforcement::observing([], ["A16".to_owned()]));
    let next = door.get("/Observation?_count=2").await.next().unwrap();
    for method in ["DELETE", "PUT", "PATCH"] {
        door.seen.lock().unwrap().clear();
        let asked = request(method, &next, &[("authorization", "Bearer good")]);
        assert_eq!(door.send(asked).await.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert!(door.seen.lock().unwrap().is_empty(), "{method}");
    }
    assert_eq!(door.get(&next).await.status, StatusCode::OK);
}

/// What may change something is in the log before it reaches the upstream: with the log shut it stays here, and
/// whoever hangs up does not take it out of the log.
#[tokio::test]
async fn a_write_is_recorded_before_it_goes() {
    let door = Door::over(vec![observation("1", "a")]).await;
    door.gateway.dial().turn(observing());
    let write = || request("DELETE", "/Observation/1", &[("authorization", "Bearer good")]);
    door.ledger.room.store(0, Ordering::SeqCst);
    assert_eq!(door.send(write()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(door.seen.lock().unwrap().is_empty(), "{:?}", door.seen.lock().unwrap());
    // Room for the event before it, and none for its answer.
    door.ledger.room.store(1, Ordering::SeqCst);
    assert_eq!(door.send(write()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(door.seen.lock().unwrap().len(), 1);
    let event = door.events().pop().unwrap();
    assert_eq!((event.action.as_ref(), event.transfer.is_none()), ("handed-on", true));
    assert_eq!(event.body.detail["shape"], "DELETE Observation/{id}");
    // A read is recorded once, with its answer.
    door.ledger.room.store(usize::MAX, Ordering::SeqCst);
    let before = door.events().len();
    door.get("/Observation/1").await;
    assert_eq!(door.events().len(), before + 1);
}

/// Method, target, token; no token if that is empty.
type Asked<'a> = (&'a str, &'a str, &'a str);

/// A rule that is enforced by itself is looked at, or the request does not pass: whatever comes before it, and whoever asks.
#[tokio::test]
async fn a_rule_that_is_enforced_is_not_gone_around_by_an_earlier_fault() {
    let records = vec![observation("mine", "a"), observation("1", "c")];
    let only = |rule: &str| Enforcement::observing([], [rule.to_owned()]);
    // A rule, and requests that it would not have been looked at for.
    let table: &[(&str, &[Asked<'_>])] = &[
        (
            "ROSTER",
            &[
                ("GET", "//Observation/1", "good"),
                ("GET", "/Observation/1?_format=xml", "good"),
                ("GET", "/Observation/1?_summary=true", "good"),
                ("GET", "/Observation/1/_history", "good"),
                ("GET", "/Observation?subject.name=x", "good"),
                ("GET", "/Observation/1", "narrow"),
                ("GET", "/Observation/1", "unknown"),
                ("GET", "/Observation/1", ""),
            ],
        ),
        ("RSV-02", &[("GET", "//Observation/1", "narrow"), ("GET", "/Observation/1", "")]),
        ("A16", &[("DELETE", "//Observation/1", "good")]),
        ("G01", &[("GET", "//Observation/1", "")]),
        ("UNJUDGED", &[("GET", "//Observation/1", "good"), ("GET", "/Observation/1", "")]),
    ];
    for (rule, requests) in table {
        let door = Door::over(records.clone()).await;
        for (method, target, token) in *requests {
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", bearer.as_str())];
            let headers = if token.is_empty() { &[][..] } else { &headers };
            door.gateway.dial().turn(only(rule));
            door.seen.lock().unwrap().clear();
            let answer = door.send(request(method, target, headers)).await;
            assert!(answer.status.is_client_error(), "{rule} {method} {target} {token:?}");
            let seen = door.seen.lock().unwrap().clone();
            assert!(seen.is_empty(), "{rule} {method} {target} {token:?}: {seen:?}");
            // It is the rule that does it: with none enforced the request passes.
            door.gateway.dial().turn(observing());
            door.send(request(method, target, headers)).await;
            assert_eq!(door.seen.lock().unwrap().len(), 1, "{rule} {method} {target} {token:?}");
        }
        // And only that: what keeps to it passes, or is answered.
        door.gateway.dial().turn(only(rule));
        assert_eq!(door.get("/Observation/mine").await.status, StatusCode::OK, "{rule}");
    }
}

/// HEAD and 304 tell that a record is there: what they would have shown is judged, or told as unjudged.
#[tokio::test]
async fn what_an_answer_without_a_body_tells_is_judged() {
    let honest = server(vec![observation("mine", "a"), observation("hidden", "z")]);
    for unchanged in [false, true] {
        let honest = Arc::clone(&honest);
        // The upstream answers what is handed on by 304, if it is to, and what Ward asks itself as ever.
        let next = Arc::new(AtomicBool::new(false));
        let is_next = Arc::clone(&next);
        let script = move |base: &str, target: &str| {
            if is_next.swap(false, Ordering::SeqCst) {
                return Reply::Raw(
                    b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".into(),
                );
            }
            honest(base, target)
        };
        let door = Door::before(Arc::new(script), limits()).await;
        door.gateway.dial().turn(observing());
        let method = if unchanged { "GET" } else { "HEAD" };
        let headers = [("authorization", "Bearer good"), ("if-none-match", "W/\"7\"")];
        for (target, outcome, rule, would) in [
            ("/Observation/mine", Outcome::Success, None, None),
            ("/Observation/hidden", Outcome::Observed, Some("ROSTER"), Some("404")),
            ("/Observation/hidden/_history/1", Outcome::Observed, Some("ROSTER"), Some("404")),
            ("/Observation?subject=Patient/z", Outcome::Observed, Some("UNJUDGED"), Some("200")),
        ] {
            next.store(unchanged, Ordering::SeqCst);
            door.send(request(method, target, &headers)).await;
            let event = door.events().pop().unwrap();
            let said = event.body.detail.get("would_status").map(String::as_str);
            let status = event.transfer.as_ref().unwrap().status;
            let got = (event.outcome, event.rule.as_deref(), said);
            assert_eq!(got, (outcome, rule, would), "{method} {target} {status}");
            assert!(event.body.released.is_empty(), "{method} {target}: nothing of it left");
        }
    }
}
