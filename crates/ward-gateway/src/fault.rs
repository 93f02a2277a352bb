//! Every refusal of the gateway, and the one table of what it looks like on the wire: status, issue
//! code, text, headers. Texts are constant per rule, except that grammar refusals name a parameter of
//! the request; none depends on stored data, none comes from the upstream (E7, house rule 5).

use std::time::Duration;

use http::header::{ALLOW, CONNECTION, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use ward_fhir::outcome::{NOT_FOUND, operation_outcome};
use ward_fhir::{IssueCode, Severity};
use ward_net::http::{Body, BodyError, full, retry_after};
use ward_policy::{Denial, DenialCode, ResolveError};

/// Why the gateway does not answer what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// Refused by the request grammar.
    #[error(transparent)]
    Grammar(#[from] ward_fhir::Refusal),
    /// No `Host`, several, or one that is no authority (A8).
    #[error("A8: the authority is missing or malformed")]
    Authority,
    /// Another authority than the configured one (A8).
    #[error("A8: another authority")]
    Misdirected,
    /// Not below the FHIR base.
    #[error("A1: not below the FHIR base")]
    Elsewhere,
    /// `Upgrade` (A12).
    #[error("A12: upgrade")]
    Upgrade,
    /// `CONNECT`, `TRACE` and methods of other protocols (A12, A16).
    #[error("A16: method")]
    Method,
    /// A header that the gateway must read is not visible ASCII, or may stand only once.
    #[error("A7: header")]
    Header,
    /// `access_token` in the query or form (A23, G04).
    #[error("A23: token outside the Authorization header")]
    TokenInUrl,
    /// `Content-Encoding` on a request (A18).
    #[error("A18: content coding")]
    Encoded,
    /// The target is longer than its bound.
    #[error("the request target is too long")]
    TargetTooLong,
    /// `Content-Length` beside `Transfer-Encoding`, or a transfer coding other than `chunked` (A10).
    #[error("A10: framing")]
    Framing,
    /// A search that is too long to be repeated in a paging link.
    #[error("the search is too long")]
    QueryTooLong,
    /// OPTIONS, which Ward answers itself (A16); in observe mode it passes.
    #[error("A16: OPTIONS")]
    Options,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// No principal.
    #[error(transparent)]
    Unresolved(#[from] ResolveError),
    /// Refused by policy.
    #[error("{}: policy", .0.rule)]
    Denied(Denial),
    /// The uniform 404.
    #[error("not found, or not to be seen")]
    NotFound,
    /// The upstream does not support a criterion that is well-formed.
    #[error("the upstream does not support the search")]
    NotSupported,
    /// The facts of the decision cannot be had.
    #[error("facts are unavailable")]
    Facts,
    /// The log cannot be written (rule 3).
    #[error("the log is unavailable")]
    Log,
    /// The key for cursors cannot be had.
    #[error("keys are unavailable")]
    Keys,
    /// The upstream cannot be reached, or says that it is busy.
    #[error("the upstream is unreachable")]
    UpstreamDown,
    /// The upstream did not answer in time.
    #[error("the upstream is too slow")]
    UpstreamTimeout,
    /// The upstream's answer is larger than its bound, and cannot be had in smaller pieces.
    #[error("the upstream's answer is too large")]
    Oversized,
    /// The upstream's answer cannot be used; the operator reads why.
    #[error("the upstream's answer cannot be used: {0}")]
    Upstream(&'static str),
}

/// A refusal that can be only observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) rule: &'static str,
    /// The status that enforcement would have given.
    pub(crate) status: u16,
}

impl Refused {
    /// The rules of [`Fault::observable`] besides the grammar's and the policy's.
    pub(crate) const RULES: &[&str] =
        &["A16", "A18", "A23", "LIMIT", "G01", "G02", "RSV-02", "FACTS"];
}

/// What a refusal looks like on the wire.
struct Wire<'a> {
    status: StatusCode,
    issue: IssueCode,
    text: &'a str,
    challenge: Option<&'static str>,
    allow: Option<&'static str>,
    retry: bool,
}

/// The methods of the FHIR base.
pub(crate) const METHODS: &str = "GET, HEAD, POST, OPTIONS";

impl Fault {
    /// The rule that an event about this refusal names; `None` if no rule decided.
    pub(crate) const fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Denied(denial) => Some(denial.rule),
            Self::NotFound => Some("NOT-FOUND"),
            Self::QueryTooLong => Some("LIMIT"),
            _ => None,
        }
    }

    /// What observe mode calls this refusal; `None` if it is enforced in every mode, because it protects
    /// Ward itself or because nothing was decided.
    pub(crate) fn observable(&self) -> Option<Refused> {
        let rule = match self {
            Self::Grammar(refusal) if !matches!(refusal.rule, "A1" | "A2" | "A3" | "A4") => {
                refusal.rule
            }
            Self::Options => "A16",
            Self::TokenInUrl => "A23",
            Self::Encoded => "A18",
            Self::QueryTooLong | Self::Body(BodyError::TooLarge(_)) => "LIMIT",
            Self::Unresolved(ResolveError::Missing) => "G01",
            Self::Unresolved(ResolveError::Invalid) => "G02",
            Self::Unresolved(ResolveError::Malformed) => "RSV-02",
            Self::Denied(denial) => denial.rule,
            Self::Facts => "FACTS",
            _ => return None,
        };
        Some(Refused { rule, status: self.status().as_u16() })
    }

    fn wire(&self) -> Wire<'_> {
        use IssueCode as I;
        use StatusCode as S;
        let plain = |status, issue, text| Wire {
            status,
            issue,
            text,
            challenge: None,
            allow: None,
            retry: false,
        };
        let later =
            |issue, text| Wire { retry: true, ..plain(S::SERVICE_UNAVAILABLE, issue, text) };
        let challenged = |status, issue, challenge, text| Wire {
            challenge: Some(challenge),
            ..plain(status, issue, text)
        };
        match self {
            Self::Grammar(refusal) => Wire {
                allow: refusal.allow,
                ..plain(
                    S::from_u16(refusal.status).unwrap_or(S::BAD_REQUEST),
                    refusal.issue,
                    refusal.text.as_str(),
                )
            },
            Self::Authority => {
                plain(S::BAD_REQUEST, I::Invalid, "The request needs exactly one Host.")
            }
            Self::Misdirected => plain(
                S::MISDIRECTED_REQUEST,
                I::Invalid,
                "This host is not served here; use the published base URL.",
            ),
            Self::Elsewhere => plain(S::NOT_FOUND, I::NotFound, "No such endpoint."),
            Self::Upgrade => {
                plain(S::NOT_IMPLEMENTED, I::NotSupported, "Protocol upgrades are not supported.")
            }
            Self::Method | Self::Options => Wire {
                allow: Some(METHODS),
                ..plain(S::METHOD_NOT_ALLOWED, I::NotSupported, "This method is not supported.")
            },
            Self::Header => plain(
                S::BAD_REQUEST,
                I::Invalid,
                "A header is repeated or holds characters that it must not.",
            ),
            Self::TokenInUrl => challenged(
                S::BAD_REQUEST,
                I::Login,
                r#"Bearer error="invalid_request""#,
                "Access tokens are accepted in the Authorization header only.",
            ),
            Self::Encoded => plain(
                S::UNSUPPORTED_MEDIA_TYPE,
                I::NotSupported,
                "Request bodies with a content coding are not supported.",
            ),
            Self::TargetTooLong => plain(
                S::URI_TOO_LONG,
                I::TooLong,
                "The request target is too long; use POST _search.",
            ),
            Self::Framing => plain(
                S::BAD_REQUEST,
                I::Invalid,
                "The body must be framed by one Content-Length or by Transfer-Encoding: chunked.",
            ),
            Self::QueryTooLong => plain(
                S::PAYLOAD_TOO_LARGE,
                I::TooLong,
                "The search is too long; use fewer or shorter values.",
            ),
            Self::Body(error) => plain(
                error.status(),
                if matches!(error, BodyError::TooLarge(_)) { I::TooLong } else { I::Invalid },
                "The request body is too large, too slow or broken off.",
            ),
            Self::Unresolved(ResolveError::Missing) => challenged(
                S::UNAUTHORIZED,
                I::Login,
                "Bearer",
                "An access token is needed: Authorization: Bearer <token>.",
            ),
            Self::Unresolved(ResolveError::Malformed) => challenged(
                S::BAD_REQUEST,
                I::Login,
                r#"Bearer error="invalid_request""#,
                "The Authorization header must be: Bearer <token>.",
            ),
            Self::Unresolved(ResolveError::Invalid) => challenged(
                S::UNAUTHORIZED,
                I::Login,
                r#"Bearer error="invalid_token""#,
                "The access token is expired, revoked or not meant for this server.",
            ),
            Self::Unresolved(ResolveError::Unavailable) => {
                later(I::Transient, "Access tokens cannot be checked now; try again.")
            }
            Self::Denied(denial) => Wire {
                challenge: match denial.code {
                    DenialCode::InsufficientScope => Some(r#"Bearer error="insufficient_scope""#),
                    DenialCode::Forbidden => None,
                },
                ..plain(
                    S::from_u16(denial.status).unwrap_or(S::FORBIDDEN),
                    I::Forbidden,
                    denial.text,
                )
            },
            // Its body is the constant of ward-fhir; this row is for completeness of the table.
            Self::NotFound => plain(S::NOT_FOUND, I::NotFound, ""),
            Self::NotSupported => plain(
                S::BAD_REQUEST,
                I::NotSupported,
                "The system behind this gateway does not support one of the search parameters.",
            ),
            Self::Facts => later(
                I::Transient,
                "What this decision needs to know cannot be read now; try again.",
            ),
            Self::Log => later(
                I::Transient,
                "The audit log cannot be written, so nothing is released; try again later.",
            ),
            Self::Keys => later(I::Transient, "Keys cannot be had now; try again."),
            Self::UpstreamDown => {
                later(I::Transient, "The system behind this gateway cannot be reached; try again.")
            }
            Self::UpstreamTimeout => plain(
                S::GATEWAY_TIMEOUT,
                I::Timeout,
                "The system behind this gateway did not answer in time.",
            ),
            Self::Upstream(_) | Self::Oversized => plain(
                S::BAD_GATEWAY,
                I::Exception,
                "The system behind this gateway gave an answer that cannot be used.",
            ),
        }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.wire().status
    }

    /// The answer, before the headers that every answer carries.
    pub(crate) fn answer(&self) -> Response<Body> {
        let wire = self.wire();
        let body = match self {
            Self::NotFound => NOT_FOUND.to_owned(),
            _ => operation_outcome(&[(Severity::Error, wire.issue, wire.text)]),
        };
        let mut response = Response::new(full(body));
        *response.status_mut() = wire.status;
        let headers = response.headers_mut();
        if let Some(challenge) = wire.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if matches!(self, Self::Framing) {
            // Where its body ends is a matter of opinion: nothing more is read from this connection.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(allow) = wire.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if wire.retry { retry_after(response, RETRY) } else { response }
    }
}

/// What `Retry-After` says.
const RETRY: Duration = Duration::from_secs(5);
