//! Discovery (IG §2.1–2.4; CLI-01..07): fetch, validate, and only then believe.
//!
//! The endpoints come from the signed part. Refused: redirects, documents over [`MAX_DOCUMENT`], and
//! whatever `ward_trust::metadata` refuses; the path to an anchor of the community is always checked,
//! with revocation, and fails closed (CLI-09).

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use ward_core::{Clock, Limits};
use ward_net::client::FetchError;
use ward_trust::{Community, Discovered, Fault, MetadataError, PathError, metadata};

use crate::error::ClientError;
use crate::{Lists, PartnerClient, Transport, registration};

/// Octets of a metadata document (M17).
pub(crate) const MAX_DOCUMENT: usize = 256 * 1024;

/// What discovery needs: whom to believe, and the way there. No certificate of one's own.
#[derive(Clone)]
pub struct Discovery {
    /// The trust community whose servers are believed; asked for by name (CLI-02).
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

/// A metadata document as a server sent it: nothing of it is believed yet.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its octets, at most 256 KiB.
    pub body: Bytes,
    /// The `Date` header as it stands, to compare clocks.
    pub date: Option<String>,
}

impl Discovery {
    /// The validated metadata of the server with this FHIR base URL, exactly as the server names it.
    ///
    /// # Errors
    /// Whatever is wrong with them (CLI-05, M01..M20), or [`ClientError::NoUdap`] for a 404 and
    /// [`ClientError::CommunityNotServed`] for a 204. Nothing may be sent to the server then (CLI-06).
    pub async fn discover(&self, base: &str) -> Result<Discovered, ClientError> {
        let document = self.fetch(base).await?;
        self.validate(base, &document.body).await
    }

    /// The document at `{base}/.well-known/udap?community=…`, not yet believed.
    ///
    /// # Errors
    /// No answer, or one with another status than 200.
    pub async fn fetch(&self, base: &str) -> Result<Document, ClientError> {
        if !base.starts_with("https://") || base.contains(['?', '#', '@']) {
            return Err(ClientError::Local {
                what: "a FHIR base is an https URL without user, query or fragment",
                rule: "CLI-05",
            });
        }
        let separator = if base.ends_with('/') { "" } else { "/" };
        let name = percent_encode(self.community.uri.as_str());
        let url = format!("{base}{separator}.well-known/udap?community={name}");
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|_| ClientError::Local {
                what: "the FHIR base is not a URL",
                rule: "CLI-01",
            })?;
        let timeout = self.limits.upstream_timeout;
        let response = self.http.send(request, MAX_DOCUMENT, timeout).await.map_err(oversized)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(ClientError::NoUdap),
            StatusCode::NO_CONTENT => return Err(ClientError::CommunityNotServed),
            status if status.is_redirection() => return Err(ClientError::Redirected),
            _ => return Err(registration::refused(&response)),
        }
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let date = date.map(ToOwned::to_owned);
        Ok(Document { body: response.into_body(), date })
    }

    /// What the document says, if all of it holds for this base and community: for documents that are at
    /// hand. Of the network only revocation information and missing issuers are fetched.
    ///
    /// # Errors
    /// Whatever is wrong with it (CLI-05, CLI-07).
    pub async fn validate(&self, base: &str, document: &[u8]) -> Result<Discovered, ClientError> {
        Ok(self.validate_among(base, document, &[]).await?.1)
    }

    /// As [`Self::validate`]; metadata that another community signed are believed if it is one of
    /// `others` (CLI-03). 0 for the own community, else the place in `others` from 1.
    pub(crate) async fn validate_among(
        &self,
        base: &str,
        document: &[u8],
        others: &[&Community],
    ) -> Result<(usize, Discovered), ClientError> {
        let now = self.clock.now();
        let unproven =
            metadata::validate(document, base, now, &self.limits).map_err(ClientError::Metadata)?;
        let (leaf, extra) = unproven.certificates();
        let own = self.lists.path(leaf, extra, &self.community).await;
        let mut chain = own.map(|chain| (0, chain));
        if chain.as_ref().is_err_and(|error| of_another_community(*error)) {
            for (place, other) in others.iter().enumerate() {
                if let Ok(found) = self.lists.path(leaf, extra, other).await {
                    chain = Ok((place + 1, found));
                    break;
                }
            }
        }
        let (place, chain) = chain.map_err(|error| ClientError::Metadata(error.into()))?;
        let found = unproven.prove_with(chain).map_err(ClientError::Metadata)?;
        for warning in &found.warnings {
            tracing::warn!(warning, "the server's metadata is odd");
        }
        Ok((place, found))
    }
}

impl PartnerClient {
    /// The validated metadata of the server with this FHIR base URL, exactly as the server names it.
    ///
    /// # Errors
    /// As [`Discovery::discover`].
    pub async fn discover(&self, base: &str) -> Result<Discovered, ClientError> {
        self.discovery().discover(base).await
    }

    /// How this client discovers.
    pub fn discovery(&self) -> Discovery {
        let config = self.config.clone();
        Discovery {
            community: config.community,
            http: config.http,
            lists: config.lists,
            clock: config.clock,
            limits: config.limits,
        }
    }
}

/// A document over the bound is refused like any other that does not hold (M17).
fn oversized(error: FetchError) -> ClientError {
    match error {
        FetchError::TooLarge(_) => ClientError::Metadata(MetadataError::Refused(Fault::new(
            "M17",
            "the metadata document is larger than 256 KiB",
        ))),
        other => other.into(),
    }
}

/// Whether the certificate may be a good one, only not of this community.
fn of_another_community(error: PathError) -> bool {
    matches!(
        error,
        PathError::Untrusted
            | PathError::Signature
            | PathError::ForeignUri
            | PathError::ForeignIssuer
            | PathError::Policy
    )
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
