//! The reference oracle: slow, plain, its own tables, its own idea of a reference. `judge` must agree
//! with it on every record, and no plan may ask for more than its client did, or hide what is visible.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Plan, Verdict, judge, plan};

/// Membership elements by type, copied by hand from the R4 CompartmentDefinition of Patient.
const MEMBERS: [(&str, &[(&str, &str)]); 6] = [
    ("Observation", &[("subject", "subject"), ("performer", "performer")]),
    ("Encounter", &[("patient", "subject")]),
    (
        "AllergyIntolerance",
        &[("patient", "patient"), ("recorder", "recorder"), ("asserter", "asserter")],
    ),
    ("Appointment", &[("actor", "participant.actor")]),
    (
        "Coverage",
        &[
            ("policy-holder", "policyHolder"),
            ("subscriber", "subscriber"),
            ("beneficiary", "beneficiary"),
            ("payor", "payor"),
        ],
    ),
    ("Patient", &[]),
];

/// Further parameters that are used below: (type, code, element).
const OTHERS: [(&str, &str, &str); 4] = [
    ("Observation", "patient", "subject"),
    ("Encounter", "subject", "subject"),
    ("Appointment", "patient", "participant.actor"),
    ("Coverage", "patient", "beneficiary"),
];

/// Everything at a dotted path, through arrays.
fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![value];
    for name in path.split('.') {
        found = found.into_iter().filter_map(|value| value.get(name)).flat_map(each).collect();
    }
    found
}

fn each(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |items| items.iter().collect())
}

/// `Type/id` of a reference, if it is a literal one to this server.
fn target(reference: &Value) -> Option<String> {
    let text = reference.get("reference")?.as_str()?;
    let text = text.strip_prefix(PUBLIC).and_then(|t| t.strip_prefix('/')).unwrap_or(text);
    let text = text.strip_prefix(UPSTREAM).and_then(|t| t.strip_prefix('/')).unwrap_or(text);
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [rtype, id] | [rtype, id, "_history", _] if !rtype.contains([':', '#']) => {
            Some(format!("{rtype}/{id}"))
        }
        _ => None,
    }
}

fn visible(resource: &Value, roster: &BTreeSet<PatientId>) -> bool {
    let rtype = resource["resourceType"].as_str().unwrap();
    // Whoever speaks of somebody else's patient, or of nobody knows whom.
    let mut all = Vec::new();
    references(resource, &mut all);
    for reference in all {
        let text = reference.get("reference").and_then(Value::as_str);
        let outside = target(reference).is_some_and(|t| {
            t.strip_prefix("Patient/").is_some_and(|id| !roster.iter().any(|p| p.as_str() == id))
        });
        let elsewhere = text.is_some_and(|t| t.starts_with("https://elsewhere.example/"));
        if outside || elsewhere || (text.is_none() && reference["type"] == "Patient") {
            return false;
        }
    }
    if rtype == "Practitioner" {
        return true;
    }
    // What a record is about must be known.
    let about = ["subject", "patient", "beneficiary", "subscriber"];
    for reference in about.iter().filter_map(|name| resource.get(*name)) {
        match target(reference) {
            Some(text) if text.starts_with("Group/") => return false,
            Some(_) => {}
            None => return false,
        }
    }
    let mut owners = BTreeSet::new();
    if rtype == "Patient" {
        owners.insert(resource["id"].as_str().unwrap().to_owned());
    }
    for (of, elements) in MEMBERS {
        for (_, path) in elements.iter().filter(|_| of == rtype) {
            for reference in at(resource, path) {
                let text = reference.get("reference").and_then(Value::as_str).unwrap_or_default();
                if text.starts_with("https://elsewhere.example/") && text.contains("/Patient/") {
                    return false; // somebody's, and nobody here knows whose
                }
                if let Some(id) =
                    target(reference).and_then(|t| t.strip_prefix("Patient/").map(str::to_owned))
                {
                    owners.insert(id);
                }
            }
        }
    }
    !owners.is_empty()
        && owners.iter().all(|id| roster.iter().any(|patient| patient.as_str() == id))
}

/// Every object that looks like a reference.
fn references<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        Value::Object(members) => {
            if members.contains_key("reference") || members.contains_key("identifier") {
                into.push(value);
            }
            members.values().for_each(|inner| references(inner, into));
        }
        _ => {}
    }
}

/// Whether a record matches a query of `code=value,value` pairs, as the specification says.
fn matches(resource: &Value, query: &[(String, Vec<String>)]) -> bool {
    let rtype = resource["resourceType"].as_str().unwrap();
    query.iter().all(|(code, values)| {
        if code == "_id" {
            return values.iter().any(|value| resource["id"] == *value);
        }
        let nominated = MEMBERS.iter().filter(|(of, _)| *of == rtype).flat_map(|(_, e)| e.iter());
        let path = nominated
            .filter(|(name, _)| name == code)
            .map(|(_, path)| *path)
            .chain(OTHERS.iter().filter(|(of, c, _)| *of == rtype && c == code).map(|(_, _, p)| *p))
            .next()
            .unwrap_or_else(|| panic!("{rtype} {code}"));
        let targets: Vec<String> = at(resource, path).into_iter().filter_map(target).collect();
        values.iter().any(|value| {
            targets.iter().any(|target| {
                if code == "patient" && !target.starts_with("Patient/") {
                    return false;
                }
                target == value || (!value.contains('/') && target.ends_with(&format!("/{value}")))
            })
        })
    })
}

fn reference() -> impl Strategy<Value = Value> {
    let id = prop_oneof![Just("a"), Just("b"), Just("c"), Just("z")];
    (id, 0..9_u8).prop_map(|(id, form)| match form {
        0..=2 => json!({"reference": format!("Patient/{id}")}),
        3 => json!({"reference": format!("{PUBLIC}/Patient/{id}")}),
        4 => json!({"reference": format!("{UPSTREAM}/Patient/{id}")}),
        5 => json!({"reference": format!("Patient/{id}/_history/3")}),
        6 if id == "b" => json!({"reference": "Group/a"}),
        6 => json!({"reference": format!("Practitioner/{id}")}),
        7 => json!({"identifier": {"value": id}, "type": "Patient"}),
        _ => json!({"reference": format!("https://elsewhere.example/fhir/Patient/{id}")}),
    })
}

fn resource() -> impl Strategy<Value = Value> {
    let references = || proptest::collection::vec(reference(), 0..3);
    let id = prop_oneof![Just("a"), Just("b"), Just("z"), Just("9")];
    (0..7_usize, id, references(), references()).prop_map(|(kind, id, one, two)| {
        let first = one.first().cloned();
        let mut value = match kind {
            0 => json!({"resourceType": "Observation", "subject": first, "performer": two,
                        "focus": one.iter().skip(1).collect::<Vec<_>>()}),
            1 => json!({"resourceType": "Encounter", "subject": first,
                        "participant": [{"individual": two.first()}]}),
            2 => json!({"resourceType": "AllergyIntolerance", "patient": first,
                        "recorder": two.first(), "asserter": two.last()}),
            3 => json!({"resourceType": "Appointment", "participant":
                        one.iter().chain(&two).map(|r| json!({"actor": r})).collect::<Vec<_>>()}),
            4 => json!({"resourceType": "Coverage", "beneficiary": first,
                        "subscriber": two.first(), "payor": two}),
            5 => json!({"resourceType": "Patient", "link": [{"other": first, "type": "seealso"}]}),
            _ => json!({"resourceType": "Practitioner"}),
        };
        value["id"] = json!(id);
        // FHIR has no nulls and no empty arrays.
        value.as_object_mut().unwrap().retain(|_, v| !v.is_null() && *v != json!([]));
        if let Some(participants) = value.get_mut("participant").and_then(Value::as_array_mut) {
            participants.retain(|p| p.as_object().unwrap().values().all(|v| !v.is_null()));
        }
        value
    })
}

fn roster() -> impl Strategy<Value = BTreeSet<PatientId>> {
    proptest::collection::btree_set(prop_oneof![Just("a"), Just("b"), Just("c")], 0..4)
        .prop_map(patients)
}

/// (type, criteria)
fn query() -> impl Strategy<Value = (&'static str, Vec<(String, Vec<String>)>)> {
    let value = prop_oneof![
        Just("Patient/a"),
        Just("Patient/b"),
        Just("Patient/z"),
        Just("Patient/a"),
        Just("Practitioner/a"),
        Just("Practitioner/z"),
        Just("Group/a"),
    ];
    let values = proptest::collection::vec(value, 1..3);
    let pick = (0..8_usize, values);
    (0..MEMBERS.len(), proptest::collection::vec(pick, 0..3)).prop_map(|(kind, picks)| {
        let (rtype, members) = MEMBERS[kind];
        let codes: Vec<&str> = members
            .iter()
            .map(|(code, _)| *code)
            .chain(OTHERS.iter().filter(|(of, ..)| *of == rtype).map(|(_, code, _)| *code))
            .chain(["_id"])
            .collect();
        let criteria = picks
            .into_iter()
            .map(|(pick, values)| {
                let code = codes[pick % codes.len()];
                let values = values
                    .into_iter()
                    .filter(|v| code == "_id" || takes(rtype, code, v))
                    .map(|v| if code == "_id" { v.split('/').next_back().unwrap() } else { v })
                    .map(str::to_owned)
                    .collect::<Vec<_>>();
                (code.to_owned(), values)
            })
            .filter(|(_, values)| !values.is_empty())
            .collect();
        (rtype, criteria)
    })
}

/// Whether the grammar accepts a reference to that type in the parameter.
fn takes(rtype: &str, code: &str, value: &str) -> bool {
    let rtype = ward_fhir::ResourceType::from_name(rtype).unwrap();
    let targets = ward_fhir::lookup(rtype, code).unwrap().targets;
    targets.is_empty() || targets.iter().any(|target| value.starts_with(&format!("{target}/")))
}

fn written(criteria: &[(String, Vec<String>)]) -> String {
    let pairs: Vec<String> =
        criteria.iter().map(|(code, values)| format!("{code}={}", values.join(","))).collect();
    pairs.join("&")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn judge_agrees_with_the_oracle(resource in resource(), roster in roster()) {
        let known = Facts { roster: Roster::Known(Arc::new(roster.clone())) };
        let address = format!("/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        let planned = plan(&principal("system/*.rs"), &parse(&address), &known, &Limits::default());
        let Plan::PreRead(permit) = planned else { panic!("{planned:?}") };
        let bases = ReferenceBases { public: PUBLIC.into(), upstream: UPSTREAM.into() };
        // What cannot be read is never released.
        let kept = ResourceView::parse(&resource.to_string(), &bases, &Limits::default())
            .is_ok_and(|view| judge(permit.residual(), &view) == Verdict::Keep);
        prop_assert_eq!(kept, visible(&resource, &roster), "{}", resource);
    }

    #[test]
    fn no_plan_widens_and_none_hides_what_is_visible(
        (rtype, criteria) in query(),
        resources in proptest::collection::vec(resource(), 1..12),
        roster in roster(),
        narrow_ids in 0..4_usize,
    ) {
        let known = Facts { roster: Roster::Known(Arc::new(roster.clone())) };
        let limits = Limits { narrow_ids, ..Limits::default() };
        let request = parse(&format!("/{rtype}?{}", written(&criteria)));
        let planned = plan(&principal("system/*.rs"), &request, &known, &limits);
        let sent: Vec<Vec<(String, Vec<String>)>> = match &planned {
            Plan::Nothing(_) => Vec::new(),
            Plan::Forward(permit) | Plan::Rewrite(permit) => {
                (0..permit.parts())
                    .map(|index| {
                        let part = permit.part(index).unwrap();
                        let ward_fhir::Interaction::Search(search) = part.interaction else {
                            panic!("no search")
                        };
                        let pair = |c: ward_fhir::Criterion| (c.code.to_owned(), c.values);
                        search.criteria.into_iter().map(pair).collect()
                    })
                    .collect()
            }
            other => panic!("{other:?}"),
        };
        // D5 removes alternatives of `subject` that are no patients; those records are about
        // something else, even if a patient takes part in them.
        let about_else = criteria.iter().any(|(code, values)| {
            code == "subject" && values.iter().any(|value| !value.starts_with("Patient/"))
        });
        for resource in resources.iter().filter(|r| r["resourceType"] == rtype) {
            let asked = matches(resource, &criteria);
            let fetched = sent.iter().any(|sent| matches(resource, sent));
            prop_assert!(asked || !fetched, "widened: {} {:?}", resource, sent);
            if asked && visible(resource, &roster) && !about_else {
                prop_assert!(fetched, "hidden: {} {:?} {:?}", resource, criteria, sent);
            }
        }
    }
}
