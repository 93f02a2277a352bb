use std::collections::BTreeSet;

use super::draw::with_npi_check_digit;
use super::*;
use crate::element::split_reference;

#[test]
fn same_seed_same_bytes() {
    let bytes = |seed| {
        let population = Population::generate(seed, 30);
        serde_json::to_vec(&population.resources).unwrap()
    };
    assert_eq!(bytes(7), bytes(7));
    assert_ne!(bytes(7), bytes(8));
}

#[test]
fn patients_do_not_depend_on_their_number() {
    let few = Population::generate(7, 5);
    let many = Population::generate(7, 9);
    let chart = |population: &Population| -> Vec<Value> {
        let mine = |resource: &&Value| {
            let id = resource.get("id").and_then(Value::as_str).unwrap_or_default();
            id.contains("-00003") && !id.starts_with("trap")
        };
        population.resources.iter().filter(mine).cloned().collect()
    };
    assert!(chart(&few).len() > 20);
    assert_eq!(chart(&few), chart(&many));
}

#[test]
fn every_reference_resolves_and_ids_are_unique() {
    let population = Population::generate(1, 45);
    assert_eq!(dangling_references(&population.resources), Vec::<String>::new());
    let mut seen = BTreeSet::new();
    for resource in &population.resources {
        let key = format!("{}/{}", resource["resourceType"], resource["id"]);
        assert!(seen.insert(key.clone()), "{key} twice");
        let rtype = resource["resourceType"].as_str().unwrap();
        assert!(crate::params::is_type(rtype), "{rtype} is no type of R4");
        assert!(crate::routes::is_id(resource["id"].as_str().unwrap()));
    }
    // The check itself can fail.
    let broken =
        json!({ "resourceType": "Basic", "id": "b", "subject": { "reference": "Patient/nobody" } });
    assert_eq!(dangling_references(&[broken]), ["Basic/b: Patient/nobody"]);
}

fn dates(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) if crate::date::parse(text).is_some() && text.contains('-') => {
            into.push(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| dates(item, into)),
        Value::Object(members) => members.values().for_each(|member| dates(member, into)),
        _ => {}
    }
}

#[test]
fn nothing_lies_in_the_future() {
    let population = Population::generate(3, 60);
    let today = TODAY.to_rfc3339();
    let mut found = Vec::new();
    population.resources.iter().for_each(|resource| dates(resource, &mut found));
    assert!(found.len() > 1000);
    for text in found {
        assert!(text <= today, "{text}");
    }
}

#[test]
fn the_dead_have_no_visits() {
    let population = Population::generate(4, 200);
    let text = |resource: &Value, pointer: &str| {
        resource.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
    };
    let mut dead = 0;
    for patient in &population.resources {
        let Some(died) = text(patient, "/deceasedDateTime") else { continue };
        dead += 1;
        let own = format!("Patient/{}", text(patient, "/id").unwrap());
        for resource in &population.resources {
            if resource["resourceType"] == "Encounter"
                && text(resource, "/subject/reference").as_ref() == Some(&own)
            {
                assert!(text(resource, "/period/end").unwrap() <= died, "{own}");
            }
        }
    }
    assert!(dead > 2);
}

#[test]
fn the_population_has_what_the_rooms_need() {
    let population = Population::generate(5, 60);
    let count = |rtype: &str| {
        population.resources.iter().filter(|resource| resource["resourceType"] == rtype).count()
    };
    assert_eq!(population.patient_ids().len(), 60);
    for (rtype, least) in [
        ("Organization", 8),
        ("Location", 6),
        ("Practitioner", 24),
        ("PractitionerRole", 24),
        ("CareTeam", 60),
        ("Encounter", 240),
        ("Observation", 3000),
        ("Condition", 100),
        ("MedicationRequest", 60),
        ("AllergyIntolerance", 10),
        ("Immunization", 150),
        ("Coverage", 60),
        ("RelatedPerson", 3),
        ("Group", 3),
        ("List", 3),
        ("Provenance", 3),
    ] {
        assert!(count(rtype) >= least, "{rtype}: {}", count(rtype));
    }
    let labelled =
        population.resources.iter().filter(|resource| resource.pointer("/meta/security").is_some());
    assert!(labelled.count() >= 8);
    for trap in &population.traps {
        let (rtype, id) = trap.record.split_once('/').unwrap();
        let record =
            population.resources.iter().find(|r| r["resourceType"] == rtype && r["id"] == id);
        assert!(record.is_some(), "{trap:?}");
    }
}

#[test]
fn practitioner_numbers_have_the_check_digit_of_an_npi() {
    // The example of the NPI standard.
    assert_eq!(with_npi_check_digit("123456789"), "1234567893");
    assert_eq!(draw::decimal(983, 1).to_string(), "98.3");
    assert_eq!(draw::decimal(105, 2).to_string(), "1.05");
    assert_eq!(draw::decimal(100, 2).to_string(), "1");
}

#[test]
fn size_is_bounded() {
    assert_eq!(
        split_reference(&format!("Patient/{}", people::patient_id(0))).unwrap().id,
        "pt-00001"
    );
    const { assert!(MAX_PATIENTS * 110 < crate::store::MAX_RECORDS) };
}
