//! Registration, modification and cancellation (IG §3; CLI-10..18).
//!
//! What a server must refuse is refused before anything is sent ([`crate::beforehand`]; CLI-11). All parameters
//! stand inside the statement (CLI-12), which lives five minutes and is used once. A server that said
//! `unapproved_software_statement` is not asked again with the same certificate (CLI-18).

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use ward_core::{ClientUri, Thumbprint};
use ward_trust::statement::GrantTypes;
use ward_trust::{Alg, Discovered};

use crate::PartnerClient;
use crate::discovery::MAX_DOCUMENT;
use crate::error::ClientError;

/// Longest life of a JWT of ours (IG §3.1, §4.2.1), whatever the limits say.
pub(crate) const MAX_LIFE: Duration = Duration::from_mins(5);
/// Remembered refusals.
const MAX_UNAPPROVED: usize = 1000;

/// What to register for; one grant for one client URI (CLI-11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationGrant {
    /// `client_credentials`.
    ClientCredentials,
    /// `authorization_code`, for applications that people sign in to. Needs a `logo_uri`.
    AuthorizationCode {
        /// Where browsers come back to: absolute https URLs without fragment, at least one.
        redirect_uris: Vec<String>,
        /// Whether to ask for `refresh_token` too.
        refresh: bool,
    },
    /// The empty array: cancel.
    Cancel,
}

/// What is asked of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationRequest {
    /// The client's URI; must be in the SAN of its certificate.
    pub uri: ClientUri,
    /// `client_name`.
    pub client_name: String,
    /// `contacts`; at least one `mailto:`.
    pub contacts: Vec<String>,
    /// `logo_uri`, an https URL; optional but for the authorization code.
    pub logo_uri: Option<String>,
    /// Scopes to ask for, space-separated. A cancelling statement carries them too (IG §3.1).
    pub scope: String,
    /// What for.
    pub grant: RegistrationGrant,
    /// Certifications and endorsements to show, compact JWSs as their issuers gave them (IG §3.3).
    pub certifications: Vec<String>,
}

impl RegistrationRequest {
    /// For a machine: client credentials, one contact, no logo.
    pub fn client_credentials(uri: ClientUri, name: &str, contact: &str, scope: &str) -> Self {
        Self {
            uri,
            client_name: name.to_owned(),
            contacts: vec![contact.to_owned()],
            logo_uri: None,
            scope: scope.to_owned(),
            grant: RegistrationGrant::ClientCredentials,
            certifications: Vec::new(),
        }
    }
}

/// How the granted scopes differ from those that were asked for (CLI-16).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeDifference {
    /// Asked for and not granted.
    pub withheld: Vec<String>,
    /// Granted and not asked for in these words (M22).
    pub added: Vec<String>,
}

impl ScopeDifference {
    /// Between two lists of scopes, separated by spaces; order does not matter.
    pub fn between(asked: &str, granted: &str) -> Self {
        let apart = |one: &str, two: &str| {
            let without = |token: &&str| !token.is_empty() && !two.split(' ').any(|t| t == *token);
            one.split(' ').filter(without).map(ToOwned::to_owned).collect()
        };
        Self { withheld: apart(asked, granted), added: apart(granted, asked) }
    }
}

/// How the server took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// 201.
    New,
    /// 200: an earlier registration was replaced.
    Modified,
    /// `grant_types` is empty: the registration has ended (CLI-17); forget it.
    Cancelled,
}

/// A registration as the server assigned it. Keyed by registration endpoint, community and URI (CLI-15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Where.
    pub registration_endpoint: String,
    /// Whose URI.
    pub uri: ClientUri,
    /// The `client_id` to use from now on; earlier ones are dead.
    pub client_id: String,
    /// The granted scopes; may be fewer than asked for (CLI-16).
    pub scope: String,
    /// How the server took it.
    pub standing: Standing,
    /// Of the certifications that were shown, those that the server accepted (CRT-10).
    pub certifications: Vec<String>,
    /// Fixed phrases on what is allowed but odd (M22).
    pub warnings: Vec<&'static str>,
}

impl PartnerClient {
    /// Registers, replaces or cancels the registration of a client URI.
    pub async fn register(
        &self,
        server: &Discovered,
        request: &RegistrationRequest,
    ) -> Result<Registered, ClientError> {
        self.check(request)?;
        self.current(server).await?;
        Self::check_with(server, request)?;
        let tried =
            (server.registration_endpoint.clone(), self.config.identity.leaf().thumbprint());
        if self.unapproved.lock().unwrap_or_else(PoisonError::into_inner).contains(&tried) {
            return Err(ClientError::Unapproved);
        }
        let statement = self.software_statement(server, request)?;
        let body = json!({
            "software_statement": statement,
            "certifications": request.certifications,
            "udap": "1",
        });
        let http = Request::post(&server.registration_endpoint)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(body.to_string()))
            .map_err(|_| ClientError::Answer {
                what: "the registration endpoint is not a URL",
                rule: "DSC-20",
            })?;
        let timeout = self.config.limits.upstream_timeout;
        let response = self.config.http.send(http, MAX_DOCUMENT, timeout).await?;
        match response.status() {
            StatusCode::OK | StatusCode::CREATED => self.assigned(server, request, &response),
            status if status.is_redirection() => Err(ClientError::Redirected),
            _ => {
                let error = refused(&response);
                if is_unapproved(&error) {
                    self.refused_by(tried);
                }
                Err(error)
            }
        }
    }

    /// Registration endpoints that have said that they do not trust the certificate (CLI-18).
    pub fn unapproved_at(&self) -> Vec<String> {
        let known = self.unapproved.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// The server with this registration endpoint has refused the certificate in an earlier run: it is not
    /// shown again (CLI-18).
    pub fn mark_unapproved(&self, registration_endpoint: &str) {
        let known = (registration_endpoint.to_owned(), self.config.identity.leaf().thumbprint());
        self.refused_by(known);
    }

    fn refused_by(&self, known: (String, Thumbprint)) {
        let mut all = self.unapproved.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_UNAPPROVED {
            all.insert(known);
        }
    }

    /// The software statement of a request (CLI-10), fresh at every call.
    pub fn software_statement(
        &self,
        server: &Discovered,
        request: &RegistrationRequest,
    ) -> Result<String, ClientError> {
        let claims = self.statement_claims(&server.registration_endpoint, request);
        self.sign(&server.registration_algs, claims)
    }

    pub(crate) fn statement_claims(
        &self,
        audience: &str,
        request: &RegistrationRequest,
    ) -> Map<String, Value> {
        let mut claims = self.claims(request.uri.as_str(), audience);
        claims.insert("client_name".into(), json!(request.client_name));
        claims.insert("contacts".into(), json!(request.contacts));
        claims.insert("token_endpoint_auth_method".into(), json!("private_key_jwt"));
        if let Some(logo) = &request.logo_uri {
            claims.insert("logo_uri".into(), json!(logo));
        }
        let grants = match &request.grant {
            RegistrationGrant::ClientCredentials => json!(["client_credentials"]),
            RegistrationGrant::AuthorizationCode { redirect_uris, refresh } => {
                claims.insert("redirect_uris".into(), json!(redirect_uris));
                claims.insert("response_types".into(), json!(["code"]));
                json!(GrantTypes::AuthorizationCode { refresh: *refresh }.values())
            }
            RegistrationGrant::Cancel => json!([]),
        };
        claims.insert("grant_types".into(), grants);
        claims.insert("scope".into(), json!(request.scope));
        claims
    }

    /// `iss`, `sub`, `aud` exactly as the server wrote it, `iat`, `exp`, `jti`.
    pub(crate) fn claims(&self, issuer: &str, audience: &str) -> Map<String, Value> {
        let now = self.config.clock.now();
        let exp = now.plus(self.config.limits.statement_life.min(MAX_LIFE));
        Map::from_iter([
            ("iss".into(), json!(issuer)),
            ("sub".into(), json!(issuer)),
            ("aud".into(), json!(audience)),
            ("iat".into(), json!(now.as_seconds())),
            ("exp".into(), json!(exp.as_seconds())),
            ("jti".into(), json!(self.jti())),
        ])
    }

    pub(crate) fn sign(
        &self,
        accepted: &[Alg],
        claims: Map<String, Value>,
    ) -> Result<String, ClientError> {
        let alg = self.config.identity.alg();
        if !accepted.contains(&alg) {
            return Err(ClientError::NotSupported {
                what: "signatures of this certificate's kind of key",
                rule: "CLI-04",
            });
        }
        self.config.identity.sign(alg, &Value::Object(claims)).map_err(ClientError::Sign)
    }

    fn assigned(
        &self,
        server: &Discovered,
        request: &RegistrationRequest,
        response: &Response<Bytes>,
    ) -> Result<Registered, ClientError> {
        let answer = |what, rule| ClientError::Answer { what, rule };
        let members = self.object(response, "REG-22")?;
        let client_id = match members.get("client_id") {
            Some(Value::String(id)) if !id.is_empty() => id.clone(),
            _ => return Err(answer("it has no client_id", "M21")),
        };
        let cancelled =
            members.get("grant_types").and_then(Value::as_array).is_some_and(Vec::is_empty);
        let scope = members.get("scope").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut warnings = Vec::new();
        let standing = match (&request.grant, cancelled) {
            (_, true) => Standing::Cancelled,
            (RegistrationGrant::Cancel, false) => {
                return Err(answer("the registration was not cancelled", "CLI-17"));
            }
            (_, false) => {
                if !ScopeDifference::between(&request.scope, &scope).added.is_empty() {
                    warnings.push(
                        "M22: the server granted scopes that were not asked for in these words",
                    );
                }
                if response.status() == StatusCode::CREATED {
                    Standing::New
                } else {
                    Standing::Modified
                }
            }
        };
        let listed = members.get("certifications").and_then(Value::as_array);
        let listed = |one: &String| {
            listed.is_some_and(|all| all.iter().any(|two| two.as_str() == Some(one.as_str())))
        };
        Ok(Registered {
            registration_endpoint: server.registration_endpoint.clone(),
            uri: request.uri.clone(),
            client_id,
            scope,
            standing,
            certifications: request
                .certifications
                .iter()
                .filter(|one| listed(one))
                .cloned()
                .collect(),
            warnings,
        })
    }

    /// The one JSON object of an answer, strictly read.
    pub(crate) fn object(
        &self,
        response: &Response<Bytes>,
        rule: &'static str,
    ) -> Result<Map<String, Value>, ClientError> {
        match ward_core::json::parse(response.body(), self.config.limits.json_depth) {
            Ok(Value::Object(members)) => Ok(members),
            _ => Err(ClientError::Answer { what: "it is not one JSON object", rule }),
        }
    }
}

/// Whether the server does not trust the certificate that it was shown (DCR §5.2; CLI-18).
pub(crate) fn is_unapproved(error: &ClientError) -> bool {
    match error {
        ClientError::Unapproved => true,
        ClientError::Refused { code, .. } => code == "unapproved_software_statement",
        _ => false,
    }
}

/// An OAuth error answer. Of its text only the code is kept, and only its legal characters.
pub(crate) fn refused(response: &Response<Bytes>) -> ClientError {
    let code = ward_core::json::parse(response.body(), 8)
        .ok()
        .and_then(|body| body.get("error").and_then(Value::as_str).map(str::to_owned))
        .filter(|code| {
            code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        })
        .unwrap_or_default();
    let correlation = response
        .headers()
        .get("x-correlation-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| id.len() <= 64)
        .unwrap_or_default()
        .to_owned();
    ClientError::Refused { status: response.status().as_u16(), code, correlation }
}
