//! Certifications and endorsements (UDAP Certifications and Endorsements for Client Applications, "CE"; IG §3.3, §7.4;
//! CRT-03..CRT-15, C02..C15): a JWT in which a certifier, or the client itself, states something of a client.
//!
//! One structure for both sides: [`Certification::sign`] makes the JWT, [`Certification::validate`] reads it, and both hold
//! it to the same rules. Not checked here: the certifier's path ([`crate::path`], to anchors that are configured for
//! certifiers, CRT-07), what its status endpoint says, and which URIs a server supports. Refused: what names another client,
//! another server, or parameters that the registration does not keep to; a life of more than three years or beyond the
//! certifier's certificate; `jwks_uri`; a software statement in its place. `scope` is no such parameter: the server grants
//! what both name (amendment to CRT-08).

mod matching;
mod read;
mod tefca;

use serde_json::{Map, Value, json};
use ward_core::{ClientUri, Limits, Thumbprint, Timestamp, crypto};

use crate::claims::ClaimFault;
use crate::uri::HttpsUrl;
use crate::{Certificate, Fault, JoseError, Jws, SigningIdentity, Verified};

pub use matching::{Applicant, keeps_to_keys};
pub use tefca::TEFCA_BASIC_APP;

/// Longest life, years from `iat` (CRT-06).
pub const MAX_YEARS: u16 = 3;

/// Why a certification is refused, by the wire code of the answer (CE §6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificationError {
    /// `invalid_certification`: signature, claims, or a registration that does not keep to it.
    #[error(transparent)]
    Invalid(Fault),
    /// `unapproved_certification`: trust, or its status.
    #[error(transparent)]
    Unapproved(Fault),
}

impl CertificationError {
    pub(crate) const fn invalid(rule: &'static str, text: &'static str) -> Self {
        Self::Invalid(Fault::new(rule, text))
    }

    pub(crate) const fn unapproved(rule: &'static str, text: &'static str) -> Self {
        Self::Unapproved(Fault::new(rule, text))
    }

    /// The error code of CE §6.8.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_certification",
            Self::Unapproved(_) => "unapproved_certification",
        }
    }

    /// What was refused.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Invalid(fault) | Self::Unapproved(fault) => *fault,
        }
    }
}

impl From<JoseError> for CertificationError {
    fn from(error: JoseError) -> Self {
        if error == JoseError::WeakKey {
            return Self::unapproved(error.rule(), "the certifier's certificate is not trusted");
        }
        Self::invalid("C02", "the certification is not validly signed")
    }
}

impl From<crate::PathError> for CertificationError {
    /// For errors of which [`crate::PathError::is_unavailable`] is false; the others are a 503.
    fn from(error: crate::PathError) -> Self {
        Self::unapproved(error.rule(), "the certifier's certificate is not trusted")
    }
}

impl From<ClaimFault> for CertificationError {
    fn from(fault: ClaimFault) -> Self {
        let (rule, text) = match fault {
            ClaimFault::Issuer => ("CRT-05", "iss is missing or malformed"),
            ClaimFault::Subject => ("C04", "sub is missing or malformed"),
            ClaimFault::Audience => ("C05", "aud is not the registration endpoint"),
            ClaimFault::Expiry => ("C06", "exp is missing or malformed"),
            ClaimFault::Expired => ("C06", "the certification has expired"),
            ClaimFault::Life => ("C06", "exp is more than three years after iat"),
            ClaimFault::Issued => ("C06", "iat is missing, malformed or in the future"),
            ClaimFault::NotBefore => ("C06", "nbf is in the future"),
            ClaimFault::Id => ("CRT-05", "jti is missing or malformed"),
        };
        Self::invalid(rule, text)
    }
}

/// A certification: what stands in the JWT (CE §1, IG §7.4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certification {
    /// Who certifies: a SAN URI of the signer's certificate.
    pub iss: ClientUri,
    /// The client. Equal to `iss`: the client declares it of itself.
    pub sub: ClientUri,
    /// Registration endpoints for which it is meant; empty: for all.
    pub audiences: Vec<String>,
    /// Names it until `exp`, for its status too.
    pub jti: String,
    /// When it was made.
    pub iat: Timestamp,
    /// Its last second.
    pub exp: Timestamp,
    /// `certification_name`: 1 to 256 characters.
    pub name: String,
    /// `certification_uris`: 1 to 20 absolute URIs, each a programme or a set of criteria.
    pub uris: Vec<String>,
    /// `certification_issuer`: who runs the programme. Present exactly if a third party certifies (CRT-13).
    pub issuer: Option<String>,
    /// `certification_status_endpoint`, https; only of a third party.
    pub status_endpoint: Option<String>,
    /// `is_endorsement`.
    pub endorsement: bool,
    /// `grant_types` that the registration must keep to; empty: it states none.
    pub grant_types: Vec<String>,
    /// `redirect_uris`; a `*` stands for one path component or one value of the query (CRT-09). Empty: it states none.
    pub redirect_uris: Vec<String>,
    /// `scope`: registrations are granted nothing beyond.
    pub scope: Option<String>,
    /// Other parameters that the registration must keep to, by name: see [`PARAMETERS`].
    pub parameters: Map<String, Value>,
    /// `extensions` (IG §7.4.2), as the programme defines them.
    pub extensions: Map<String, Value>,
    /// `exchange_purposes` and `home_community_id` of TEFCA, which stand beside the registered claims there (TEF-03).
    pub tefca: Option<Tefca>,
}

/// What TEFCA's basic certification says beside (TEF-03; **unverified**: known from third-party sources only).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tefca {
    /// The one exchange purpose, as `T-TREAT`.
    pub exchange_purpose: String,
    /// The node's home community id.
    pub home_community_id: String,
}

/// Registration parameters, beside those with a field of their own, that a certification may state (CE §1).
pub const PARAMETERS: [&str; 11] = [
    "client_name",
    "client_uri",
    "contacts",
    "jwks",
    "launch_uri",
    "logo_uri",
    "policy_uri",
    "response_types",
    "software_id",
    "software_version",
    "token_endpoint_auth_method",
];

/// What a status endpoint answers (CE §8): an object of one member.
pub fn status_answer(valid: bool) -> Value {
    json!({ "valid": valid })
}

/// What a status endpoint said; `None` if that is neither yes nor no.
pub fn read_status(answer: &[u8]) -> Option<bool> {
    match ward_core::json::parse(answer, 4) {
        Ok(Value::Object(members)) if members.len() == 1 => members.get("valid")?.as_bool(),
        _ => None,
    }
}

/// Everything but unreserved characters percent-encoded (RFC 3986 §2.3).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&crypto::hex(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

impl Certification {
    /// A third party's certification of a client for `client_credentials`; the rest is set on the fields.
    pub fn of_client(
        iss: ClientUri,
        sub: ClientUri,
        name: impl Into<String>,
        uri: impl Into<String>,
        issuer: impl Into<String>,
    ) -> Self {
        Self { issuer: Some(issuer.into()), ..Self::declared(sub, name, uri).by(iss) }
    }

    /// What a client for `client_credentials` declares of itself (CE §4); the rest is set on the fields.
    pub fn declared(client: ClientUri, name: impl Into<String>, uri: impl Into<String>) -> Self {
        Self {
            iss: client.clone(),
            sub: client,
            audiences: Vec::new(),
            jti: String::new(),
            iat: Timestamp::from_seconds(0),
            exp: Timestamp::from_seconds(0),
            name: name.into(),
            uris: vec![uri.into()],
            issuer: None,
            status_endpoint: None,
            endorsement: false,
            grant_types: vec!["client_credentials".to_owned()],
            redirect_uris: Vec::new(),
            scope: None,
            parameters: Map::new(),
            extensions: Map::new(),
            tefca: None,
        }
    }

    fn by(self, iss: ClientUri) -> Self {
        Self { iss, ..self }
    }

    /// The same from one second to another, under this id. Parts of seconds do not count.
    #[must_use]
    pub fn lasting(self, jti: impl Into<String>, iat: Timestamp, exp: Timestamp) -> Self {
        let whole = |at: Timestamp| Timestamp::from_seconds(at.as_seconds());
        Self { jti: jti.into(), iat: whole(iat), exp: whole(exp), ..self }
    }

    /// By what it is told from every other, whoever signs it how often: a digest of `iss`, `jti` and `exp` (CE §8). As a
    /// subject it is written `certification:` and these 64 digits.
    pub fn id(&self) -> Thumbprint {
        Self::id_of(self.iss.as_str(), &self.jti, self.exp)
    }

    /// [`Self::id`] of the certification with these claims.
    pub fn id_of(iss: &str, jti: &str, exp: Timestamp) -> Thumbprint {
        let exp = exp.as_seconds().to_string();
        let mut hashed = Vec::new();
        for part in [iss, jti, &exp] {
            hashed.extend_from_slice(&(part.len() as u64).to_be_bytes());
            hashed.extend_from_slice(part.as_bytes());
        }
        Thumbprint(crypto::sha256(&[b"ward certification/1", &hashed]))
    }

    /// The certification with this id as far as this certificate signed it. A signal ends no more than that: a namesake of the
    /// certifier, whoever issued its certificate, signs others.
    pub fn signed_id(id: Thumbprint, signer: Thumbprint) -> Thumbprint {
        Thumbprint(crypto::sha256(&[b"ward certification signed/1", &id.0, &signer.0]))
    }

    /// Where to ask whether it is still valid (CE §8), if its certifier says.
    pub fn status_url(&self) -> Option<String> {
        let endpoint = self.status_endpoint.as_ref()?;
        let mark = if endpoint.contains('?') { '&' } else { '?' };
        let jti = escaped(&self.jti);
        Some(format!("{endpoint}{mark}jti={jti}&exp={}", self.exp.as_seconds()))
    }

    /// Whether the client itself signed it.
    pub fn is_declared(&self) -> bool {
        self.iss == self.sub
    }

    /// The claims.
    pub fn claims(&self) -> Value {
        let mut members = self.parameters.clone();
        let mut put = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        put("iss", json!(self.iss.as_str()));
        put("sub", json!(self.sub.as_str()));
        put("jti", json!(self.jti));
        put("iat", json!(self.iat.as_seconds()));
        put("exp", json!(self.exp.as_seconds()));
        put("certification_name", json!(self.name));
        put("certification_uris", json!(self.uris));
        for (name, list) in [
            ("aud", &self.audiences),
            ("grant_types", &self.grant_types),
            ("redirect_uris", &self.redirect_uris),
        ] {
            if !list.is_empty() {
                put(name, json!(list));
            }
        }
        for (name, text) in [
            ("certification_issuer", &self.issuer),
            ("certification_status_endpoint", &self.status_endpoint),
            ("scope", &self.scope),
        ] {
            if let Some(text) = text {
                put(name, json!(text));
            }
        }
        if self.endorsement {
            put("is_endorsement", json!(true));
        }
        if !self.extensions.is_empty() {
            put("extensions", Value::Object(self.extensions.clone()));
        }
        if let Some(tefca) = &self.tefca {
            put("exchange_purposes", json!([tefca.exchange_purpose]));
            put("home_community_id", json!(tefca.home_community_id));
        }
        Value::Object(members)
    }

    /// Signs it, in the algorithm of the key. Refuses what no server could accept, by the same rules.
    pub fn sign(
        &self,
        identity: &SigningIdentity,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<String, CertificationError> {
        let Value::Object(claims) = self.claims() else {
            return Err(CertificationError::invalid("CRT-15", "the certification is no object"));
        };
        // As it will be read.
        if Self::read(&claims, identity.leaf(), now, limits)? != *self {
            return Err(CertificationError::invalid("CRT-15", "the certification is ambiguous"));
        }
        Ok(identity.sign(identity.alg(), &Value::Object(claims))?)
    }

    /// What it calls itself: the `certification_uris` by which a server knows whether it supports it (CE §6.2), before
    /// anything else of it counts. Refuses what is no certification at all (C15).
    pub fn uris_of(jws: &Verified) -> Result<Vec<String>, CertificationError> {
        read::uris(jws.claims())
    }

    /// Validates steps 6.3 and 6.5 of CE §6 (6.1 is [`crate::Jws::verify`]): `registration_endpoint` exactly as published.
    pub fn validate(
        jws: &Verified,
        applicant: &Applicant<'_>,
        registration_endpoint: &str,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, CertificationError> {
        let read = Self::read(jws.claims(), jws.leaf(), now, limits)?;
        if read.sub != *applicant.uri {
            return Err(CertificationError::invalid("C04", "sub is not the client"));
        }
        if !read.audiences.is_empty()
            && !read.audiences.iter().any(|one| one == registration_endpoint)
        {
            return Err(ClaimFault::Audience.into());
        }
        read.matches(applicant)?;
        Ok(read)
    }

    /// One that was validated before and that Ward itself kept: its signature and its client are not looked at anew, its
    /// dates are.
    pub fn kept(jws: &Jws, now: Timestamp, limits: &Limits) -> Result<Self, CertificationError> {
        Self::read(jws.claims(), jws.leaf(), now, limits)
    }

    /// What makes a certification sound by itself, whoever reads it.
    fn check(&self, signer: &Certificate) -> Result<(), CertificationError> {
        let invalid = |rule, text| Err(CertificationError::invalid(rule, text));
        if !signer.san_uris().iter().any(|uri| uri == self.iss.as_str()) {
            return invalid("CRT-05", "iss is not a URI of the certifier's certificate");
        }
        if self.exp.as_seconds() > signer.not_after().as_seconds() {
            return invalid("C06", "the certification outlives the certifier's certificate");
        }
        match (self.is_declared(), &self.issuer, &self.status_endpoint) {
            (true, None, None) | (false, Some(_), _) => {}
            (true, _, _) => {
                return invalid("C12", "the client vouches for itself as a third party");
            }
            (false, None, _) => return invalid("CRT-13", "certification_issuer is missing"),
        }
        let sound = |url: &String| HttpsUrl::parse(url).is_some_and(|parsed| !parsed.has_fragment);
        if !self.status_endpoint.iter().all(sound) {
            return Err(CertificationError::unapproved(
                "C09",
                "certification_status_endpoint is no https URL",
            ));
        }
        if self.grant_types.iter().any(|one| one == "client_credentials")
            && !self.redirect_uris.is_empty()
        {
            return invalid("CRT-09", "redirect_uris with client_credentials");
        }
        Ok(())
    }
}
