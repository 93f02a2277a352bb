//! Paths below the FHIR base (rows A1–A8, A16, C6, D25–D27, G18, H1 of `enforcement.md`).
//!
//! One trailing slash is normalised and legal characters are decoded once (amendment to A1, A5).
//! Refuses encoded slashes, backslashes, NUL and percent signs, dot segments, `;`, empty segments
//! and everything that is not an interaction of [`super::Interaction`].

use super::Refusal;
use super::encode::{Fault, decode};
use crate::{FhirId, IssueCode, ResourceType};

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Route {
    Capabilities,
    Read { rtype: ResourceType, id: FhirId },
    Vread { rtype: ResourceType, id: FhirId, vid: FhirId },
    Search(ResourceType),
}

const READ: &str = "GET, HEAD";

/// Where a method on decoded segments goes.
pub(crate) fn route(method: &str, segments: &[String]) -> Result<Route, Refusal> {
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    let get = matches!(method, "GET" | "HEAD");
    let post = method == "POST";
    if !get && !post && !matches!(method, "PUT" | "PATCH" | "DELETE") {
        // TRACE, OPTIONS, WebDAV and invented verbs.
        return Err(Refusal::method("A16", READ));
    }
    match words.as_slice() {
        [] if post => Err(forbidden(
            "H1",
            "Batches and transactions are not offered; ask for one thing at a time.",
        )),
        [] | ["_search"] => Err(forbidden(
            "D25",
            "Searching several types at once is not offered; search one type.",
        )),
        ["metadata"] => only(get, READ, Route::Capabilities),
        ["_history"] => Err(history()),
        [first, ..] => {
            if is_operation(first) {
                return Err(operation());
            }
            typed(known(first)?, words.get(1..).unwrap_or_default(), get, post)
        }
    }
}

fn typed(rtype: ResourceType, rest: &[&str], get: bool, post: bool) -> Result<Route, Refusal> {
    match rest {
        // POST here would create.
        [] => only(get, READ, Route::Search(rtype)),
        ["_search"] => only(post, "POST", Route::Search(rtype)),
        ["_history"] => Err(history()),
        [word] if is_operation(word) => Err(operation()),
        [id] => only(get, READ, Route::Read { rtype, id: instance(id)? }),
        [id, "_history"] => instance(id).and(Err(history())),
        [id, word] if is_operation(word) => instance(id).and(Err(operation())),
        [id, "*"] => instance(id).and(Err(compartment())),
        [id, word] if ResourceType::from_name(word).is_some() => {
            instance(id).and(Err(compartment()))
        }
        [id, "_history", vid] => {
            only(get, READ, Route::Vread { rtype, id: instance(id)?, vid: instance(vid)? })
        }
        _ => Err(no_such_path()),
    }
}

fn only(offered: bool, allow: &'static str, route: Route) -> Result<Route, Refusal> {
    if offered { Ok(route) } else { Err(Refusal::method("A16", allow)) }
}

fn known(name: &str) -> Result<ResourceType, Refusal> {
    ResourceType::from_name(name).ok_or_else(|| {
        Refusal::new(
            404,
            "A6",
            IssueCode::NotFound,
            "No such resource type; names are case-sensitive.",
        )
    })
}

fn instance(text: &str) -> Result<FhirId, Refusal> {
    FhirId::parse(text).map_err(|_| {
        Refusal::malformed("A7", "An id is 1 to 64 letters, digits, hyphens and full stops.")
    })
}

fn is_operation(word: &str) -> bool {
    word.starts_with('$')
}

fn operation() -> Refusal {
    forbidden("G18", "Operations are not offered.")
}

fn history() -> Refusal {
    forbidden("C6", "History is not offered; a single version can be read by its id.")
}

fn compartment() -> Refusal {
    forbidden(
        "D27",
        "Compartment searches are not offered; search the type with its patient parameter.",
    )
}

fn no_such_path() -> Refusal {
    Refusal::new(404, "A5", IssueCode::NotFound, "No such path.")
}

fn forbidden(rule: &'static str, text: &str) -> Refusal {
    Refusal::new(403, rule, IssueCode::Forbidden, text)
}

/// The decoded segments of a canonical path.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    if path.is_empty() || path == "/" {
        return Ok(Vec::new());
    }
    let inner = path
        .strip_prefix('/')
        .ok_or_else(|| Refusal::malformed("A5", "The path does not begin with a slash."))?;
    inner.strip_suffix('/').unwrap_or(inner).split('/').map(segment).collect()
}

/// One decoded segment.
pub(crate) fn segment(raw: &str) -> Result<String, Refusal> {
    if raw.is_empty() {
        return Err(Refusal::malformed("A5", "The path has an empty segment."));
    }
    let upper = raw.to_ascii_uppercase();
    if ["%2F", "%5C", "%00"].iter().any(|code| upper.contains(code)) {
        return Err(Refusal::malformed("A1", "The path has an encoded slash, backslash or NUL."));
    }
    if upper.contains("%25") {
        return Err(Refusal::malformed("A3", "The path has an encoded percent sign."));
    }
    let text = decode(raw, false).map_err(|fault| {
        let text = match fault {
            Fault::Syntax => "The path has a character or an escape that no URL may have.",
            Fault::Utf8 => "The path is not UTF-8.",
            Fault::Control => "The path has a control character.",
        };
        Refusal::malformed("A7", text)
    })?;
    if text.contains(';') {
        return Err(Refusal::malformed("A4", "The path has a semicolon."));
    }
    if text == "." || text == ".." {
        return Err(Refusal::malformed("A2", "The path has a dot segment."));
    }
    if text.contains(['\\', '?', '#', ' ']) {
        return Err(Refusal::malformed("A7", "The path has a character that no segment may have."));
    }
    Ok(text)
}
