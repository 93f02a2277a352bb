//! What each rule means, in one line for whoever reads the report. The ids are those of the tables that the
//! code cites (`A5`, `ROSTER`); docs/observe.md says what to do about the common ones.

/// In words.
pub(super) fn meaning(rule: &str) -> &'static str {
    match rule {
        "A5" | "A6" => "no such path or resource type below the FHIR base",
        "A7" => "a character that Ward does not take in a path, query or id",
        "A14" => "a method override",
        "A16" => "a method that Ward does not offer: writes, OPTIONS",
        "A17" => "a GET with a body",
        "A18" => "a request body with a content coding",
        "A23" => "a token outside the Authorization header",
        "B1" | "B3" => "another format than FHIR JSON is asked for",
        "B6" => "records whose JSON can be read in two ways",
        "B8" | "LIMIT" => "longer or larger than Ward reads (section limits)",
        "B10" => "a body that is no form",
        "C3" => "old versions of records that may not be seen now",
        "C6" => "history",
        "C7" => "_summary or _elements",
        "C9" => "records that contain a patient",
        "C12" | "F3" => "records that refer to a patient who is not on the roster",
        "C17" => "types that tell of other records (Provenance, AuditEvent, List)",
        "D4" => "a reference to a patient that cannot be read",
        "D7" | "D8" | "D11" | "D34" => "a search modifier that Ward does not take",
        "D10" => "searching by security label",
        "D13" => "a search parameter that Ward does not judge yet",
        "D15" => "full-text search",
        "D16" => "_filter",
        "D17" => "named queries",
        "D18" => "_list",
        "D19" => "_in",
        "D20" => "_has",
        "D22" => "chained search",
        "D24" => "_contained",
        "D25" => "searching several types at once",
        "D27" => "compartment search; search the type with its patient parameter",
        "D29" | "D30" => "a search parameter or value that Ward does not know",
        "D31" | "D33" => "a _count or _sort that is not well-formed",
        "E4" => "a paging link that is not Ward's, or not for this question",
        "F1" | "F2" => "_include, _revinclude, and records that they bring",
        "FACTS" => "the roster could not be read",
        "G01" => "no token",
        "G02" => "a token that is not Ward's, has ended, or was revoked",
        "G3" => "GraphQL",
        "G18" => "operations ($everything, $export …)",
        "H1" => "batches and transactions",
        "ID" => "the upstream gave another record than was asked for",
        "ROSTER" => "patients who are not on the organisation's roster, or there is no roster",
        "RSV-02" => "the scopes of the token do not cover it",
        "TYPE" => "resource types that are not served",
        "UNJUDGED" => "an answer that Ward cannot read and so cannot judge",
        "WATCH-01" => "more distinct patients than the ceiling: the client would be held",
        _ => "see docs/observe.md",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_words() {
        for rule in ward_gateway::rules() {
            assert!(!meaning(rule).starts_with("see "), "{rule}");
        }
    }
}
