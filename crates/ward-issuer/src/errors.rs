//! The one table from refusals to wire answers: status, OAuth code, fixed description.
//!
//! Sources: RFC 6749 §5.2, RFC 7591 §3.2.2, UDAP DCR §5.2, JCA §7.2, `udap.md` §7 and §8 (1, 2, 19).
//! Descriptions are short and constant, so that an answer is never an oracle; the id of the rule that
//! refused goes only to the log. Nothing of the request is ever echoed.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use ward_core::{SinkError, VaultError};
use ward_store::StoreError;

/// Why an operation of this room failed that is not a refusal of a caller.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The configuration cannot be served (SMD-11, COM-07); says which part and what to do.
    #[error("the issuer's configuration is refused: {0}")]
    Config(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log did not take the event of a change.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A key cannot be had.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A token cannot be sealed.
    #[error("the token cannot be sealed: {0}")]
    Seal(&'static str),
    /// What should be revoked is not there.
    #[error("no such {0}")]
    Unknown(&'static str),
}

/// What a caller is told: one row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// 405, with the methods that are served.
    MethodNotAllowed(&'static str),
    /// 404: no such path below this issuer.
    NotFound,
    /// 413: the body exceeds its bound (R03).
    TooLarge,
    /// 408: the body did not arrive in time.
    TooSlow,
    /// 415: not `application/json` (R02).
    MediaType,
    /// 429 with `Retry-After`, seconds (P25, T35).
    TooMany(u32),
    /// 503 with `Retry-After`: store, log, keys or revocation lists out of reach (T36, PKI-04).
    Unavailable,
    /// 400: the statement's signature or claims (RFC 7591).
    InvalidSoftwareStatement,
    /// 400: the statement's certificate is not trusted (RFC 7591).
    UnapprovedSoftwareStatement,
    /// 400: a registration parameter (RFC 7591).
    InvalidClientMetadata,
    /// 400: as before, naming the one grant type that is served.
    GrantTypeNotServed,
    /// 400: the signature or a claim of a certification, or a registration that does not keep to it (CE §6.8).
    InvalidCertification,
    /// 400: a certifier that is not trusted, or that does not stand by it (CE §6.8).
    UnapprovedCertification,
    /// 400: a certification that is required is not there (C01, CRT-02).
    CertificationRequired,
    /// 400: a certification that is required has lapsed (CRT-16).
    CertificationLapsed,
    /// 400: redirection URIs (RFC 7591).
    InvalidRedirectUri,
    /// 400: malformed token or discovery request.
    InvalidRequest,
    /// 400: the client did not authenticate.
    InvalidClient,
    /// 401 with a challenge: the client tried the `Authorization` header (T08).
    InvalidClientHeader,
    /// 400: `hl7-b2b` or another authorization extension object (§7.7).
    InvalidGrant,
    /// 400: not the grant that the client registered for.
    UnauthorizedClient,
    /// 400: the client is on hold until an operator releases it.
    ClientHeld,
    /// 400: a grant that this server does not know.
    UnsupportedGrantType,
    /// 400: no scope can be granted.
    InvalidScope,
}

/// Seconds after which a caller may try again when something of ours is out of reach.
const RETRY_SECONDS: u32 = 5;

impl Answer {
    /// HTTP status, `error` and `error_description`: the table.
    pub const fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::MethodNotAllowed(_) => {
                (S::METHOD_NOT_ALLOWED, "invalid_request", "this method is not served here")
            }
            Self::NotFound => (S::NOT_FOUND, "invalid_request", "nothing is served at this path"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "invalid_request", "the body is too large"),
            Self::TooSlow => {
                (S::REQUEST_TIMEOUT, "invalid_request", "the body did not arrive in time")
            }
            Self::MediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "invalid_request", "send application/json")
            }
            Self::TooMany(_) => {
                (S::TOO_MANY_REQUESTS, "temporarily_unavailable", "too many requests, slow down")
            }
            Self::Unavailable => (
                S::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "this cannot be decided now, try again later",
            ),
            Self::InvalidSoftwareStatement => (
                S::BAD_REQUEST,
                "invalid_software_statement",
                "the signature or a claim of the software statement is not valid",
            ),
            Self::UnapprovedSoftwareStatement => (
                S::BAD_REQUEST,
                "unapproved_software_statement",
                "the certificate of the software statement is not trusted here",
            ),
            Self::InvalidClientMetadata => (
                S::BAD_REQUEST,
                "invalid_client_metadata",
                "a registration parameter is missing or not acceptable",
            ),
            Self::GrantTypeNotServed => (
                S::BAD_REQUEST,
                "invalid_client_metadata",
                "only the grant type client_credentials is served here",
            ),
            Self::InvalidCertification => (
                S::BAD_REQUEST,
                "invalid_certification",
                "a certification is not valid, or the registration does not keep to it",
            ),
            Self::UnapprovedCertification => (
                S::BAD_REQUEST,
                "unapproved_certification",
                "a certification is not trusted here, or not any more valid",
            ),
            Self::CertificationRequired => (
                S::BAD_REQUEST,
                "invalid_client_metadata",
                "a certification is missing, see udap_certifications_required",
            ),
            Self::CertificationLapsed => (
                S::BAD_REQUEST,
                "unauthorized_client",
                "a required certification has lapsed, register again with a new one",
            ),
            Self::InvalidRedirectUri => {
                (S::BAD_REQUEST, "invalid_redirect_uri", "a redirection URI is not acceptable")
            }
            Self::InvalidRequest => {
                (S::BAD_REQUEST, "invalid_request", "the request is malformed or incomplete")
            }
            Self::InvalidClient => {
                (S::BAD_REQUEST, "invalid_client", "the client could not be authenticated")
            }
            Self::InvalidClientHeader => (
                S::UNAUTHORIZED,
                "invalid_client",
                "authenticate by client_assertion, not by the Authorization header",
            ),
            Self::InvalidGrant => (
                S::BAD_REQUEST,
                "invalid_grant",
                "an authorization extension, as hl7-b2b, is missing or not acceptable",
            ),
            Self::UnauthorizedClient => (
                S::BAD_REQUEST,
                "unauthorized_client",
                "the client is not registered for this grant",
            ),
            Self::ClientHeld => (
                S::BAD_REQUEST,
                "unauthorized_client",
                "the client is on hold, ask the operator of this server",
            ),
            Self::UnsupportedGrantType => {
                (S::BAD_REQUEST, "unsupported_grant_type", "this grant type is not supported")
            }
            Self::InvalidScope => {
                (S::BAD_REQUEST, "invalid_scope", "none of the requested scopes can be granted")
            }
        }
    }

    /// The header that goes with the row, if any.
    pub fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed(allow) => Some((header::ALLOW, HeaderValue::from_static(allow))),
            Self::TooMany(seconds) => Some((header::RETRY_AFTER, seconds.into())),
            Self::Unavailable => Some((header::RETRY_AFTER, RETRY_SECONDS.into())),
            Self::InvalidClientHeader => Some((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(r#"Basic realm="client_assertion only""#),
            )),
            _ => None,
        }
    }
}

/// A refusal: what the caller is told, and the rule for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller is told.
    pub answer: Answer,
    /// Id of the rule (`R13`, `P16`, `T14`).
    pub rule: Cow<'static, str>,
    /// What the caller is told of extensions: the server's own words, never the caller's (TEF-08).
    pub extensions: Option<Value>,
}

impl Refusal {
    /// Refuses with an answer for the caller and a rule for the log.
    pub fn new(answer: Answer, rule: impl Into<Cow<'static, str>>) -> Self {
        Self { answer, rule: rule.into(), extensions: None }
    }

    /// The same, with an `extensions` member in the answer.
    #[must_use]
    pub fn with_extensions(self, extensions: Value) -> Self {
        Self { extensions: Some(extensions), ..self }
    }
}

impl From<IssuerError> for Refusal {
    fn from(error: IssuerError) -> Self {
        tracing::error!(%error, "an issuer request could not be decided");
        Self::new(Answer::Unavailable, "T36")
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        IssuerError::from(error).into()
    }
}

impl From<SinkError> for Refusal {
    fn from(error: SinkError) -> Self {
        IssuerError::from(error).into()
    }
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        IssuerError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Answer; 25] = [
        Answer::InvalidCertification,
        Answer::UnapprovedCertification,
        Answer::CertificationRequired,
        Answer::CertificationLapsed,
        Answer::MethodNotAllowed("POST"),
        Answer::NotFound,
        Answer::TooLarge,
        Answer::TooSlow,
        Answer::MediaType,
        Answer::TooMany(1),
        Answer::Unavailable,
        Answer::InvalidSoftwareStatement,
        Answer::UnapprovedSoftwareStatement,
        Answer::InvalidClientMetadata,
        Answer::GrantTypeNotServed,
        Answer::InvalidRedirectUri,
        Answer::InvalidRequest,
        Answer::InvalidClient,
        Answer::InvalidClientHeader,
        Answer::InvalidGrant,
        Answer::UnauthorizedClient,
        Answer::ClientHeld,
        Answer::UnsupportedGrantType,
        Answer::InvalidScope,
        Answer::TooMany(60),
    ];

    #[test]
    fn descriptions_keep_to_the_characters_of_rfc_6749() {
        for answer in ALL {
            let (status, code, text) = answer.row();
            assert!(status.is_client_error() || status.is_server_error());
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code}");
            let legal = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(text.len() < 80 && text.bytes().all(legal), "ERR-12: {text}");
        }
    }
}
