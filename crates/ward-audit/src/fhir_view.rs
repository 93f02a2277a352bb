//! FHIR R4 AuditEvent views.
use crate::Leaf;
use serde_json::{Value, json};
use ward_core::EventBody;

/// The event as a FHIR R4 AuditEvent; `body` is `None` when it cannot be opened (key destroyed).
pub fn audit_event(_leaf: &Leaf, _body: Option<&EventBody>, _index: u64, _source: &str) -> Value {
    json!({})
}
