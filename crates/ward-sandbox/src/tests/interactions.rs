//! Read, vread, create, update, delete, and what is refused.

use serde_json::json;

use super::{call, get, hospital, raw, serve};
use crate::Sandbox;

const JSON: &str = "Content-Type: application/fhir+json\r\n";

#[tokio::test]
async fn life_of_a_resource() {
    let running = serve(&hospital(Vec::new())).await;
    let base = &running.base_url;
    let body = json!({ "resourceType": "Patient", "id": "mine", "meta": { "versionId": "9", "tag": [{ "code": "x" }] }, "gender": "male" });
    let made = call(base, "POST", "/Patient", JSON, &body.to_string()).await;
    assert_eq!(made.status, 201);
    let resource = made.json();
    let id = resource["id"].as_str().unwrap().to_owned();
    assert_ne!(id, "mine");
    assert_eq!(resource["meta"]["versionId"], "1");
    assert_eq!(resource["meta"]["lastUpdated"], "2026-11-01T08:00:00.000Z");
    assert_eq!(resource["meta"]["tag"][0]["code"], "x");
    assert_eq!(made.header("etag").as_deref(), Some("W/\"1\""));
    assert_eq!(made.header("last-modified").as_deref(), Some("Sun, 01 Nov 2026 08:00:00 GMT"));
    assert_eq!(made.header("location"), Some(format!("{base}/Patient/{id}/_history/1")));
    assert_eq!(get(base, &format!("/Patient/{id}")).await.body, made.body);

    let mut changed = resource.clone();
    changed["gender"] = json!("female");
    let put = call(base, "PUT", &format!("/Patient/{id}"), JSON, &changed.to_string()).await;
    assert_eq!((put.status, put.header("etag").as_deref()), (200, Some("W/\"2\"")));
    assert_eq!(get(base, &format!("/Patient/{id}/_history/1")).await.json()["gender"], "male");
    assert_eq!(get(base, &format!("/Patient/{id}/_history/2")).await.json()["gender"], "female");
    assert_eq!(get(base, &format!("/Patient/{id}/_history/3")).await.status, 404);
    assert_eq!(get(base, "/Patient?gender=male").await.ids(), Vec::<String>::new());
    assert_eq!(get(base, "/Patient?gender=female").await.ids(), std::slice::from_ref(&id));

    assert_eq!(call(base, "DELETE", &format!("/Patient/{id}"), "", "").await.status, 204);
    assert_eq!(get(base, &format!("/Patient/{id}")).await.status, 410);
    assert_eq!(get(base, &format!("/Patient/{id}/_history/1")).await.status, 200);
    assert_eq!(get(base, "/Patient").await.ids(), Vec::<String>::new());
    assert_eq!(call(base, "DELETE", &format!("/Patient/{id}"), "", "").await.status, 404);
}

#[tokio::test]
async fn refusals_are_outcomes() {
    let running = serve(&Sandbox::generate(1, 2)).await;
    let base = &running.base_url;
    let patient = r#"{"resourceType":"Patient","id":"a"}"#;
    for (method, target, headers, body, status) in [
        ("GET", "/Patient/none", "", "", 404),
        ("GET", "/Alien", "", "", 404),
        ("GET", "/patient", "", "", 404),
        ("GET", "/", "", "", 404),
        ("GET", "/Patient/pt-00001/Observation/1/2", "", "", 404),
        ("POST", "/", JSON, patient, 404),
        ("PATCH", "/Patient/pt-00001", JSON, "{}", 405),
        ("DELETE", "/Patient", "", "", 405),
        ("POST", "/metadata", JSON, "{}", 400),
        ("GET", "/Patient?_format=xml", "", "", 406),
        ("GET", "/Patient", "Accept: application/fhir+xml\r\n", "", 406),
        ("POST", "/Patient", "Content-Type: text/plain\r\n", patient, 415),
        ("POST", "/Patient/_search", JSON, "{}", 415),
        ("POST", "/Patient", JSON, "{", 400),
        ("POST", "/Patient", JSON, "[]", 400),
        ("POST", "/Observation", JSON, patient, 400),
        ("POST", "/Patient", JSON, r#"{"resourceType":"Patient","meta":1}"#, 400),
        ("PUT", "/Patient/b", JSON, patient, 400),
        ("PUT", "/Patient/a_b", JSON, r#"{"resourceType":"Patient","id":"a_b"}"#, 400),
    ] {
        let reply = call(base, method, target, headers, body).await;
        assert_eq!(reply.status, status, "{method} {target} {body}");
        assert_eq!(reply.json()["resourceType"], "OperationOutcome", "{method} {target}");
        assert_eq!(
            reply.header("content-type").as_deref(),
            Some("application/fhir+json; charset=utf-8")
        );
    }
    let large =
        format!("{{\"resourceType\":\"Patient\",\"x\":\"{}\"}}", "a".repeat(5 * 1024 * 1024));
    let request = format!(
        "POST /fhir/Patient HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {}\r\n\r\n{}",
        large.len(),
        &large[..1000]
    );
    let reply = raw(base, request.as_bytes());
    let reply = tokio::time::timeout(std::time::Duration::from_mins(1), reply).await.unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&reply));
}

/// It reads sloppily what Ward must refuse: that is what makes it a fair upstream.
#[tokio::test]
async fn tolerant_of_what_ward_refuses() {
    let running = serve(&Sandbox::generate(1, 2)).await;
    let base = &running.base_url;
    for path in [
        "//Patient//pt-00001/",
        "/Observation/..%2fPatient/pt-00001",
        "/Patient;x=1/pt-00001",
        "/%50atient/pt-00001?_pretty=true",
        "/./Patient/pt-00001",
    ] {
        assert_eq!(get(base, path).await.json()["id"], "pt-00001", "{path}");
    }
}

#[tokio::test]
async fn remembers_what_it_was_asked_and_stops() {
    let running = serve(&Sandbox::generate(1, 2)).await;
    let base = running.base_url.clone();
    get(&base, "/Patient?x=1").await;
    let seen = running.requests();
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("GET", "/fhir/Patient?x=1"));
    running.forget_requests();
    assert!(running.requests().is_empty());
    running.stop();
    let address = base.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let mut open = true;
    for _ in 0..100 {
        tokio::task::yield_now().await;
        open = tokio::net::TcpStream::connect(&address).await.is_ok();
        if !open {
            break;
        }
    }
    assert!(!open);
}

#[tokio::test]
async fn head_has_no_body() {
    let running = serve(&Sandbox::generate(1, 1)).await;
    let reply = call(&running.base_url, "HEAD", "/Patient/pt-00001", "", "").await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert_eq!(reply.header("etag").as_deref(), Some("W/\"1\""));
}
