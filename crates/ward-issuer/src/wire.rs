//! Answers as they go over the wire (RFC 6749 §5.1, §5.2): JSON, never cached, with a correlation id.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use ward_core::CorrelationId;

use crate::errors::Refusal;

/// Names the exchange for support; the log has the same id.
pub(crate) const CORRELATION: &str = "x-correlation-id";

/// An answer of JSON that nobody may keep (TOK-17).
pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    no_store(headers);
    response
}

fn no_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

/// The row of the error table for a refusal.
pub(crate) fn refusal(refusal: &Refusal) -> Response<Bytes> {
    let (status, code, description) = refusal.answer.row();
    let mut body = json!({ "error": code, "error_description": description });
    if let (Some(extensions), Some(members)) = (&refusal.extensions, body.as_object_mut()) {
        members.insert("extensions".to_owned(), extensions.clone());
    }
    let mut response = json(status, &body);
    if let Some((name, value)) = refusal.answer.header() {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Adds what every answer carries.
pub(crate) fn finish(mut response: Response<Bytes>, correlation: CorrelationId) -> Response<Bytes> {
    if let Ok(value) = HeaderValue::try_from(correlation.to_string()) {
        response.headers_mut().insert(CORRELATION, value);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// The media type of a request, lower case, without parameters; `None` if absent or given twice.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}
