//! Steps at the door: from discovery to the request that is smuggled.

use serde_json::Value;
use ward_client::{ClientError, Standing};
use ward_community::Reason;
use ward_core::Purpose;

use super::{Carried, DemoError, Found, Hospital, doing};
use crate::demo::partner::{Answer, SCOPE, b2b};

pub(super) async fn community(h: &Hospital, raised_millis: u128) -> Result<Found, DemoError> {
    let members = h.operator.members().await;
    let chain_ok = h.operator.trust().anchors.len() == 1;
    Ok(Found::new(
        chain_ok && members.len() >= 4,
        format!(
            "{} with {} certificates issued; all up in {raised_millis} ms",
            h.operator.uri(),
            members.len()
        ),
    )
    .fact("certificates", members.len())
    .fact("raised_millis", u64::try_from(raised_millis).unwrap_or(u64::MAX)))
}

pub(super) async fn discovery(h: &Hospital, carried: &mut Carried) -> Result<Found, DemoError> {
    let server = h.care.client.discover(&h.fhir_base).await.map_err(doing("discovery"))?;
    let chain = server.chain().certificates.len();
    let found = Found::new(
        server.base_url == h.fhir_base && chain > 0,
        format!(
            "valid until {}, chain of {chain} to the community's root",
            server.exp.to_rfc3339()
        ),
    )
    .fact("base_url", server.base_url.as_str());
    carried.server = Some(server);
    Ok(found)
}

pub(super) async fn registration(h: &Hospital, carried: &mut Carried) -> Result<Found, DemoError> {
    let request = h.care.request("Partner Care");
    let registered =
        h.care.client.register(carried.server()?, &request).await.map_err(doing("registration"))?;
    let found = Found::new(
        registered.scope == SCOPE,
        format!("{}, client_id {}", standing(registered.standing), registered.client_id),
    )
    .fact("client_id", registered.client_id.as_str())
    .fact("scope", registered.scope.as_str());
    carried.registered = Some(registered);
    Ok(found)
}

pub(super) async fn token(h: &Hospital, carried: &mut Carried) -> Result<Found, DemoError> {
    let token = h.care.token(carried.server()?, carried.registered()?).await?;
    let length = token.expose().len();
    let left = token.expires().since(h.system.clock.now()).as_secs();
    let found = Found::new(
        length <= 256 && token.scope() == SCOPE,
        format!("{length} characters, good for {left} s, scopes {}", token.scope()),
    )
    .fact("length", length);
    carried.token = Some(token);
    Ok(found)
}

pub(super) async fn read(
    h: &Hospital,
    carried: &mut Carried,
    id: &str,
) -> Result<Found, DemoError> {
    let answer = h.care.ask(&h.fhir_base, &format!("/Patient/{id}"), carried.token()?).await?;
    let resource = answer.json();
    carried.first_read = answer.header("x-correlation-id").map(ToOwned::to_owned);
    let ok = answer.status == 200
        && resource.get("resourceType").and_then(Value::as_str) == Some("Patient")
        && resource.get("id").and_then(Value::as_str) == Some(id);
    Ok(Found::new(ok, format!("{} and {} bytes of FHIR", answer.status, answer.body.len()))
        .fact("status", answer.status))
}

pub(super) async fn search(h: &Hospital, carried: &Carried) -> Result<Found, DemoError> {
    let token = carried.token()?;
    let count = h.ceiling.min(21) - 1;
    let answer = h.care.ask(&h.fhir_base, &format!("/Observation?_count={count}"), token).await?;
    let bundle = answer.json();
    let empty = Vec::new();
    let entries = bundle.get("entry").and_then(Value::as_array).unwrap_or(&empty);
    let subjects: Vec<&str> = entries
        .iter()
        .filter_map(|entry| entry.pointer("/resource/subject/reference").and_then(Value::as_str))
        .collect();
    let inside = subjects.iter().all(|subject| {
        subject.strip_prefix("Patient/").is_some_and(|id| h.roster.iter().any(|known| known == id))
    });
    let narrowed =
        format!("/Observation?patient=Patient/{}", h.strangers.first().map_or("", |s| s));
    let elsewhere = h.care.ask(&h.fhir_base, &narrowed, token).await?;
    let none = elsewhere.status == 200 && elsewhere.json().get("entry").is_none();
    let ok =
        answer.status == 200 && !entries.is_empty() && subjects.len() == entries.len() && inside;
    Ok(Found::new(
        ok && none,
        format!(
            "{}, {} observations, all of roster patients; a stranger's: {} and none",
            answer.status,
            entries.len(),
            elsewhere.status
        ),
    )
    .fact("status", answer.status)
    .fact("entries", entries.len()))
}

pub(super) async fn beyond_scope(h: &Hospital, carried: &Carried) -> Result<Found, DemoError> {
    let answer = h.care.ask(&h.fhir_base, "/MedicationRequest", carried.token()?).await?;
    let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
    Ok(Found::new(
        answer.status == 403 && challenge.contains("insufficient_scope"),
        format!("{} {}", answer.status, words(&answer)),
    )
    .fact("status", answer.status))
}

pub(super) async fn outside_roster(
    h: &Hospital,
    carried: &Carried,
    stranger: &str,
) -> Result<Found, DemoError> {
    let token = carried.token()?;
    let hidden = h.care.ask(&h.fhir_base, &format!("/Patient/{stranger}"), token).await?;
    let absent = h.care.ask(&h.fhir_base, "/Patient/no-such-patient", token).await?;
    let same = hidden.visible() == absent.visible();
    Ok(Found::new(
        hidden.status == 404 && absent.status == 404 && same,
        format!(
            "{} and {}, {}",
            hidden.status,
            absent.status,
            if same { "byte for byte the same" } else { "but they can be told apart" }
        ),
    )
    .fact("hidden", hidden.status)
    .fact("absent", absent.status)
    .fact("same", same))
}

pub(super) async fn replay(h: &Hospital, carried: &Carried) -> Result<Found, DemoError> {
    let (server, registered) = (carried.server()?, carried.registered()?);
    let assertion = h
        .care
        .client
        .authentication_token(server, registered, &b2b(Purpose::Treatment)?)
        .map_err(doing("signing"))?;
    let first = h.care.client.token_with(server, SCOPE, &assertion).await;
    let second = h.care.client.token_with(server, SCOPE, &assertion).await;
    let (refused, said) = refusal(second);
    Ok(Found::new(
        first.is_ok() && refused.as_deref() == Some("invalid_client"),
        format!("{}, then {said}", if first.is_ok() { "200" } else { "refused" }),
    ))
}

pub(super) async fn revoked(h: &Hospital, patient: &str) -> Result<Found, DemoError> {
    let (server, registered, token) = h.lost.establish(&h.fhir_base).await?;
    let path = format!("/Patient/{patient}");
    let before = h.lost.ask(&h.fhir_base, &path, &token).await?.status;
    h.operator
        .revoke(&h.lost.thumbprint, Reason::KeyCompromise)
        .await
        .map_err(doing("revoking"))?;
    let began = h.system.clock.now();
    h.house
        .admin
        .execute(&h.officer, ward_admin::Command::RefreshLists)
        .await
        .map_err(doing("refreshing the lists"))?;
    let learned = h.system.clock.now().since(began).as_millis();
    let after = h.lost.ask(&h.fhir_base, &path, &token).await?.status;
    let again = h.lost.client.token(&server, &registered, SCOPE, &b2b(Purpose::Treatment)?).await;
    let (refused, said) = refusal(again);
    Ok(Found::new(
        before == 200 && after == 401 && refused.as_deref() == Some("invalid_client"),
        format!(
            "{before} before; {learned} ms after the list was asked for: its token {after}, a new one {said}"
        ),
    )
    .fact("learned_millis", u64::try_from(learned).unwrap_or(u64::MAX)))
}

pub(super) async fn smuggled(
    h: &Hospital,
    carried: &Carried,
    mine: &str,
    other: &str,
) -> Result<Found, DemoError> {
    let path = format!("/Patient/{mine}/%2e%2e/{other}");
    let answer = h.care.ask(&h.fhir_base, &path, carried.token()?).await?;
    Ok(Found::new(answer.status == 400, format!("{} {}", answer.status, words(&answer)))
        .fact("status", answer.status))
}
/// How the server took a registration, in words.
const fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::New => "201 registered",
        Standing::Modified => "200 registered again",
        Standing::Cancelled => "200 cancelled",
    }
}

/// The diagnostics of an OperationOutcome.
fn words(answer: &Answer) -> String {
    let outcome = answer.json();
    let text = outcome
        .pointer("/issue/0/details/text")
        .or_else(|| outcome.pointer("/issue/0/diagnostics"))
        .and_then(Value::as_str)
        .unwrap_or("");
    format!("“{text}”")
}

/// The error code of a refusal, and the answer in words.
pub(in crate::demo) fn refusal<T>(result: Result<T, ClientError>) -> (Option<String>, String) {
    match result {
        Ok(_) => (None, "200".to_owned()),
        Err(ClientError::Refused { status, code, .. }) => {
            let said = format!("{status} {code}");
            (Some(code), said)
        }
        Err(other) => (None, other.to_string()),
    }
}
