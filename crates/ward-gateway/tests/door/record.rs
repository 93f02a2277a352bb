//! Rule 3: nothing reaches the writer before an event that covers it is durable.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use WindowStep::{Complete, Items, Open};
use http::StatusCode;
use serde_json::json;
use ward_core::{Limits, Outcome, WindowStep};

use crate::support::*;

fn many() -> Vec<serde_json::Value> {
    (0..20).map(|n| observation(&format!("o{n}"), if n % 2 == 0 { "a" } else { "b" })).collect()
}

async fn windowed() -> Door {
    Door::before(server(many()), Limits { window_resources: 8, ..limits() }).await
}

fn steps(door: &Door) -> Vec<WindowStep> {
    let events = door.events();
    events.iter().map(|e| e.transfer.as_ref().unwrap().window.unwrap().step).collect()
}

#[tokio::test]
async fn no_answer_before_the_log_returned() {
    let door = Arc::new(Door::over(many()).await);
    let shut = door.ledger.gate.write().await;
    let asking = Arc::clone(&door);
    let mut answer = tokio::spawn(async move { asking.get("/Observation/o0").await });
    let early = tokio::time::timeout(Duration::from_millis(200), &mut answer).await;
    assert!(early.is_err(), "an answer while the log was still writing");
    assert_eq!(door.seen.lock().unwrap().len(), 1, "the record was fetched already");
    drop(shut);
    assert_eq!(answer.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn without_a_log_nothing_is_released_and_all_looks_alike() {
    let door = Door::over(many()).await;
    door.ledger.room.store(0, Ordering::SeqCst);
    let first = door.get("/Observation/o0").await;
    assert_eq!(first.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(first.headers.contains_key("retry-after"));
    for target in
        ["/Observation/absent", "/Patient/z", "/Observation", "/Patient?_id=z", "/ValueSet/1"]
    {
        assert_eq!(door.get(target).await.comparable(), first.comparable(), "{target}");
    }
    door.ledger.room.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(door.get("/Observation/o0").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_long_answer_is_recorded_window_by_window() {
    let door = windowed().await;
    let answer = door.get("/Observation?_count=20").await;
    assert_eq!(answer.ids().len(), 20);
    assert_eq!(steps(&door), [Open, Items, Items, Items, Complete]);
    let events = door.events();
    let released: Vec<&str> =
        events.iter().flat_map(|e| &e.body.released).map(|r| r.reference.as_str()).collect();
    assert_eq!(released.len(), 20);
    let bytes = |n: usize| events[n].transfer.as_ref().unwrap().bytes;
    assert_eq!(bytes(1) + bytes(2) + bytes(3), answer.body.unwrap().len() as u64);
    assert_eq!(bytes(4), bytes(1) + bytes(2) + bytes(3));
    let seqs: Vec<u32> =
        events.iter().map(|e| e.transfer.as_ref().unwrap().window.unwrap().seq).collect();
    assert_eq!(seqs, [0, 1, 2, 3, 4]);
    let one = &events[1].correlation;
    assert!(events.iter().all(|event| event.correlation == *one));
}

#[tokio::test]
async fn a_log_that_fails_midway_breaks_the_answer_off() {
    for (room, status) in [(0, 503), (1, 200), (2, 200), (3, 200), (4, 200)] {
        let door = windowed().await;
        door.ledger.room.store(room, Ordering::SeqCst);
        let answer = door.get("/Observation?_count=20").await;
        assert_eq!(answer.status.as_u16(), status, "room {room}");
        if status == 200 {
            assert!(answer.body.is_none(), "room {room}: looks complete");
        }
        let steps = steps(&door);
        assert!(!steps.contains(&Complete));
        assert_eq!(steps.len(), room);
    }
}

#[tokio::test]
async fn a_caller_who_hangs_up_is_recorded_as_aborted() {
    let records = (0..200).map(|n| {
        let mut record = observation(&format!("o{n}"), "a");
        record["note"] = json!([{"text": "x".repeat(2000)}]);
        record
    });
    let limits = Limits { window_resources: 8, ..limits() };
    let door = Door::before(server(records.collect()), limits).await;
    let peer = ward_net::Peer { addr: ([127, 0, 0, 1], 1).into(), tls: true };
    let auth = [("authorization", "Bearer good")];
    let response =
        door.gateway.handle(request("GET", "/Observation?_count=200", &auth), peer).await;
    drop(response);
    for _ in 0..6000 {
        if steps(&door).last() == Some(&WindowStep::Aborted) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(steps(&door).last(), Some(&WindowStep::Aborted));
    assert_eq!(door.events().pop().unwrap().outcome, Outcome::Failed);
}

#[tokio::test]
async fn refusals_of_a_known_principal_are_recorded() {
    let door = Door::over(many()).await;
    let answer =
        door.send(request("GET", "/Observation/o0", &[("authorization", "Bearer narrow")])).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.headers["www-authenticate"], r#"Bearer error="insufficient_scope""#);
    let event = door.events().pop().unwrap();
    assert_eq!((event.outcome, event.rule.as_deref()), (Outcome::Refused, Some("RSV-02")));
    assert_eq!(event.transfer.unwrap().status, 403);
    assert!(door.seen.lock().unwrap().is_empty(), "RS-04: no data was touched");
}
