//! Answers that pass: recorded before they leave, judged if they can be, and their links lead through Ward.

use serde_json::json;
use ward_core::{Limits, Outcome, WindowStep};

use super::upstream::{Seen, fhir, plain, scripted};
use super::{accesses, admitted, before, last_access, observing, turn};

/// Record before release stands in observe mode: what no log can take does not leave (house rule 3).
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_shuts_the_door_in_observe_mode_too() {
    let upstream = scripted(plain).await;
    let mut world = before(&upstream, Limits::default()).await;
    let (_, _, token) = admitted(&mut world).await;
    turn(&world, observing(&[], &[]));
    let base = world.path(&world.base);
    assert_eq!(world.get(&format!("{base}/Patient/theirs"), &token).await.status, 200);
    world.house.log.close().await;
    for (what, token) in [("known", token.as_str()), ("anonymous", "of.another.issuer")] {
        let answer = world.get(&format!("{base}/Patient/theirs"), token).await;
        assert_eq!(answer.status, 503, "{what}");
        assert!(answer.header("retry-after").is_some(), "{what}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("theirs"), "{what}");
    }
}

/// What cannot be judged passes, is recorded window by window before it leaves, and is named `UNJUDGED`.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_judged_passes_recorded_and_is_named() {
    const LONG: usize = 1_000_000;
    let upstream = scripted(|base| {
        let base = base.to_owned();
        Box::new(move |seen: &Seen| {
            let typed =
                |kind: &str, body: Vec<u8>| (200, vec![("content-type", kind.to_owned())], body);
            if seen.method == "POST" && seen.target == "/fhir/Patient" {
                let place = ("location", format!("{base}/Patient/new/_history/1"));
                let text =
                    json!({"resourceType": "Patient", "id": "new", "received": seen.body.len()});
                let (_, mut headers, body) = fhir(&text);
                headers.push(place);
                return (201, headers, body);
            }
            match seen.target.as_str() {
                "/fhir/Patient/xml" => typed("application/fhir+xml", b"<Patient/>".to_vec()),
                "/fhir/Patient/long" => typed("text/plain", vec![b'x'; LONG]),
                "/fhir/Patient/zip" => {
                    let (status, mut headers, body) = fhir(&json!({}));
                    headers.push(("content-encoding", "gzip".to_owned()));
                    (status, headers, body)
                }
                "/fhir/Patient/moved" => {
                    (302, vec![("location", format!("{base}/Patient/mine"))], vec![])
                }
                "/fhir/Patient/gone" => {
                    let (_, headers, body) = fhir(&json!({"resourceType": "OperationOutcome"}));
                    (410, headers, body)
                }
                "/fhir/Patient/broken" => {
                    let (_, headers, body) = fhir(&json!({"resourceType": "OperationOutcome"}));
                    (500, headers, body)
                }
                _ => fhir(&json!({"resourceType": "Patient", "id": "mine"})),
            }
        })
    })
    .await;
    let mut world = before(&upstream, Limits::default()).await;
    let (_, _, token) = admitted(&mut world).await;
    turn(&world, observing(&[], &[]));
    let base = world.path(&world.base);
    let get = async |id: &str| world.get(&format!("{base}/Patient/{id}"), &token).await;

    let answer = get("xml").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"<Patient/>"[..]));
    let (leaf, _) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Observed, Some("UNJUDGED")));
    assert_eq!(get("zip").await.header("content-encoding"), Some("gzip"));
    assert_eq!(last_access(&world).await.0.rule.as_deref(), Some("UNJUDGED"));

    // A long one leaves whole, and each window was recorded.
    let before_it = accesses(&world).await.len();
    let answer = get("long").await;
    assert_eq!((answer.status, answer.body.len()), (200, LONG));
    let mut steps;
    let mut turns = 0;
    // The last step is written when the caller may have everything already.
    loop {
        steps = accesses(&world).await.split_off(before_it);
        let last = steps.last().and_then(|(leaf, _)| leaf.transfer.clone()?.window);
        if last.is_some_and(|window| window.step == WindowStep::Complete) {
            break;
        }
        turns += 1;
        assert!(turns < 3000, "{steps:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let items: u64 = steps
        .iter()
        .filter_map(|(leaf, _)| leaf.transfer.as_ref())
        .filter(|transfer| transfer.window.is_some_and(|window| window.step == WindowStep::Items))
        .map(|transfer| transfer.bytes)
        .sum();
    assert_eq!(items, LONG as u64);
    assert!(
        steps.len() >= 4 && steps.iter().all(|(leaf, _)| leaf.rule.as_deref() == Some("UNJUDGED"))
    );
    let told = steps.iter().filter(|(_, body)| body.detail.contains_key("shape")).count();
    assert_eq!(told, 1, "an answer is told once");

    // Redirects are handed on, not followed, and lead to Ward; errors are the upstream's own.
    let answer = get("moved").await;
    let place = format!("{}/Patient/mine", world.base);
    assert_eq!((answer.status, answer.header("location")), (302, Some(place.as_str())));
    assert_eq!(get("gone").await.status, 410);
    let (leaf, _) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Refused, Some("NOT-FOUND")));
    assert_eq!(get("broken").await.status, 500);
    assert_eq!(last_access(&world).await.0.outcome, Outcome::Failed);

    // A write that is larger than what Ward holds is handed on as it comes.
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(500_000));
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let target = format!("{base}/Patient");
    let answer = world.send("POST", &target, &headers, Some(large.as_bytes())).await;
    assert_eq!((answer.status, &answer.json()["received"]), (201, &json!(large.len())));
    let place = format!("{}/Patient/new/_history/1", world.base);
    assert_eq!(answer.header("location"), Some(place.as_str()));
    let (leaf, body) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Observed, Some("LIMIT")));
    assert_eq!(body.detail["shape"], "POST Patient");
    assert_eq!(body.released[0].reference, "Patient/new");
    world.house.close().await;
}

/// The links of an answer that passed lead through Ward, and who follows them asks nothing new.
#[tokio::test(flavor = "multi_thread")]
async fn further_pages_are_no_new_question() {
    let upstream = scripted(|base| {
        let base = base.to_owned();
        Box::new(move |seen: &Seen| {
            let first = !seen.target.contains("_getpages");
            let id = if first { "mine" } else { "theirs" };
            let mut link = vec![json!({"relation": "self", "url": format!("{base}/Patient")})];
            if first {
                let url = format!("{base}?_getpages=0f&_getpagesoffset=1");
                link.push(json!({"relation": "next", "url": url}));
            }
            fhir(&json!({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": [{
                "fullUrl": format!("{base}/Patient/{id}"), "search": {"mode": "match"},
                "resource": {"resourceType": "Patient", "id": id, "implicitRules": format!("{base}/x")},
            }]}))
        })
    })
    .await;
    let mut world = before(&upstream, Limits::default()).await;
    let (_, _, token) = admitted(&mut world).await;
    turn(&world, observing(&[], &[]));
    let base = world.path(&world.base);
    let page = "?_getpages=0f&_getpagesoffset=1";
    // Nobody was given this link yet.
    assert_eq!(world.get(&format!("{base}{page}"), &token).await.status, 200);
    assert_eq!(last_access(&world).await.0.rule.as_deref(), Some("D25"));

    let answer = world.get(&format!("{base}/Patient"), &token).await;
    let bundle = answer.json();
    assert_eq!(bundle["link"][0]["url"], format!("{}/Patient", world.base));
    assert_eq!(bundle["link"][1]["url"], format!("{}{page}", world.base));
    assert_eq!(bundle["entry"][0]["fullUrl"], format!("{}/Patient/mine", world.base));
    let rules = format!("{}/x", upstream.base);
    assert_eq!(bundle["entry"][0]["resource"]["implicitRules"], rules, "byte for byte");
    assert_eq!(last_access(&world).await.0.outcome, Outcome::Success);
    let answer = world.get(&format!("{base}{page}"), &token).await;
    assert_eq!(answer.status, 200);
    let (leaf, body) = last_access(&world).await;
    assert_eq!((leaf.outcome, leaf.rule.as_deref()), (Outcome::Observed, Some("ROSTER")), "judged");
    assert_eq!(body.detail["would_withhold"], "ROSTER=1");
    let seen = upstream.seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!(seen.target, format!("/fhir{page}"));
    world.house.close().await;
}
