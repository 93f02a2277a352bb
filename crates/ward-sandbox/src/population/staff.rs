//! The organisation, its departments and places, and the people who work there.

use serde_json::json;

use super::codes::{DEPARTMENTS, NAMES, NPI, SNOMED};
use super::draw::{Draw, with_npi_check_digit};
use super::{Builder, concept, reference};

/// The organisation of the whole hospital.
pub(super) const HOSPITAL: &str = "Organization/org-hospital";
/// The payer of all coverages.
pub(super) const PAYER: &str = "Organization/org-payer";

const PRACTITIONERS_PER_DEPARTMENT: usize = 4;

/// Who and what a chart can refer to; the same index is the same department.
pub(super) struct Staff {
    departments: Vec<Department>,
}

pub(super) struct Department {
    pub(super) organization: String,
    pub(super) location: String,
    pub(super) practitioners: Vec<String>,
}

impl Staff {
    pub(super) fn department(&self, draw: &Draw) -> Option<&Department> {
        let last = i64::try_from(self.departments.len()).unwrap_or(1) - 1;
        self.departments.get(usize::try_from(draw.range(0, last)).unwrap_or(0))
    }
}

impl Department {
    pub(super) fn practitioner(&self, draw: &Draw) -> &str {
        let last = i64::try_from(self.practitioners.len()).unwrap_or(1) - 1;
        let index = usize::try_from(draw.range(0, last)).unwrap_or(0);
        self.practitioners.get(index).map_or("", String::as_str)
    }
}

pub(super) fn generate(builder: &mut Builder<'_>, draw: &Draw) -> Staff {
    let organization_type = "http://terminology.hl7.org/CodeSystem/organization-type";
    builder.add("Organization", "org-hospital", 4000, json!({
        "active": true,
        "name": "Ward Example General Hospital",
        "alias": ["WEGH"],
        "type": [concept(organization_type, "prov", "Healthcare Provider")],
        "identifier": [{ "system": NPI, "value": with_npi_check_digit("900000001") }],
        "telecom": [{ "system": "phone", "value": "+1-555-0100", "use": "work" }],
        "address": [{ "line": ["1 Sample Street"], "city": "Springfield", "state": "MA", "postalCode": "01101", "country": "US" }],
    }));
    builder.add("Organization", "org-payer", 4000, json!({
        "active": true,
        "name": "Example Mutual Insurance",
        "type": [concept(organization_type, "ins", "Insurance Company")],
        "identifier": [{ "system": "https://payer.ward.example/synthetic-id", "value": "PAYER-1" }],
    }));
    let departments = DEPARTMENTS.iter().enumerate();
    let departments = departments
        .map(|(index, (code, display, name))| {
            department(builder, draw, index, &concept(SNOMED, code, display), name)
        })
        .collect();
    Staff { departments }
}

fn department(
    builder: &mut Builder<'_>,
    draw: &Draw,
    index: usize,
    specialty: &serde_json::Value,
    name: &str,
) -> Department {
    let organization = format!("org-dept-{index}");
    builder.add("Organization", &organization, 3000, json!({
        "active": true,
        "name": name,
        "type": [concept("http://terminology.hl7.org/CodeSystem/organization-type", "dept", "Hospital Department")],
        "identifier": [{ "system": "https://hospital.ward.example/synthetic-department", "value": format!("D{index}") }],
        "partOf": reference(HOSPITAL),
    }));
    let organization = format!("Organization/{organization}");
    let location = format!("loc-{index}");
    builder.add("Location", &location, 3000, json!({
        "status": "active",
        "name": format!("{name}, floor {}", index + 1),
        "mode": "instance",
        "managingOrganization": reference(&organization),
        "address": { "line": ["1 Sample Street"], "city": "Springfield", "state": "MA", "postalCode": "01101" },
    }));
    let location = format!("Location/{location}");
    let practitioners = (0..PRACTITIONERS_PER_DEPARTMENT)
        .map(|seat| {
            let number = index * PRACTITIONERS_PER_DEPARTMENT + seat;
            let id = format!("prac-{number:03}");
            let (family, woman, man, language) = draw.pick(&NAMES);
            let female = draw.chance(50);
            builder.add("Practitioner", &id, 2000, json!({
                "active": true,
                "identifier": [{ "system": NPI, "value": with_npi_check_digit(&format!("9{:08}", 10_000 + number)) }],
                "name": [{ "use": "official", "family": family, "given": [if female { woman } else { man }], "prefix": ["Dr."] }],
                "gender": if female { "female" } else { "male" },
                "telecom": [{ "system": "email", "value": format!("{id}@hospital.ward.example"), "use": "work" }],
                "communication": [{ "coding": [{ "system": "urn:ietf:bcp:47", "code": language }] }],
            }));
            let practitioner = format!("Practitioner/{id}");
            builder.add("PractitionerRole", &format!("role-{number:03}"), 2000, json!({
                "active": true,
                "practitioner": reference(&practitioner),
                "organization": reference(&organization),
                "location": [reference(&location)],
                "code": [concept(SNOMED, "158965000", "Medical practitioner")],
                "specialty": [specialty],
            }));
            practitioner
        })
        .collect();
    Department { organization, location, practitioners }
}
