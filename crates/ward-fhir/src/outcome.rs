//! `OperationOutcome` (R4 §2.44): why something was refused, for the honest caller.
//!
//! Texts are Ward's own, constant or built from names in the request; never the upstream's (E6, E7).

use serde_json::json;

/// `OperationOutcome.issue.severity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The action failed and the system cannot go on.
    Fatal,
    /// The action failed.
    Error,
    /// The action succeeded, with a doubt.
    Warning,
    /// Nothing is wrong.
    Information,
}

impl Severity {
    /// The code on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Fatal => "fatal",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Information => "information",
        }
    }
}

/// `OperationOutcome.issue.code`, the part of <http://hl7.org/fhir/issue-type> that Ward uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssueCode {
    /// Content that does not follow the specification.
    Invalid,
    /// A structural fault in the content.
    Structure,
    /// An element or parameter value out of its domain.
    Value,
    /// Not supported here.
    NotSupported,
    /// No such thing.
    NotFound,
    /// Not allowed.
    Forbidden,
    /// Who is asking is not known well enough.
    Login,
    /// Longer than the bound.
    TooLong,
    /// More work than the bound.
    TooCostly,
    /// Too many requests.
    Throttled,
    /// Processing failed.
    Processing,
    /// An unexpected internal fault.
    Exception,
    /// Try again later.
    Transient,
    /// The upstream did not answer in time.
    Timeout,
    /// Something may be missing.
    Incomplete,
    /// For information.
    Informational,
}

impl IssueCode {
    /// The code on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Structure => "structure",
            Self::Value => "value",
            Self::NotSupported => "not-supported",
            Self::NotFound => "not-found",
            Self::Forbidden => "forbidden",
            Self::Login => "login",
            Self::TooLong => "too-long",
            Self::TooCostly => "too-costly",
            Self::Throttled => "throttled",
            Self::Processing => "processing",
            Self::Exception => "exception",
            Self::Transient => "transient",
            Self::Timeout => "timeout",
            Self::Incomplete => "incomplete",
            Self::Informational => "informational",
        }
    }
}

/// The uniform 404 (house rule 5): the same bytes whether the record is hidden or does not exist.
pub const NOT_FOUND: &str = r#"{"issue":[{"code":"not-found","diagnostics":"No such resource, or not one that this access may see.","severity":"error"}],"resourceType":"OperationOutcome"}"#;

/// The JSON text of an `OperationOutcome` with these issues. FHIR requires at least one; without any
/// the outcome says that all went well.
pub fn operation_outcome(issues: &[(Severity, IssueCode, &str)]) -> String {
    let one = |(severity, code, text): &(Severity, IssueCode, &str)| json!({"severity": severity.code(), "code": code.code(), "diagnostics": text});
    let mut list: Vec<_> = issues.iter().map(one).collect();
    if list.is_empty() {
        list.push(one(&(Severity::Information, IssueCode::Informational, "All OK.")));
    }
    json!({"resourceType": "OperationOutcome", "issue": list}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_json_whatever_the_text() {
        let text = operation_outcome(&[(Severity::Error, IssueCode::Value, "a \"b\"\n\u{1}")]);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["issue"][0]["diagnostics"], "a \"b\"\n\u{1}");
        assert_eq!(value["issue"][0]["code"], "value");
        assert!(operation_outcome(&[]).contains("informational"));
    }

    #[test]
    fn the_uniform_404_is_what_the_builder_builds() {
        let text = "No such resource, or not one that this access may see.";
        let built = operation_outcome(&[(Severity::Error, IssueCode::NotFound, text)]);
        assert_eq!(built, NOT_FOUND);
    }
}
