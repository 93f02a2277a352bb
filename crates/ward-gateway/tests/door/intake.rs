//! Raw HTTP rows of `enforcement.md` §2.A and `udap.md` §7.10, one line a case.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use serde_json::json;

use crate::support::*;

const AUTH: (&str, &str) = ("authorization", "Bearer good");

/// (row, method, target, headers, status)
type Row = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)], u16);

async fn door() -> Door {
    Door::over(vec![observation("1", "a"), json!({"resourceType": "Patient", "id": "a"})]).await
}

#[tokio::test]
async fn requests_are_checked_before_anything_is_asked_of_the_upstream() {
    let door = door().await;
    let table: &[Row] = &[
        ("A1", "GET", "/Patient%2Fa", &[AUTH], 400),
        ("A2", "GET", "/Patient/x/../a", &[AUTH], 400),
        ("A3", "GET", "/Patient%252Fa", &[AUTH], 400),
        ("A4", "GET", "/Patient;x=y/a", &[AUTH], 400),
        ("A5", "GET", "//Patient//a", &[AUTH], 400),
        ("A6", "GET", "/patient/a", &[AUTH], 404),
        ("A8", "GET", "/Patient/a", &[AUTH, ("host", "internal")], 421),
        ("A8", "GET", "/Patient/a", &[AUTH, ("host", "ward.example:8443")], 421),
        (
            "A8",
            "GET",
            "/Patient/a",
            &[AUTH, ("host", "ward.example"), ("host", "ward.example")],
            400,
        ),
        ("A12", "GET", "/Patient/a", &[AUTH, ("upgrade", "h2c")], 501),
        ("A12", "GET", "/Patient/a", &[AUTH, ("upgrade", "websocket")], 501),
        ("A14", "GET", "/Observation/1?_method=DELETE", &[AUTH], 400),
        ("A16", "TRACE", "/Patient/a", &[AUTH], 405),
        ("A16", "PROPFIND", "/Patient/a", &[AUTH], 405),
        ("A18", "GET", "/Patient/a", &[AUTH, ("content-encoding", "gzip")], 415),
        ("A23", "GET", "/Patient/a?access_token=good", &[], 400),
        ("G04", "GET", "/Patient/a?access_token=good", &[AUTH], 400),
        ("G01", "GET", "/Patient/a", &[], 401),
        ("G01", "GET", "/Patient?family=x", &[], 401),
        ("G02", "GET", "/Patient/a", &[("authorization", "Bearer dead")], 401),
        ("RSV-02", "GET", "/Patient/a", &[("authorization", "Basic x")], 400),
        ("RSV-02", "GET", "/Patient/a", &[AUTH, AUTH], 400),
        ("RSV-02", "GET", "/Patient/a", &[("authorization", "Bearer busy")], 503),
        ("G05", "GET", "/Observation", &[("authorization", "Bearer narrow")], 403),
        ("B1", "GET", "/Patient/a", &[AUTH, ("accept", "application/fhir+xml")], 406),
        ("D16", "GET", "/Observation?_filter=x", &[AUTH], 400),
        ("D10", "GET", "/Observation?_security=R", &[AUTH], 403),
        ("G18", "GET", "/Patient/$everything", &[AUTH], 403),
        ("writes", "DELETE", "/Patient/a", &[AUTH], 405),
    ];
    for (row, method, target, headers, status) in table {
        let answer = door.send(request(method, target, headers)).await;
        let got = answer.status.as_u16();
        assert_eq!(got, *status, "{row} {method} {target} {headers:?}");
        assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{row}");
        assert!(answer.headers.contains_key("x-correlation-id"), "{row}");
        assert_eq!(got == 405, answer.headers.contains_key("allow"), "{row}");
    }
    let challenge = |header: Option<&'static str>| {
        let headers: Vec<_> = header.into_iter().map(|value| ("authorization", value)).collect();
        request("GET", "/Patient/a", &headers)
    };
    for (header, want) in [
        (None, "Bearer"),
        (Some("Bearer dead"), r#"Bearer error="invalid_token""#),
        (Some("Basic x"), r#"Bearer error="invalid_request""#),
    ] {
        let answer = door.send(challenge(header)).await;
        assert_eq!(answer.headers["www-authenticate"], want);
    }
    assert!(door.seen.lock().unwrap().is_empty(), "the upstream was asked");
    let mut long = request("GET", &format!("/Patient?family={}", "x".repeat(9000)), &[AUTH]);
    assert_eq!(door.send(long).await.status, 414);
    long = request(
        "POST",
        "/Patient/_search",
        &[AUTH, ("content-type", "application/x-www-form-urlencoded")],
    );
    *long.body_mut() = Full::from("x".repeat(70_000));
    assert_eq!(door.send(long).await.status, 413);
    let mut body = request("GET", "/Patient/a", &[AUTH]);
    *body.body_mut() = Full::from("{}");
    assert_eq!(door.send(body).await.status, 400, "A17");
    let mut other = request("GET", "", &[AUTH]);
    *other.uri_mut() = "/default/fhirx/Patient/a".parse().unwrap();
    assert_eq!(door.send(other).await.status, 404);
    let mut absolute = request("GET", "", &[AUTH]);
    *absolute.uri_mut() = "https://internal/default/fhir/Patient/a".parse().unwrap();
    assert_eq!(door.send(absolute).await.status, 421, "A8");
}

#[tokio::test]
async fn headers_of_the_client_change_nothing_and_go_nowhere() {
    let door = door().await;
    let plain = door.get("/Observation/1").await;
    for extra in [
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example"),
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-tenant-id", "other"),
        ("x-consent-scope", "all"),
        ("x-provenance", "{}"),
        ("connection", "authorization, x-tenant-id"),
        ("x-forwarded-user", "admin"),
        ("cookie", "session=1"),
        ("prefer", "respond-async"),
    ] {
        let answer = door.send(request("GET", "/Observation/1", &[AUTH, extra])).await;
        assert_eq!(answer.comparable(), plain.comparable(), "{extra:?}");
    }
    let heads = door.seen.lock().unwrap();
    let names = |head: &String| -> Vec<String> {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut names: Vec<String> = lines.map(|(name, _)| name.to_lowercase()).collect();
        names.sort();
        names
    };
    for head in heads.iter() {
        assert_eq!(names(head), ["accept", "accept-encoding", "host", "user-agent"]);
    }
}

#[tokio::test]
async fn searches_are_sent_as_one_strict_get_whichever_way_they_came() {
    let door = door().await;
    let get = door.get("/Observation?patient=Patient/a").await;
    let mut post = request(
        "POST",
        "/Observation/_search",
        &[
            AUTH,
            ("content-type", "application/x-www-form-urlencoded"),
            ("prefer", "handling=lenient"),
        ],
    );
    *post.body_mut() = Full::from(Bytes::from_static(b"patient=Patient%2Fa"));
    let post = door.send(post).await;
    assert_eq!(post.comparable(), get.comparable());
    assert_eq!(get.ids(), ["1"]);
    for head in door.seen.lock().unwrap().iter() {
        assert!(head.starts_with("GET /fhir/Observation?patient="), "{head}");
        assert!(head.to_lowercase().contains("prefer: handling=strict"), "{head}");
    }
}

#[tokio::test]
async fn the_gateway_answers_metadata_and_options_itself() {
    let door = door().await;
    let answer = door.send(request("GET", "/metadata", &[])).await;
    assert_eq!(answer.status, StatusCode::OK);
    let statement = answer.json();
    assert_eq!(statement["resourceType"], "CapabilityStatement");
    assert_eq!(statement["implementation"]["url"], PUBLIC);
    let types: Vec<&str> = statement["rest"][0]["resource"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["type"].as_str().unwrap())
        .collect();
    assert!(types.contains(&"Observation") && types.contains(&"Practitioner"));
    assert!(!types.contains(&"Binary") && !types.contains(&"ValueSet"));
    assert!(statement.to_string().contains("/default/oauth/token"));
    let answer = door.send(request("OPTIONS", "/Patient/a", &[])).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.headers["allow"], "GET, HEAD, POST, OPTIONS");
    assert!(door.seen.lock().unwrap().is_empty() && door.events().is_empty());
}

#[tokio::test]
async fn facts_that_cannot_be_had_are_503_and_unknown_is_no() {
    let door = door().await;
    *door.roster.0.lock().unwrap() = None;
    assert_eq!(door.get("/Observation/1").await.status, 503);
    *door.roster.0.lock().unwrap() = Some(ward_policy::Roster::Unknown);
    assert_eq!(door.get("/Observation/1").await.status, 403);
    assert!(door.seen.lock().unwrap().is_empty());
}
