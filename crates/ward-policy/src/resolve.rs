//! From what a caller presents to a principal. Implemented by `ward-issuer`, which owns the tokens.

use ward_core::{BoxFuture, TenantId};

use crate::Principal;

/// What a caller presents for itself.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// The tenant of the URL.
    pub tenant: &'a TenantId,
    /// The value of the one `Authorization` header (RSV-04: nothing else counts).
    pub authorization: Option<&'a str>,
}

/// Why there is no principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing was presented: 401 without an error code (RFC 6750 §3.1, G01).
    #[error("no credentials")]
    Missing,
    /// Not of the form `Bearer token`: 400 `invalid_request`.
    #[error("malformed credentials")]
    Malformed,
    /// Expired, revoked, unknown, or made for another audience: 401 `invalid_token` (G02, G03).
    #[error("invalid token")]
    Invalid,
    /// It cannot be known now whether the token lives: 503.
    #[error("tokens cannot be checked now")]
    Unavailable,
}

/// Turns what was presented into a principal, on every request anew.
pub trait Resolve: Send + Sync {
    /// The principal, or why there is none.
    fn resolve<'a>(
        &'a self,
        presented: &'a Presented<'a>,
    ) -> BoxFuture<'a, Result<Principal, ResolveError>>;
}
