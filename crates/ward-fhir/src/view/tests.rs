//! Membership by table, by property, and against a naive oracle on real-looking patients.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Reference;

fn bases() -> ReferenceBases {
    ReferenceBases {
        public: "https://gw.example/default/fhir".to_owned(),
        upstream: "http://127.0.0.1:8080/fhir".to_owned(),
    }
}

fn parse(text: &str) -> Result<ResourceView, ViewError> {
    ResourceView::parse(text, &bases(), &Limits::default())
}

fn owners_of(text: &str) -> Vec<String> {
    let view = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    view.owners.iter().map(ToString::to_string).collect()
}

/// D4, B7: escapes in names and values are undone before anything is compared.
#[test]
fn d4_every_spelling_of_a_reference_counts() {
    for reference in [
        "Patient/B",
        "Patient/B/_history/3",
        "https://gw.example/default/fhir/Patient/B",
        "https://GW.EXAMPLE:443/default/fhir/Patient/B",
        "http://127.0.0.1:8080/fhir/Patient/B/_history/1",
        "\\u0050atient\\/B",
    ] {
        // Key order is arbitrary; the type may come last, keys may be escaped.
        let text = format!(
            r#"{{"subj\u0065ct":{{"reference":"{reference}"}},"id":"1","resourceType":"Observation"}}"#
        );
        assert_eq!(owners_of(&text), ["B"], "{reference}");
    }
}

#[test]
fn only_the_nominated_elements_make_membership() {
    for (text, want) in [
        // F3: `focus` is not nominated.
        (r#"{"resourceType":"Observation","id":"1","focus":[{"reference":"Patient/A"}]}"#, &[][..]),
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/B"},"performer":[{"reference":"Practitioner/1"},{"reference":"Patient/A"}]}"#,
            &["A", "B"],
        ),
        // Logical and display-only references by which somebody takes part are no membership.
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/B"},"performer":[{"identifier":{"system":"http://hl7.org/fhir/sid/us-npi","value":"1"}},{"display":"Dr. X"},{"type":"Practitioner","display":"Y"}]}"#,
            &["B"],
        ),
        (r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Device/7"}}"#, &[]),
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"type":"Device","display":"pump"}}"#,
            &[],
        ),
        (
            r##"{"resourceType":"Observation","id":"1","contained":[{"resourceType":"Device","id":"d"}],"subject":{"reference":"#d"}}"##,
            &[],
        ),
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"https://other.example/fhir/Device/1"}}"#,
            &[],
        ),
        // C12: a patient owns itself, and nobody by `link`.
        (
            r#"{"resourceType":"Patient","id":"A","link":[{"other":{"reference":"Patient/B"},"type":"seealso"}]}"#,
            &["A"],
        ),
        // C13: a group is everyone's.
        (
            r#"{"resourceType":"Group","id":"5","member":[{"entity":{"reference":"Patient/A"}},{"entity":{"reference":"Patient/B"}},{"entity":{"reference":"Device/1"}}]}"#,
            &["A", "B"],
        ),
        // `where(resolve() is Patient)`.
        (
            r#"{"resourceType":"AuditEvent","id":"1","agent":[{"who":{"reference":"Patient/A"}}],"entity":[{"what":{"reference":"Patient/B"}},{"what":{"reference":"Device/3"}}]}"#,
            &["A", "B"],
        ),
        (
            r#"{"resourceType":"Coverage","id":"1","subscriber":{"reference":"Patient/B"},"beneficiary":{"reference":"Patient/A"},"payor":[{"reference":"Organization/1"}]}"#,
            &["A", "B"],
        ),
        (
            r#"{"resourceType":"EnrollmentRequest","id":"1","candidate":{"reference":"Patient/A"}}"#,
            &["A"],
        ),
        (r#"{"resourceType":"Task","id":"1","for":{"reference":"Patient/A"}}"#, &["A"]),
        (
            r#"{"resourceType":"Appointment","id":"1","participant":[{"actor":{"reference":"Patient/A"}},{}]}"#,
            &["A"],
        ),
        (r#"{"resourceType":"Practitioner","id":"1"}"#, &[]),
    ] {
        assert_eq!(owners_of(text), want, "{text}");
    }
}

#[test]
fn c9_contained_resources_add_labels_and_patients() {
    let view = parse(
        r#"{"resourceType":"Encounter","id":"1","subject":{"reference":"Patient/A"},
        "meta":{"versionId":"7","security":[{"system":"s","code":"N"}]},
        "contained":[{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/B"},
            "meta":{"security":[{"system":"s","code":"PSY"},{"system":"s","code":"N"},{"code":"x"}]},
            "extension":[{"url":"u","valueReference":{"reference":"Patient/C/_history/1"}}]}]}"#,
    )
    .unwrap();
    assert_eq!(view.version.as_deref(), Some("7"));
    assert_eq!(view.labels, ["s|N", "s|PSY", "|x"]);
    let contained: Vec<_> = view.contained_patients.iter().map(PatientId::as_str).collect();
    assert_eq!(contained, ["B", "C"]);
    assert_eq!(view.owners.len(), 1);
}

/// B6, B7, B8, and what is no FHIR.
#[test]
fn what_cannot_be_judged_is_an_error() {
    use ViewError::{Json, Reference, Shape, Type};
    for (text, want) in [
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/me"},"subject":{"reference":"Patient/B"}}"#,
            Json(JsonError::Duplicate),
        ),
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient/me","referenc\u0065":"Patient/B"}}"#,
            Json(JsonError::Duplicate),
        ),
        (
            r#"{"resourceType":"Observation","id":"1","note":[{"x":{"a":1,"a":1}}]}"#,
            Json(JsonError::Duplicate),
        ),
        (r#"{"resourceType":"Observation","id":"1""#, Json(JsonError::Malformed)),
        ("[]", Shape),
        (r#"{"id":"1"}"#, Shape),
        (r#"{"resourceType":"Observation"}"#, Shape),
        (r#"{"resourceType":"Observation","id":"a/b"}"#, Shape),
        (r#"{"resourceType":"Observation","id":7}"#, Shape),
        (r#"{"resourceType":"observation","id":"1"}"#, Type),
        (r#"{"resourceType":"Parameters","id":"1"}"#, Type),
        (r#"{"resourceType":"Observation","id":"1","subject":"Patient/B"}"#, Shape),
        (r#"{"resourceType":"Observation","id":"1","subject":{"reference":["Patient/B"]}}"#, Shape),
        (r#"{"resourceType":"Observation","id":"1","subject":null}"#, Shape),
        (r#"{"resourceType":"Observation","id":"1","contained":{}}"#, Shape),
        (r#"{"resourceType":"Observation","id":"1","meta":{"security":{}}}"#, Shape),
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"patient/B"}}"#,
            Reference,
        ),
        (r#"{"resourceType":"Observation","id":"1","subject":{"reference":"B"}}"#, Reference),
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"/Patient/B"}}"#,
            Reference,
        ),
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"Patient?identifier=1"}}"#,
            Reference,
        ),
        (
            r#"{"resourceType":"Observation","id":"1","subject":{"reference":"https://other.example/fhir/Patient/B"}}"#,
            Reference,
        ),
        (
            r#"{"resourceType":"Observation","id":"1","contained":[{"resourceType":"Basic","author":{"reference":"Patient/B/"}}]}"#,
            Reference,
        ),
    ] {
        assert_eq!(parse(text), Err(want), "{text}");
    }
    let deep = format!(
        r#"{{"resourceType":"Observation","id":"1","x":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    assert_eq!(parse(&deep), Err(Json(JsonError::TooDeep)));
}

/// Records of a hostile test: about an outside patient, with a rostered one as performer.
#[test]
fn a_record_about_somebody_unknown_cannot_be_judged() {
    let observation = |rest: &str| {
        format!(
            r#"{{"resourceType":"Observation","id":"1","performer":[{{"reference":"Patient/A"}}],{rest}}}"#
        )
    };
    for subject in [
        r#"{"identifier":{"system":"urn:mrn","value":"MRN-000004"},"type":"Patient"}"#,
        r#"{"identifier":{"system":"urn:mrn","value":"MRN-000004"}}"#,
        r#"{"display":"Jane Four"}"#,
        r#"{"type":"Patient"}"#,
        r#"{"type":"Group","display":"x"}"#,
        r#"{"type":"Unheard"}"#,
        r#"{"extension":[{"url":"u","valueString":"Jane Four"}]}"#,
        "{}",
        r#"{"reference":"urn:uuid:0b1f0000-0000-4000-8000-000000000004"}"#,
        r#"{"reference":"Group/trap"}"#,
        r#"{"reference":"RelatedPerson/7"}"#,
        r##"{"reference":"#p"}"##,
        r##"{"reference":"#"}"##,
        r#"{"reference":"Device/7","type":"Patient"}"#,
    ] {
        let text = observation(&format!(r#""subject":{subject}"#));
        assert_eq!(parse(&text), Err(ViewError::Owner), "{text}");
    }
    // F5: spellings that another reader may take for a patient.
    for reference in [
        r"http://127.0.0.1:8080/fhir\\Patient\\B",
        "http://x.example?ref=Patient/B",
        "http://127.0.0.1:8080/FHIR/Patient/B",
        "http://other.example/Patient|B",
        r"http://127.0.0.1:8080/fhir/Pat\tient/B",
        "http://127.0.0.1:8080/fhir/%50atient/B",
        "http://other.example/p/7",
        "Patient/B#x",
    ] {
        for place in ["subject", "focus"] {
            if place == "focus" && !reference.to_lowercase().contains("pat") {
                continue; // nobody's business what is not a patient
            }
            let text = observation(&format!(r#""{place}":{{"reference":"{reference}"}}"#));
            assert_eq!(parse(&text), Err(ViewError::Reference), "{text}");
        }
    }
    let subject = r#""subject":{"reference":"Patient/A"}"#;
    for rest in [
        // C9: the id of a contained Patient is a name in its host, not one of ours.
        r#""contained":[{"resourceType":"Patient","id":"A","name":[{"family":"Four"}]}]"#,
        r#""contained":[{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"A"}}]}]"#,
        r#""contained":[{"resourceType":"Basic","contained":[{"resourceType":"Patient","id":"A"}]}]"#,
        r#""contained":[{"resourceType":"Observation","id":"r","subject":{"identifier":{"value":"MRN-000004"}}}]"#,
        r#""contained":[{"resourceType":"RelatedPerson","id":"r","patient":{"display":"Jane Four"}}]"#,
        r#""focus":[{"type":"Patient","identifier":{"value":"MRN-000004"}}]"#,
        r#""focus":[{"type":"http://hl7.org/fhir/StructureDefinition/Patient","display":"Jane"}]"#,
        r#""performer2":[{"reference":"urn:uuid:1","type":"Patient"}]"#,
    ] {
        let text = observation(&format!("{subject},{rest}"));
        assert_eq!(parse(&text), Err(ViewError::Owner), "{text}");
    }
    for (rest, want) in [
        (r#""contained":[{"id":"x"}]"#, ViewError::Shape),
        (r#""contained":[{"resourceType":"Sercret"}]"#, ViewError::Type),
        (r#""focus":{"reference":["Patient/B"]}"#, ViewError::Shape),
        (r#""focus":{"reference":7}"#, ViewError::Shape),
    ] {
        let text = observation(&format!("{subject},{rest}"));
        assert_eq!(parse(&text), Err(want), "{text}");
    }
}

#[test]
fn every_patient_that_a_record_speaks_of_is_gathered() {
    let view = parse(
        r##"{"resourceType":"Observation","id":"1",
        "subject":{"reference":"Patient/A","extension":[{"url":"u","valueReference":{"reference":"Patient/B"}}]},
        "focus":[{"reference":"Patient/C"}],"hasMember":[{"reference":"Patient/D/_history/1"}],
        "contained":[{"resourceType":"Person","id":"p","link":[{"target":{"reference":"Patient/E"}}]},
            {"resourceType":"Observation","id":"o","subject":{"reference":"#"}}],
        "related":{"reference":{"system":"claims","value":"Patient/Z"}}}"##,
    )
    .unwrap();
    let of = |set: &BTreeSet<PatientId>| set.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of(view.owners.as_set()), ["A"]);
    assert_eq!(of(&view.contained_patients), ["E"]);
    assert_eq!(of(&view.mentioned), ["A", "B", "C", "D", "E"]);
}

/// Legal FHIR may be deep: 20 nested extensions are 60 levels.
#[test]
fn records_may_be_deeper_than_tokens() {
    let nested = |levels: usize| {
        let (open, close) = (r#"[{"extension":"#.repeat(levels), "}]".repeat(levels));
        format!(
            r#"{{"resourceType":"Observation","id":"1","subject":{{"reference":"Patient/A"}},"extension":{open}[]{close}}}"#
        )
    };
    assert_eq!(owners_of(&nested(20)), ["A"]);
    assert_eq!(owners_of(&nested(48)), ["A"]);
    assert_eq!(parse(&nested(60)), Err(ViewError::Json(JsonError::TooDeep)));
}

fn data() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if path.join("synthea-r4").is_dir() && path.join("fhir/r4").is_dir() {
        return Some(path);
    }
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: no {}, owners are NOT compared with the oracle on sample patients",
        path.display()
    );
    None
}

fn read(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// (type, expressions of its nominated parameters), straight from the definitions.
fn definitions(data: &std::path::Path) -> BTreeMap<String, Vec<String>> {
    let compartments = read(data.join("fhir/r4/compartment.json"));
    let parameters = read(data.join("fhir/r4/search-parameters.json"));
    let all = |bundle: &Value| -> Vec<Value> {
        bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()).collect()
    };
    let has = |list: &Value, word: &Value| list.as_array().is_some_and(|list| list.contains(word));
    let patient = all(&compartments).into_iter().find(|one| one["code"] == "Patient").unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in patient["resource"].as_array().unwrap() {
        let nominated = match row["code"].as_str() {
            Some("Task") => json!(["patient", "focus"]),
            Some("Patient") => continue,
            _ => row["param"].clone(),
        };
        for parameter in all(&parameters) {
            if has(&parameter["base"], &row["code"]) && has(&nominated, &parameter["code"]) {
                let name = row["code"].as_str().unwrap().to_owned();
                let text = parameter["expression"].as_str().unwrap().to_owned();
                found.entry(name).or_default().push(text);
            }
        }
    }
    found
}

/// The naive oracle: collects every string called `reference` together with the names above it, and
/// looks whether those names are one of the expressions. Shares no code with the tables.
fn oracle(resource: &Value, definitions: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    fn strings(value: &Value, above: &str, into: &mut Vec<(String, String)>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| strings(item, above, into)),
            Value::Object(members) => {
                for (name, inner) in members {
                    if let (Some(text), "reference") = (inner.as_str(), name.as_str()) {
                        into.push((above.to_owned(), text.to_owned()));
                    } else {
                        strings(inner, &format!("{above}.{name}"), into);
                    }
                }
            }
            _ => {}
        }
    }
    let name = resource["resourceType"].as_str().unwrap();
    let mut found = Vec::new();
    strings(resource, name, &mut found);
    let nominated: Vec<String> = definitions
        .get(name)
        .into_iter()
        .flatten()
        .flat_map(|text| text.split('|'))
        .map(|text| text.trim().trim_end_matches(".where(resolve() is Patient)").to_owned())
        .collect();
    let mut owners: Vec<String> = found
        .into_iter()
        .filter(|(above, _)| nominated.contains(above))
        .filter_map(|(_, text)| {
            let at = text.find("Patient/")?;
            Some(text[at + 8..].split('/').next()?.to_owned())
        })
        .collect();
    if name == "Patient" {
        owners.push(resource["id"].as_str().unwrap().to_owned());
    }
    owners.sort();
    owners.dedup();
    owners
}

/// Bundles of patients, with transaction URNs replaced as a server would.
fn sample_patients(data: &std::path::Path) -> Vec<Value> {
    let mut resources = Vec::new();
    for folder in ["synthea-r4", "us-core-r4"] {
        let mut files: Vec<_> = std::fs::read_dir(data.join(folder))
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        for file in files {
            let mut text = String::from_utf8(std::fs::read(file).unwrap()).unwrap();
            let bundle: Value = serde_json::from_str(&text).unwrap();
            for entry in bundle["entry"].as_array().unwrap() {
                let (rtype, id) = (&entry["resource"]["resourceType"], &entry["resource"]["id"]);
                if let (Some(url), Some(rtype), Some(id)) =
                    (entry["fullUrl"].as_str(), rtype.as_str(), id.as_str())
                {
                    let place = format!("\"reference\":\"{rtype}/{id}\"");
                    text = text.replace(&format!("\"reference\":\"{url}\""), &place);
                }
            }
            let bundle: Value = serde_json::from_str(&text).unwrap();
            for entry in bundle["entry"].as_array().unwrap() {
                resources.push(entry["resource"].clone());
            }
        }
    }
    resources
}

#[test]
fn owners_agree_with_a_naive_oracle_on_sample_patients() {
    let Some(data) = data() else { return };
    let definitions = definitions(&data);
    let (mut judged, mut owned) = (0, 0);
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    for resource in sample_patients(&data) {
        let want = oracle(&resource, &definitions);
        if parse(&resource.to_string()) == Err(ViewError::Owner) {
            *unknown.entry(resource["resourceType"].to_string()).or_default() += 1;
            continue;
        }
        assert_eq!(owners_of(&resource.to_string()), want, "{}", resource["id"]);
        judged += 1;
        owned += usize::from(!want.is_empty());
    }
    assert!(judged > 3000 && owned > 2500, "{judged} judged, {owned} owned");
    // Honest records say whom they are about; only a Provenance of a relative does not.
    assert_eq!(format!("{unknown:?}"), r#"{"\"Provenance\"": 1}"#);
}

/// Every member type, each nominated element filled, in every spelling: as the oracle says.
#[test]
fn owners_agree_with_the_oracle_for_every_nominated_element() {
    let Some(data) = data() else { return };
    let definitions = definitions(&data);
    assert_eq!(definitions.len(), 66, "67 members, less Patient");
    let pairs: usize = definitions.values().map(Vec::len).sum();
    assert_eq!(pairs, 101, "102 pairs, less Patient.link");
    for (name, expressions) in &definitions {
        for expression in expressions.iter().flat_map(|text| text.split('|')) {
            let plain = expression.trim().trim_end_matches(".where(resolve() is Patient)");
            let Some(path) = plain.strip_prefix(&format!("{name}.")) else { continue };
            for (arrays, reference) in [
                (false, "Patient/X-1"),
                (true, "http://127.0.0.1:8080/fhir/Patient/X-1/_history/2"),
            ] {
                let mut value = json!({"reference": reference, "display": "d"});
                for step in path.rsplit('.') {
                    if arrays {
                        value = json!([value]);
                    }
                    value = json!({step: value});
                }
                value["id"] = "1".into();
                value["resourceType"] = name.as_str().into();
                let text = value.to_string();
                assert_eq!(owners_of(&text), ["X-1"], "{text}");
                assert_eq!(oracle(&value, &definitions), ["X-1"], "{text}");
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        prop::sample::select(vec![
            "Patient/A",
            "Patient/B/_history/1",
            "Group/1",
            "#x",
            "Patient/",
            ""
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let names = prop::sample::select(vec![
            "subject",
            "reference",
            "performer",
            "contained",
            "meta",
            "security",
            "code",
            "actor",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..4)
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_resources_never_panic_and_lose_no_owner(
        members in prop::collection::btree_map(
            prop::sample::select(vec!["subject", "performer", "contained", "meta", "note"]),
            any_json(), 0..5),
        known in prop::sample::select(vec!["Observation", "Patient", "Device", "Procedure"]),
    ) {
        let mut value: Value = members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        value["resourceType"] = known.into();
        value["id"] = "p".into();
        if let Ok(view) = parse(&value.to_string()) {
            // Whatever the shape: a direct subject that names a patient is an owner.
            let direct = value["subject"]["reference"].as_str();
            if let (Some(text), "Observation") = (direct, known) {
                for id in ["A", "B"] {
                    let named = text.starts_with(&format!("Patient/{id}"));
                    prop_assert!(!named || view.owners.contains(&PatientId::parse(id).unwrap()));
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in ".{0,200}") {
        let _ = parse(&text);
        let kept = Unescaped::default();
        let _ = crate::Searchset::parse(text.as_bytes(), &kept, &Limits::default());
        let _ = Reference::parse(&text, &["https://gw.example"]);
    }
}
