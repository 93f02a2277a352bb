//! Records that link two patients, each in a way that real charts do and that a careless gateway gets
//! wrong (`enforcement.md` §2.C). Patients come in pairs (1 and 2, 3 and 4, …); every tenth pair gets
//! all of these, so that a roster with one of a pair and not the other meets each of them.

use serde_json::{Value, json};

use super::codes::{CONFIDENTIALITY, LOINC, SNOMED};
use super::people::{chart_id, patient_id};
use super::staff::HOSPITAL;
use super::{Builder, concept, reference};

/// A record that touches two patients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// What it is, in a few words.
    pub what: &'static str,
    /// `Type/id` of the record.
    pub record: String,
    /// The id of the patient who seems to own it.
    pub patient: String,
    /// The id of the other patient in it.
    pub other: String,
}

/// The patient whom the traps link to patient `index`, for the first of every tenth pair.
pub(super) fn partner(index: usize, patients: usize) -> Option<usize> {
    (index.is_multiple_of(20) && index + 1 < patients).then_some(index + 1)
}

pub(super) fn generate(builder: &mut Builder<'_>, patients: usize) -> Vec<Trap> {
    let pairs = (0..patients).filter_map(|index| Some((index, partner(index, patients)?)));
    pairs.flat_map(|(index, other)| pair(builder, index, other)).collect()
}

fn pair(builder: &mut Builder<'_>, index: usize, other_index: usize) -> Vec<Trap> {
    let (patient, other) = (patient_id(index), patient_id(other_index));
    let this = || reference(&format!("Patient/{patient}"));
    let that = || reference(&format!("Patient/{other}"));
    let other_observation = format!("Observation/{}", chart_id("obs", other_index, 1));
    let own_observation = format!("Observation/{}", chart_id("obs", index, 1));
    let code = concept(LOINC, "8867-4", "Heart rate");
    let at = builder.instant(30, 9);

    let mut traps: Vec<(&'static str, &'static str, Value)> = Vec::new();
    traps.push(("focus on another patient", "Observation", json!({
        "status": "final", "code": code, "subject": this(), "focus": [that()],
        "effectiveDateTime": at, "valueQuantity": { "value": 141, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min" },
    })));
    traps.push(("group of both patients", "Group", json!({
        "active": true, "type": "person", "actual": true, "name": "Trial participants", "quantity": 2,
        "managingEntity": reference(HOSPITAL), "member": [{ "entity": this() }, { "entity": that() }],
    })));
    traps.push(("list with another patient's results", "List", json!({
        "status": "current", "mode": "working", "title": "Results to review", "subject": this(),
        "entry": [{ "item": reference(&own_observation) }, { "item": reference(&other_observation) }],
    })));
    traps.push((
        "provenance of both patients' records",
        "Provenance",
        json!({
            "target": [reference(&own_observation), reference(&other_observation), this(), that()],
            "recorded": at, "agent": [{ "who": reference("Practitioner/prac-000") }],
        }),
    ));
    traps.push(("relative who is a patient too", "RelatedPerson", json!({
        "active": true, "patient": this(),
        "identifier": [{ "system": super::MRN_SYSTEM, "value": format!("MRN-{:06}", other_index + 1) }],
        "relationship": [concept("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "SPS", "spouse")],
        "name": [{ "text": "see the patient of the same number" }],
    })));
    traps.push(("coverage that another patient subscribes", "Coverage", json!({
        "status": "active", "beneficiary": this(), "subscriber": that(), "policyHolder": that(),
        "payor": [that()], "relationship": concept("http://terminology.hl7.org/CodeSystem/subscriber-relationship", "spouse", "Spouse"),
    })));
    traps.push(("contained record of another patient", "DiagnosticReport", json!({
        "status": "final", "code": concept(LOINC, "51990-0", "Basic metabolic panel - Blood"), "subject": this(),
        "effectiveDateTime": at, "result": [{ "reference": "#r1" }],
        "contained": [{
            "resourceType": "Observation", "id": "r1", "status": "final", "subject": that(),
            "code": concept(LOINC, "2339-0", "Glucose [Mass/volume] in Blood"),
            "valueQuantity": { "value": 201, "unit": "mg/dL", "system": "http://unitsofmeasure.org", "code": "mg/dL" },
        }],
    })));
    traps.push((
        "versioned reference to another patient",
        "Flag",
        json!({
            "status": "active", "code": concept(SNOMED, "409586006", "Complaint"),
            "subject": { "reference": format!("Patient/{other}/_history/1") },
            "author": this(),
        }),
    ));
    traps.push((
        "appointment of both patients",
        "Appointment",
        json!({
            "status": "booked", "description": "Family session", "start": at, "end": at,
            "participant": [
                { "actor": this(), "status": "accepted" },
                { "actor": that(), "status": "accepted" },
                { "actor": reference("Practitioner/prac-000"), "status": "accepted" },
            ],
        }),
    ));
    traps.push((
        "account of both patients",
        "Account",
        json!({
            "status": "active", "name": "Family account", "subject": [this(), that()],
        }),
    ));
    traps.push(("logical reference only", "Observation", json!({
        "status": "final", "code": code, "effectiveDateTime": at,
        "subject": { "identifier": { "system": super::MRN_SYSTEM, "value": format!("MRN-{:06}", other_index + 1) } },
        "performer": [this()], "valueQuantity": { "value": 77, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min" },
    })));
    traps.push(("very restricted note", "Communication", json!({
        "meta": { "security": [{ "system": CONFIDENTIALITY, "code": "V", "display": "very restricted" }] },
        "status": "completed", "subject": this(), "about": [that()], "sent": at,
        "payload": [{ "contentString": "Synthetic note about a family member." }],
    })));
    let trap = |what, record| Trap { what, record, patient: patient.clone(), other: other.clone() };
    let mut laid = vec![trap("patient linked to another patient", format!("Patient/{patient}"))];
    for (number, (what, rtype, body)) in traps.into_iter().enumerate() {
        let id = chart_id("trap", index, number + 1);
        builder.add(rtype, &id, 30, body);
        laid.push(trap(what, format!("{rtype}/{id}")));
    }
    laid
}
