//! What the client needs of the wire: one exchange, and revocation lists. Both are doubles in tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use ward_core::BoxFuture;
use ward_net::client::{FetchError, HttpClient};
use ward_net::lists::RevocationLists;
use ward_trust::Crl;

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
}

impl Lists for Arc<RevocationLists> {
    fn lists<'a>(&'a self, urls: &'a [String]) -> BoxFuture<'a, Vec<Arc<Crl>>> {
        Box::pin(async move { self.for_urls(urls).await.unwrap_or_default() })
    }
}
