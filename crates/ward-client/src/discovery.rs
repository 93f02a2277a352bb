//! Discovery (IG §2.1–2.4; CLI-01..07): fetch, validate, and only then believe.
//!
//! The endpoints come from the signed part. Refused: redirects, documents over [`MAX_DOCUMENT`], and
//! whatever `ward_trust::metadata` refuses; the path to an anchor of the community is always checked,
//! with revocation, and fails closed (CLI-09).

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use ward_core::{Clock, Limits};
use ward_trust::{Community, Discovered, metadata};

use crate::error::ClientError;
use crate::{Config, Lists, PartnerClient, Transport, registration};

/// Octets of a metadata document (M17).
pub(crate) const MAX_DOCUMENT: usize = 256 * 1024;

/// What discovery needs: whom to believe, and the way there. No certificate of one's own.
#[derive(Clone)]
pub struct Discovery {
    /// The trust community whose servers are believed.
    pub community: Community,
    /// Carries requests.
    pub http: Arc<dyn Transport>,
    /// Validates the servers' paths.
    pub lists: Arc<dyn Lists>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: Arc<Limits>,
}

impl Discovery {
    /// The validated metadata of the server with this FHIR base URL, exactly as the server names it.
    pub async fn discover(&self, base: &str) -> Result<Discovered, ClientError> {
        let Self { community, http, lists, clock, limits } = self;
        discover(community, &**http, &**lists, &**clock, limits, base).await
    }
}

impl PartnerClient {
    /// The validated metadata of the server with this FHIR base URL, exactly as the server names it.
    pub async fn discover(&self, base: &str) -> Result<Discovered, ClientError> {
        let Config { community, http, lists, clock, limits, .. } = &self.config;
        discover(community, &**http, &**lists, &**clock, limits, base).await
    }
}

async fn discover(
    community: &Community,
    http: &dyn Transport,
    lists: &dyn Lists,
    clock: &dyn Clock,
    limits: &Limits,
    base: &str,
) -> Result<Discovered, ClientError> {
    if !base.starts_with("https://") || base.contains(['?', '#', '@']) {
        return Err(ClientError::Local {
            what: "a FHIR base is an https URL without user, query or fragment",
            rule: "CLI-05",
        });
    }
    let separator = if base.ends_with('/') { "" } else { "/" };
    let name = percent_encode(community.uri.as_str());
    let url = format!("{base}{separator}.well-known/udap?community={name}");
    let request = Request::get(url)
        .header(http::header::ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|_| ClientError::Local { what: "the FHIR base is not a URL", rule: "CLI-01" })?;
    let response = http.send(request, MAX_DOCUMENT, limits.upstream_timeout).await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(ClientError::NoUdap),
        StatusCode::NO_CONTENT => return Err(ClientError::CommunityNotServed),
        status if status.is_redirection() => return Err(ClientError::Redirected),
        _ => return Err(registration::refused(&response)),
    }
    let now = clock.now();
    let unproven =
        metadata::validate(response.body(), base, now, limits).map_err(ClientError::Metadata)?;
    let (leaf, extra) = unproven.certificates();
    let chain = lists
        .path(leaf, extra, community)
        .await
        .map_err(|error| ClientError::Metadata(error.into()))?;
    let found = unproven.prove_with(chain).map_err(ClientError::Metadata)?;
    for warning in &found.warnings {
        tracing::warn!(warning, "the server's metadata is odd");
    }
    Ok(found)
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
pub(crate) fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
