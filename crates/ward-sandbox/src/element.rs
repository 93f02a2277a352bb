//! Walks a resource along a simple element path (`name.family`, `value[x]`), through arrays and choice
//! elements (`value[x]` finds `valueQuantity`), and reads references (FHIR R4 §2.3.0).

use serde_json::Value;

/// The data types that a choice element (`value[x]`) may end with.
const CHOICE_TYPES: [&str; 30] = [
    "Address",
    "Age",
    "Attachment",
    "Boolean",
    "Canonical",
    "Code",
    "CodeableConcept",
    "Coding",
    "Date",
    "DateTime",
    "Decimal",
    "Duration",
    "Id",
    "Identifier",
    "Instant",
    "Integer",
    "Markdown",
    "Money",
    "Oid",
    "Period",
    "PositiveInt",
    "Quantity",
    "Range",
    "Ratio",
    "Reference",
    "SampledData",
    "String",
    "Time",
    "Timing",
    "Uri",
];

/// All values at `path`, arrays flattened. A segment that ends in `[x]` is a choice element; one that
/// ends in `(system)` takes only the ContactPoints of this system.
pub(crate) fn values<'a>(resource: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut here = vec![resource];
    for segment in path.split('.') {
        let (name, system) = segment
            .strip_suffix(')')
            .and_then(|segment| segment.split_once('('))
            .map_or((segment, None), |(name, system)| (name, Some(system)));
        let mut next = Vec::new();
        for object in here.into_iter().filter_map(Value::as_object) {
            if let Some(stem) = name.strip_suffix("[x]") {
                let choices = object.iter().filter(|(name, _)| {
                    name.strip_prefix(stem).is_some_and(|suffix| CHOICE_TYPES.contains(&suffix))
                });
                choices.for_each(|(_, found)| flatten(found, &mut next));
            } else if let Some(found) = object.get(name) {
                flatten(found, &mut next);
            }
        }
        if let Some(system) = system {
            next.retain(|value| value.get("system").and_then(Value::as_str) == Some(system));
        }
        here = next;
    }
    here
}

fn flatten<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, into)),
        Value::Null => {}
        other => into.push(other),
    }
}

/// A reference, split: `base` is empty for a relative one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) base: &'a str,
    pub(crate) rtype: &'a str,
    pub(crate) id: &'a str,
}

/// Splits `[base/]Type/id[/_history/version]`; none for `#contained`, `urn:` and conditional references.
pub(crate) fn split_reference(reference: &str) -> Option<Target<'_>> {
    if reference.starts_with('#') || reference.starts_with("urn:") || reference.contains('?') {
        return None;
    }
    let unversioned = reference.split_once("/_history/").map_or(reference, |(before, _)| before);
    let (rest, id) = unversioned.rsplit_once('/')?;
    let (base, rtype) = rest.rsplit_once('/').unwrap_or(("", rest));
    let typed = rtype.starts_with(|first: char| first.is_ascii_uppercase());
    (typed && !id.is_empty()).then_some(Target { base, rtype, id })
}

/// `Type/id` of a literal reference, whatever its base and version.
pub(crate) fn reference_key(reference: &str) -> Option<String> {
    split_reference(reference).map(|target| format!("{}/{}", target.rtype, target.id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        let resource = json!({
            "resourceType": "Observation",
            "name": [{"family": "A", "given": ["B", "C"]}, {"family": "D"}],
            "valueQuantity": {"value": 1},
            "valuesSet": 3,
            "telecom": [{"system": "phone", "value": "p"}, {"system": "email", "value": "e"}],
            "component": [{"valueString": "x"}, {"valueQuantity": {"value": 2}}],
        });
        for (path, expected) in [
            ("name.given", vec![json!("B"), json!("C")]),
            ("name.family", vec![json!("A"), json!("D")]),
            ("value", vec![]),
            ("value[x]", vec![json!({"value": 1})]),
            ("valueQuantity.value", vec![json!(1)]),
            ("component.value[x]", vec![json!("x"), json!({"value": 2})]),
            ("values", vec![]),
            ("missing.deep", vec![]),
            ("telecom(email).value", vec![json!("e")]),
        ] {
            let found: Vec<Value> = values(&resource, path).into_iter().cloned().collect();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn references() {
        for (text, key) in [
            ("Patient/1", Some("Patient/1")),
            ("http://h/fhir/Patient/1", Some("Patient/1")),
            ("Patient/1/_history/3", Some("Patient/1")),
            ("#p", None),
            ("urn:uuid:0", None),
            ("Practitioner?identifier=a|b", None),
            ("nothing", None),
            ("Patient/", None),
        ] {
            assert_eq!(reference_key(text).as_deref(), key, "{text}");
        }
    }
}
