//! Registration, modification and cancellation (IG §3; CLI-10..18).
//!
//! What a server must refuse is refused here before anything is sent (CLI-11). All parameters stand
//! inside the statement (CLI-12), which lives five minutes and is used once. A server that said
//! `unapproved_software_statement` is not asked again with the same certificate (CLI-18).

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use ward_core::ClientUri;
use ward_trust::{Alg, Discovered};

use crate::PartnerClient;
use crate::discovery::MAX_DOCUMENT;
use crate::error::ClientError;

/// Longest life of a JWT of ours (IG §3.1, §4.2.1), whatever the limits say.
pub(crate) const MAX_LIFE: Duration = Duration::from_mins(5);
/// Remembered refusals.
const MAX_UNAPPROVED: usize = 1000;

/// What to register for; one grant for one client URI (CLI-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationGrant {
    /// `client_credentials`.
    ClientCredentials,
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
    /// `logo_uri`, optional for this grant.
    pub logo_uri: Option<String>,
    /// Scopes to ask for, space-separated. A cancelling statement carries them too (IG §3.1).
    pub scope: String,
    /// What for.
    pub grant: RegistrationGrant,
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
    /// Fixed phrases on what is allowed but odd (M22).
    pub warnings: Vec<&'static str>,
}

fn local<T>(what: &'static str, rule: &'static str) -> Result<T, ClientError> {
    Err(ClientError::Local { what, rule })
}

impl PartnerClient {
    /// Registers, replaces or cancels the registration of a client URI.
    pub async fn register(
        &self,
        server: &Discovered,
        request: &RegistrationRequest,
    ) -> Result<Registered, ClientError> {
        self.current(server)?;
        self.check(server, request)?;
        let tried =
            (server.registration_endpoint.clone(), self.config.identity.leaf().thumbprint());
        if self.unapproved.lock().unwrap_or_else(PoisonError::into_inner).contains(&tried) {
            return Err(ClientError::Unapproved);
        }
        let statement = self.software_statement(server, request)?;
        let body = json!({
            "software_statement": statement,
            "certifications": [],
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
                if matches!(&error, ClientError::Refused { code, .. } if code == "unapproved_software_statement")
                {
                    let mut known = self.unapproved.lock().unwrap_or_else(PoisonError::into_inner);
                    if known.len() < MAX_UNAPPROVED {
                        known.insert(tried);
                    }
                }
                Err(error)
            }
        }
    }

    /// Endpoints are believed only while the signed metadata live (SMD-05, CLI-07).
    pub(crate) fn current(&self, server: &Discovered) -> Result<(), ClientError> {
        if self.config.clock.now() < server.exp {
            Ok(())
        } else {
            local("the server's metadata have ended; discover it again", "SMD-05")
        }
    }

    /// CLI-04, CLI-11, CLI-13: what the server cannot accept is not sent.
    fn check(&self, server: &Discovered, request: &RegistrationRequest) -> Result<(), ClientError> {
        if !self.config.identity.san_uris().iter().any(|uri| uri == request.uri.as_str()) {
            return local("the client URI must be a SAN URI of the own certificate", "REG-06");
        }
        let name = &request.client_name;
        if name.is_empty() || name.chars().any(char::is_control) {
            return local("client_name must be a short text", "REG-11");
        }
        let mailto = |uri: &String| {
            uri.strip_prefix("mailto:")
                .and_then(|address| address.split_once('@'))
                .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        };
        if !request.contacts.iter().any(mailto) {
            return local("contacts must have at least one mailto: URI", "REG-15");
        }
        if request.logo_uri.as_ref().is_some_and(|uri| !uri.starts_with("https://")) {
            return local("logo_uri must be an https URL", "REG-16");
        }
        if !server.certifications_required.is_empty() {
            return Err(ClientError::NotSupported {
                what: "registration without a certification",
                rule: "CRT-02",
            });
        }
        let scope = &request.scope;
        if scope.trim().is_empty() {
            return local("scope must name at least one scope", "REG-19");
        }
        if request.grant == RegistrationGrant::Cancel {
            return Ok(());
        }
        if !server.grant_types.iter().any(|grant| grant == "client_credentials") {
            return Err(ClientError::NotSupported { what: "client_credentials", rule: "CLI-04" });
        }
        let unlisted =
            |token: &str| token.contains('*') && !server.scopes.iter().any(|s| s == token);
        if scope.split(' ').any(unlisted) {
            return Err(ClientError::NotSupported { what: "that wildcard scope", rule: "CLI-13" });
        }
        Ok(())
    }

    /// The software statement of a request (CLI-10), fresh at every call.
    pub fn software_statement(
        &self,
        server: &Discovered,
        request: &RegistrationRequest,
    ) -> Result<String, ClientError> {
        let mut claims = self.claims(request.uri.as_str(), &server.registration_endpoint);
        claims.insert("client_name".into(), json!(request.client_name));
        claims.insert("contacts".into(), json!(request.contacts));
        claims.insert("token_endpoint_auth_method".into(), json!("private_key_jwt"));
        if let Some(logo) = &request.logo_uri {
            claims.insert("logo_uri".into(), json!(logo));
        }
        let grants = match request.grant {
            RegistrationGrant::ClientCredentials => json!(["client_credentials"]),
            RegistrationGrant::Cancel => json!([]),
        };
        claims.insert("grant_types".into(), grants);
        claims.insert("scope".into(), json!(request.scope));
        self.sign(&server.registration_algs, claims)
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
        let standing = match (request.grant, cancelled) {
            (_, true) => Standing::Cancelled,
            (RegistrationGrant::Cancel, false) => {
                return Err(answer("the registration was not cancelled", "CLI-17"));
            }
            (RegistrationGrant::ClientCredentials, false) => {
                let wider = |token: &str| !request.scope.split(' ').any(|one| one == token);
                if scope.split(' ').filter(|token| !token.is_empty()).any(wider) {
                    warnings
                        .push("the server granted scopes that were not asked for in these words");
                }
                if response.status() == StatusCode::CREATED {
                    Standing::New
                } else {
                    Standing::Modified
                }
            }
        };
        Ok(Registered {
            registration_endpoint: server.registration_endpoint.clone(),
            uri: request.uri.clone(),
            client_id,
            scope,
            standing,
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
