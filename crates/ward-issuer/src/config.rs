//! What an issuer is built from, and what is refused at construction (SMD-11, COM-07, DSC-27).
//!
//! Public URLs come from here and never from a request. A community whose certificate could not
//! sign valid metadata is refused loudly, before anything is served.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ward_core::{BoxFuture, Clock, EventSink, KeyVault, Limits, Rng, TenantId, Thumbprint};
use ward_fhir::ScopeSet;
use ward_net::lists::RevocationLists;
use ward_net::status::{CertificationStatus, StatusError};
use ward_store::Repositories;
use ward_trust::{Certificate, Chain, Community, KeyKind, PathError, SigningIdentity};

use crate::certified::{CertificationRule, check_rules};
use crate::errors::IssuerError;

/// A community that this server is a member of.
#[derive(Clone)]
pub struct ServedCommunity {
    /// Whom it trusts and what it allows.
    pub community: Community,
    /// Signs this server's metadata in this community: RSA, and the FHIR base is one of its SAN URIs.
    pub identity: Arc<SigningIdentity>,
    /// How long registered treatment clients go on after a revocation list's `nextUpdate` while no
    /// newer one can be had (PKI-04 as amended; 24 h is the advised value, zero is allowed).
    pub revocation_grace: Duration,
    /// Who sends signals in the community's name beside the community itself: the operator's URI, if it has one of its own.
    pub signals_from: Option<String>,
    /// The certifications that it supports (CRT-01, CRT-02).
    pub certifications: Vec<CertificationRule>,
}

impl ServedCommunity {
    /// A served community with the advised grace.
    pub fn new(community: Community, identity: Arc<SigningIdentity>) -> Self {
        let revocation_grace = Duration::from_hours(24);
        Self {
            community,
            identity,
            revocation_grace,
            signals_from: None,
            certifications: Vec::new(),
        }
    }
}

/// Configuration of one tenant's issuer.
#[derive(Clone)]
pub struct IssuerConfig {
    /// Whose.
    pub tenant: TenantId,
    /// Public FHIR base URL, without a trailing slash: audience of tokens, `iss` of metadata.
    pub fhir_base: String,
    /// Public base URL of `/register` and `/token`, without a trailing slash.
    pub oauth_base: String,
    /// Everything that can be granted.
    pub scopes_supported: ScopeSet,
    /// In order; the first answers when no community is named.
    pub communities: Vec<ServedCommunity>,
    /// Bounds.
    pub limits: Arc<Limits>,
}

/// Validates paths with current revocation lists (PKI-03, PKI-04). `Arc<RevocationLists>` does.
pub trait Paths: Send + Sync {
    /// The path from the leaf to an anchor of the community. A list may be past its `nextUpdate` by
    /// `grace`.
    fn path<'a>(
        &'a self,
        leaf: &'a Certificate,
        extra: &'a [Certificate],
        community: &'a Community,
        grace: Duration,
    ) -> BoxFuture<'a, Result<Chain, PathError>>;

    /// After a path came out revoked: whether a list was seen that names this certificate of it.
    fn is_listed(&self, certificate: Thumbprint) -> bool;
}

impl Paths for Arc<RevocationLists> {
    fn path<'a>(
        &'a self,
        leaf: &'a Certificate,
        extra: &'a [Certificate],
        community: &'a Community,
        grace: Duration,
    ) -> BoxFuture<'a, Result<Chain, PathError>> {
        Box::pin(self.validate(leaf, extra, community, grace))
    }

    fn is_listed(&self, certificate: Thumbprint) -> bool {
        self.was_seen_revoked(certificate)
    }
}

/// Asks certifiers whether they still stand by a certification (CE §8, CRT-12). `Arc<CertificationStatus>` does.
pub trait Statuses: Send + Sync {
    /// Whether the certification that this URL names is valid; what was said lately will do.
    fn is_valid<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<bool, StatusError>>;

    /// The same, asked for now.
    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<bool, StatusError>>;
}

impl Statuses for CertificationStatus {
    fn is_valid<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<bool, StatusError>> {
        Box::pin(self.is_valid(url))
    }

    fn ask<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<bool, StatusError>> {
        Box::pin(self.ask(url))
    }
}

/// What an issuer works with.
#[derive(Clone)]
pub struct IssuerDeps {
    /// Registrations, grants, epochs, replay keys.
    pub repositories: Repositories,
    /// Where events go.
    pub sink: Arc<dyn EventSink>,
    /// Token keys.
    pub vault: Arc<dyn KeyVault>,
    /// Validates paths; in the program, `Arc::new(lists)` of the shared `Arc<RevocationLists>`.
    pub paths: Arc<dyn Paths>,
    /// Asks certifiers.
    pub statuses: Arc<dyn Statuses>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
}

fn refuse<T>(why: impl Into<String>) -> Result<T, IssuerError> {
    Err(IssuerError::Config(why.into()))
}

/// The path of a public base URL; `https` only (DSC-17, DSC-29).
pub(crate) fn path_of<'a>(what: &str, url: &'a str) -> Result<&'a str, IssuerError> {
    let rest = url.strip_prefix("https://").unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'@' | b'%' | b'"' | b'\\');
    if host.is_empty() || path.ends_with('/') || !url.bytes().all(plain) {
        return refuse(format!(
            "{what} must be an https URL with a host, without query, fragment, user or trailing slash"
        ));
    }
    Ok(path)
}

/// Refuses communities that cannot be served (SMD-11, COM-07).
pub(crate) fn check_communities(
    fhir_base: &str,
    communities: &[ServedCommunity],
) -> Result<(), IssuerError> {
    if communities.is_empty() {
        return refuse("at least one community must be served");
    }
    let mut seen = BTreeSet::new();
    for ServedCommunity { community, identity, certifications, .. } in communities {
        let uri = &community.uri;
        if !seen.insert(uri.clone()) {
            return refuse(format!("community {uri} is configured twice"));
        }
        if let Err(fault) = community.check() {
            return refuse(format!("community {uri}: {fault}"));
        }
        check_rules(community, certifications)?;
        if !identity.san_uris().iter().any(|entry| entry == fhir_base) {
            return refuse(format!(
                "the certificate for community {uri} lacks the SAN URI {fhir_base}; have it issued with exactly this URI"
            ));
        }
        match identity.leaf().subject_key() {
            KeyKind::Rsa { bits } if bits >= 2048 => {}
            _ => {
                return refuse(format!(
                    "the certificate for community {uri} must have an RSA key of at least 2048 bits: signed metadata is RS256"
                ));
            }
        }
    }
    for (at, one) in communities.iter().enumerate() {
        for other in communities.iter().skip(at + 1) {
            if one.community.overlaps(&other.community) {
                return refuse(format!(
                    "communities {} and {} share an anchor and nothing tells their members apart; give each its SAN-URI prefixes or issuing authorities",
                    one.community.uri, other.community.uri
                ));
            }
        }
    }
    Ok(())
}
