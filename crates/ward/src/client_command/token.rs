//! `ward client token` and `call` (CLI-19..24): tokens by their whole context, and reads with them.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use ward_client::{Asserted, Hl7B2b, Joined, PartnerClient, Token, checks};
use ward_core::{OrganizationUri, Purpose, Secret};

use super::files;
use super::parts::Parts;
use super::register::{preferred, remembered};
use super::state::{Cache, State};
use super::talk::{Failure, Talk, printable};
use crate::cli_client::{ClientCall, ClientContext, ClientIdentity, ClientServer, ClientToken};
use crate::ui;

/// How deep the JSON of an extension object may be nested.
const MAX_DEPTH: usize = 32;
/// Headers of an answer that are shown.
const SHOWN_HEADERS: [&str; 8] = [
    "content-type",
    "etag",
    "last-modified",
    "location",
    "www-authenticate",
    "retry-after",
    "x-request-id",
    "x-correlation-id",
];

/// What the command line asserts (CLI-22): `hl7-b2b`, and the objects of `--extension` beside it.
pub(super) fn asserted(context: &ClientContext) -> Result<Asserted, Failure> {
    let mut asserted = Asserted::from(&b2b(context)?);
    for text in &context.extension {
        let Some((name, file)) = text.split_once('=').filter(|(name, _)| *name != "hl7-b2b") else {
            return Err(Failure::usage(
                format!("--extension {text}: this is not NAME=FILE"),
                "give the name of the object and the file with its JSON; hl7-b2b has options of its own",
            ));
        };
        let bytes = files::read("--extension", Path::new(file))?;
        let object = ward_core::json::parse(&bytes, MAX_DEPTH).ok().filter(Value::is_object);
        let object = object.ok_or_else(|| {
            Failure::usage(
                format!("--extension {file} is not one JSON object"),
                "name a file with the object itself, without its name",
            )
        })?;
        asserted = asserted.with(name, object);
    }
    Ok(asserted)
}

/// `hl7-b2b` as the command line says it.
fn b2b(context: &ClientContext) -> Result<Hl7B2b, Failure> {
    let Some(organization) = &context.organization else {
        return Err(Failure::usage(
            "--organization is missing",
            "give the URI of your organisation, as https://hospital.example or urn:oid:1.2.3",
        ));
    };
    let organization_id = OrganizationUri::parse(organization).map_err(|error| {
        Failure::usage(format!("--organization: {error}"), "give a URI, as urn:oid:1.2.3")
    })?;
    let purposes = context
        .purpose
        .iter()
        .map(|text| {
            Purpose::ALL
                .into_iter()
                .find(|purpose| purpose.code() == text)
                .or_else(|| Purpose::parse_uri(text).ok())
                .ok_or_else(|| {
                    let known = Purpose::ALL.map(Purpose::code).join(", ");
                    Failure::usage(
                        format!("--purpose {text} is not known"),
                        format!("give one of {known}"),
                    )
                })
        })
        .collect::<Result<_, _>>()?;
    Ok(Hl7B2b {
        subject_name: context.subject_name.clone(),
        subject_id: context.subject_id.clone(),
        subject_role: context.subject_role.clone(),
        organization_id,
        organization_name: context.organization_name.clone(),
        purposes,
        consent_policy: context.consent_policy.clone(),
        consent_reference: context.consent_reference.clone(),
    })
}

/// A token and where it came from.
struct Obtained {
    client: Arc<PartnerClient>,
    client_id: String,
    token: Arc<Token>,
    /// Its name in the cache, if there is one.
    cached: Option<String>,
    /// It was there from an earlier run.
    reused: bool,
}

/// A token for the context: of the cache, or fresh from the server.
async fn obtain(
    talk: &mut Talk,
    parts: &Parts,
    server: &ClientServer,
    who: &ClientIdentity,
    context: &ClientContext,
) -> Result<Obtained, Failure> {
    let asserted = asserted(context)?;
    let state = State::read(&who.state)?;
    let now = parts.system.clock.now();
    let cache = context.cache.as_deref().map(|path| Cache::read(path, now)).transpose()?;
    let memberships = preferred(&parts.memberships()?, &state, &server.base);
    let joined = parts.join(talk, server, &memberships).await?;
    let kept = remembered(&state, &who.state, &joined)?;
    let Joined { membership, server: found, .. } = joined;
    let registered = kept.registered(&membership.uri);
    let scope = context.scope.clone().unwrap_or_else(|| registered.scope.clone());
    let client = membership.client;
    let mut reused = false;
    let named = cache.map(|cache| {
        let name = client.context_name(&found, &registered, &scope, asserted.clone());
        if let Some((token, granted, expires)) = cache.find(&name)
            && let Ok(token) =
                Token::kept(&found.base_url, Secret::new(token.to_owned()), granted, expires)
        {
            reused = client.keep(&found, &registered, &scope, asserted.clone(), token).is_ok();
        }
        (cache, name)
    });
    let answer = client.token(&found, &registered, &scope, asserted).await;
    let token = talk.step("token", checks::TOKEN, parts, answer)?;
    let cached = match (named, &context.cache) {
        (Some((cache, name)), Some(path)) => {
            reused &= cache.find(&name).is_some_and(|(known, ..)| known == token.expose());
            if !reused {
                Cache::change(path, now, |cache| {
                    cache.put(&name, token.expose(), token.scope(), token.expires());
                })?;
            }
            Some(name)
        }
        _ => None,
    };
    Ok(Obtained { client, client_id: registered.client_id, token, cached, reused })
}

pub(super) async fn token(talk: &mut Talk, wanted: &ClientToken) -> Result<(), Failure> {
    let parts = Parts::new(talk, &wanted.server.trust, Some(&wanted.identity))?;
    let Obtained { client_id, token, reused, .. } =
        obtain(talk, &parts, &wanted.server, &wanted.identity, &wanted.context).await?;
    talk.fact("client_id", client_id);
    talk.fact("scope", token.scope());
    talk.fact("expires", token.expires().to_rfc3339());
    if wanted.context.cache.is_some() {
        talk.fact("from_cache", reused);
    }
    if !wanted.show {
        files::write_private("--to", &wanted.to, format!("{}\n", token.expose()).as_bytes())?;
        talk.fact("token_file", wanted.to.display().to_string());
    } else if talk.ui.json() {
        talk.fact("token", token.expose());
    } else {
        // Alone, so that a script can take it.
        talk.facts.clear();
        token.expose().clone_into(&mut talk.after);
    }
    Ok(())
}

/// A client for a token that is at hand, and the token.
fn at_hand(
    parts: &Parts,
    server: &ClientServer,
    path: &Path,
) -> Result<(Arc<PartnerClient>, Arc<Token>), Failure> {
    let value: Secret<String> = files::token(path)?;
    let now = parts.system.clock.now();
    let kept = Token::kept(&server.base, value, "", now).map_err(|error| {
        Failure::usage(format!("--token {}: {error}", path.display()), "get a new one")
    })?;
    let memberships = parts.memberships()?;
    let client = memberships.iter().next().map(|member| Arc::clone(&member.client));
    let client = client.ok_or_else(|| Failure::usage("no community is named", "give one"))?;
    Ok((client, Arc::new(kept)))
}

pub(super) async fn call(talk: &mut Talk, wanted: &ClientCall) -> Result<(), Failure> {
    let parts = Parts::new(talk, &wanted.server.trust, Some(&wanted.identity))?;
    let (client, token, cached) = if let Some(path) = &wanted.token {
        let (client, token) = at_hand(&parts, &wanted.server, path)?;
        (client, token, None)
    } else {
        let found = obtain(talk, &parts, &wanted.server, &wanted.identity, &wanted.context).await?;
        (found.client, found.token, found.cached)
    };
    let path = if wanted.path.starts_with('/') {
        wanted.path.clone()
    } else {
        format!("/{}", wanted.path)
    };
    let answer = client.get(&wanted.server.base, &path, &token).await;
    let answer = talk.step("call", checks::CALL, &parts, answer)?;
    let status = answer.status();
    talk.fact("status", status.as_u16());
    let mut headers = Map::new();
    for name in SHOWN_HEADERS {
        if let Some(value) = answer.headers().get(name).and_then(|value| value.to_str().ok()) {
            if !talk.ui.json() {
                talk.fact(name, value);
            }
            headers.insert(name.to_owned(), json!(value));
        }
    }
    let text = String::from_utf8_lossy(answer.body());
    if talk.ui.json() {
        talk.fact("headers", Value::Object(headers));
        talk.fact("body", serde_json::from_str::<Value>(&text).unwrap_or_else(|_| json!(text)));
    } else {
        talk.after = printable(&text);
    }
    if !status.is_success() {
        talk.status = super::talk::code::REFUSED;
    }
    if status == http::StatusCode::UNAUTHORIZED {
        let way_out = match (cached, &wanted.context.cache) {
            (Some(name), Some(path)) => {
                let now = parts.system.clock.now();
                Cache::change(path, now, |cache| cache.forget(&name))?;
                "it is no longer in the cache; run this again for a new one"
            }
            _ => "get a new one with `ward client token`",
        };
        if !talk.ui.json() {
            ui::error(&format!("the token was refused: it has ended, or was revoked; {way_out}"));
        }
    }
    Ok(())
}
