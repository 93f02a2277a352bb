//! OperationOutcome for everything that is refused (FHIR R4 §3.1.0.1.5).

use serde_json::{Value, json};

/// A refusal: HTTP status, issue code of the R4 `IssueType` value set, and what to tell the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, text: impl Into<String>) -> Self {
        Self { status, code, text: text.into() }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(400, "invalid", text)
    }

    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self::new(400, "not-supported", text)
    }

    pub(crate) fn not_found(rtype: &str, id: &str) -> Self {
        Self::new(404, "not-found", format!("There is no {rtype}/{id}"))
    }

    pub(crate) fn outcome(&self) -> Value {
        operation_outcome("error", self.code, &self.text)
    }
}

pub(crate) fn operation_outcome(severity: &str, code: &str, text: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{ "severity": severity, "code": code, "diagnostics": text }],
    })
}
