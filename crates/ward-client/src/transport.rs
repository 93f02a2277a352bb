//! What the client needs of the wire: one exchange, and revocation lists. Both are doubles in tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use ward_core::BoxFuture;
use ward_net::client::{FetchError, HttpClient};
use ward_net::lists::RevocationLists;
use ward_trust::{Certificate, Community, Crl, PathError};

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

/// Where revocation lists come from.
pub trait Lists: Send + Sync {
    /// As many of the lists behind these URLs as can be had; a missing one makes validation fail.
    fn lists<'a>(&'a self, urls: &'a [String]) -> BoxFuture<'a, Vec<Arc<Crl>>>;

    /// A further check of the signer's path, by what was seen before: a certificate once seen revoked
    /// never passes again (PKI-04 as amended). The default remembers nothing.
    fn recall<'a>(
        &'a self,
        _leaf: &'a Certificate,
        _extra: &'a [Certificate],
        _community: &'a Community,
    ) -> BoxFuture<'a, Result<(), PathError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Lists for Arc<RevocationLists> {
    fn lists<'a>(&'a self, urls: &'a [String]) -> BoxFuture<'a, Vec<Arc<Crl>>> {
        Box::pin(async move { self.for_urls(urls).await.unwrap_or_default() })
    }

    fn recall<'a>(
        &'a self,
        leaf: &'a Certificate,
        extra: &'a [Certificate],
        community: &'a Community,
    ) -> BoxFuture<'a, Result<(), PathError>> {
        Box::pin(async move {
            self.validate(leaf, extra, community, Duration::ZERO).await.map(|_chain| ())
        })
    }
}
