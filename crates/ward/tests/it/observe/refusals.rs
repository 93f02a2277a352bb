//! Every class of refusal passes by its rule, but for what protects Ward itself.

use serde_json::json;
use ward_core::{Limits, Outcome};
use ward_policy::Enforcement;

use super::upstream::{plain, scripted};
use super::{admitted, before, last_access, observing, turn};

type Case<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, Option<&'a str>, &'a str, u16);

/// Every class of refusal passes, under the rule by which enforcement refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn each_class_of_refusal_passes_and_names_its_rule() {
    let upstream = scripted(plain).await;
    let mut world = before(&upstream, Limits::default()).await;
    let (_, _, token) = admitted(&mut world).await;
    let base = world.path(&world.base);
    let bearer = format!("Bearer {token}");
    let form = "application/x-www-form-urlencoded";
    let fhir_json = "application/fhir+json";
    // Rule, method, target below the base, authorization, content type, body, status under enforcement.
    let cases: Vec<Case<'_>> = vec![
        ("G01", "GET", "/Patient/mine", None, None, "", 401),
        ("G01", "GET", "/Patient/mine", Some("Basic dTpw"), None, "", 401),
        ("G02", "GET", "/Patient/mine", Some("Bearer of.another.issuer"), None, "", 401),
        ("RSV-02", "GET", "/Patient/mine", Some("Bearer a b"), None, "", 400),
        ("RSV-02", "GET", "/Condition/1", Some(&bearer), None, "", 403),
        ("A5", "GET", "//Patient/mine", Some(&bearer), None, "", 400),
        ("A6", "GET", "/patient/mine", Some(&bearer), None, "", 404),
        ("A7", "GET", "/Patient/a*b", Some(&bearer), None, "", 400),
        ("A14", "GET", "/Patient/mine?_method=PUT", Some(&bearer), None, "", 400),
        ("A16", "DELETE", "/Patient/mine", Some(&bearer), None, "", 405),
        ("A16", "PUT", "/Patient/mine", Some(&bearer), Some(fhir_json), "{}", 405),
        ("A16", "POST", "/Patient", Some(&bearer), Some(fhir_json), "{}", 405),
        ("A17", "GET", "/Patient/mine", Some(&bearer), Some(form), "x=1", 400),
        ("A23", "GET", "/Patient/mine?access_token=foreign", Some(&bearer), None, "", 400),
        ("B3", "GET", "/Patient/mine?_format=xml", Some(&bearer), None, "", 406),
        ("B10", "POST", "/Patient/_search", Some(&bearer), Some(fhir_json), "{}", 415),
        ("C6", "GET", "/Patient/mine/_history", Some(&bearer), None, "", 403),
        ("C7", "GET", "/Patient/mine?_summary=true", Some(&bearer), None, "", 400),
        ("D7", "GET", "/Observation?subject:missing=true", Some(&bearer), None, "", 403),
        ("D10", "GET", "/Observation?_security=R", Some(&bearer), None, "", 403),
        ("D15", "GET", "/Patient?_content=x", Some(&bearer), None, "", 400),
        ("D20", "GET", "/Patient?_has:Observation:subject:code=1", Some(&bearer), None, "", 400),
        ("D22", "GET", "/Observation?subject.name=x", Some(&bearer), None, "", 400),
        ("D25", "GET", "/?name=x", Some(&bearer), None, "", 403),
        ("D27", "GET", "/Patient/mine/Observation", Some(&bearer), None, "", 403),
        ("F1", "GET", "/Observation?_include=Observation:subject", Some(&bearer), None, "", 400),
        ("F2", "GET", "/Patient?_revinclude=Observation:subject", Some(&bearer), None, "", 400),
        ("G18", "GET", "/Patient/mine/$everything", Some(&bearer), None, "", 403),
        ("H1", "POST", "/", Some(&bearer), Some(fhir_json), "{}", 403),
    ];
    let ask =
        async |method: &str, below: &str, auth: Option<&str>, kind: Option<&str>, body: &str| {
            let mut headers = vec![];
            headers.extend(auth.map(|auth| ("authorization", auth)));
            headers.extend(kind.map(|kind| ("content-type", kind)));
            let body = (!body.is_empty()).then_some(body.as_bytes());
            world.send(method, &format!("{base}{below}"), &headers, body).await
        };
    let mut wrong = vec![];
    for (rule, method, below, auth, kind, body, status) in cases {
        turn(&world, Enforcement::full());
        upstream.seen.lock().unwrap().clear();
        let refused = ask(method, below, auth, kind, body).await;
        if refused.status != status || !upstream.seen.lock().unwrap().is_empty() {
            wrong.push(format!("{rule} {method} {below}: enforcement gives {}", refused.status));
        }
        turn(&world, observing(&[], &[]));
        let passed = ask(method, below, auth, kind, body).await;
        let (leaf, detail) = last_access(&world).await;
        let seen = upstream.seen.lock().unwrap().last().cloned();
        let as_it_came = seen.is_some_and(|seen| {
            seen.method == method
                && seen.target == format!("/fhir{below}")
                && seen.body == body.as_bytes()
        });
        let logged = (leaf.outcome, leaf.rule.as_deref()) == (Outcome::Observed, Some(rule))
            && detail.detail["would_status"] == status.to_string();
        if passed.status != 200 || !as_it_came || !logged {
            wrong.push(format!(
                "{rule} {method} {below}: passed with {} {:?} {:?} {:?} {as_it_came}",
                passed.status, leaf.outcome, leaf.rule, detail.detail
            ));
        }
        // By rule it can be enforced alone, and nothing goes to the upstream then.
        turn(&world, observing(&[], &[rule]));
        upstream.seen.lock().unwrap().clear();
        let refused = ask(method, below, auth, kind, body).await;
        if refused.status != status || !upstream.seen.lock().unwrap().is_empty() {
            wrong.push(format!("{rule} {method} {below}: its own switch gives {}", refused.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.house.close().await;
}

/// What protects Ward and the upstream themselves holds in both modes, and nothing of it reaches the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn what_protects_ward_itself_is_enforced_while_observing() {
    let upstream = scripted(plain).await;
    let limits = Limits { observe_body_bytes: 100_000, ..Limits::default() };
    let mut world = before(&upstream, limits).await;
    let (_, _, token) = admitted(&mut world).await;
    turn(&world, observing(&[], &[]));
    let base = world.path(&world.base);
    let long = format!("{base}/Patient?name={}", "x".repeat(9000));
    let bearer = format!("Bearer {token}");
    let one = [("authorization", bearer.as_str())];
    for (what, method, target, headers, status) in [
        ("another host", "GET", format!("{base}/Patient/1"), vec![("host", "internal")], 421),
        ("TRACE", "TRACE", format!("{base}/Patient/1"), one.to_vec(), 405),
        ("dot segments", "GET", format!("{base}/../admin"), one.to_vec(), 400),
        ("encoded dot segments", "GET", format!("{base}/%2e%2e/admin"), one.to_vec(), 400),
        ("parameters of a segment", "GET", format!("{base}/..;/admin"), one.to_vec(), 400),
        ("encoded slash", "GET", format!("{base}/x%2F..%2Fadmin"), one.to_vec(), 400),
        ("double encoding", "GET", format!("{base}/%252e%252e/admin"), one.to_vec(), 400),
        ("backslash", "GET", format!("{base}/..\\admin"), one.to_vec(), 400),
        ("not below the base", "GET", "/admin".to_owned(), one.to_vec(), 404),
        ("a long target", "GET", long, one.to_vec(), 414),
        ("two Authorization headers", "GET", format!("{base}/Patient/1"), [one, one].concat(), 400),
        (
            "a token of Ward's in the URL",
            "GET",
            format!("{base}/Patient/1?access_token={token}"),
            vec![],
            400,
        ),
        ("under another name", "GET", format!("{base}/Patient/1?x={token}"), vec![], 400),
    ] {
        let answer = world.send(method, &target, &headers, None).await;
        assert_eq!(answer.status, status, "{what}");
    }
    let large = vec![b'x'; 100_001];
    let kind = [("content-type", "application/fhir+json")];
    let answer = world.send("POST", &format!("{base}/Patient"), &kind, Some(&large)).await;
    assert_eq!(answer.status, 413, "a body beyond limits.observe_body_bytes");
    // The registration endpoint and the token endpoint have no mode.
    let body = json!({"udap": "1", "software_statement": "x"}).to_string();
    assert_eq!(world.post(&world.register, "application/json", &body, &[]).await.status, 400);
    assert!(upstream.seen.lock().unwrap().is_empty(), "{:?}", upstream.seen.lock().unwrap());
    world.house.close().await;
}
