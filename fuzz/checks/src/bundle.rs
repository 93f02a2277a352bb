//! What an upstream answers: the searchset walker and the one membership function (rule 6, C1..C12).
//!
//! Input: a Bundle, or one resource.

use std::collections::BTreeSet;

use serde_json::Value;
use ward_core::Limits;
use ward_core::json::Unescaped;
use ward_fhir::{ReferenceBases, ResourceView, Searchset};

/// See the module.
pub fn check(data: &[u8]) -> bool {
    let mut believed = false;
    let (limits, kept) = (Limits::default(), Unescaped::default());
    if let Ok(page) = Searchset::parse(data, &kept, &limits) {
        believed = true;
        let whole = data.as_ptr_range();
        for entry in &page.entries {
            let slice = entry.resource.as_bytes().as_ptr_range();
            assert!(whole.start <= slice.start && slice.end <= whole.end, "not a slice");
            resource(entry.resource, &limits);
        }
        if let Ok(other) = serde_json::from_slice::<Value>(data) {
            let entries = other.get("entry").and_then(Value::as_array).map_or(0, Vec::len);
            assert_eq!(page.entries.len(), entries);
            for (at, entry) in page.entries.iter().enumerate() {
                if let Ok(mine) = serde_json::from_str::<Value>(entry.resource) {
                    assert_eq!(other.pointer(&format!("/entry/{at}/resource")), Some(&mine));
                }
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        believed |= resource(text, &limits);
    }
    believed
}

fn resource(text: &str, limits: &Limits) -> bool {
    let bases = ReferenceBases {
        public: "https://gw.example/default/fhir".into(),
        upstream: "http://127.0.0.1:8080/fhir".into(),
    };
    let Ok(view) = ResourceView::parse(text, &bases, limits) else { return false };
    let Ok(value) = serde_json::from_str::<Value>(text) else { return true };
    assert_eq!(value.get("resourceType").and_then(Value::as_str), Some(view.rtype.name()));
    assert_eq!(value.get("id").and_then(Value::as_str), Some(view.id.as_str()));
    // Nobody owns a record that does not name him.
    let mut named = BTreeSet::new();
    references(&value, &mut named);
    for owner in view.owners.iter().chain(&view.contained_patients) {
        let own = view.rtype.name() == "Patient" && owner.as_str() == view.id.as_str();
        let reference = format!("Patient/{owner}");
        assert!(own || named.iter().any(|text| text.contains(&reference)), "{owner} in {text}");
    }
    if view.rtype.name() == "Patient" {
        assert!(view.owners.iter().any(|owner| owner.as_str() == view.id.as_str()));
    }
    // White space, escapes and the order of members decide nothing.
    let again = ResourceView::parse(&value.to_string(), &bases, limits);
    assert_eq!(again.as_ref(), Ok(&view), "{text}");
    true
}

fn references<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        Value::Object(members) => {
            for (name, inner) in members {
                match inner {
                    Value::String(text) if name == "reference" => drop(into.insert(text)),
                    inner => references(inner, into),
                }
            }
        }
        _ => {}
    }
}
