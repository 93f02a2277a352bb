//! Path building and validation.
use std::sync::Arc;
use std::time::Duration;
use ward_core::Timestamp;
use crate::{Certificate, Community, Crl};
/// A built and validated path.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Leaf first, then its issuers, without the anchor.
    pub certificates: Vec<Certificate>,
    /// The community's anchor at which the path ends.
    pub anchor: Certificate,
    /// Whether a list past its `nextUpdate` was used, within the grace that the caller allowed.
    /// To be flagged in every event and alarmed.
    pub stale: bool,
}
impl Chain {
    /// The leaf.
    pub fn leaf(&self) -> Option<&Certificate> { self.certificates.first() }
}
/// Why there is no valid path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// d
    #[error("no path to a trust anchor")]
    Untrusted,
    /// d
    #[error("revocation information is unavailable")]
    RevocationUnknown,
}
impl PathError {
    /// Whether the check could not be made for lack of revocation information: 503, not a refusal (T36).
    pub const fn is_unavailable(&self) -> bool { matches!(self, Self::RevocationUnknown) }
    /// Id of the rule.
    pub const fn rule(&self) -> &'static str { "PKI-01" }
}
/// Every path from the leaf to an anchor that holds but for revocation, best first.
pub fn candidate_paths(_leaf: &Certificate, _extra: &[Certificate], _community: &Community, _now: Timestamp) -> Result<Vec<Chain>, PathError> { Err(PathError::Untrusted) }
/// The lists to fetch before [`validate`]: CRL URLs of the certificates on paths to an anchor and of no others.
pub fn crl_urls_needed(_leaf: &Certificate, _extra: &[Certificate], _community: &Community, _now: Timestamp) -> Result<Vec<String>, PathError> { Err(PathError::Untrusted) }
/// Builds and validates a path.
pub fn validate(leaf: &Certificate, extra: &[Certificate], community: &Community, lists: &[Arc<Crl>], now: Timestamp) -> Result<Chain, PathError> { validate_within(leaf, extra, community, lists, now, Duration::ZERO) }
/// [`validate`] with a grace: a list is good for so long after its `nextUpdate` (PKI-04 as amended; existing treatment clients only).
pub fn validate_within(_leaf: &Certificate, _extra: &[Certificate], _community: &Community, _lists: &[Arc<Crl>], _now: Timestamp, _grace: Duration) -> Result<Chain, PathError> { Err(PathError::Untrusted) }
