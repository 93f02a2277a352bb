//! What the client needs of the wire: one exchange, and paths checked with revocation lists. Both are doubles in tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use ward_core::BoxFuture;
use ward_net::client::{FetchError, HttpClient};
use ward_net::lists::RevocationLists;
use ward_trust::{Certificate, Chain, Community, PathError};

/// Carries one request and its whole answer; never follows redirects.
pub trait Transport: Send + Sync {
    /// At most `max_body` octets of answer, all within `timeout`.
    fn send(
        &self,
        request: Request<Bytes>,
        max_body: usize,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, FetchError>>;
}

impl Transport for HttpClient {
    fn send(
        &self,
        request: Request<Bytes>,
        max_body: usize,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, FetchError>> {
        Box::pin(Self::send(self, request, max_body, timeout))
    }
}

/// Validates a server's path, with current revocation lists (CLI-09). `Arc<RevocationLists>` does.
pub trait Lists: Send + Sync {
    /// The path from the leaf to an anchor of the community. No list is kept or believed that its issuer
    /// has not signed; a certificate once seen revoked never passes again (PKI-04 as amended).
    fn path<'a>(
        &'a self,
        leaf: &'a Certificate,
        extra: &'a [Certificate],
        community: &'a Community,
    ) -> BoxFuture<'a, Result<Chain, PathError>>;
}

impl Lists for Arc<RevocationLists> {
    fn path<'a>(
        &'a self,
        leaf: &'a Certificate,
        extra: &'a [Certificate],
        community: &'a Community,
    ) -> BoxFuture<'a, Result<Chain, PathError>> {
        Box::pin(self.validate(leaf, extra, community, Duration::ZERO))
    }
}
