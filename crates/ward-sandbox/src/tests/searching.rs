//! Search semantics as tables: one line a case, with the ids that must come back.

use serde_json::{Value, json};

use super::{call, form, get, hospital, serve, strict};
use crate::Sandbox;

fn people_and_results() -> Vec<Value> {
    let meta = |at: &str, security: &str| {
        json!({ "lastUpdated": at, "security": [{ "system": "http://sec", "code": security }],
                "tag": [{ "system": "http://tag", "code": "t1" }], "profile": ["http://prof/a"] })
    };
    vec![
        json!({ "resourceType": "Patient", "id": "p1", "meta": meta("2026-01-01T00:00:00Z", "R"), "active": true,
            "identifier": [{ "system": "http://mrn", "value": "M1" }], "gender": "female", "birthDate": "1980-05-17",
            "name": [{ "family": "Müller", "given": ["Anna", "Maria"] }],
            "telecom": [{ "system": "phone", "value": "555", "use": "home" }, { "system": "email", "value": "a@x" }],
            "address": [{ "city": "Springfield", "postalCode": "01101" }],
            "generalPractitioner": [{ "reference": "Practitioner/d1" }] }),
        json!({ "resourceType": "Patient", "id": "p2", "meta": { "lastUpdated": "2026-02-01T00:00:00Z" }, "active": false,
            "identifier": [{ "system": "http://mrn", "value": "M2" }, { "value": "bare" }], "gender": "male", "birthDate": "1980",
            "name": [{ "family": "Mullerson", "given": ["Bob, Jr"] }],
            "generalPractitioner": [{ "reference": "Organization/d1" }] }),
        json!({ "resourceType": "Patient", "id": "p3", "meta": { "lastUpdated": "2026-03-01T00:00:00Z" } ,
            "name": [{ "text": "王伟" }], "birthDate": "2001-12-31" }),
        observation(
            "o1",
            "Patient/p1",
            "8867-4",
            &json!({ "valueQuantity": { "value": 72, "unit": "/min", "system": "http://u", "code": "/min" }, "effectiveDateTime": "2026-01-10T10:00:00Z" }),
        ),
        observation(
            "o2",
            "Patient/p2/_history/1",
            "8867-4",
            &json!({ "valueQuantity": { "value": 5.4, "unit": "mg", "system": "http://u", "code": "mg" }, "effectivePeriod": { "start": "2026-01-10", "end": "2026-01-12" } }),
        ),
        observation(
            "o3",
            "http://elsewhere/fhir/Patient/p1",
            "718-7",
            &json!({ "valueQuantity": { "value": 100 }, "effectiveDateTime": "2026-02" }),
        ),
        observation(
            "o4",
            "Group/p1",
            "718-7",
            &json!({ "valueCodeableConcept": { "coding": [{ "system": "http://s", "code": "c|d" }] }, "focus": [{ "reference": "Patient/p1" }] }),
        ),
        json!({ "resourceType": "Observation", "id": "o5", "status": "preliminary", "code": { "text": "none" },
            "subject": { "identifier": { "system": "http://mrn", "value": "M1" } } }),
        json!({ "resourceType": "RiskAssessment", "id": "r1", "subject": { "reference": "Patient/p1" }, "prediction": [{ "probabilityDecimal": 0.25 }] }),
        json!({ "resourceType": "RiskAssessment", "id": "r2", "subject": { "reference": "Patient/p2" }, "prediction": [{ "probabilityDecimal": 0.3 }] }),
    ]
}

fn observation(id: &str, subject: &str, code: &str, rest: &Value) -> Value {
    let mut body = json!({ "resourceType": "Observation", "id": id, "status": "final",
        "code": { "coding": [{ "system": "http://loinc.org", "code": code }] }, "subject": { "reference": subject } });
    for (name, value) in rest.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// (query, ids in order).
const CASES: [(&str, &str); 93] = [
    // No criterion; AND of repeated, OR of commas.
    ("Patient", "p1 p2 p3"),
    ("Patient?gender=male,female", "p1 p2"),
    ("Patient?gender=male&gender=female", ""),
    ("Patient?gender=male&name=mull", "p2"),
    ("Patient?gender=", "p1 p2 p3"),
    // Common parameters.
    ("Patient?_id=p1", "p1"),
    ("Patient?_id=p3,p1,zz", "p1 p3"),
    ("Patient?_id=P1", ""),
    ("Patient?_id:not=p1", "p2 p3"),
    ("Patient?_lastUpdated=2026-02", "p2"),
    ("Patient?_lastUpdated=gt2026-01-15", "p2 p3"),
    ("Patient?_lastUpdated=ge2026-02-01&_lastUpdated=lt2026-03", "p2"),
    ("Patient?_security=http://sec|R", "p1"),
    ("Patient?_security=N", ""),
    ("Patient?_security:not=R", "p2 p3"),
    ("Patient?_security:missing=true", "p2 p3"),
    ("Patient?_tag=http://tag|t1", "p1"),
    ("Patient?_tag=http://tag|", "p1"),
    ("Patient?_profile=http://prof/a", "p1"),
    ("Patient?_profile=http://prof/", ""),
    // Token.
    ("Patient?identifier=http://mrn|M1", "p1"),
    ("Patient?identifier=M1", "p1"),
    ("Patient?identifier=http://other|M1", ""),
    ("Patient?identifier=|bare", "p2"),
    ("Patient?identifier=|M2", ""),
    ("Patient?identifier=http://mrn|", "p1 p2"),
    ("Patient?identifier=m1", ""),
    ("Patient?gender=http://hl7.org/fhir/administrative-gender|male", "p2"),
    ("Patient?gender=http://x|male", ""),
    ("Patient?gender:not=male", "p1 p3"),
    ("Patient?gender:not=male,female", "p3"),
    ("Patient?active=true", "p1"),
    ("Patient?active=false", "p2"),
    ("Patient?active:missing=true", "p3"),
    ("Patient?active:missing=false", "p1 p2"),
    ("Patient?telecom=555", "p1"),
    ("Patient?telecom=home|555", "p1"),
    ("Patient?phone=a@x", ""),
    ("Patient?email=a@x", "p1"),
    (r"Observation?value-concept=c\|d", "o4"),
    (r"Observation?value-concept=http://s|c\|d", "o4"),
    // String.
    ("Patient?family=muller", "p1 p2"),
    ("Patient?family=MÜLLER", "p1 p2"),
    ("Patient?family:exact=Müller", "p1"),
    ("Patient?family:exact=muller", ""),
    ("Patient?family:contains=ERS", "p2"),
    ("Patient?name=maria", "p1"),
    ("Patient?given=ria", ""),
    ("Patient?name=王", "p3"),
    (r"Patient?given=Bob\, Jr", "p2"),
    ("Patient?given=Bob, Jr", "p2"),
    ("Patient?address=spring", "p1"),
    ("Patient?address-postalcode=011", "p1"),
    // Date: ranges by precision; a period; open ends.
    ("Patient?birthdate=1980", "p1 p2"),
    ("Patient?birthdate=1980-05", "p1"),
    ("Patient?birthdate=1980-05-17", "p1"),
    ("Patient?birthdate=ne1980", "p3"),
    ("Patient?birthdate=gt1980-05-17", "p2 p3"),
    ("Patient?birthdate=lt1980-05-17", "p2"),
    ("Patient?birthdate=sa1980", "p3"),
    ("Patient?birthdate=eb2001-12-31", "p1 p2"),
    ("Patient?birthdate=ge1980-06&birthdate=le2001-12-31", "p2 p3"),
    ("Patient?birthdate=ge1980&birthdate=le1980-12", "p1 p2"),
    ("Observation?date=2026-01-10", "o1"),
    ("Observation?date=ge2026-01-11", "o2 o3"),
    ("Observation?date=ap2026-01-11", "o2"),
    ("Observation?date=2026-01-10T10:00:00Z", "o1"),
    ("Observation?date=2026-01-10T11:00:00%2B01:00", "o1"),
    ("Observation?date=2026-01-10T11:00:00+01:00", "o1"),
    ("Observation?date:missing=true", "o4 o5"),
    // Number and quantity.
    ("RiskAssessment?probability=0.25", "r1"),
    ("RiskAssessment?probability=0.3", "r1 r2"),
    ("RiskAssessment?probability=0.30", "r2"),
    ("RiskAssessment?probability=gt0.25", "r2"),
    ("RiskAssessment?probability=ge0.25", "r1 r2"),
    ("RiskAssessment?probability=ne0.30", "r1"),
    ("Observation?value-quantity=72", "o1"),
    ("Observation?value-quantity=5.4|http://u|mg", "o2"),
    ("Observation?value-quantity=5.4||mg", "o2"),
    ("Observation?value-quantity=5.4|http://u|kg", ""),
    ("Observation?value-quantity=gt10", "o1 o3"),
    ("Observation?value-quantity=1e2", "o1 o3"),
    // Reference.
    ("Observation?subject=Patient/p1", "o1"),
    ("Observation?subject=p1", "o1 o4"),
    ("Observation?patient=p1", "o1"),
    ("Observation?patient=Patient/p2", "o2"),
    ("Observation?patient=Patient/p1,Patient/p2", "o1 o2"),
    ("Observation?subject:Patient=p1", "o1"),
    ("Observation?subject:Group=p1", "o4"),
    ("Observation?subject=http://elsewhere/fhir/Patient/p1", "o3"),
    ("Observation?subject:identifier=http://mrn|M1", "o5"),
    ("Patient?general-practitioner:Organization=d1", "p2"),
    ("Observation?focus=Patient/p1&code=http://loinc.org|718-7", "o4"),
];

#[tokio::test]
async fn table_by_get_post_and_both() {
    let running = serve(&hospital(people_and_results())).await;
    let base = &running.base_url;
    for (query, ids) in CASES {
        let expected: Vec<&str> = ids.split_whitespace().collect();
        let (rtype, criteria) = query.split_once('?').unwrap_or((query, ""));
        let encoded: String = criteria
            .bytes()
            .map(|byte| match byte {
                b' ' | b'\\' | b'|' | 128.. => format!("%{byte:02X}"),
                _ => char::from(byte).to_string(),
            })
            .collect();
        let found = strict(base, &format!("/{rtype}?{encoded}")).await;
        assert_eq!(found.ids(), expected, "GET {query}");
        assert_eq!(found.json()["total"], expected.len(), "{query}");
        let found = form(base, &format!("/{rtype}/_search"), &encoded).await;
        assert_eq!(found.ids(), expected, "POST {query}");
        if let Some((first, rest)) = encoded.split_once('&') {
            let found = form(base, &format!("/{rtype}/_search?{first}"), rest).await;
            assert_eq!(found.ids(), expected, "POST, URL and body, {query}");
        }
        // What `link.self` says was understood gives the same.
        let again = found.link("self").unwrap();
        assert_eq!(strict(base, &again).await.ids(), expected, "self {query}");
    }
}

#[tokio::test]
async fn own_absolute_references_are_local() {
    let sandbox = hospital(people_and_results());
    let running = serve(&sandbox).await;
    let base = &running.base_url;
    let put = sandbox.put(observation("o9", &format!("{base}/Patient/p3"), "1-1", &json!({})));
    assert!(put);
    assert_eq!(get(base, "/Observation?patient=Patient/p3").await.ids(), ["o9"]);
    let absolute = format!("/Observation?subject={base}/Patient/p1");
    assert_eq!(get(base, &absolute).await.ids(), ["o1"]);
}

#[tokio::test]
async fn sorting() {
    let running = serve(&hospital(people_and_results())).await;
    for (query, ids) in [
        ("Patient?_sort=-_lastUpdated", "p3 p2 p1"),
        ("Patient?_sort=birthdate", "p2 p1 p3"),
        ("Patient?_sort=-birthdate", "p3 p2 p1"),
        ("Patient?_sort=family", "p1 p2 p3"),
        ("Patient?_sort=-gender,_id", "p2 p1 p3"),
        ("Patient?_sort=-_id", "p3 p2 p1"),
        ("Observation?_sort=value-quantity&value-quantity:missing=false", "o2 o1 o3"),
    ] {
        let expected: Vec<&str> = ids.split_whitespace().collect();
        assert_eq!(
            strict(&running.base_url, &format!("/{query}")).await.ids(),
            expected,
            "{query}"
        );
    }
}

/// (query, status under strict, status under lenient, what `link.self` keeps under lenient).
const HANDLING: [(&str, u16, u16, &str); 22] = [
    ("nonsense=1", 400, 200, ""),
    ("gender=male&nonsense=1", 400, 200, "gender=male"),
    ("organization.name=x", 400, 200, ""),
    ("_has:Observation:patient:code=1", 400, 200, ""),
    ("_text=x", 400, 200, ""),
    ("_include=Patient:organization", 400, 200, ""),
    ("_elements=id", 400, 200, ""),
    ("_summary=text", 400, 200, ""),
    ("_sort=nonsense", 400, 200, ""),
    ("_format=json", 200, 200, "_format=json"),
    ("_total=none", 200, 200, "_total=none"),
    ("_count=x", 400, 400, ""),
    ("_count=-1", 400, 400, ""),
    ("_total=x", 400, 400, ""),
    ("_summary=x", 400, 400, ""),
    ("birthdate=x", 400, 400, ""),
    ("birthdate=xx1980", 400, 400, ""),
    ("identifier=%7C", 400, 400, ""),
    ("gender:missing=x", 400, 400, ""),
    ("gender:above=x", 400, 400, ""),
    ("gender:exact=x", 400, 400, ""),
    ("general-practitioner:Alien=x", 400, 400, ""),
];

#[tokio::test]
async fn strict_and_lenient() {
    let running = serve(&hospital(people_and_results())).await;
    let base = &running.base_url;
    for (query, when_strict, when_lenient, kept) in HANDLING {
        let target = format!("/Patient?{query}");
        let reply = strict(base, &target).await;
        assert_eq!(reply.status, when_strict, "strict {query}");
        if when_strict == 400 {
            let body = reply.json();
            assert_eq!(body["resourceType"], "OperationOutcome", "{query}");
            assert_eq!(body["issue"][0]["severity"], "error");
        }
        for headers in ["", "Prefer: handling=lenient\r\n", "Prefer: return=minimal\r\n"] {
            let reply = call(base, "GET", &target, headers, "").await;
            assert_eq!(reply.status, when_lenient, "lenient {query}");
            if when_lenient == 200 {
                let ask = if kept.is_empty() { "" } else { "?" };
                let own = format!("{base}/Patient{ask}{kept}");
                assert_eq!(reply.link("self"), Some(own), "{query}");
            }
        }
    }
    for prefer in [
        "handling=strict",
        "return=minimal, handling=strict",
        "return=minimal; handling=\"strict\"",
    ] {
        let headers = format!("Prefer: {prefer}\r\n");
        assert_eq!(call(base, "GET", "/Patient?zz=1", &headers, "").await.status, 400, "{prefer}");
    }
}

#[tokio::test]
async fn totals_and_counts() {
    let running = serve(&hospital(people_and_results())).await;
    let base = &running.base_url;
    for query in ["_summary=count", "_count=0"] {
        let reply = strict(base, &format!("/Patient?{query}")).await.json();
        assert_eq!(reply["total"], 3, "{query}");
        assert!(reply.get("entry").is_none(), "{query}");
    }
    assert!(strict(base, "/Patient?_total=none").await.json().get("total").is_none());
}

/// The CapabilityStatement lists nothing that a strict search refuses.
#[tokio::test]
async fn every_listed_parameter_is_supported() {
    let running = serve(&Sandbox::generate(1, 1)).await;
    let statement = get(&running.base_url, "/metadata").await.json();
    assert_eq!(statement["fhirVersion"], "4.0.1");
    let mut listed = 0;
    for resource in statement["rest"][0]["resource"].as_array().unwrap() {
        let params = resource["searchParam"].as_array().unwrap();
        listed += params.len();
        let rtype = resource["type"].as_str().unwrap();
        let names: Vec<String> = params
            .iter()
            .map(|param| format!("{}:missing=false", param["name"].as_str().unwrap()))
            .collect();
        for chunk in names.chunks(50) {
            let reply = strict(&running.base_url, &format!("/{rtype}?{}", chunk.join("&"))).await;
            assert_eq!(reply.status, 200, "{rtype}: {}", String::from_utf8_lossy(&reply.body));
        }
    }
    assert!(listed > 1000, "{listed}");
}
