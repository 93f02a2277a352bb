//! The RESTful interactions (FHIR R4 §3.1.0): read, vread, create, update, delete, type search by GET
//! and by POST `_search`, capabilities. Everything else is an OperationOutcome.

use std::sync::PoisonError;

use serde_json::{Map, Value};
use ward_core::Timestamp;

use crate::Sandbox;
use crate::capability;
use crate::outcome::Refusal;
use crate::page::{self, PAGE};
use crate::params;
use crate::query;
use crate::search::Search;
use crate::store::{Put, Version};

/// The media type of everything that this server says.
pub(crate) const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";
/// The path under which FHIR is served.
pub(crate) const BASE_PATH: &str = "fhir";

/// A request, read in full.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) prefer: String,
    pub(crate) body: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn new(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    fn versioned(status: u16, version: &Version, body: String) -> Self {
        let headers = vec![
            ("etag", format!("W/\"{}\"", version.number)),
            ("last-modified", http_date(version.at)),
        ];
        Self { status, headers, body }
    }

    pub(crate) fn refusal(refusal: &Refusal) -> Self {
        Self::new(refusal.status, refusal.outcome().to_string())
    }
}

/// Answers one request of the server at `base`.
pub(crate) fn answer(sandbox: &Sandbox, base: &str, asked: &Asked) -> Answer {
    route(sandbox, base, asked).unwrap_or_else(|refusal| {
        let mut answer = Answer::refusal(&refusal);
        if refusal.status == 405 {
            answer.headers.push(("allow", "GET, POST, PUT, DELETE".into()));
        }
        answer
    })
}

fn route(sandbox: &Sandbox, base: &str, asked: &Asked) -> Result<Answer, Refusal> {
    let segments = query::segments(&asked.path);
    let Some((first, rest)) = segments.split_first() else { return Err(unknown_path()) };
    if first != BASE_PATH {
        return Err(unknown_path());
    }
    negotiate(asked)?;
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let rtype = rest.first().copied().unwrap_or_default();
    if !rtype.is_empty() && rtype != "metadata" && !params::is_type(rtype) {
        return Err(Refusal::new(404, "not-supported", format!("There is no type {rtype}")));
    }
    match (asked.method.as_str(), rest.as_slice()) {
        ("GET" | "HEAD", ["metadata"]) => {
            Ok(Answer::new(200, capability::statement(base).to_string()))
        }
        ("GET" | "HEAD", [rtype] | [rtype, "_search"]) | ("POST", [rtype, "_search"]) => {
            search(sandbox, base, rtype, asked)
        }
        ("GET" | "HEAD", [rtype, id]) => read(sandbox, rtype, id, None),
        ("GET" | "HEAD", [rtype, id, "_history", version]) => {
            read(sandbox, rtype, id, Some(version))
        }
        ("POST", [rtype]) => create(sandbox, base, rtype, asked),
        ("PUT", [rtype, id]) => update(sandbox, base, rtype, id, asked),
        ("DELETE", [rtype, id]) => delete(sandbox, rtype, id),
        (_, [_] | [_, _] | [_, _, "_history", _]) => {
            Err(Refusal::new(405, "not-supported", "This method is not supported here"))
        }
        _ => Err(Refusal::new(404, "not-supported", "This interaction is not supported")),
    }
}

fn unknown_path() -> Refusal {
    Refusal::new(404, "not-found", format!("FHIR is served under /{BASE_PATH}"))
}

/// JSON is the only format: 406 if the caller accepts none of its names.
fn negotiate(asked: &Asked) -> Result<(), Refusal> {
    let format = query::pairs(&asked.query).into_iter().find(|(name, _)| name == "_format");
    let wanted = format.map_or_else(|| asked.accept.clone(), |(_, value)| value);
    let json = wanted.is_empty() || wanted.contains("json") || wanted.contains('*');
    if json { Ok(()) } else { Err(Refusal::new(406, "not-supported", "Only JSON is served")) }
}

fn search(sandbox: &Sandbox, base: &str, rtype: &str, asked: &Asked) -> Result<Answer, Refusal> {
    let mut pairs = query::pairs(&asked.query);
    if asked.method == "POST" {
        if !media_type(&asked.content_type)
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        {
            return Err(Refusal::new(415, "not-supported", "_search takes a form"));
        }
        let form = std::str::from_utf8(&asked.body)
            .map_err(|_| Refusal::invalid("The form is not UTF-8"))?;
        pairs.extend(query::pairs(form));
    }
    let store = sandbox.store.read().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, token)) = pairs.iter().find(|(name, _)| name == PAGE) {
        return page::next(rtype, token, &store, base).map(|body| Answer::new(200, body));
    }
    let search = Search::parse(rtype, &pairs, is_strict(&asked.prefer))?;
    page::first(&search, &store, base).map(|body| Answer::new(200, body))
}

fn is_strict(prefer: &str) -> bool {
    prefer.split([',', ';']).filter_map(|preference| preference.split_once('=')).any(
        |(name, value)| {
            name.trim().eq_ignore_ascii_case("handling")
                && value.trim().trim_matches('"') == "strict"
        },
    )
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn read(
    sandbox: &Sandbox,
    rtype: &str,
    id: &str,
    version: Option<&str>,
) -> Result<Answer, Refusal> {
    let store = sandbox.store.read().unwrap_or_else(PoisonError::into_inner);
    let missing = || Refusal::not_found(rtype, id);
    let record = store.record(rtype, id).ok_or_else(missing)?;
    let version = match version {
        None => record.newest(),
        Some(number) => number.parse().ok().and_then(|number| record.version(number)),
    };
    let version = version.ok_or_else(missing)?;
    let gone = || Refusal::new(410, "deleted", format!("{rtype}/{id} was deleted"));
    let body = version.body.as_deref().ok_or_else(gone)?;
    Ok(Answer::versioned(200, version, body.to_owned()))
}

fn create(sandbox: &Sandbox, base: &str, rtype: &str, asked: &Asked) -> Result<Answer, Refusal> {
    let mut resource = resource(rtype, asked)?;
    let now = sandbox.clock.now();
    let mut store = sandbox.store.write().unwrap_or_else(PoisonError::into_inner);
    let id = store.assign_id(rtype);
    resource.insert("id".into(), id.clone().into());
    written(store.put(Value::Object(resource), now), base, rtype, &id)
}

fn update(
    sandbox: &Sandbox,
    base: &str,
    rtype: &str,
    id: &str,
    asked: &Asked,
) -> Result<Answer, Refusal> {
    let resource = resource(rtype, asked)?;
    if resource.get("id").and_then(Value::as_str) != Some(id) || !is_id(id) {
        return Err(Refusal::invalid("The id of the resource is not the id of the URL"));
    }
    let now = sandbox.clock.now();
    let mut store = sandbox.store.write().unwrap_or_else(PoisonError::into_inner);
    written(store.put(Value::Object(resource), now), base, rtype, id)
}

fn delete(sandbox: &Sandbox, rtype: &str, id: &str) -> Result<Answer, Refusal> {
    let now = sandbox.clock.now();
    let mut store = sandbox.store.write().unwrap_or_else(PoisonError::into_inner);
    if store.delete(rtype, id, now) {
        Ok(Answer::new(204, String::new()))
    } else {
        Err(Refusal::not_found(rtype, id))
    }
}

fn resource(rtype: &str, asked: &Asked) -> Result<Map<String, Value>, Refusal> {
    let media = media_type(&asked.content_type);
    if !matches!(media, "application/fhir+json" | "application/json") {
        return Err(Refusal::new(
            415,
            "not-supported",
            "A resource is sent as application/fhir+json",
        ));
    }
    let value: Value = serde_json::from_slice(&asked.body)
        .map_err(|_| Refusal::new(400, "structure", "The body is not JSON"))?;
    let Value::Object(object) = value else {
        return Err(Refusal::new(400, "structure", "The body is not a resource"));
    };
    if object.get("resourceType").and_then(Value::as_str) != Some(rtype) {
        return Err(Refusal::invalid(format!("The body is not a {rtype}")));
    }
    if object.get("meta").is_some_and(|meta| !meta.is_object()) {
        return Err(Refusal::new(400, "structure", "meta is not an object"));
    }
    Ok(object)
}

fn written(put: Put, base: &str, rtype: &str, id: &str) -> Result<Answer, Refusal> {
    let (status, version) = match put {
        Put::Created(version) => (201, version),
        Put::Updated(version) => (200, version),
        Put::Refused => return Err(Refusal::new(507, "no-store", "The sandbox is full")),
    };
    let body = version.body.as_deref().unwrap_or_default().to_owned();
    let location = format!("{base}/{rtype}/{id}/_history/{}", version.number);
    let mut answer = Answer::versioned(status, &version, body);
    answer.headers.push(("location", location));
    Ok(answer)
}

/// The id grammar of FHIR R4 §2.24.0.1.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
}

/// An IMF-fixdate (RFC 9110 §5.6.7).
fn http_date(at: Timestamp) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    time::OffsetDateTime::from_unix_timestamp(at.as_seconds())
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_default()
}
