//! The operators' commands over HTTP: `POST /admin/v1/COMMAND` with the command's fields as JSON and the
//! operator's key as bearer token. One endpoint a command; `ward-admin` authorises and records (rule 10).
//!
//! Refused: anything without a key (but `bootstrap`, which takes the one-time code), other methods and
//! content types, and bodies over `limits.admin_body_bytes`.

use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json as object;
use ward_admin::{Admin, AdminError, Command, Done};
use ward_core::{Limits, OperatorName};
use ward_issuer::IssuerError;
use ward_net::http::{Body, json, method_not_allowed, read_body, retry_after};
use ward_net::server::Peer;

/// Where the commands are.
pub(super) const PREFIX: &str = "/admin/v1/";

/// Longest body of `bootstrap`, octets.
const BOOTSTRAP_BYTES: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bootstrap {
    code: String,
    name: OperatorName,
}

/// Answers one command.
pub(super) async fn answer(
    admin: &Admin,
    limits: &Limits,
    word: &str,
    request: Request<Incoming>,
    peer: Peer,
) -> Response<Body> {
    if request.method() != Method::POST {
        return method_not_allowed("POST");
    }
    // A browser asks first before it sends this to another site, and Ward never says yes to that.
    let is_json = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    if !request.headers().get(CONTENT_TYPE).is_some_and(is_json) {
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "send application/json");
    }
    let from = peer.addr.ip();
    let operator = if word == "bootstrap" {
        None
    } else {
        let mut keys = request.headers().get_all(AUTHORIZATION).iter();
        let key = keys.next().and_then(|value| value.to_str().ok());
        if keys.next().is_some() {
            return problem(StatusCode::BAD_REQUEST, "key", "send one key, once");
        }
        let Some(key) = key.and_then(|value| value.strip_prefix("Bearer ")) else {
            return challenge("an operator's key is needed");
        };
        match admin.authenticate(key.trim(), from).await {
            Ok(operator) => Some(operator),
            Err(error) => return refused(&error),
        }
    };
    // Nobody is known yet: a code and a name, no more.
    let most = if operator.is_some() { limits.admin_body_bytes } else { BOOTSTRAP_BYTES };
    let body = read_body(request.into_body(), most, limits.body_timeout).await;
    let body = match body {
        Ok(body) => body,
        Err(error) => return problem(error.status(), "body", &error.to_string()),
    };
    let Ok(body) = std::str::from_utf8(&body) else {
        return problem(StatusCode::BAD_REQUEST, "body", "the body is not UTF-8");
    };
    let done = match operator {
        None => {
            let wanted: Bootstrap = match serde_json::from_str(body) {
                Ok(wanted) => wanted,
                Err(error) => {
                    return problem(StatusCode::BAD_REQUEST, "body", &position(&error));
                }
            };
            admin.bootstrap(&wanted.code, wanted.name, from).await
        }
        Some(operator) if word == "whoami" => {
            let me = object!({ "name": operator.name, "role": operator.role.word() });
            return json(StatusCode::OK, me.to_string() + "\n");
        }
        Some(operator) => match command(word, body) {
            Ok(command) => admin.execute(&operator, command).await,
            Err(None) => {
                return problem(StatusCode::NOT_FOUND, "command", "there is no such command");
            }
            Err(Some(why)) => return problem(StatusCode::BAD_REQUEST, "body", &why),
        },
    };
    match done {
        Ok(done) => {
            let status = match &done {
                Done::WaitsForApproval(_) => StatusCode::ACCEPTED,
                _ => StatusCode::OK,
            };
            let shown = match &done {
                Done::BackedUp(made) => serde_json::to_string(made),
                _ => serde_json::to_string(&done),
            };
            match shown {
                Ok(shown) => json(status, shown + "\n"),
                Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "not writable"),
            }
        }
        Err(error) => refused(&error),
    }
}

/// The command of this name with these fields. `None` if there is none of the name.
fn command(word: &str, body: &str) -> Result<Command, Option<String>> {
    if word.is_empty() || !word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
        return Err(None);
    }
    let body = body.trim();
    // Commands without fields are a bare word in JSON.
    if let ("" | "{}", Ok(command)) = (body, serde_json::from_str(&format!("\"{word}\""))) {
        return Ok(command);
    }
    let body = if body.is_empty() { "{}" } else { body };
    serde_json::from_str(&format!("{{\"{word}\":{body}}}")).map_err(|error| {
        let text = error.to_string();
        if text.starts_with("unknown variant") { None } else { Some(position(&error)) }
    })
}

/// Where a body is wrong. The text of the parser would repeat what stands there, which may be a patient's id.
fn position(error: &serde_json::Error) -> String {
    format!(
        "the body is not what this command takes (line {}, column {})",
        error.line(),
        error.column()
    )
}

fn problem(status: StatusCode, error: &str, message: &str) -> Response<Body> {
    json(status, object!({ "error": error, "message": message }).to_string() + "\n")
}

fn challenge(message: &str) -> Response<Body> {
    let mut response = problem(StatusCode::UNAUTHORIZED, "key", message);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn refused(error: &AdminError) -> Response<Body> {
    let text = error.to_string();
    let (status, word) = match error {
        AdminError::Key => return challenge(&text),
        AdminError::Slow(wait) => {
            let response = problem(StatusCode::TOO_MANY_REQUESTS, "slow-down", &text);
            return retry_after(response, std::time::Duration::from_secs(u64::from(*wait)));
        }
        AdminError::Forbidden { .. } => (StatusCode::FORBIDDEN, "role"),
        AdminError::SamePerson => (StatusCode::FORBIDDEN, "second-person"),
        AdminError::Code => (StatusCode::FORBIDDEN, "code"),
        AdminError::Unknown(_) | AdminError::Issuer(IssuerError::Unknown(_)) => {
            (StatusCode::NOT_FOUND, "unknown")
        }
        AdminError::NameTaken => (StatusCode::CONFLICT, "name-taken"),
        AdminError::Reload(_) => (StatusCode::CONFLICT, "reload"),
        AdminError::Backup(_) => (StatusCode::CONFLICT, "backup"),
        AdminError::LastOfficer => (StatusCode::CONFLICT, "last-officer"),
        AdminError::TooMany(_) => (StatusCode::CONFLICT, "too-many"),
        AdminError::Store(error) if !error.is_unavailable() => (StatusCode::CONFLICT, "store"),
        AdminError::Store(_) | AdminError::Log(_) | AdminError::Issuer(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        }
    };
    problem(status, word, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_its_name_and_its_fields_and_nothing_more() {
        assert_eq!(command("refresh-lists", ""), Ok(Command::RefreshLists));
        assert_eq!(command("list-clients", "{}"), Ok(Command::ListClients { after: None }));
        let subject = "community:https://c.example".parse().unwrap();
        assert_eq!(
            command("what-if", "{\"subject\":\"community:https://c.example\"}"),
            Ok(Command::WhatIf { subject })
        );
        for word in ["", "nothing", "Revoke", "what_if", "what-if\":1,\"x"] {
            assert_eq!(command(word, "{}"), Err(None), "{word}");
        }
        for body in [
            "{}",
            "[]",
            "{\"subject\":1}",
            "{\"subject\":\"community:https://c.example\",\"more\":1}",
            "{\"subject\":\"community:https://c.example\"},\"refresh-lists\":null",
            "{\"subject\":\"community:https://c.example\"}}{",
        ] {
            assert!(matches!(command("what-if", body), Err(Some(_))), "{body}");
        }
    }
}
