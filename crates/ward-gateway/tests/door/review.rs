//! The cases of a hostile review, one test a finding: what was an oracle, a leak or a fault stays none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use serde_json::{Value, json};
use ward_core::Limits;

use crate::support::*;

/// A visible record that a clinician performed.
fn visible(id: &str) -> Value {
    let mut record = observation(id, "a");
    record["performer"] = json!([{"reference": "Practitioner/7"}]);
    record
}

/// A record of an outside patient, with `octets` of text.
fn heavy(id: &str, owner: &str, octets: usize) -> Value {
    let mut record = observation(id, owner);
    record["note"] = json!([{"text": "x".repeat(octets)}]);
    record
}

/// A record with so many nested extensions, three levels each.
fn deep(id: &str, owner: &str, levels: usize) -> Value {
    let mut record = observation(id, owner);
    let mut nested = json!({"url": "u", "valueString": "x"});
    for _ in 0..levels {
        nested = json!({"url": "u", "extension": [nested]});
    }
    record["extension"] = json!([nested]);
    record
}

/// The answer without the name of its cursor.
async fn told(door: &Door, target: &str) -> (StatusCode, Vec<(String, String)>, String) {
    let answer = door.get(target).await;
    let (status, headers, body) = answer.comparable();
    let mut body = String::from_utf8(body.unwrap().to_vec()).unwrap();
    if status == 200
        && let Some(next) = answer.next()
    {
        let cursor = next.split_once("_cursor=").unwrap().1;
        body = body.replace(cursor, &"x".repeat(cursor.len()));
    }
    (status, headers, body)
}

type Make = fn(Vec<Value>) -> Arc<Script>;

const SHAPES: [&str; 6] = [
    "&_count=1&_total=accurate",
    "&_count=1",
    "&_count=3&_total=estimate",
    "&_count=200",
    "&_summary=count",
    "&_count=0",
];

/// F1: with `_count=1` eight upstream pages of two were read, so that the 17th match decided whether
/// there was a `total`; any patient among the alternatives made a search count as narrowed.
#[tokio::test]
async fn one_hidden_record_changes_no_answer_at_any_number_of_visible_ones() {
    let mut hidden = visible("hid");
    hidden["subject"] = json!({"reference": "Patient/z"});
    let mut shared = observation("hid", "a");
    shared["performer"] = json!([{"reference": "Patient/z"}, {"reference": "Practitioner/7"}]);
    for k in [0, 1, 7, 8, 14, 15, 16, 17, 23, 24, 31, 32] {
        let records: Vec<Value> = (0..k).map(|n| visible(&format!("v{n}"))).collect();
        let ids: Vec<String> = (0..k).map(|n| format!("v{n}")).chain(["hid".into()]).collect();
        let targets: Vec<String> = [
            format!("/Observation?_id={}", ids.join(",")),
            format!("/Observation?_id={}&performer=Practitioner/7,Patient/z", ids.join(",")),
            "/Observation?performer=Practitioner/7,Patient/a,Patient/z".to_owned(),
            "/Observation?patient=Patient/a".to_owned(),
        ]
        .iter()
        .flat_map(|asked| SHAPES.map(|shape| format!("{asked}{shape}")))
        .collect();
        let learn = async |records: Vec<Value>| {
            let door = Door::before(server(records), limits()).await;
            let mut learned = Vec::new();
            for target in &targets {
                learned.push((target.clone(), told(&door, target).await));
            }
            learned
        };
        let without = learn(records.clone()).await;
        for (target, answer) in &without {
            let counted =
                ["_total", "_summary", "_count=0"].iter().any(|mark| target.contains(mark));
            assert!(!counted || answer.2.contains(r#""total":"#), "{target}");
        }
        for secret in [&hidden, &shared] {
            for place in [0, k] {
                let mut records = records.clone();
                records.insert(place, secret.clone());
                assert_eq!(without, learn(records).await, "{k} visible, hidden at {place}");
            }
        }
    }
}

/// E3: where the work limit is reached it is a channel (SECURITY.md). With the limit of the review, eight pages
/// of two, the comparison above finds it.
#[tokio::test]
async fn the_work_limit_is_a_channel_where_it_is_reached() {
    let limits = Limits { upstream_page: 2, refill_pages: 8, ..limits() };
    let target = "/Observation?performer=Practitioner/7,Patient/z&_count=1&_total=accurate";
    for (k, differs) in [(15, false), (16, true), (17, false)] {
        let mut records: Vec<Value> = (0..k).map(|n| visible(&format!("v{n}"))).collect();
        let without = Door::before(server(records.clone()), limits.clone()).await;
        let mut hidden = visible("hid");
        hidden["subject"] = json!({"reference": "Patient/z"});
        records.push(hidden);
        let with = Door::before(server(records), limits.clone()).await;
        assert_eq!(told(&without, target).await != told(&with, target).await, differs, "{k}");
    }
}

/// F1: the same around the old work limit of scans, 8 × 200.
#[tokio::test]
async fn the_old_work_limit_is_no_counter() {
    for k in [199, 200, 1599, 1600] {
        let mut records: Vec<Value> = (0..k).map(|n| visible(&format!("v{n}"))).collect();
        let without = Door::before(server(records.clone()), limits()).await;
        records.insert(0, observation("hid", "z"));
        let with = Door::before(server(records), limits()).await;
        for shape in ["_summary=count", "_count=1&_total=accurate"] {
            let target = format!("/Observation?{shape}");
            let answer = told(&without, &target).await;
            assert!(answer.2.contains(&format!(r#""total":{k}"#)));
            assert_eq!(answer, told(&with, &target).await, "{k} {target}");
        }
    }
}

/// F1: what the upstream is asked does not follow the client's page size.
#[tokio::test]
async fn the_upstream_sees_one_page_size() {
    let door = Door::over((0..9).map(|n| visible(&format!("v{n}"))).collect()).await;
    for shape in SHAPES {
        for asked in ["patient=Patient/a", "performer=Practitioner/7,Patient/a", "_id=v1"] {
            door.get(&format!("/Observation?{asked}{shape}")).await;
        }
    }
    for head in door.seen.lock().unwrap().iter() {
        assert!(head.contains("_count=200 ") || head.contains("_count=200&"), "{head}");
    }
}

/// F1: records of strangers do not use up the work limit where the roster can be written in.
#[tokio::test]
async fn long_rosters_are_asked_for_in_parts_and_read_no_strangers() {
    let encounter = |id: usize, patient: &str| {
        json!({"resourceType": "Encounter", "id": format!("e{id}"),
               "subject": {"reference": format!("Patient/{patient}")}})
    };
    let ids: Vec<String> = (0..23).map(|n| format!("p{n:02}")).collect();
    let mut records: Vec<Value> = (0..300).map(|n| encounter(1000 + n, "z")).collect();
    records.extend((0..69).map(|n| encounter(n, &ids[n % 23])));
    let limits =
        Limits { narrow_ids: 5, upstream_page: 4, refill_pages: 20, page_max: 10, ..limits() };
    let door = Door::before(server(records), limits).await;
    *door.roster.0.lock().unwrap() = Some(known(ids.iter().map(String::as_str)));
    let mut found = Vec::new();
    let mut target = Some("/Encounter?_count=7".to_owned());
    while let Some(next) = target {
        let answer = door.get(&next).await;
        assert_eq!(answer.status, StatusCode::OK);
        found.extend(answer.ids());
        target = answer.next();
    }
    let count = found.len();
    found.sort();
    found.dedup();
    assert_eq!((count, found.len()), (69, 69), "each once");
    assert_eq!(door.get("/Encounter?_summary=count").await.json()["total"], 69);
    for head in door.seen.lock().unwrap().iter() {
        assert!(
            head.contains("patient=Patient%2Fp") || head.contains("patient=Patient/p"),
            "{head}"
        );
    }
    // A cursor of the parts does not open for another roster.
    let next = door.get("/Encounter?_count=7").await.next().unwrap();
    *door.roster.0.lock().unwrap() = Some(known(ids.iter().skip(1).map(String::as_str)));
    assert_eq!(door.get(&next).await.status, StatusCode::NOT_FOUND);
}

/// F1: totals stop at a bound of what is visible; the log knows how much was withheld.
#[tokio::test]
async fn totals_have_a_bound_and_the_log_counts_what_was_withheld() {
    for (visible_ones, total) in [(5, Some(5)), (6, None)] {
        let mut records: Vec<Value> =
            (0..visible_ones).map(|n| visible(&format!("v{n}"))).collect();
        records.extend((0..30).map(|n| observation(&format!("h{n}"), "z")));
        let limits = Limits { total_max: 5, ..limits() };
        let door = Door::before(server(records), limits).await;
        for shape in ["_summary=count", "_count=2&_total=accurate"] {
            let bundle = door.get(&format!("/Observation?{shape}")).await.json();
            assert_eq!(bundle["total"].as_u64(), total, "{shape}");
        }
        if total.is_some() {
            assert_eq!(door.events()[0].body.detail["withheld"], "30");
        }
    }
    let door = Door::over(vec![visible("v")]).await;
    door.get("/Observation").await;
    assert!(!door.events()[0].body.detail.contains_key("withheld"));
}

/// F2: a hidden record that could not be read was a 502, and one that is not there a 404.
#[tokio::test]
async fn unreadable_records_look_like_none() {
    let records = vec![
        deep("deep-hidden", "z", 20),
        deep("deeper-hidden", "z", 45),
        deep("deeper-visible", "a", 60),
        deep("deep-visible", "a", 20),
        heavy("heavy-hidden", "z", 70_000),
        json!({"resourceType": "Observation", "id": "shape", "subject": "Patient/z"}),
        json!({"resourceType": "Observation", "id": "spelling", "subject": {"reference": "patient/z"}}),
    ];
    let limits = Limits { upstream_body_bytes: 65_536, ..limits() };
    let door = Door::before(server(records), limits.clone()).await;
    let absent = door.get("/Observation/absent").await.comparable();
    assert_eq!(absent.0, StatusCode::NOT_FOUND);
    for id in
        ["deep-hidden", "deeper-hidden", "deeper-visible", "heavy-hidden", "shape", "spelling"]
    {
        for target in [format!("/Observation/{id}"), format!("/Observation/{id}/_history/1")] {
            assert_eq!(door.get(&target).await.comparable(), absent, "{target}");
        }
    }
    assert_eq!(door.get("/Observation/deep-visible").await.status, StatusCode::OK);
    assert_eq!(door.get("/Observation").await.status, StatusCode::OK);
    // An upstream that cannot give a record says so for stored ones only.
    for status in [400, 422] {
        let script = move |_: &str, _: &str| reply(status, "application/fhir+json", "{}");
        let door = Door::before(Arc::new(script), limits.clone()).await;
        for target in ["/Observation/1", "/Observation/1/_history/1"] {
            assert_eq!(door.get(target).await.comparable(), absent, "{status} {target}");
        }
    }
}

/// F3: large hidden records made a search a 502, on a later page or when there was one too large.
#[tokio::test]
async fn large_hidden_records_change_nothing() {
    let limits = Limits { upstream_body_bytes: 65_536, upstream_page: 16, ..limits() };
    let small: Vec<Value> = (0..40)
        .map(|n| observation(&format!("s{n}"), if n % 8 == 0 { "a" } else { "z" }))
        .collect();
    // (octets, how many, before which record)
    for (octets, count, place) in
        [(20_000, 12, 36), (20_000, 20, 0), (100_000, 1, 0), (100_000, 1, 20), (100_000, 3, 40)]
    {
        let mut records = small.clone();
        for n in 0..count {
            records.insert(place, heavy(&format!("h{n}"), "z", octets));
        }
        for (name, make) in [("offset", server as Make), ("opaque", opaque as Make)] {
            if name == "opaque" && octets > 65_536 {
                continue; // see the next test
            }
            let without = Door::before(make(small.clone()), limits.clone()).await;
            let with = Door::before(make(records.clone()), limits.clone()).await;
            for shape in ["_count=2", "_count=200", "_summary=count", "_count=1&_total=accurate"] {
                let mut target = Some(format!("/Observation?{shape}"));
                let mut other = target.clone();
                while let (Some(next), Some(same)) = (&target, &other) {
                    let answers = (told(&without, next).await, told(&with, same).await);
                    assert_eq!(answers.0.0, StatusCode::OK, "{name} {octets} {count} {place}");
                    let strip = |text: &str| text.split("_cursor=").next().unwrap().to_owned();
                    assert_eq!(strip(next), strip(same));
                    assert_eq!(answers.0, answers.1, "{name} {octets} {count} {place} {shape}");
                    (target, other) = (without.get(next).await.next(), with.get(same).await.next());
                }
                assert_eq!((target, other), (None, None));
            }
        }
    }
}

/// F3: where there is no going around a single record, the answer ends and does not pretend to be whole.
#[tokio::test]
async fn a_record_that_cannot_be_gone_around_ends_the_answer() {
    let limits = Limits { upstream_body_bytes: 65_536, upstream_page: 4, ..limits() };
    let mut records: Vec<Value> = (0..6).map(|n| visible(&format!("v{n}"))).collect();
    records.insert(5, heavy("h", "z", 100_000));
    let door = Door::before(opaque(records), limits).await;
    let answer = door.get("/Observation").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.ids(), ["v0", "v1", "v2", "v3", "v4"]);
    assert!(answer.json().get("total").is_none() && answer.next().is_none());
}

/// F3: time that runs out behind the first page is a work limit too.
#[tokio::test]
async fn an_upstream_that_hangs_behind_the_first_page_ends_the_page() {
    let honest = server((0..8).map(|n| visible(&format!("v{n}"))).collect());
    let script = move |base: &str, target: &str| {
        if target.contains("_offset=4") { Reply::Hang } else { honest(base, target) }
    };
    let soon = Duration::from_secs(3);
    let limits = Limits { upstream_page: 4, upstream_timeout: soon, ..limits() };
    let door = Door::before(Arc::new(script), limits).await;
    let answer = door.get("/Observation").await;
    assert_eq!((answer.status, answer.ids().len()), (StatusCode::OK, 4));
    assert!(answer.json().get("total").is_none());
    let next = answer.next().unwrap();
    assert_eq!(door.get(&next).await.status, StatusCode::GATEWAY_TIMEOUT);
}

/// F4: records about an outside patient, in which a rostered one takes part.
#[tokio::test]
async fn records_about_outside_patients_are_not_released() {
    let base = |id: &str| json!({"resourceType": "Observation", "id": id, "performer": [{"reference": "Patient/a"}]});
    let mine = json!({"reference": "Patient/a"});
    let z = json!({"reference": "Patient/z"});
    let traps: Vec<Value> = [
        ("focus", json!({"subject": mine, "focus": [z]})),
        ("logical", json!({"subject": {"identifier": {"value": "MRN-4"}, "type": "Patient"}})),
        ("display", json!({"subject": {"display": "Jane Four"}})),
        ("contained", json!({"subject": {"reference": "#p"},
            "contained": [{"resourceType": "Patient", "id": "p", "name": [{"family": "Four"}]}]})),
        ("contained-id", json!({"subject": mine, "contained": [{"resourceType": "Patient", "id": "a"}]})),
        ("urn", json!({"subject": {"reference": "urn:uuid:0b1f0000-0000-4000-8000-000000000004"}})),
        ("group", json!({"subject": {"reference": "Group/trap"}})),
        ("member", json!({"subject": mine, "hasMember": [z]})),
        ("extension", json!({"subject": {"reference": "Patient/a", "extension": [{"url": "u", "valueReference": z}]}})),
        ("inner", json!({"subject": mine, "contained": [{"resourceType": "Observation", "id": "r",
            "subject": {"identifier": {"value": "MRN-4"}}}]})),
        ("backslash", json!({"subject": {"reference": "http://x.example\\Patient\\z"}})),
        ("query", json!({"subject": {"reference": "http://x.example?ref=Patient/z"}})),
        ("tab", json!({"subject": {"reference": "http://x.example/Pat\tient/z"}})),
        ("pipe", json!({"subject": {"reference": "http://other.example/Patient|z"}})),
    ]
    .into_iter()
    .map(|(id, members)| {
        let mut record = base(id);
        let members = members.as_object().unwrap().clone();
        record.as_object_mut().unwrap().extend(members);
        record
    })
    .collect();
    let ids: Vec<String> = traps.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    let mut records = traps;
    let mut clinician = observation("npi", "a");
    clinician["performer"] =
        json!([{"identifier": {"system": "http://hl7.org/fhir/sid/us-npi", "value": "1"}}]);
    records.push(clinician);
    records.push(json!({"resourceType": "Patient", "id": "a",
        "link": [{"other": {"reference": "Patient/z"}, "type": "replaces"}]}));
    records.push(json!({"resourceType": "Patient", "id": "b",
        "link": [{"other": {"reference": "Patient/a"}, "type": "replaces"}]}));
    let door = Door::over(records).await;
    let absent = door.get("/Observation/absent").await.comparable();
    for id in ids {
        assert_eq!(door.get(&format!("/Observation/{id}")).await.comparable(), absent, "{id}");
    }
    assert_eq!(door.get("/Observation").await.ids(), ["npi"]);
    assert_eq!(door.get("/Patient/a").await.comparable(), absent);
    assert_eq!(door.get("/Patient/b").await.status, StatusCode::OK);
    // C17: denied whatever is stored, and not offered.
    for target in ["/Provenance/1", "/AuditEvent?entity=Patient/a", "/List/1", "/List"] {
        assert_eq!(door.get(target).await.status, StatusCode::FORBIDDEN, "{target}");
    }
    let offered = door.get("/metadata").await.json().to_string();
    assert!(offered.contains(r#""type":"Observation""#) && !offered.contains(r#""type":"List""#));
}

fn post(target: &str, form: &str) -> http::Request<Full<Bytes>> {
    let headers =
        [("authorization", "Bearer good"), ("content-type", "application/x-www-form-urlencoded")];
    request("POST", target, &headers).map(|_| Full::from(form.to_owned()))
}

/// F6: long forms became GET requests of any length; cursors grew with the query until their own link
/// was refused.
#[tokio::test]
async fn long_searches_go_as_forms_or_are_refused() {
    let word = |n: usize| format!("{n:064}");
    let patients: Vec<String> = (0..50).map(word).collect();
    let records: Vec<Value> = (0..60)
        .map(|n| {
            json!({"resourceType": "Encounter", "id": word(1000 + n),
            "subject": {"reference": format!("Patient/{}", patients[n % 50])}})
        })
        .collect();
    let door = Door::over(records).await;
    *door.roster.0.lock().unwrap() = Some(known(patients.iter().map(String::as_str)));
    let ids: Vec<String> = (0..100).map(|n| word(1000 + n)).collect();
    let form = format!("_count=25&_id={}", ids.join(","));
    let first = door.send(post("/Encounter/_search", &form)).await;
    assert_eq!((first.status, first.ids().len()), (StatusCode::OK, 25));
    {
        let seen = door.seen.lock().unwrap();
        assert!(seen[0].starts_with("POST /fhir/Encounter/_search HTTP/1.1\r\n"), "{}", seen[0]);
        assert!(seen[0].contains("patient=Patient") && seen[0].contains("_count=200"));
    }
    let mut all = first.ids();
    let mut target = first.next();
    while let Some(next) = target {
        assert!("/default/fhir".len() + next.len() <= Limits::default().target_bytes);
        let answer = door.get(&next).await;
        all.extend(answer.ids());
        target = answer.next();
    }
    assert_eq!(all.len(), 60);
    let asked = door.seen.lock().unwrap().len();
    for (form, status) in [
        (format!("identifier={}", ["y".repeat(560).as_str(); 100].join(",")), 413),
        (format!("identifier={}", ["y".repeat(76).as_str(); 100].join(",")), 413),
        (format!("_id={}", ["y".repeat(64).as_str(); 101].join(",")), 400),
    ] {
        let answer = door.send(post("/Encounter/_search", &form)).await;
        assert_eq!(answer.status.as_u16(), status, "{}", form.len());
        assert_eq!(answer.json()["resourceType"], "OperationOutcome");
    }
    assert_eq!(door.seen.lock().unwrap().len(), asked, "the upstream was asked");
    // The length of a cursor does not depend on the question.
    let length = |answer: &Answer| answer.next().unwrap().split_once("_cursor=").unwrap().1.len();
    let short = door.get("/Encounter?_count=5").await;
    assert_eq!(length(&short), length(&first));
}
