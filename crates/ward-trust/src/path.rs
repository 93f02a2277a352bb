//! Paths from a leaf to a community's anchor (RFC 5280 §6; PKI-01..PKI-17, X01..X48).
//!
//! Chains are made and held to RFC 5280 §6.1 in `build.rs`: dates, CA bits, path lengths, key usage, key sizes, critical
//! extensions, name constraints (`names.rs`) and policies (`policies.rs`). rustls-webpki gives a second opinion where it
//! understands a chain; it knows neither keyUsage, nor the anchor's own certificate, nor policies, nor constraints on
//! URIs and directory names (stack.md §2). Revocation comes last, and apart, so that each reason has its own error and
//! missing information (503) is told from a revoked certificate.
//!
//! Names are compared octet by octet when chains are made, as RFC 5280 §4.1.2.6 has authorities write them. Validity is
//! held to the second, without skew: a clock that is off shows as expired, never as valid. SHA-1 is accepted nowhere.

use std::sync::Arc;
use std::time::Duration;

use ward_core::Timestamp;
use webpki::Error;
use x509_cert::ext::pkix::KeyUsage;

use crate::build::{self, Work};
use crate::revocation::{Known, revocation};
use crate::{Certificate, Community, Crl, OcspResponse};

/// A built path: every signature, date and constraint on it holds.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Leaf first, then its issuers, without the anchor.
    pub certificates: Vec<Certificate>,
    /// The community's anchor at which the path ends.
    pub anchor: Certificate,
    /// Whether a list past its `nextUpdate` was used, within the grace that the caller allowed.
    /// To be flagged in every event and alarmed (amendment to PKI-04).
    pub stale: bool,
}

impl Chain {
    /// The leaf.
    pub fn leaf(&self) -> Option<&Certificate> {
        self.certificates.first()
    }

    /// The certificates that need a list, each with its issuer.
    pub(crate) fn links(&self) -> impl Iterator<Item = (&Certificate, &Certificate)> {
        let issuers = self.certificates.iter().skip(1).chain(std::iter::once(&self.anchor));
        self.certificates.iter().zip(issuers)
    }
}

/// Why there is no valid path. Says nothing of which certificate: that is for the caller's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No path leads to an anchor of the community (X05–X09, X26, X46).
    #[error("no path to a trust anchor")]
    Untrusted,
    /// A certificate has expired (X01, X03).
    #[error("a certificate has expired")]
    Expired,
    /// A certificate is not yet valid (X02).
    #[error("a certificate is not yet valid")]
    NotYetValid,
    /// The anchor has expired or is not yet valid (X04).
    #[error("the trust anchor is not valid now")]
    AnchorExpired,
    /// A signature on the path is not its issuer's (X43).
    #[error("a certificate was not signed by its issuer")]
    Signature,
    /// An issuer is not a CA (X27, X28).
    #[error("an issuer is not a certification authority")]
    NotAuthority,
    /// The leaf is a CA.
    #[error("the leaf is a certification authority")]
    LeafIsAuthority,
    /// pathLen exceeded (X29).
    #[error("the path is too long")]
    PathLength,
    /// An issuer without keyCertSign (X30).
    #[error("an issuer may not sign certificates")]
    KeyCertSign,
    /// A name constraint is violated, or of a kind that is not understood (X31).
    #[error("a name constraint is violated")]
    NameConstraint,
    /// An unknown critical extension (X32).
    #[error("an unknown critical extension")]
    CriticalExtension,
    /// The leaf may not sign data (X33).
    #[error("the leaf may not sign")]
    KeyUsage,
    /// A key below the floor (X34–X36).
    #[error("a key is too weak or of a kind that is not accepted")]
    WeakKey,
    /// A signature algorithm below the floor (X37).
    #[error("a signature algorithm is not accepted")]
    WeakSignature,
    /// No URI in the subject alternative name (X38–X40).
    #[error("the certificate names no URI")]
    NoUri,
    /// A SAN that is not visible ASCII or not readable (X41).
    #[error("the certificate's names are malformed")]
    MalformedUri,
    /// A SAN URI outside the prefixes of the community (§8.5 as amended).
    #[error("the certificate's URI is outside the community")]
    ForeignUri,
    /// Issued by an authority that the community does not name as one of its own (§8.5 as amended).
    #[error("the certificate was issued outside the community")]
    ForeignIssuer,
    /// A demanded certificate policy is absent, or an issuer may not issue under it (X45).
    #[error("a required certificate policy is absent")]
    Policy,
    /// A certificate or extension that does not decode.
    #[error("a certificate is malformed")]
    Malformed,
    /// More paths or signatures than are tried.
    #[error("too many certificates to try")]
    TooComplex,
    /// A certificate is revoked (X10, X12, X13, X47).
    #[error("a certificate is revoked")]
    Revoked,
    /// A certificate names neither a revocation list nor an OCSP responder, and no list is at hand (X21).
    #[error("a certificate names no revocation list and no OCSP responder")]
    NoRevocationSource,
    /// No list and no OCSP answer is at hand (X14, X22).
    #[error("revocation information is unavailable")]
    RevocationUnknown,
    /// The list or OCSP answer at hand was signed by somebody else (X16, X22).
    #[error("the revocation list or OCSP answer was not signed by the issuer")]
    RevocationSigner,
    /// What is at hand is from the future (X17).
    #[error("the revocation list or OCSP answer is not yet valid")]
    RevocationFuture,
    /// What is at hand is past its `nextUpdate` (X15, X22).
    #[error("the revocation list or OCSP answer is out of date")]
    RevocationStale,
    /// The trust bundle that names the anchors has ended (PKI-16).
    #[error("the community's trust bundle has ended")]
    BundleExpired,
}

impl PathError {
    /// Whether the check could not be made for want of a usable list: answer 503 with `Retry-After`,
    /// for only a certificate known to be bad is refused (amendment to T36, PKI-04).
    pub const fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::RevocationUnknown
                | Self::RevocationSigner
                | Self::RevocationFuture
                | Self::RevocationStale
                | Self::BundleExpired
        )
    }

    /// Id of the rule, for log and audit.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Untrusted => "PKI-01",
            Self::Expired => "X01",
            Self::NotYetValid => "X02",
            Self::AnchorExpired => "X04",
            Self::Signature => "X43",
            Self::NotAuthority => "X27",
            Self::LeafIsAuthority | Self::Malformed | Self::TooComplex => "PKI-10",
            Self::PathLength => "X29",
            Self::KeyCertSign => "X30",
            Self::NameConstraint => "X31",
            Self::CriticalExtension => "X32",
            Self::KeyUsage => "X33",
            Self::WeakKey => "X34",
            Self::WeakSignature => "X37",
            Self::NoUri => "X38",
            Self::MalformedUri => "X41",
            Self::ForeignUri | Self::ForeignIssuer => "COM-07",
            Self::Policy => "X45",
            Self::Revoked => "X10",
            Self::NoRevocationSource => "X21",
            Self::RevocationUnknown => "X14",
            Self::RevocationSigner => "X16",
            Self::RevocationFuture => "X17",
            Self::RevocationStale => "X15",
            Self::BundleExpired => "PKI-16",
        }
    }

    /// Among several reasons for want of a list, the one that helps the operator most.
    pub(crate) const fn weight(self) -> u8 {
        match self {
            Self::RevocationStale => 4,
            Self::RevocationFuture => 3,
            Self::RevocationSigner => 2,
            Self::RevocationUnknown => 1,
            _ => 0,
        }
    }
}

impl From<Error> for PathError {
    fn from(error: Error) -> Self {
        #[expect(deprecated, reason = "webpki still returns the contextless variants in places")]
        match error {
            Error::CertExpired { .. } => Self::Expired,
            Error::CertNotValidYet { .. } => Self::NotYetValid,
            Error::CaUsedAsEndEntity => Self::LeafIsAuthority,
            Error::EndEntityUsedAsCa => Self::NotAuthority,
            Error::PathLenConstraintViolated => Self::PathLength,
            Error::NameConstraintViolation | Error::MalformedNameConstraint => Self::NameConstraint,
            Error::UnsupportedCriticalExtension => Self::CriticalExtension,
            Error::UnsupportedSignatureAlgorithm
            | Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKey
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Self::WeakSignature,
            Error::InvalidSignatureForPublicKey => Self::Signature,
            Error::MaximumNameConstraintComparisonsExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumPathDepthExceeded
            | Error::MaximumSignatureChecksExceeded => Self::TooComplex,
            Error::UnknownIssuer => Self::Untrusted,
            _ => Self::Malformed,
        }
    }
}

/// Every path from the leaf to an anchor that holds but for revocation, best first, at most 8.
///
/// `extra` are the other certificates of `x5c`: their order does not matter (PKI-08), those that no
/// path needs are ignored, and none of them is ever an anchor (PKI-09, X07).
pub fn candidate_paths(
    leaf: &Certificate,
    extra: &[Certificate],
    community: &Community,
    now: Timestamp,
) -> Result<Vec<Chain>, PathError> {
    candidate_paths_counted(leaf, extra, community, now, &mut Work::default())
}

/// [`candidate_paths`], and what it cost.
pub(crate) fn candidate_paths_counted(
    leaf: &Certificate,
    extra: &[Certificate],
    community: &Community,
    now: Timestamp,
    work: &mut Work,
) -> Result<Vec<Chain>, PathError> {
    check_leaf(leaf, community)?;
    build::chains(leaf, extra, community, now, work)
}

/// The lists to fetch before [`validate`]: the CRL URLs of the certificates on paths to an anchor, and
/// of no others, so that a stranger cannot make Ward fetch (X20).
pub fn crl_urls_needed(
    leaf: &Certificate,
    extra: &[Certificate],
    community: &Community,
    now: Timestamp,
) -> Result<Vec<String>, PathError> {
    let mut urls: Vec<String> = Vec::new();
    for chain in candidate_paths(leaf, extra, community, now)? {
        for url in chain.certificates.iter().flat_map(Certificate::crl_urls) {
            if !urls.contains(url) {
                urls.push(url.clone());
            }
        }
    }
    Ok(urls)
}

/// Builds and validates a path, revocation of every certificate below the anchor included.
pub fn validate(
    leaf: &Certificate,
    extra: &[Certificate],
    community: &Community,
    lists: &[Arc<Crl>],
    now: Timestamp,
) -> Result<Chain, PathError> {
    validate_within(leaf, extra, community, lists, now, Duration::ZERO)
}

/// [`validate`] with a grace: a list is good for so long after its `nextUpdate`. For token requests
/// of clients that were registered before, never for registrations (amendment to PKI-04).
pub fn validate_within(
    leaf: &Certificate,
    extra: &[Certificate],
    community: &Community,
    lists: &[Arc<Crl>],
    now: Timestamp,
    grace: Duration,
) -> Result<Chain, PathError> {
    let paths = candidate_paths(leaf, extra, community, now)?;
    first_unrevoked(paths, community, lists, &[], now, grace)
}

/// The first of these paths, as [`candidate_paths`] gave them, that no list and no OCSP answer speaks against: the
/// second half of [`validate_within`], for a caller that has fetched them in between.
pub fn first_unrevoked(
    paths: Vec<Chain>,
    community: &Community,
    lists: &[Arc<Crl>],
    replies: &[Arc<OcspResponse>],
    now: Timestamp,
    grace: Duration,
) -> Result<Chain, PathError> {
    let mut chain = first_known(paths, community, lists, replies, now, grace)?;
    if let Some(until) = community.trusted_until.filter(|until| now > *until) {
        if now > until.plus(grace) {
            return Err(PathError::BundleExpired);
        }
        chain.stale = true;
    }
    Ok(chain)
}

fn first_known(
    paths: Vec<Chain>,
    community: &Community,
    lists: &[Arc<Crl>],
    replies: &[Arc<OcspResponse>],
    now: Timestamp,
    grace: Duration,
) -> Result<Chain, PathError> {
    let mut stale = None;
    let mut worst: Option<PathError> = None;
    for mut chain in paths {
        match revocation(&chain, community, Known { lists, replies }, now, grace) {
            Ok(false) => return Ok(chain),
            Ok(true) => {
                chain.stale = true;
                stale.get_or_insert(chain);
            }
            Err((0, PathError::Revoked)) => return Err(PathError::Revoked),
            // Another path may yet prove good once its lists are there: want of them weighs more.
            Err((_, error)) if worst.is_none_or(|known| known.weight() < error.weight()) => {
                worst = Some(error);
            }
            Err(_) => {}
        }
    }
    stale.ok_or(worst.unwrap_or(PathError::Untrusted))
}

/// Checks of the leaf that need no path.
fn check_leaf(leaf: &Certificate, community: &Community) -> Result<(), PathError> {
    if leaf.san_malformed() {
        return Err(PathError::MalformedUri);
    }
    if leaf.malformed() {
        return Err(PathError::Malformed);
    }
    if leaf.san_uris().is_empty() {
        return Err(PathError::NoUri);
    }
    if !leaf.has_strong_key() {
        return Err(PathError::WeakKey);
    }
    if !leaf.may(KeyUsage::digital_signature) {
        return Err(PathError::KeyUsage);
    }
    if !leaf.san_uris().iter().all(|uri| community.admits_uri(uri)) {
        return Err(PathError::ForeignUri);
    }
    let wanted = &community.policies;
    if !wanted.is_empty() && !leaf.policy_oids().iter().any(|oid| wanted.contains(oid)) {
        return Err(PathError::Policy);
    }
    Ok(())
}
