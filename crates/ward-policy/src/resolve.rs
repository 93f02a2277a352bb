//! From what a caller presents to a principal. Implemented by `ward-issuer`, which owns the tokens.

use ward_core::{Actor, BoxFuture, ClientId, ClientUri, TenantId};

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

/// What can be told of credentials that give no access. For the log and for [`crate::Enforcement`] only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognised {
    /// Not Ward's: somebody else's token, or none.
    Foreign,
    /// Ward's own, or too much like it: it must never leave Ward. Whose it was cannot be told.
    Own,
    /// Ward's own, of this client: it has ended, or was revoked.
    Ended {
        /// The registered client.
        client: ClientId,
        /// Its URI.
        uri: ClientUri,
        /// The actor of events about it.
        actor: Actor,
    },
}

/// Turns what was presented into a principal, on every request anew.
pub trait Resolve: Send + Sync {
    /// The principal, or why there is none.
    fn resolve<'a>(
        &'a self,
        presented: &'a Presented<'a>,
    ) -> BoxFuture<'a, Result<Principal, ResolveError>>;

    /// What can be told of credentials that were not resolved. Never gives access. The default takes all of
    /// them for Ward's own.
    fn recognise<'a>(&'a self, presented: &'a Presented<'a>) -> BoxFuture<'a, Recognised> {
        let _ = presented;
        Box::pin(async { Recognised::Own })
    }
}
