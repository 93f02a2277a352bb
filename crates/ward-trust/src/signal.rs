//! Signals of a community: security event tokens (RFC 8417) by which its operator tells members that trust has ended, before any list
//! is due (issue 4 Build 6; amendments, "Signals"). Pushed as RFC 8935 says; claims and subjects follow the Shared Signals Framework 1.0.
//!
//! **What is said** is CAEP's *credential-change* with `change_type` `revoke`. Of a certificate (`credential_type` `x509`) the subject
//! is its SHA-256 as a URI (`ni:///sha-256;…`, RFC 6920 §3), and the certificate itself comes along in `x509_certificate`, so
//! that a member sees whose it is. Of a certification (`udap-certification`) the subject is its `iss` and `jti`; its `exp` and its signer's
//! certificate come along. *Published* is the
//! community's own event (`URI#published`): lists, or a bundle, are to be fetched anew. *Verification* (SSF) only tries the way.
//!
//! **What a signal may do** is the receiver's to say, not the document's: see `ward-issuer`. Refused here: another `typ`, `sub` and
//! `exp` (SSF 1.0 §4.1), a date in the future or too long ago, a certificate that is not the subject, anything over a bound.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use ward_core::{Limits, Thumbprint, Timestamp, crypto};

use crate::claims::{date, names_audience};
use crate::uri::{is_absolute_uri, is_plain_text};
use crate::{Alg, Certificate, Community, JoseError, Jws, SigningIdentity, Verified};

/// `typ` of its header (RFC 8417 §2.3).
pub const TYPE: &str = "secevent+jwt";
/// Media type of a request that carries one (RFC 8935 §2.1).
pub const MEDIA_TYPE: &str = "application/secevent+jwt";
/// CAEP 1.0: a credential was made, changed or revoked.
pub const CREDENTIAL_CHANGE: &str =
    "https://schemas.openid.net/secevent/caep/event-type/credential-change";
/// SSF 1.0 §8.1.4: the way is tried.
pub const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
/// Behind the issuer's URI: it has published something.
pub const PUBLISHED: &str = "#published";
/// `credential_type` of a certificate.
const X509: &str = "x509";
/// `credential_type` of a UDAP certification or endorsement, agreed between Wards.
const CERTIFICATION: &str = "udap-certification";
/// Events in one token. They are facets of one occurrence (RFC 8417 §2).
const MAX_EVENTS: usize = 8;
/// Characters of a URI or id.
const MAX_CHARS: usize = 2048;
/// Characters of a reason.
const MAX_REASON: usize = 200;
const NI: &str = "ni:///sha-256;";

/// What a signal is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A certificate is revoked.
    Certificate {
        /// SHA-256 of it.
        thumbprint: Thumbprint,
        /// The certificate, if it came along.
        certificate: Option<Box<Certificate>>,
    },
    /// A certification or endorsement is revoked.
    Certification {
        /// Its `iss`.
        issuer: String,
        /// Its `jti`.
        jti: String,
        /// Its `exp`, and whose certificate signed it, if they came along.
        signed: Option<(Timestamp, Box<Certificate>)>,
    },
    /// Lists or a bundle of the sender were published.
    Published,
    /// The way is tried; nothing happened.
    Verification,
    /// Something else: the type of the event.
    Other(String),
}

impl About {
    /// A word for the log.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Certificate { .. } => "certificate-revoked",
            Self::Certification { .. } => "certification-revoked",
            Self::Published => "published",
            Self::Verification => "verification",
            Self::Other(_) => "other",
        }
    }

    /// The subject, for the log.
    pub fn subject(&self) -> String {
        match self {
            Self::Certificate { thumbprint, .. } => format!("certificate:{thumbprint}"),
            Self::Certification { issuer, jti, .. } => format!("certification:{issuer} {jti}"),
            Self::Published | Self::Verification => String::new(),
            Self::Other(event) => event.clone(),
        }
    }
}

/// What a signal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Who says it: `iss`, a URI.
    pub issuer: String,
    /// To whom: `aud`, the FHIR base of a member.
    pub audience: String,
    /// Names the token.
    pub jti: String,
    /// When it was said: `iat`.
    pub issued: Timestamp,
    /// What about.
    pub about: About,
    /// Why, in a word (RFC 5280 §5.3.1), as the sender puts it.
    pub reason: Option<String>,
}

/// Why a signal is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// Not validly signed, or no security event token.
    #[error("not a validly signed security event token: {0}")]
    Jose(JoseError),
    /// A claim is missing, malformed or over a bound.
    #[error("the claim {0} is missing or malformed")]
    Claim(&'static str),
    /// A claim that the Shared Signals Framework forbids, because readers differ about it.
    #[error("the claim {0} has no place in a signal")]
    Forbidden(&'static str),
    /// The event does not keep to its definition.
    #[error("the event does not keep to its definition: {0}")]
    Event(&'static str),
    /// It is for somebody else.
    #[error("aud is another")]
    Audience,
    /// `iat` or `nbf` lies in the future.
    #[error("it is dated in the future")]
    Future,
    /// `iat` lies too long ago.
    #[error("it is too old; ask for the revocation lists instead")]
    Old,
}

impl From<JoseError> for SignalError {
    fn from(error: JoseError) -> Self {
        Self::Jose(error)
    }
}

impl SignalError {
    /// The error code of RFC 8935 §2.4.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Jose(
                JoseError::Signature
                | JoseError::WeakKey
                | JoseError::KeyMismatch
                | JoseError::CertificateMissing
                | JoseError::CertificateMalformed
                | JoseError::CertificatesExceeded,
            ) => "invalid_key",
            Self::Audience => "invalid_audience",
            Self::Claim(name) if *name == "iss" => "invalid_issuer",
            _ => "invalid_request",
        }
    }

    /// Id of the rule, for log and audit.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Jose(error) => error.rule(),
            Self::Claim(_) => "SET-CLAIM",
            Self::Forbidden(_) => "SET-FORBIDDEN",
            Self::Event(_) => "SET-EVENT",
            Self::Audience => "SET-AUD",
            Self::Future => "SET-FUTURE",
            Self::Old => "SET-OLD",
        }
    }
}

/// A signal whose signature holds. Whether its signer may speak for anybody is another question.
#[derive(Debug, Clone)]
pub struct SignedSignal {
    jws: Verified,
    signal: Signal,
    digest: [u8; 32],
}

impl SignedSignal {
    /// Reads a request body of at most `limits.auth_body_bytes`, checks the signature and every claim. `audience`: the receiver;
    /// `age`: how long ago it may have been made, for it may have waited for the receiver.
    pub fn parse(
        body: &[u8],
        audience: &str,
        age: Duration,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, SignalError> {
        let text = std::str::from_utf8(body).map_err(|_| JoseError::Encoding)?;
        let jws = Jws::parse_as(text, TYPE, limits)?.verify(&Alg::ALL)?;
        let claims = jws.claims();
        for name in ["sub", "exp"] {
            if claims.contains_key(name) {
                return Err(SignalError::Forbidden(name));
            }
        }
        let word = |name: &'static str, most: usize| {
            let text = claims.get(name).and_then(Value::as_str);
            text.filter(|text| is_plain_text(text, most)).ok_or(SignalError::Claim(name))
        };
        let issuer = word("iss", MAX_CHARS)?.to_owned();
        let jti = word("jti", limits.jti_chars)?.to_owned();
        let issued = date(claims, "iat").ok_or(SignalError::Claim("iat"))?;
        if !names_audience(claims, audience) {
            return Err(SignalError::Audience);
        }
        let latest = now.plus(limits.clock_skew);
        let begun = |nbf: Timestamp| nbf <= latest;
        if issued > latest
            || (claims.contains_key("nbf") && !date(claims, "nbf").is_some_and(begun))
        {
            return Err(SignalError::Future);
        }
        if now > issued.plus(age).plus(limits.clock_skew) {
            return Err(SignalError::Old);
        }
        let (about, reason) = about(claims, &issuer, limits)?;
        let audience = audience.to_owned();
        let signal = Signal { issuer, audience, jti, issued, about, reason };
        Ok(Self { signal, digest: crypto::sha256(&[body]), jws })
    }

    /// What it says.
    pub const fn signal(&self) -> &Signal {
        &self.signal
    }

    /// Whose key signed it.
    pub fn signer(&self) -> &Certificate {
        self.jws.leaf()
    }

    /// Certificates that came along: material for paths, trusted in nothing.
    pub fn extra(&self) -> &[Certificate] {
        self.jws.extra()
    }

    /// SHA-256 of the whole document.
    pub const fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// A community as far as it decides who may speak in its name: its anchors and the authorities that issue for it, without what it
/// asks of members alone, for it is no member of itself. That its trust bundle has ended does not keep trust from ending.
pub fn speakers(community: &Community) -> Community {
    Community {
        policies: Vec::new(),
        uri_prefixes: Vec::new(),
        trusted_until: None,
        ..community.clone()
    }
}

fn about(
    claims: &Map<String, Value>,
    issuer: &str,
    limits: &Limits,
) -> Result<(About, Option<String>), SignalError> {
    let events = claims
        .get("events")
        .and_then(Value::as_object)
        .filter(|events| (1..=MAX_EVENTS).contains(&events.len()))
        .filter(|events| events.keys().all(|name| name.len() <= MAX_CHARS && is_absolute_uri(name)))
        .filter(|events| events.values().all(Value::is_object))
        .ok_or(SignalError::Claim("events"))?;
    if let Some(change) = events.get(CREDENTIAL_CHANGE).and_then(Value::as_object) {
        return Ok((credential(change, claims.get("sub_id"), limits)?, reason(change)?));
    }
    let published = format!("{issuer}{PUBLISHED}");
    let about = if events.contains_key(&published) {
        About::Published
    } else if events.contains_key(VERIFICATION) {
        About::Verification
    } else {
        About::Other(events.keys().next().cloned().unwrap_or_default())
    };
    Ok((about, None))
}

/// CAEP 1.0, *credential-change*; RFC 9493 for the subject.
fn credential(
    change: &Map<String, Value>,
    subject: Option<&Value>,
    limits: &Limits,
) -> Result<About, SignalError> {
    let text = |name: &str| change.get(name).and_then(Value::as_str);
    let kind = text("credential_type").ok_or(SignalError::Event("credential_type"))?;
    let done = text("change_type").ok_or(SignalError::Event("change_type"))?;
    let is_end = matches!(done, "revoke" | "delete");
    if !is_end || ![X509, CERTIFICATION].contains(&kind) {
        return Ok(About::Other(CREDENTIAL_CHANGE.to_owned()));
    }
    let subject = subject.and_then(Value::as_object).ok_or(SignalError::Claim("sub_id"))?;
    let part = |name: &str| {
        let text = subject.get(name).and_then(Value::as_str);
        text.filter(|text| is_plain_text(text, MAX_CHARS)).ok_or(SignalError::Claim("sub_id"))
    };
    let format = part("format")?;
    let certificate = carried(change, limits)?;
    if kind == CERTIFICATION {
        if format != "jwt_id" {
            return Err(SignalError::Claim("sub_id"));
        }
        let (issuer, jti) = (part("iss")?.to_owned(), part("jti")?.to_owned());
        let exp = match change.get("certification_exp") {
            None => None,
            Some(_) => Some(
                date(change, "certification_exp").ok_or(SignalError::Event("certification_exp"))?,
            ),
        };
        return Ok(About::Certification { issuer, jti, signed: exp.zip(certificate) });
    }
    let thumbprint = Some(format)
        .filter(|format| *format == "uri")
        .and_then(|_| part("uri").ok()?.strip_prefix(NI))
        .and_then(|hash| URL_SAFE_NO_PAD.decode(hash).ok())
        .and_then(|hash| hash.try_into().ok())
        .map(Thumbprint)
        .ok_or(SignalError::Claim("sub_id"))?;
    if certificate.as_ref().is_some_and(|one| one.thumbprint() != thumbprint) {
        return Err(SignalError::Event("x509_certificate"));
    }
    Ok(About::Certificate { thumbprint, certificate })
}

/// `x509_certificate`, if there is one: standard base64 of DER.
fn carried(
    change: &Map<String, Value>,
    limits: &Limits,
) -> Result<Option<Box<Certificate>>, SignalError> {
    let Some(value) = change.get("x509_certificate") else { return Ok(None) };
    let der = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    der.filter(|der| der.len() <= limits.certificate_bytes)
        .and_then(|der| Certificate::from_der(&der).ok())
        .map(|found| Some(Box::new(found)))
        .ok_or(SignalError::Event("x509_certificate"))
}

/// `reason_admin`: a text by language; one is enough.
fn reason(change: &Map<String, Value>) -> Result<Option<String>, SignalError> {
    let unfit = SignalError::Event("reason_admin");
    let Some(texts) = change.get("reason_admin") else { return Ok(None) };
    let text = texts.as_object().ok_or(unfit)?.values().next().and_then(Value::as_str);
    text.filter(|text| is_plain_text(text, MAX_REASON))
        .map(|text| Some(text.to_owned()))
        .ok_or(unfit)
}

impl Signal {
    /// The claims of the document.
    pub fn to_claims(&self) -> Value {
        let at = self.issued.as_seconds();
        let mut change = json!({
            "event_timestamp": at, "change_type": "revoke", "initiating_entity": "admin",
        });
        let mut set = |name: &str, value: Value| {
            if let Some(members) = change.as_object_mut() {
                members.insert(name.to_owned(), value);
            }
        };
        if let Some(reason) = &self.reason {
            set("reason_admin", json!({ "en": reason }));
        }
        let (name, subject) = match &self.about {
            About::Certificate { thumbprint, certificate } => {
                set("credential_type", json!(X509));
                if let Some(one) = certificate {
                    set("x509_issuer", json!(one.issuer_text()));
                    set("x509_serial", json!(one.serial_text()));
                    set("x509_certificate", json!(STANDARD.encode(one.der())));
                }
                let uri = format!("{NI}{}", URL_SAFE_NO_PAD.encode(thumbprint.0));
                (CREDENTIAL_CHANGE.to_owned(), Some(json!({ "format": "uri", "uri": uri })))
            }
            About::Certification { issuer, jti, signed } => {
                set("credential_type", json!(CERTIFICATION));
                if let Some((exp, signer)) = signed {
                    set("certification_exp", json!(exp.as_seconds()));
                    set("x509_certificate", json!(STANDARD.encode(signer.der())));
                }
                let subject = json!({ "format": "jwt_id", "iss": issuer, "jti": jti });
                (CREDENTIAL_CHANGE.to_owned(), Some(subject))
            }
            About::Published => (format!("{}{PUBLISHED}", self.issuer), None),
            About::Verification => (VERIFICATION.to_owned(), None),
            About::Other(event) => (event.clone(), None),
        };
        let payload = if name == CREDENTIAL_CHANGE { change } else { json!({}) };
        let mut claims = json!({
            "iss": self.issuer, "aud": self.audience, "jti": self.jti, "iat": at,
            "events": { name: payload },
        });
        if let (Some(subject), Some(members)) = (subject, claims.as_object_mut()) {
            members.insert("sub_id".to_owned(), subject);
        }
        claims
    }

    /// Signs it, for the community's operator.
    pub fn sign(&self, identity: &SigningIdentity) -> Result<String, JoseError> {
        let alg = identity.alg();
        let header = json!({"alg": alg.name(), "typ": TYPE, "x5c": identity.x5c()});
        let claims = self.to_claims().to_string();
        identity.sign_raw(alg, header.to_string().as_bytes(), claims.as_bytes())
    }
}
