//! How a row becomes a request, what comes back, and whether that is what the row demands.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use serde_json::{Map, Value, json};
use ward_client::FetchError;
use ward_core::Limits;
use ward_net::client::HttpClient;

use super::table::{Row, Words};

/// Octets of an answer that are read.
const MAX_ANSWER: usize = 256 * 1024;
/// How deep the JSON of an answer may be nested.
const MAX_DEPTH: usize = 16;
/// The longest that a server's Retry-After is waited for, in seconds.
const MAX_WAIT: u64 = 120;
/// What is waited where it says nothing, in seconds.
const USUAL_WAIT: u64 = 10;

/// Error codes of registration (`udap.md` §2.5; RFC 7591 §3.2.2).
const REGISTRATION_CODES: [&str; 4] = [
    "invalid_software_statement",
    "unapproved_software_statement",
    "invalid_client_metadata",
    "invalid_redirect_uri",
];
/// Error codes of the token endpoint (RFC 6749 §5.2).
const TOKEN_CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// Which endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Registration,
    Token,
}

/// What came back. Never holds a token: of a good answer only what later steps need is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Got {
    /// An answer: its status and, where it has one, its error code.
    Answer {
        status: u16,
        code: Option<String>,
        client: Option<String>,
        good: bool,
        cancelled: bool,
    },
    /// The connection was closed without one.
    Closed,
    /// None, and why.
    Nothing(String),
    /// The server asks to wait so many seconds.
    Later(u64),
}

impl Got {
    /// In words, for the table.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Answer { status, code: Some(code), .. } => format!("{status} {code}"),
            Self::Answer { status, .. } => status.to_string(),
            Self::Closed => "closed".to_owned(),
            Self::Nothing(why) => why.clone(),
            Self::Later(_) => "429".to_owned(),
        }
    }

    /// Whether the row's demand is met: exactly, or with any code of the endpoint.
    pub(super) fn meets(&self, row: &Row, endpoint: Endpoint, exact: bool) -> bool {
        match self {
            // RFC 9110 §15.5.14: the server may close the connection instead of reading on.
            Self::Closed => row.status == 413,
            Self::Nothing(_) | Self::Later(_) => false,
            Self::Answer { status, good, .. } if row.status < 400 => {
                *good && matches!(*status, 200 | 201)
            }
            Self::Answer { status, code, .. } if exact => {
                *status == row.status && (row.error.is_none() || row.error == *code)
            }
            Self::Answer { status, code, .. } => {
                let known = |code: &str| match endpoint {
                    Endpoint::Registration => REGISTRATION_CODES.contains(&code),
                    Endpoint::Token => TOKEN_CODES.contains(&code),
                };
                // RFC 6749 §5.2: 401 is a way to say invalid_client.
                let unknown_client = endpoint == Endpoint::Token
                    && *status == 401
                    && code.as_deref() == Some("invalid_client");
                (*status == row.status || *status == 400 || unknown_client)
                    && (row.error.is_none() || code.as_deref().is_some_and(known))
            }
        }
    }
}

/// What is demanded, for the table.
pub(super) fn demanded(row: &Row, exact: bool) -> String {
    match (&row.error, exact) {
        (Some(code), true) => format!("{} {code}", row.status),
        (Some(_), false) if row.status == 400 => "400 any code".to_owned(),
        _ => row.status.to_string(),
    }
}

/// A row's request; `None` if it cannot be made.
pub(super) fn request(
    row: &Row,
    words: &Words,
    endpoint: Endpoint,
    (jwt, scope): (&str, &str),
) -> Option<Request<Bytes>> {
    let (url, kind, body) = match endpoint {
        Endpoint::Registration => {
            let mut body = Map::from_iter([
                ("udap".into(), json!("1")),
                ("software_statement".into(), json!(jwt)),
            ]);
            words.merge(&mut body, &row.body)?;
            let body = match row.raw_body.as_deref() {
                None => Value::Object(body).to_string(),
                Some("=deep") => "[".repeat(10_000) + &"]".repeat(10_000),
                Some(raw) => raw.to_owned(),
            };
            (&words.register, "application/json", body)
        }
        Endpoint::Token => {
            let body = match &row.raw_body {
                None => form(row, words, jwt, scope)?,
                Some(raw) => raw.clone(),
            };
            (&words.token, "application/x-www-form-urlencoded", body)
        }
    };
    let mut request = Request::builder()
        .method(row.method.as_deref().unwrap_or("POST"))
        .uri(url)
        .header(header::CONTENT_TYPE, row.content_type.as_deref().unwrap_or(kind))
        .header(header::ACCEPT, "application/json");
    for (name, value) in &row.headers {
        request = request.header(name.as_str(), value.as_str()?);
    }
    request.body(Bytes::from(body)).ok()
}

/// The form of a token request, changed as the row says.
fn form(row: &Row, words: &Words, jwt: &str, scope: &str) -> Option<String> {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let mut fields = Map::new();
    for (name, value) in [
        ("grant_type", "client_credentials"),
        ("scope", scope),
        ("client_assertion_type", kind),
        ("client_assertion", jwt),
        ("udap", "1"),
    ] {
        fields.insert(name.to_owned(), json!(value));
    }
    words.merge(&mut fields, &row.form)?;
    let pair = |name: &str, value: &str| format!("{}={}", encoded(name), encoded(value));
    let mut pairs = Vec::new();
    for (name, value) in &fields {
        pairs.push(pair(name, value.as_str()?));
    }
    if let Some(name) = &row.twice {
        pairs.push(pair(name, fields.get(name)?.as_str()?));
    }
    Some(pairs.join("&"))
}

/// Percent-encoded for a form.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&ward_core::crypto::hex(&[byte]));
        }
    }
    out
}

/// Sends one request through the guarded client.
pub(super) async fn send(http: &HttpClient, limits: &Limits, request: Request<Bytes>) -> Got {
    let answer = match http.send(request, MAX_ANSWER, limits.upstream_timeout).await {
        Ok(answer) => answer,
        Err(FetchError::Broken | FetchError::Connect(_)) => return Got::Closed,
        Err(error) => return Got::Nothing(error.to_string()),
    };
    let status = answer.status().as_u16();
    if status == 429 {
        let after = answer.headers().get(header::RETRY_AFTER);
        let seconds = after.and_then(|after| after.to_str().ok()?.trim().parse().ok());
        return Got::Later(seconds.unwrap_or(USUAL_WAIT).clamp(1, MAX_WAIT));
    }
    let body = ward_core::json::parse(answer.body(), MAX_DEPTH).unwrap_or(Value::Null);
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let legal = |code: &&str| {
        !code.is_empty()
            && code.len() <= 64
            && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    Got::Answer {
        status,
        code: text("error").filter(legal).map(ToOwned::to_owned),
        client: text("client_id").map(ToOwned::to_owned),
        good: text("client_id").or(text("access_token")).is_some_and(|text| !text.is_empty()),
        cancelled: body.get("grant_types").and_then(Value::as_array).is_some_and(Vec::is_empty),
    }
}

/// Waits as the server asked.
pub(super) async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
