//! Authentication tokens (IG §4.2.1, §5.2; JCA §6; TOK-07, TOK-10..TOK-12, T09, T11, T16..T19). What they assert of the
//! context stands in [`crate::context`].
//!
//! Not checked here, for want of a store: that the client is registered and that a URI of the
//! certificate is the registration's (TOK-08), replay, and the path.

use std::fmt;

use serde_json::Value;
use ward_core::{Limits, Timestamp};

use crate::claims::{ClaimFault, envelope};
use crate::{Fault, JoseError, Verified};

/// Why an authentication token is refused, by the wire code of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// `invalid_request`: JWS or signature (T09, T34; JCA §7.2, §8.1), or `resources` (B2B-20).
    #[error(transparent)]
    Request(Fault),
    /// `invalid_client`: claims or trust.
    #[error(transparent)]
    Client(Fault),
}

impl AssertionError {
    /// The error code of RFC 6749 §5.2.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Request(_) => "invalid_request",
            Self::Client(_) => "invalid_client",
        }
    }

    /// What was refused.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Request(fault) | Self::Client(fault) => *fault,
        }
    }
}

impl From<JoseError> for AssertionError {
    fn from(error: JoseError) -> Self {
        if error == JoseError::WeakKey {
            return Self::Client(Fault::new(error.rule(), "the certificate is not trusted"));
        }
        Self::Request(Fault::new(error.rule(), "the client assertion is not validly signed"))
    }
}

impl From<crate::PathError> for AssertionError {
    /// For errors of which [`crate::PathError::is_unavailable`] is false; the others are a 503.
    fn from(error: crate::PathError) -> Self {
        Self::Client(Fault::new(error.rule(), "the certificate is not trusted"))
    }
}

impl From<ClaimFault> for AssertionError {
    fn from(fault: ClaimFault) -> Self {
        let (rule, text) = match fault {
            ClaimFault::Issuer | ClaimFault::Subject => ("T11", "iss and sub are not one client"),
            ClaimFault::Audience => ("T16", "aud is not the token endpoint"),
            ClaimFault::Expiry => ("T17", "exp is missing or malformed"),
            ClaimFault::Expired => ("T17", "the client assertion has expired"),
            ClaimFault::Life => ("T17", "exp is more than five minutes after iat"),
            ClaimFault::Issued => ("T17", "iat is missing, malformed or in the future"),
            ClaimFault::NotBefore => ("T17", "nbf is in the future"),
            ClaimFault::Id => ("T18", "jti is missing or malformed"),
        };
        Self::Client(Fault::new(rule, text))
    }
}

/// An authentication token that is valid in itself.
#[derive(Clone, PartialEq)]
pub struct AuthenticationToken {
    /// `iss` and `sub`, as they stand: whether a client has that id, the caller finds out.
    pub client_id: String,
    /// Names the token; not to be seen twice (TOK-12).
    pub jti: String,
    /// When it was made.
    pub iat: Timestamp,
    /// When it ends.
    pub exp: Timestamp,
    /// The `extensions` claim, unread; see [`crate::context::Context::parse`].
    pub extensions: Option<Value>,
}

impl AuthenticationToken {
    /// Validates. `token_endpoint` exactly as published (TOK-10).
    pub fn validate(
        jws: &Verified,
        token_endpoint: &str,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<Self, AssertionError> {
        let claims = jws.claims();
        let envelope = envelope(claims, Some(token_endpoint), limits.statement_life, now, limits)?;
        if claims.contains_key("resources") {
            let fault = Fault::new("B2B-20", "the resources claim is not supported");
            return Err(AssertionError::Request(fault));
        }
        Ok(Self {
            client_id: envelope.iss.to_owned(),
            jti: envelope.jti.to_owned(),
            iat: envelope.iat,
            exp: envelope.exp,
            extensions: claims.get("extensions").cloned(),
        })
    }
}

impl fmt::Debug for AuthenticationToken {
    /// Without the extensions, which may name persons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticationToken")
            .field("client_id", &self.client_id)
            .field("exp", &self.exp)
            .finish_non_exhaustive()
    }
}
