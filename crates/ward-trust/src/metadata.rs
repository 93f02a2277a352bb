//! m
use std::sync::Arc;
use std::time::Duration;
use ward_core::{Limits, Timestamp};
use crate::{Alg, Certificate, Chain, Community, Crl, Fault, PathError, SigningIdentity};
/// What a server says of itself (udap.md §2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The FHIR base URL: `iss` of the signed part and a SAN URI of the certificate.
    pub base_url: String,
    /// Absolute URL.
    pub registration_endpoint: String,
    /// Absolute URL.
    pub token_endpoint: String,
    /// Absolute URL; present iff `authorization_code` is among the grants (DSC-16).
    pub authorization_endpoint: Option<String>,
    /// `authorization_code`, `client_credentials`, `refresh_token`.
    pub grant_types: Vec<String>,
    /// Every scope that can be granted, wildcards included (DSC-15).
    pub scopes: Vec<String>,
    /// `hl7-b2b` and others (DSC-09).
    pub extensions_supported: Vec<String>,
    /// Subset of the supported ones (DSC-10).
    pub extensions_required: Vec<String>,
    /// URIs (DSC-12).
    pub certifications_supported: Vec<String>,
    /// Subset of the supported ones (DSC-13).
    pub certifications_required: Vec<String>,
    /// For authentication tokens and software statements; must contain RS256 (DSC-19, DSC-21).
    pub algs: Vec<Alg>,
}
/// Signed metadata and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedMetadata {
    /// Compact JWS.
    pub jws: String,
    /// When it ends; sign anew well before (SMD-10).
    pub exp: Timestamp,
}
impl Metadata {
    /// Refuses a configuration that would publish wrong metadata.
    pub fn check(&self) -> Result<(), MetadataError> { Ok(()) }
    /// Signs (RS256). `life` is cut at one year and at the certificate's end.
    pub fn sign(&self, _identity: &SigningIdentity, _jti: &str, _now: Timestamp, _life: Duration) -> Result<SignedMetadata, MetadataError> { Err(MetadataError::Refused(Fault { rule: "", text: "" })) }
    /// The document.
    pub fn to_json(&self, _signed: &str) -> String { String::new() }
}
/// Why metadata is refused; nothing may be sent then (CLI-06).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A rule of §7.9 or §2.1.
    #[error(transparent)]
    Refused(Fault),
    /// M10: the chain.
    #[error(transparent)]
    Path(#[from] PathError),
}
impl MetadataError {
    /// Id of the rule.
    pub const fn rule(&self) -> &'static str { match self { Self::Refused(fault) => fault.rule, Self::Path(error) => error.rule() } }
}
/// Another server's metadata, sound in itself, whose signer is not yet proven to be trusted.
#[derive(Debug, Clone)]
pub struct Unproven { found: Discovered, extra: Vec<Certificate> }
impl Unproven {
    /// The signer and the other certificates of `x5c`.
    pub fn certificates(&self) -> (&Certificate, &[Certificate]) { (&self.found.leaf, &self.extra) }
    /// The lists that [`Unproven::prove`] will need.
    pub fn crl_urls(&self, _community: &Community, _now: Timestamp) -> Result<Vec<String>, MetadataError> { Ok(vec![]) }
    /// Validates the signer's path.
    pub fn prove(self, _community: &Community, _lists: &[Arc<Crl>], _now: Timestamp) -> Result<Discovered, MetadataError> { Err(MetadataError::Path(PathError::Untrusted)) }
}
/// Another server's metadata, validated (CLI-04..CLI-07).
#[derive(Debug, Clone)]
pub struct Discovered {
    /// d
    pub base_url: String,
    /// From the signed part.
    pub token_endpoint: String,
    /// From the signed part.
    pub registration_endpoint: String,
    /// From the signed part.
    pub authorization_endpoint: Option<String>,
    /// d
    pub grant_types: Vec<String>,
    /// d
    pub scopes: Vec<String>,
    /// d
    pub extensions_supported: Vec<String>,
    /// d
    pub extensions_required: Vec<String>,
    /// d
    pub certifications_required: Vec<String>,
    /// d
    pub token_algs: Vec<Alg>,
    /// d
    pub registration_algs: Vec<Alg>,
    /// d
    pub exp: Timestamp,
    /// d
    pub leaf: Certificate,
    /// The signer's path; empty until proven.
    pub chain: Option<Chain>,
    /// Fixed phrases on what is allowed but odd (M16).
    pub warnings: Vec<&'static str>,
}
/// Everything but the path.
pub fn validate(_document: &[u8], _base_url: &str, _now: Timestamp, _limits: &Limits) -> Result<Unproven, MetadataError> { Err(MetadataError::Refused(Fault { rule: "", text: "" })) }
