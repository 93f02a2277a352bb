//! Why a step was not done: which check failed (by its rule id), and what to do about it.

use ward_net::client::FetchError;
use ward_trust::{JoseError, MetadataError};

/// Whose the fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// What this client was told to do.
    Us,
    /// The server's answer.
    Server,
    /// The way between.
    Network,
}

/// Why the client stopped. Nothing further was sent. No variant carries a token or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// CLI-01: the server answered 404.
    #[error("the server does not support UDAP at this base URL; check the URL (CLI-01)")]
    NoUdap,
    /// CLI-03: the server answered 204.
    #[error(
        "the server does not serve this trust community; use a certificate of one that it serves (CLI-03)"
    )]
    CommunityNotServed,
    /// M14: the server answered with a redirect, which is not followed.
    #[error("the server redirects, which is not followed; use the URL that it publishes (M14)")]
    Redirected,
    /// CLI-05..07: the metadata failed a check.
    #[error("the server's metadata is refused: {0} ({rule}); do not go on, tell the server's operator", rule = .0.rule())]
    Metadata(MetadataError),
    /// CLI-04: the server does not offer what is needed.
    #[error("the server does not support {what} ({rule}); ask for what its metadata lists")]
    NotSupported {
        /// What is missing.
        what: &'static str,
        /// The rule that says so.
        rule: &'static str,
    },
    /// CLI-11, CLI-22: a server must refuse this, so it was not sent.
    #[error("this cannot be sent: {what} ({rule})")]
    Local {
        /// What is wrong, and what would be right.
        what: &'static str,
        /// The rule that says so.
        rule: &'static str,
    },
    /// CLI-18: this server already said that it does not trust this certificate.
    #[error(
        "the server does not trust this certificate; use one of another community that it serves (CLI-18)"
    )]
    Unapproved,
    /// The server refused.
    #[error(
        "the server refused with {status} {code}; see its documentation for this code, and give its operator the correlation id if there is one"
    )]
    Refused {
        /// HTTP status.
        status: u16,
        /// OAuth error code, or empty. Letters and underscores only.
        code: String,
        /// `X-Correlation-Id` of the answer, or empty.
        correlation: String,
    },
    /// The server's answer is not what the specification says.
    #[error("the server's answer is not valid: {what} ({rule}); tell its operator")]
    Answer {
        /// What is wrong.
        what: &'static str,
        /// The rule that says so.
        rule: &'static str,
    },
    /// The token is for another FHIR base, where it stays (CLI-24).
    #[error("the token was issued for another FHIR base; get one for this base (CLI-24)")]
    OtherBase,
    /// Our own key did not sign.
    #[error("signing failed: {0}; check that key and certificate belong together")]
    Sign(JoseError),
    /// No answer.
    #[error("no answer: {0}")]
    Fetch(#[from] FetchError),
}

impl ClientError {
    /// Id of the rule whose check failed, where there is one.
    pub const fn rule(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoUdap => "CLI-01",
            Self::CommunityNotServed => "CLI-03",
            Self::Redirected => "M14",
            Self::Metadata(error) => error.rule(),
            Self::NotSupported { rule, .. }
            | Self::Local { rule, .. }
            | Self::Answer { rule, .. } => rule,
            Self::Unapproved => "CLI-18",
            Self::OtherBase => "CLI-24",
            Self::Refused { .. } | Self::Sign(_) | Self::Fetch(_) => return None,
        })
    }

    /// Whose the fault is.
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Local { .. } | Self::OtherBase | Self::Sign(_) => Origin::Us,
            Self::Fetch(_) => Origin::Network,
            _ => Origin::Server,
        }
    }
}
