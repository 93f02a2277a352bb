//! What a request looked like, in words of FHIR only: interaction, resource type, names of parameters. Never a
//! value, an id, or a word that a caller made up: what FHIR does not define is `{id}`, `{?}` or `$?`.
//!
//! For the report of what enforcement would refuse; the grammar decides nothing here.

use std::collections::BTreeSet;

use http::Method;
use ward_fhir::{ResourceType, lookup};

use crate::forward::decoded;

/// Names that are shown of one request, at most.
const NAMES: usize = 16;
/// Words of a path that are shown, at most.
const WORDS: usize = 5;

/// A request in FHIR's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// FHIR's name of the interaction, as far as it can be told.
    pub(crate) interaction: &'static str,
    /// The type, if it is one.
    pub(crate) rtype: Option<ResourceType>,
    /// As `GET Patient/{id}/$everything ?_count`.
    pub(crate) text: String,
}

/// Parameters of every search and interaction (R4 §3.1.1, §3.2.1, and of paging in common servers).
const COMMON: &[&str] = &[
    "_contained",
    "_containedType",
    "_content",
    "_count",
    "_cursor",
    "_elements",
    "_filter",
    "_format",
    "_getpages",
    "_getpagesoffset",
    "_has",
    "_id",
    "_in",
    "_include",
    "_include:iterate",
    "_language",
    "_lastUpdated",
    "_list",
    "_offset",
    "_page",
    "_pretty",
    "_profile",
    "_query",
    "_revinclude",
    "_revinclude:iterate",
    "_security",
    "_since",
    "_at",
    "_sort",
    "_source",
    "_summary",
    "_tag",
    "_text",
    "_total",
    "_type",
    "_typeFilter",
    "_outputFormat",
    "access_token",
    "mode",
];
/// Modifiers of R4 (§3.1.1.5.2).
const MODIFIERS: &[&str] = &[
    "above",
    "below",
    "contains",
    "exact",
    "identifier",
    "in",
    "missing",
    "not",
    "not-in",
    "of-type",
    "text",
];
/// Operations of R4 and of the common guides.
const OPERATIONS: &[&str] = &[
    "$apply",
    "$bulk-publish",
    "$closure",
    "$convert",
    "$data-requirements",
    "$docref",
    "$document",
    "$everything",
    "$evaluate-measure",
    "$expand",
    "$export",
    "$find-matches",
    "$graph",
    "$graphql",
    "$import",
    "$lastn",
    "$lookup",
    "$match",
    "$member-match",
    "$meta",
    "$meta-add",
    "$meta-delete",
    "$process-message",
    "$reindex",
    "$stats",
    "$submit",
    "$subsumes",
    "$transform",
    "$translate",
    "$validate",
    "$validate-code",
    "$versions",
];
/// Words of paths that are no type and no id.
const PLACES: &[&str] = &["_history", "_search", "metadata", "*"];
const WELL_KNOWN: &[&str] = &["smart-configuration", "udap", "openid-configuration"];

/// The shape of a request; `path` is below the base, `form` is a body of form fields.
pub(crate) fn shape(method: &Method, path: &str, query: Option<&str>, form: Option<&str>) -> Shape {
    let words: Vec<String> = path
        .split('/')
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(&decoded(word)).into_owned())
        .collect();
    let rtype = words.first().and_then(|word| ResourceType::from_name(word));
    let method = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "OTHER",
    };
    let mut text = method.to_owned();
    text.push(' ');
    if words.is_empty() {
        text.push('/');
    }
    for (at, word) in words.iter().take(WORDS).enumerate() {
        if at > 0 {
            text.push('/');
        }
        text.push_str(place(at, word, &words));
    }
    if words.len() > WORDS {
        text.push_str("/…");
    }
    let pairs = query.into_iter().chain(form).flat_map(|pairs| pairs.split('&'));
    let names: BTreeSet<String> = pairs
        .filter(|pair| !pair.is_empty())
        .map(|pair| name(rtype, pair.split('=').next().unwrap_or_default()))
        .collect();
    for (at, name) in names.iter().take(NAMES).enumerate() {
        text.push_str(if at == 0 { " ?" } else { "&" });
        text.push_str(name);
    }
    if names.len() > NAMES {
        text.push_str("&…");
    }
    Shape { interaction: interaction(method, &words, rtype), rtype, text }
}

fn place<'a>(at: usize, word: &'a str, words: &[String]) -> &'a str {
    if word.starts_with('$') {
        return if OPERATIONS.contains(&word) { word } else { "$?" };
    }
    let after_well_known = at == 1 && words.first().is_some_and(|first| first == ".well-known");
    let known = PLACES.contains(&word)
        || (at == 0 && word == ".well-known")
        || (after_well_known && WELL_KNOWN.contains(&word))
        // A type stands first, or names a compartment's (`Patient/1/Observation`).
        || (matches!(at, 0 | 2) && ResourceType::from_name(word).is_some());
    match (known, at) {
        (true, _) => word,
        (false, 0) => "{?}",
        (false, _) => "{id}",
    }
}

/// A parameter's name, with its modifier; chains and what nobody defined are not repeated.
fn name(rtype: Option<ResourceType>, raw: &str) -> String {
    let text = String::from_utf8_lossy(&decoded(raw)).into_owned();
    if COMMON.contains(&text.as_str()) {
        return text;
    }
    let (head, modifier) = match text.split_once(':') {
        Some((head, modifier)) => (head, Some(modifier)),
        None => (text.as_str(), None),
    };
    if head == "_has" {
        return "_has:…".to_owned();
    }
    let (code, chained) = match head.split_once('.') {
        Some((code, _)) => (code, true),
        None => (head, false),
    };
    let known = COMMON.contains(&code)
        || rtype.is_some_and(|rtype| lookup(rtype, code).is_some())
        // Without a type, any type's.
        || (rtype.is_none() && ResourceType::all().any(|rtype| lookup(rtype, code).is_some()));
    if !known {
        return "{?}".to_owned();
    }
    let mut shown = code.to_owned();
    if chained {
        shown.push_str(".…");
    }
    match modifier {
        None => {}
        Some(modifier) if MODIFIERS.contains(&modifier) => {
            shown.push(':');
            shown.push_str(modifier);
        }
        Some(modifier) if ResourceType::from_name(modifier).is_some() => {
            shown.push(':');
            shown.push_str(modifier);
        }
        Some(_) => shown.push_str(":…"),
    }
    shown
}

/// FHIR's word for what is asked, by its form alone.
fn interaction(method: &str, words: &[String], rtype: Option<ResourceType>) -> &'static str {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.iter().any(|word| word.starts_with('$')) {
        return "operation";
    }
    let typed = rtype.is_some();
    match (method, words.as_slice()) {
        ("GET" | "HEAD", ["metadata"]) => "capabilities",
        ("POST", []) => "batch",
        ("GET" | "HEAD", [.., "_history"]) => "history",
        ("GET" | "HEAD", [_, _, "_history", _]) if typed => "vread",
        ("GET" | "HEAD", [_, _]) if typed => "read",
        ("GET" | "HEAD", [_]) | ("POST", [_, "_search"]) if typed => "search-type",
        ("GET" | "HEAD", []) | ("POST", ["_search"]) => "search-system",
        ("GET" | "HEAD", [_, _, _]) if typed => "search-compartment",
        ("POST", [_]) if typed => "create",
        ("PUT", [_, ..]) if typed => "update",
        ("PATCH", [_, ..]) if typed => "patch",
        ("DELETE", [_, ..]) if typed => "delete",
        _ => "other",
    }
}

/// Whether a request can change nothing, by its form: then Ward may lend it its own credentials.
pub(crate) fn is_safe(method: &Method, shape: &Shape) -> bool {
    match shape.interaction {
        "operation" | "other" => false,
        "search-type" | "search-system" => true,
        _ => matches!(*method, Method::GET | Method::HEAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_in_words_of_fhir_only() {
        for (method, path, query, form, interaction, text) in [
            ("GET", "/Patient/p-1", None, None, "read", "GET Patient/{id}"),
            ("GET", "/Patient/p-1/", Some(""), None, "read", "GET Patient/{id}"),
            ("GET", "/Patient/1/_history/2", None, None, "vread", "GET Patient/{id}/_history/{id}"),
            (
                "GET",
                "/Patient/p1/$everything",
                Some("_count=5"),
                None,
                "operation",
                "GET Patient/{id}/$everything ?_count",
            ),
            ("GET", "/Patient/$John-Smith", None, None, "operation", "GET Patient/$?"),
            (
                "GET",
                "/Observation",
                Some("patient=Patient/7&code=http%3A%2F%2Floinc.org%7C1-8&_count=5&patient=8"),
                None,
                "search-type",
                "GET Observation ?_count&code&patient",
            ),
            (
                "GET",
                "/Observation",
                Some(
                    "patient.name=Smith&subject:Patient.birthdate=1980&john-smith=1&code:text=x&code:zz=1",
                ),
                None,
                "search-type",
                "GET Observation ?code:text&code:…&patient.…&subject:…&{?}",
            ),
            (
                "POST",
                "/Patient/_search",
                None,
                Some("family=Smith&%5Fcount=3"),
                "search-type",
                "POST Patient/_search ?_count&family",
            ),
            ("POST", "/", None, None, "batch", "POST /"),
            ("POST", "/Patient", None, None, "create", "POST Patient"),
            ("DELETE", "/Patient/smith", None, None, "delete", "DELETE Patient/{id}"),
            ("GET", "/John/Smith", None, None, "other", "GET {?}/{id}"),
            ("PURGE", "/Patient/1", None, None, "other", "OTHER Patient/{id}"),
            (
                "GET",
                "/Patient/1/Observation",
                None,
                None,
                "search-compartment",
                "GET Patient/{id}/Observation",
            ),
            (
                "GET",
                "/.well-known/smart-configuration",
                None,
                None,
                "other",
                "GET .well-known/smart-configuration",
            ),
            (
                "GET",
                "",
                Some("_getpages=8f00&_getpagesoffset=20"),
                None,
                "search-system",
                "GET / ?_getpages&_getpagesoffset",
            ),
            ("GET", "/a/b/c/d/e/f/g", None, None, "other", "GET {?}/{id}/{id}/{id}/{id}/…"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let shape = shape(&method, path, query, form);
            assert_eq!((shape.interaction, shape.text.as_str()), (interaction, text), "{path}");
        }
    }

    #[test]
    fn credentials_are_lent_to_what_changes_nothing() {
        for (method, path, safe) in [
            ("GET", "/Patient/1", true),
            ("GET", "/Patient", true),
            ("HEAD", "/Patient", true),
            ("POST", "/Patient/_search", true),
            ("GET", "/Patient/1/_history", true),
            ("POST", "/Patient", false),
            ("PUT", "/Patient/1", false),
            ("DELETE", "/Patient/1", false),
            ("POST", "/", false),
            ("GET", "/$export", false),
            ("GET", "/Patient/1/$everything", false),
            ("GET", "/Patient/1/%24purge", false),
            ("GET", "/admin/reset", false),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(
                is_safe(&method, &shape(&method, path, None, None)),
                safe,
                "{method} {path}"
            );
        }
    }
}
