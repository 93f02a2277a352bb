//! Persons inside authorization extension objects, by the mandatory elements of their profiles and no further: FAST
//! Identity UDAP Person (Identity Matching IG 2.0.0), and for TEFCA's individual access services RelatedPerson and US Core
//! Patient (TEF-07, unverified).
//!
//! Bounded, never logged, never kept: the answer is a digest. What a profile makes optional may be absent, and is
//! held to the profile where it is there.

use serde_json::{Map, Value};
use ward_core::crypto;

use super::{B2bError, fault};
use crate::uri::is_plain_text;

/// A resource as JSON, bytes (USR-06).
const MAX_BYTES: usize = 64 * 1024;
/// Characters of one element.
const MAX_TEXT: usize = 1024;

type Object = Map<String, Value>;

/// FAST Identity UDAP Person: a telephone number and a mail address, a date of birth; a name has family and given
/// parts, an address line, city, state and postal code (USR-04, USR-05, B34).
pub(super) fn person(resource: &Value) -> Result<[u8; 32], B2bError> {
    let person = of_type(resource, "Person").ok_or(fault("B34", "user_person is no Person"))?;
    let name = |name: &Object| has(name, "family") && lists(name, "given");
    let address = |address: &Object| {
        lists(address, "line")
            && ["city", "state", "postalCode"].iter().all(|part| has(address, part))
    };
    let sound = reached(person, "phone")
        && reached(person, "email")
        && person.get("birthDate").and_then(Value::as_str).is_some_and(is_date)
        && each(person, "name", name)
        && each(person, "address", address);
    if !sound {
        return Err(fault("B34", "user_person lacks what its profile demands"));
    }
    digest(resource).ok_or(fault("USR-06", "user_person is too large"))
}

/// RelatedPerson: how the user is related to the patient, and who the patient is.
pub(super) fn related(resource: &Value) -> Result<[u8; 32], B2bError> {
    let wrong = fault("TEF-07", "user_information is no RelatedPerson, or lacks its relationship");
    let related = of_type(resource, "RelatedPerson").ok_or(wrong)?;
    let coded =
        |one: &Object| has(one, "text") || each_some(one, "coding", |coding| has(coding, "code"));
    if !each_some(related, "relationship", coded) {
        return Err(wrong);
    }
    digest(resource).ok_or(fault("TEF-07", "user_information is too large"))
}

/// US Core Patient: identifier, name, gender.
pub(super) fn patient(resource: &Value) -> Result<[u8; 32], B2bError> {
    let wrong = fault("TEF-07", "patient_information is no Patient of US Core");
    let patient = of_type(resource, "Patient").ok_or(wrong)?;
    let gender = patient.get("gender").and_then(Value::as_str);
    let sound = gender.is_some_and(|code| ["male", "female", "other", "unknown"].contains(&code))
        && each_some(patient, "identifier", |one| has(one, "system") && has(one, "value"))
        && each_some(patient, "name", |one| has(one, "family") || lists(one, "given"));
    if !sound {
        return Err(wrong);
    }
    digest(resource).ok_or(fault("TEF-07", "patient_information is too large"))
}

/// A FHIR date: a year, a month or a day that can be.
pub(super) fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut number = |digits: usize, most: u32| match parts.next() {
        None => Some(None),
        Some(part) if part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()) => {
            part.parse::<u32>().ok().filter(|n| (1..=most).contains(n)).map(Some)
        }
        Some(_) => None,
    };
    let (year, month, day) = (number(4, 9999), number(2, 12), number(2, 31));
    matches!(year, Some(Some(_))) && month.is_some() && day.is_some() && parts.next().is_none()
}

fn of_type<'a>(resource: &'a Value, name: &str) -> Option<&'a Object> {
    let object = resource.as_object()?;
    (object.get("resourceType").and_then(Value::as_str) == Some(name)).then_some(object)
}

/// SHA-256 of the JSON; `None` if it is over the bound.
fn digest(resource: &Value) -> Option<[u8; 32]> {
    let bytes = resource.to_string().into_bytes();
    (bytes.len() <= MAX_BYTES).then(|| crypto::sha256(&[b"ward person/1\n", &bytes]))
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| is_plain_text(text, MAX_TEXT))
}

fn has(object: &Object, name: &str) -> bool {
    object.get(name).is_some_and(is_text)
}

fn lists(object: &Object, name: &str) -> bool {
    let values = object.get(name).and_then(Value::as_array);
    values.is_some_and(|values| !values.is_empty() && values.iter().all(is_text))
}

/// Whether the element is absent, or a list of which each entry is sound.
fn each(object: &Object, name: &str, sound: impl Fn(&Object) -> bool) -> bool {
    !object.contains_key(name) || each_some(object, name, sound)
}

fn each_some(object: &Object, name: &str, sound: impl Fn(&Object) -> bool) -> bool {
    let values = object.get(name).and_then(Value::as_array);
    values.is_some_and(|values| {
        !values.is_empty() && values.iter().all(|value| value.as_object().is_some_and(&sound))
    })
}

/// Whether one of the ways to reach the person is of this system.
fn reached(person: &Object, system: &str) -> bool {
    let ways = person.get("telecom").and_then(Value::as_array);
    ways.is_some_and(|ways| {
        ways.iter().filter_map(Value::as_object).any(|way| {
            way.get("system").and_then(Value::as_str) == Some(system) && has(way, "value")
        })
    })
}
