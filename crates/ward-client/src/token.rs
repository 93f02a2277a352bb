//! Access tokens by client credentials (IG §4.2, §5.2; CLI-19..24), cached by asserted context.
//!
//! A token is used only for the requestor and purpose that were asserted for it: the whole extension
//! object is part of the cache key (CLI-24). Refused: an answer that is not a bearer token. No
//! `Authorization` header or secret ever goes to a token endpoint (CLI-20).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use ward_core::{Secret, Timestamp, crypto};
use ward_trust::Discovered;

use crate::asserted::Asserted;
use crate::discovery::{MAX_DOCUMENT, percent_encode};
use crate::error::ClientError;
use crate::registration::{Registered, refused};
use crate::{PartnerClient, Standing};

/// A token with less time left than this is not handed out again.
const MARGIN: Duration = Duration::from_secs(10);
/// Tokens held at once.
const MAX_TOKENS: usize = 1000;
/// Longest token that is believed.
const MAX_CHARS: usize = 16 * 1024;

/// A bearer token for one FHIR base and one asserted context. Has no `Debug`: it is a secret.
#[derive(Clone)]
pub struct Token {
    pub(crate) base: String,
    value: Secret<String>,
    scope: String,
    expires: Timestamp,
}

impl Token {
    /// A token that was kept from an earlier run, for the base that it was issued for. Refused: what does
    /// not fit into a header.
    pub fn kept(
        base: &str,
        value: Secret<String>,
        scope: &str,
        expires: Timestamp,
    ) -> Result<Self, ClientError> {
        if !is_token(value.expose()) {
            return Err(ClientError::Local {
                what: "a token has 1 to 16384 of the characters that fit into a header",
                rule: "TOK-17",
            });
        }
        Ok(Self { base: base.to_owned(), value, scope: scope.to_owned(), expires })
    }

    /// The granted scopes.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// When it ends.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The token itself, for the one header that needs it.
    pub fn expose(&self) -> &str {
        self.value.expose()
    }
}

/// What a token was issued for: all of it must be the same for a token to be used again (CLI-24).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Context {
    community: String,
    uri: String,
    base: String,
    endpoint: String,
    client_id: String,
    scope: String,
    extensions: String,
}

/// Tokens by context, and whose turn it is to ask for one.
#[derive(Default)]
pub(crate) struct Cache {
    tokens: Mutex<BTreeMap<Context, Arc<Token>>>,
    asking: Mutex<BTreeMap<Context, Arc<AsyncMutex<()>>>>,
}

/// The turn to ask for a token of one context; over when dropped.
struct Turn<'a> {
    cache: &'a Cache,
    context: &'a Context,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut asking = self.cache.asking.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else waits for it.
        if asking.get(self.context).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            asking.remove(self.context);
        }
    }
}

impl Cache {
    /// Waits until nobody else asks for a token of this context.
    async fn turn<'a>(&'a self, context: &'a Context) -> Turn<'a> {
        let turn = {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(asking.entry(context.clone()).or_default())
        };
        Turn { cache: self, context, held: Some(turn.lock_owned().await) }
    }

    fn get(&self, context: &Context, now: Timestamp) -> Option<Arc<Token>> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(context).filter(|token| now.plus(MARGIN) < token.expires).cloned()
    }

    fn put(&self, context: Context, token: Arc<Token>, now: Timestamp) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, token| now < token.expires);
        }
        if tokens.len() < MAX_TOKENS {
            tokens.insert(context, token);
        }
    }

    fn forget(&self, token: &Token) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, held| held.expose() != token.expose());
    }
}

impl PartnerClient {
    /// A token for this scope and context: the cached one if it is still good.
    pub async fn token(
        &self,
        server: &Discovered,
        registered: &Registered,
        scope: &str,
        asserted: impl Into<Asserted>,
    ) -> Result<Arc<Token>, ClientError> {
        let asserted = asserted.into();
        let context = self.context(server, registered, scope, &asserted);
        // Of many who want the same, one asks.
        let turn = self.tokens.turn(&context).await;
        if let Some(token) = self.tokens.get(&context, self.config.clock.now()) {
            return Ok(token);
        }
        let assertion = self.authentication_token(server, registered, asserted)?;
        let token = Arc::new(self.token_with(server, scope, &assertion).await?);
        self.tokens.put(context.clone(), token.clone(), self.config.clock.now());
        drop(turn);
        Ok(token)
    }

    fn context(
        &self,
        server: &Discovered,
        registered: &Registered,
        scope: &str,
        asserted: &Asserted,
    ) -> Context {
        Context {
            community: self.config.community.uri.as_str().to_owned(),
            uri: registered.uri.as_str().to_owned(),
            base: server.base_url.clone(),
            endpoint: server.token_endpoint.clone(),
            client_id: registered.client_id.clone(),
            scope: scope.to_owned(),
            extensions: self.extensions(registered, asserted).to_string(),
        }
    }

    /// Names the whole context of a token without telling it: SHA-256 in hexadecimal. For whoever keeps tokens
    /// between runs; tokens with equal names are for the same community, URI, base, token endpoint, client id,
    /// scopes and extension object (CLI-24).
    pub fn context_name(
        &self,
        server: &Discovered,
        registered: &Registered,
        scope: &str,
        asserted: impl Into<Asserted>,
    ) -> String {
        let Context { community, uri, base, endpoint, client_id, scope, extensions } =
            self.context(server, registered, scope, &asserted.into());
        let all = json!([community, uri, base, endpoint, client_id, scope, extensions]);
        crypto::hex(&crypto::sha256(&[all.to_string().as_bytes()]))
    }

    /// A token that was kept from an earlier run for exactly this context: [`Self::token`] hands it out until it
    /// ends. One for another base is refused (CLI-24).
    pub fn keep(
        &self,
        server: &Discovered,
        registered: &Registered,
        scope: &str,
        asserted: impl Into<Asserted>,
        token: Token,
    ) -> Result<(), ClientError> {
        if token.base != server.base_url {
            return Err(ClientError::OtherBase);
        }
        let context = self.context(server, registered, scope, &asserted.into());
        self.tokens.put(context, Arc::new(token), self.config.clock.now());
        Ok(())
    }

    /// The token was refused: it is not handed out again.
    pub fn forget(&self, token: &Token) {
        self.tokens.forget(token);
    }

    /// A fresh authentication token (CLI-19) with `hl7-b2b` and what stands beside it (CLI-22).
    pub fn authentication_token(
        &self,
        server: &Discovered,
        registered: &Registered,
        asserted: impl Into<Asserted>,
    ) -> Result<String, ClientError> {
        let asserted = asserted.into();
        if registered.standing == Standing::Cancelled {
            return Err(ClientError::Local {
                what: "the registration was cancelled; register again",
                rule: "CLI-17",
            });
        }
        if registered.registration_endpoint != server.registration_endpoint {
            return Err(ClientError::Local {
                what: "the registration is of another server; register at this one",
                rule: "CLI-15",
            });
        }
        if !server.grant_types.iter().any(|grant| grant == "client_credentials") {
            return Err(ClientError::NotSupported { what: "client_credentials", rule: "CLI-04" });
        }
        if !server.extensions_supported.iter().any(|name| name == "hl7-b2b") {
            return Err(ClientError::NotSupported { what: "hl7-b2b", rule: "CLI-04" });
        }
        let extensions = self.checked(server, registered, &asserted)?;
        let mut claims = self.claims(&registered.client_id, &server.token_endpoint);
        claims.insert("extensions".into(), extensions);
        self.sign(&server.token_algs, claims)
    }

    /// Asks for a token with a given authentication token; for one-time use, as a server demands.
    pub async fn token_with(
        &self,
        server: &Discovered,
        scope: &str,
        assertion: &str,
    ) -> Result<Token, ClientError> {
        self.current(server).await?;
        if scope.trim().is_empty() {
            return Err(ClientError::Local {
                what: "scope must name at least one scope",
                rule: "CLI-21",
            });
        }
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", scope),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
            ("udap", "1"),
        ];
        let body: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", percent_encode(value))).collect();
        let request = Request::post(&server.token_endpoint)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(body.join("&")))
            .map_err(|_| ClientError::Answer {
                what: "the token endpoint is not a URL",
                rule: "DSC-17",
            })?;
        let timeout = self.config.limits.upstream_timeout;
        let response = self.config.http.send(request, MAX_DOCUMENT, timeout).await?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(ClientError::Redirected),
            _ => return Err(refused(&response)),
        }
        let now = self.config.clock.now();
        let mut members = self.object(&response, "TOK-17")?;
        let answer = |what, rule| Err(ClientError::Answer { what, rule });
        let bearer = members
            .get("token_type")
            .and_then(Value::as_str)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
        if !bearer {
            return answer("token_type is not Bearer", "M24");
        }
        let value = match members.remove("access_token") {
            Some(Value::String(value)) if is_token(&value) => Secret::new(value),
            _ => return answer("it has no access_token that fits into a header", "TOK-17"),
        };
        // Without `expires_in` the token may end at any time: used, but not again.
        let life = members.get("expires_in").and_then(Value::as_u64).unwrap_or(0).min(3600);
        let granted = members.get("scope").and_then(Value::as_str).unwrap_or(scope).to_owned();
        Ok(Token {
            base: server.base_url.clone(),
            value,
            scope: granted,
            expires: now.plus(Duration::from_secs(life)),
        })
    }
}

/// `b64token` of RFC 6750 §2.1, bounded.
fn is_token(value: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    (1..=MAX_CHARS).contains(&value.len()) && value.bytes().all(legal)
}
