//! What the sender of a signal is told (RFC 8935 §2.2–2.4, §6 for other statuses): one table. Descriptions are fixed, so that nothing of
//! the request is echoed and no answer is an oracle.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use ward_net::http::BodyError;
use ward_trust::SignalError;

use crate::{IssuerError, wire};

/// Seconds after which what cannot be decided now may be sent again.
const RETRY_SECONDS: u32 = 5;

/// Why a signal is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Not `POST`.
    Method,
    /// Not `application/secevent+jwt`.
    MediaType,
    /// The body is over its bound.
    TooLarge,
    /// The body did not come in time.
    TooSlow,
    /// The body was broken off.
    Broken,
    /// Too many of them; seconds to wait.
    TooMany(u32),
    /// The document itself.
    Signal(SignalError),
    /// `iss` is no community of this server.
    Issuer,
    /// The signer may not speak for `iss`; the rule.
    Signer(&'static str),
    /// The `jti` named another signal.
    Reused,
    /// It cannot be known or kept now; the rule.
    Unavailable(&'static str),
}

impl From<SignalError> for Refused {
    fn from(error: SignalError) -> Self {
        match error {
            SignalError::Jose(ward_trust::JoseError::TooLong) => Self::TooLarge,
            error => Self::Signal(error),
        }
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(_) => Self::TooLarge,
            BodyError::Timeout => Self::TooSlow,
            BodyError::Broken => Self::Broken,
        }
    }
}

impl From<IssuerError> for Refused {
    fn from(error: IssuerError) -> Self {
        tracing::error!(%error, "a signal could not take effect yet; its sender is asked to send it again");
        Self::Unavailable("T36")
    }
}

impl From<ward_store::StoreError> for Refused {
    fn from(error: ward_store::StoreError) -> Self {
        IssuerError::from(error).into()
    }
}

impl From<ward_core::SinkError> for Refused {
    fn from(error: ward_core::SinkError) -> Self {
        IssuerError::from(error).into()
    }
}

impl Refused {
    /// Id of the rule, for the log.
    pub(super) const fn rule(&self) -> &'static str {
        match self {
            Self::Method | Self::MediaType | Self::Broken => "SET-HTTP",
            Self::TooLarge | Self::TooSlow | Self::TooMany(_) => "SET-BOUND",
            Self::Signal(error) => error.rule(),
            Self::Issuer => "SET-ISS",
            Self::Reused => "SET-JTI",
            Self::Signer(rule) | Self::Unavailable(rule) => rule,
        }
    }

    /// Status, `err` (RFC 8935 §2.4 where it is 400) and `description`.
    fn row(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Method => (S::METHOD_NOT_ALLOWED, "invalid_request", "send a POST"),
            Self::MediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "invalid_request",
                "send application/secevent+jwt (RFC 8935)",
            ),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "invalid_request", "the body is too large"),
            Self::TooSlow => {
                (S::REQUEST_TIMEOUT, "invalid_request", "the body did not arrive in time")
            }
            Self::Broken => (S::BAD_REQUEST, "invalid_request", "the body was broken off"),
            Self::TooMany(_) => {
                (S::TOO_MANY_REQUESTS, "access_denied", "too many requests, slow down")
            }
            Self::Signal(error) => (S::BAD_REQUEST, error.code(), describe(*error)),
            Self::Issuer => (
                S::BAD_REQUEST,
                "invalid_issuer",
                "iss is no trust community that this server is a member of",
            ),
            Self::Signer(_) => (
                S::BAD_REQUEST,
                "invalid_key",
                "the signing certificate does not speak for iss here: its only SAN URI must be iss, with an unrevoked path in that community",
            ),
            Self::Reused => {
                (S::BAD_REQUEST, "invalid_request", "this jti named another signal before")
            }
            Self::Unavailable(_) => (
                S::SERVICE_UNAVAILABLE,
                "access_denied",
                "this cannot be decided now, send it again later",
            ),
        }
    }

    /// The answer.
    pub(super) fn response(&self) -> Response<Bytes> {
        let (status, err, description) = self.row();
        let mut response = wire::json(status, &json!({ "err": err, "description": description }));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static("en"));
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            Self::TooMany(seconds) => {
                headers.insert(header::RETRY_AFTER, (*seconds).into());
            }
            Self::Unavailable(_) => {
                headers.insert(header::RETRY_AFTER, RETRY_SECONDS.into());
            }
            _ => {}
        }
        response
    }
}

const fn describe(error: SignalError) -> &'static str {
    match error {
        SignalError::Jose(_) => {
            "not a validly signed security event token with typ secevent+jwt and x5c"
        }
        SignalError::Claim(_) => {
            "a claim is missing or malformed: iss, aud, iat, jti, events, or sub_id"
        }
        SignalError::Forbidden(_) => "sub and exp have no place in a signal",
        SignalError::Event(_) => "the event does not keep to its definition",
        SignalError::Audience => "aud must be the FHIR base of this server",
        SignalError::Future => "iat or nbf lies in the future",
        SignalError::Old => "it is too old",
    }
}

/// 202, empty (RFC 8935 §2.2).
pub(super) fn accepted() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
