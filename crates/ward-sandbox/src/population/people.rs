//! A patient with a care team, a coverage and sometimes a related person.

use serde_json::json;

use super::codes::{NAMES, PLACES, SNOMED, STREETS};
use super::draw::Draw;
use super::staff::{PAYER, Staff};
use super::{Builder, MRN_SYSTEM, concept, reference};

/// What a chart needs to know of a patient.
pub(super) struct Person {
    pub(super) index: usize,
    /// `Patient/pt-00001`.
    pub(super) reference: String,
    /// Days since birth.
    pub(super) age: i64,
    /// Days since death; 0 for the living.
    pub(super) died: i64,
}

/// The id of patient number `index`, from 0.
pub(super) fn patient_id(index: usize) -> String {
    format!("pt-{:05}", index + 1)
}

/// The id of the `number`-th resource of some kind of patient `index`.
pub(super) fn chart_id(kind: &str, index: usize, number: usize) -> String {
    format!("{kind}-{:05}-{number}", index + 1)
}

pub(super) fn generate(
    builder: &mut Builder<'_>,
    draw: &Draw,
    staff: &Staff,
    index: usize,
    linked: Option<usize>,
) -> Person {
    let id = patient_id(index);
    let (family, woman, man, language) = draw.pick(&NAMES);
    let female = draw.chance(51);
    let given = if female { woman } else { man };
    let age = draw.range(30, 93 * 365);
    let (city, state, postal) = draw.pick(&PLACES);
    let house = draw.range(1, 980);
    let street = draw.pick(&STREETS);
    let mut patient = json!({
        "active": true,
        "identifier": [{
            "use": "usual",
            "type": concept("http://terminology.hl7.org/CodeSystem/v2-0203", "MR", "Medical record number"),
            "system": MRN_SYSTEM,
            "value": format!("MRN-{:06}", index + 1),
        }],
        "name": [{ "use": "official", "family": family, "given": [given, format!("Test{}", index + 1)], "text": format!("{given} {family}") }],
        "gender": if female { "female" } else { "male" },
        "birthDate": builder.date(age),
        "telecom": [
            { "system": "phone", "value": format!("+1-555-{:04}", draw.range(100, 9999)), "use": "home" },
            { "system": "email", "value": format!("{id}@people.ward.example") },
        ],
        "address": [{
            "use": "home",
            "line": [format!("{house} {street}")],
            "city": city,
            "state": state,
            "postalCode": format!("{postal}{:02}", draw.range(1, 99)),
            "country": "US",
        }],
        "communication": [{ "language": { "coding": [{ "system": "urn:ietf:bcp:47", "code": language }] } }],
        "managingOrganization": reference(super::staff::HOSPITAL),
    });
    let died = if age > 80 * 365 && draw.chance(30) { draw.range(1, 300) } else { 0 };
    if let Some(object) = patient.as_object_mut().filter(|_| died > 0) {
        object.insert("deceasedDateTime".into(), builder.instant(died, 23).into());
    }
    if let (Some(object), Some(other)) = (patient.as_object_mut(), linked) {
        // `Patient.link` is no membership, though the compartment definition nominates it (C12).
        let other = reference(&format!("Patient/{}", patient_id(other)));
        object.insert("link".into(), json!([{ "other": other, "type": "seealso" }]));
    }
    builder.add("Patient", &id, draw.range(1, 700), patient);
    let person = Person { index, reference: format!("Patient/{id}"), age, died };

    care_team(builder, draw, staff, &person);
    builder.add("Coverage", &chart_id("cov", index, 1), 365, json!({
        "status": "active",
        "type": concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "EHCPOL", "extended healthcare"),
        "beneficiary": reference(&person.reference),
        "subscriber": reference(&person.reference),
        "subscriberId": format!("SUB-{:06}", index + 1),
        "payor": [reference(PAYER)],
        "period": { "start": builder.date(365) },
    }));
    if person.age < 18 * 365 || draw.chance(15) {
        let (_, woman, _, _) = draw.pick(&NAMES);
        builder.add("RelatedPerson", &chart_id("rel", index, 1), 200, json!({
            "active": true,
            "patient": reference(&person.reference),
            "relationship": [concept("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "MTH", "mother")],
            "name": [{ "family": family, "given": [woman] }],
            "gender": "female",
        }));
    }
    person
}

fn care_team(builder: &mut Builder<'_>, draw: &Draw, staff: &Staff, person: &Person) {
    let Some(department) = staff.department(draw) else { return };
    let physician = concept(SNOMED, "309343006", "Physician");
    builder.add("CareTeam", &chart_id("team", person.index, 1), draw.range(1, 400), json!({
        "status": "active",
        "subject": reference(&person.reference),
        "name": "Care team",
        "period": { "start": builder.date(400.min(person.age)) },
        "participant": [
            { "role": [concept(SNOMED, "116154003", "Patient")], "member": reference(&person.reference) },
            { "role": [physician], "member": reference(department.practitioner(draw)), "onBehalfOf": reference(&department.organization) },
        ],
        "managingOrganization": [reference(&department.organization)],
    }));
}
