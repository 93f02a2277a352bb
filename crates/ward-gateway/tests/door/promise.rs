//! The promise (amendments): two upstreams that differ only in what the caller may not see are
//! answered alike, byte for byte, but for `Date`, the correlation id and the names of cursors.

use proptest::prelude::*;
use serde_json::{Value, json};
use ward_core::Limits;

use crate::support::*;

/// Ways of being hidden.
const KINDS: u8 = 13;

/// A data set: visible records in order, with hidden ones between them.
fn interleave(visible: &[(u8, bool)], hidden: &[(u8, u8)]) -> Vec<Value> {
    let mut records: Vec<(usize, Value)> = visible
        .iter()
        .enumerate()
        .map(|(at, (kind, of_a))| {
            let owner = if *of_a { "a" } else { "b" };
            let record = match kind % 3 {
                0 => observation(&format!("v{at}"), owner),
                1 => json!({"resourceType": "Encounter", "id": format!("v{at}"), "subject": {"reference": format!("Patient/{owner}")}}),
                _ => json!({"resourceType": "Practitioner", "id": format!("v{at}")}),
            };
            (at * 2 + 1, record)
        })
        .collect();
    for (at, (place, kind)) in hidden.iter().enumerate() {
        let id = format!("h{at}");
        let shared = |members: Value| {
            let mut record = observation(&id, "a");
            let members = members.as_object().unwrap().clone();
            record.as_object_mut().unwrap().extend(members);
            record
        };
        let patient = json!({"reference": "Patient/z"});
        let record = match kind % KINDS {
            0 => observation(&id, "z"),
            1 => json!({"resourceType": "Observation", "id": id}),
            2 => json!({"resourceType": "Encounter", "id": id, "subject": patient}),
            3 => json!({"resourceType": "Patient", "id": "z", "name": [{"family": "Hidden"}]}),
            4 => shared(json!({"performer": [patient]})),
            5 => shared(
                json!({"contained": [{"resourceType": "Condition", "id": "c", "subject": patient}]}),
            ),
            6 => shared(json!({"focus": [patient]})),
            7 => shared(
                json!({"subject": {"display": "Hidden"}, "performer": [{"reference": "Patient/a"}]}),
            ),
            8 => shared(json!({"contained": [{"resourceType": "Patient", "id": "a"}]})),
            9 => {
                let nested = (0..45).fold(
                    json!({"url": "u"}),
                    |inner, _| json!({"url": "u", "extension": [inner]}),
                );
                shared(json!({"subject": patient, "extension": [nested]}))
            }
            // Several of them do not fit one answer of the upstream; one of the others does not fit any.
            10 => shared(json!({"subject": patient, "note": [{"text": "x".repeat(20_000)}]})),
            11 => shared(json!({"subject": patient, "note": [{"text": "x".repeat(40_000)}]})),
            _ => {
                json!({"resourceType": "Practitioner", "id": id,
                        "extension": [{"url": "u", "valueReference": patient}]})
            }
        };
        records.push((usize::from(*place) * 2, record));
    }
    records.sort_by_key(|(at, _)| *at);
    records.into_iter().map(|(_, record)| record).collect()
}

/// Everything a caller can learn: each answer without its cursor's name, following every cursor.
async fn learn(records: Vec<Value>) -> Vec<String> {
    let limits = Limits {
        page_max: 4,
        upstream_page: 4,
        refill_pages: 200,
        upstream_body_bytes: 32 * 1024,
        ..limits()
    };
    let door = Door::before(server(records), limits).await;
    let mut learned = Vec::new();
    let mut asked: Vec<String> = [
        "/Observation?_count=2",
        "/Observation?_count=3&_total=accurate",
        "/Observation",
        "/Observation?_summary=count",
        "/Observation?patient=Patient/a&_count=2",
        "/Observation?subject=Patient/z",
        "/Encounter?_count=2",
        "/Patient",
        "/Patient?_id=z",
        "/Patient/z",
        "/Practitioner?_count=3",
        "/Observation/h0",
        "/Observation/h1",
        "/Observation/v0",
        "/Encounter/h2",
        "/Observation/h0/_history/1",
        "/Observation?performer=Practitioner/7,Patient/a,Patient/z&_count=1&_total=accurate",
        "/Observation?_id=h0,h1,h2,v0,v3&_count=1&_total=accurate",
        "/Encounter?_summary=count",
        "/Practitioner/h3",
        "/Provenance/h0",
    ]
    .map(str::to_owned)
    .to_vec();
    while let Some(target) = asked.pop() {
        for method in ["GET", "HEAD"] {
            let answer =
                door.send(request(method, &target, &[("authorization", "Bearer good")])).await;
            let (status, headers, body) = answer.comparable();
            let mut body = String::from_utf8(body.unwrap().to_vec()).unwrap();
            let bundle = method == "GET" && status == 200 && body.contains("\"Bundle\"");
            if let Some(next) = bundle.then(|| answer.next()).flatten() {
                let cursor = next.split_once("_cursor=").unwrap().1;
                body = body.replace(cursor, &"x".repeat(cursor.len()));
                asked.push(next);
            }
            learned.push(format!("{method} {status} {headers:?} {body}"));
        }
    }
    learned
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hidden_records_change_nothing(
        visible in proptest::collection::vec((0..3_u8, any::<bool>()), 0..14),
        one in proptest::collection::vec((0..14_u8, 0..KINDS), 0..20),
        two in proptest::collection::vec((0..14_u8, 0..KINDS), 0..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (first, second) = runtime.block_on(async {
            (learn(interleave(&visible, &one)).await, learn(interleave(&visible, &two)).await)
        });
        prop_assert_eq!(first, second);
    }
}
