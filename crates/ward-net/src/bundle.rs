//! Fetches a community's trust bundle (PKI-16): one `GET` through the guarded egress, no redirects, at most `limits.bundle_bytes`
//! within `limits.crl_timeout`. Plain `http` is fine, as for lists: a bundle is signed. Nothing is believed here.

use bytes::Bytes;
use http::StatusCode;
use ward_core::Limits;

use crate::client::{FetchError, HttpClient};

/// Why no bundle came.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BundleFetchError {
    /// The server was not reached, or did not answer in full.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// It answered with something else than 200.
    #[error("the server answers {0}")]
    Status(u16),
}

/// The octets at this address.
pub async fn fetch_bundle(
    client: &HttpClient,
    url: &str,
    limits: &Limits,
) -> Result<Bytes, BundleFetchError> {
    // One octet for the line break at the end of a file.
    let most = limits.bundle_bytes.saturating_add(1);
    let answer = client.get(url, most, limits.crl_timeout).await?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        other => Err(BundleFetchError::Status(other.as_u16())),
    }
}
