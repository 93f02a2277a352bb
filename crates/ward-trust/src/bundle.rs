//! The trust bundle: what a community's operator tells its members to trust, as one signed document (issue 4 Build 4;
//! PKI-16; udap.md §6.1). No IG defines one; the format is Ward's own, its rules are other people's experience.
//!
//! **Who signs.** A certificate with the community's own URI as its only SAN URI, in `x5c`, with an unrevoked path to an
//! anchor that the member holds *before* it reads the bundle (at joining: the one from `ward.toml`). A pinned key was the other
//! choice (as in SPIFFE's bundle endpoints); it would need a roll-over protocol of its own, and could not be revoked.
//!
//! **Anchors change by the anchors' word.** The signer's key is online. So that it alone can never bring in an anchor, one that is
//! new comes with a certificate for its name and key that a valid anchor in force signed: `NewWithOld` of RFC 4210
//! §4.4. Old and new stand side by side until a later bundle leaves the old one out.
//!
//! **Roll-back, freeze, fast-forward** (the attacks that TUF names, §1.5.2): the sequence number must rise; the same number
//! must be the same bundle; a bundle ends, so that one who holds back the next cannot do so for long; and a number cannot
//! leap, so that a thief of the signer's key cannot use all numbers up. SPIFFE's `spiffe_sequence` alone guards against
//! none of these, for its bundles never end.
//!
//! Refused beside these: other media types and algorithms, any JSON that could be read in two ways, members that the bundle calls
//! critical and Ward does not know, anchors that are no authorities, other communities' bundles.

mod follow;
mod read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ward_core::{CommunityUri, Thumbprint, Timestamp};

pub use follow::{Held, signers};

use crate::context::ValueSets;
use crate::{Certificate, JoseError, PathError, SigningIdentity, Verified};

/// `typ` of its header (RFC 8725 §3.11), so that no other document of the community passes for one.
pub const TYPE: &str = "trust-bundle+jwt";
/// Version of the format, the member `version`.
pub const VERSION: u64 = 1;
/// Anchors of one bundle.
pub const MAX_ANCHORS: usize = 8;
/// Intermediate certificates of one bundle.
pub const MAX_INTERMEDIATES: usize = 64;
/// Entries of every other array.
pub const MAX_ENTRIES: usize = 64;
/// Characters of a URL or code.
pub const MAX_CHARS: usize = 2048;
/// By how much a sequence number may rise at once.
pub const MAX_LEAP: u64 = 10_000;
/// Longest life, days: how long somebody who holds back the next bundle can keep members on the last one.
pub const MAX_DAYS: u64 = 90;

/// Where revocation of what one authority issued can be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The authority's certificate.
    pub issuer: Thumbprint,
    /// URLs of its lists.
    pub crl: Vec<String>,
    /// URLs of its responders.
    pub ocsp: Vec<String>,
}

/// What a bundle says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Whose bundle it is: `iss`.
    pub community: CommunityUri,
    /// `sequence`, from 1.
    pub sequence: u64,
    /// `iat`.
    pub issued: Timestamp,
    /// `nbf`: first second in force.
    pub not_before: Timestamp,
    /// `exp`: last second in force.
    pub expires: Timestamp,
    /// Certificates at which paths may end.
    pub anchors: Vec<Certificate>,
    /// Certificates from which paths may be completed, and which introduce new anchors. Trusted in nothing.
    pub intermediates: Vec<Certificate>,
    /// Where revocation can be looked up.
    pub revocation: Vec<Places>,
    /// Codes of the purposes of use that members may assert (B14).
    pub purposes: Vec<String>,
    /// Prefixes that an `organization_id` must have one of (B2B-08).
    pub organization_schemes: Vec<String>,
    /// URIs of certifications without which nobody may register (CRT-02).
    pub certifications: Vec<String>,
    /// `certifiers`: URIs of those who certify under the community's own anchors, and are no members (CRT-07). May be left
    /// out.
    pub certifiers: Vec<String>,
    /// `value_sets`: roles, consent policies and least scopes. May be left out.
    pub value_sets: ValueSets,
}

/// Why a bundle is not taken. Each says the way out to the member's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Not a well-formed signed document.
    #[error("the bundle is no signed document: {0}; see whether the address is right")]
    Jose(JoseError),
    /// Larger than `limits.bundle_bytes`.
    #[error(
        "the bundle is larger than limits.bundle_bytes; see whether the address is right, or raise the limit"
    )]
    TooLarge,
    /// `typ` is another.
    #[error(
        "the document is signed, but no trust bundle (typ is not \"trust-bundle+jwt\"); see whether the address is right"
    )]
    Type,
    /// `version` is another.
    #[error("the bundle has a version of the format that this Ward does not know; update Ward")]
    Version,
    /// `crit` names a member that is not known here.
    #[error("the bundle has a critical part that this Ward does not know; update Ward")]
    Critical,
    /// A member is missing, of the wrong type or over a bound.
    #[error("the bundle's `{0}` is missing or malformed; tell the community's operator")]
    Member(&'static str),
    /// A certificate in it does not parse, or is no authority.
    #[error(
        "an entry of the bundle's `{0}` is no certificate of an authority; tell the community's operator"
    )]
    Certificate(&'static str),
    /// Without anchors nobody is a member.
    #[error("the bundle has no anchors; tell the community's operator")]
    NoAnchor,
    /// Paths may not end at an anchor of it.
    #[error("the bundle's anchor {0} is of no use: {1}; tell the community's operator")]
    Anchor(Thumbprint, PathError),
    /// Not one anchor is valid now.
    #[error(
        "no anchor of the bundle is valid now; check this machine's clock, then tell the community's operator"
    )]
    AnchorsOver,
    /// `iss` is another community.
    #[error("the bundle belongs to another community; see whether the address is right")]
    OtherCommunity,
    /// `nbf` or `iat` lies in the future.
    #[error("the bundle is not in force yet; check this machine's clock")]
    NotYetValid,
    /// `exp` has passed.
    #[error(
        "the bundle has ended; check this machine's clock, then ask the community's operator for a newer one"
    )]
    Expired,
    /// It lives longer than [`MAX_DAYS`].
    #[error("the bundle lives longer than 90 days; tell the community's operator")]
    Life,
    /// Its number is below the one at hand.
    #[error(
        "ROLL-BACK: an older bundle than the one at hand was served; the newer one stays. Ask the community's operator which is current, and who serves this address"
    )]
    RollBack,
    /// Another bundle under the number at hand.
    #[error(
        "two different bundles have the same number; the first one stays. Ask the community's operator, for its signing key may be in other hands"
    )]
    SameNumber,
    /// The number rose by more than [`MAX_LEAP`].
    #[error(
        "the bundle's number leaps; the one at hand stays. Ask the community's operator, for its signing key may be in other hands"
    )]
    Leap,
    /// The signer is not the community: its only SAN URI must be the community's.
    #[error(
        "the bundle was not signed by the community itself; see whether the address is right, then tell the community's operator"
    )]
    Signer,
    /// The signer has no path to an anchor in force.
    #[error(
        "the bundle's signer is not trusted: {0}; if the community changed its root while this Ward was away, put the new root into `anchors`"
    )]
    Path(PathError),
    /// An anchor that no anchor in force vouches for.
    #[error(
        "the bundle brings in the anchor {0}, for which no anchor in force vouches (RFC 4210 NewWithOld); ask the community's operator, and if it is right put it into `anchors`"
    )]
    Unvouched(Thumbprint),
}

impl From<JoseError> for BundleError {
    fn from(error: JoseError) -> Self {
        if error == JoseError::TooLong { Self::TooLarge } else { Self::Jose(error) }
    }
}

impl BundleError {
    /// Whether somebody may be at work: told loudly, and recorded.
    pub const fn is_alarming(&self) -> bool {
        matches!(
            self,
            Self::RollBack
                | Self::SameNumber
                | Self::Leap
                | Self::Signer
                | Self::Unvouched(_)
                | Self::OtherCommunity
                | Self::Path(PathError::Revoked)
        )
    }

    /// A word for the log and for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Jose(_) => "malformed",
            Self::TooLarge => "too-large",
            Self::Type => "type",
            Self::Version => "version",
            Self::Critical => "critical",
            Self::Member(_) => "member",
            Self::Certificate(_) => "certificate",
            Self::NoAnchor => "no-anchor",
            Self::Anchor(..) => "anchor",
            Self::AnchorsOver => "anchors-over",
            Self::OtherCommunity => "other-community",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::Life => "life",
            Self::RollBack => "roll-back",
            Self::SameNumber => "same-number",
            Self::Leap => "leap",
            Self::Signer => "signer",
            Self::Path(_) => "path",
            Self::Unvouched(_) => "unvouched",
        }
    }
}

/// A bundle whose signature holds. Whether its signer may speak for the community is another question: see
/// [`SignedBundle::accept`].
#[derive(Debug, Clone)]
pub struct SignedBundle {
    jws: Verified,
    bundle: Bundle,
    digest: Thumbprint,
}

impl SignedBundle {
    /// What it says.
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Whose key signed it.
    pub fn signer(&self) -> &Certificate {
        self.jws.leaf()
    }

    /// Certificates that it sends along for the signer's path.
    pub fn extra(&self) -> &[Certificate] {
        self.jws.extra()
    }

    /// SHA-256 of the whole document.
    pub const fn digest(&self) -> Thumbprint {
        self.digest
    }
}

impl Bundle {
    /// The claims of the document.
    pub fn to_claims(&self) -> Value {
        let encode = |certificates: &[Certificate]| {
            certificates.iter().map(|one| STANDARD.encode(one.der())).collect::<Vec<_>>()
        };
        let revocation: Vec<Value> = self
            .revocation
            .iter()
            .map(|one| json!({"issuer": one.issuer.to_string(), "crl": one.crl, "ocsp": one.ocsp}))
            .collect();
        let mut claims = json!({
            "version": VERSION,
            "iss": self.community.as_str(),
            "sequence": self.sequence,
            "iat": self.issued.as_seconds(),
            "nbf": self.not_before.as_seconds(),
            "exp": self.expires.as_seconds(),
            "anchors": encode(&self.anchors),
            "intermediates": encode(&self.intermediates),
            "revocation": revocation,
            "purposes": self.purposes,
            "organization_schemes": self.organization_schemes,
            "certifications_required": self.certifications,
            "certifiers": self.certifiers,
        });
        if let Some(members) = claims.as_object_mut()
            && self.value_sets != ValueSets::default()
        {
            let sets = json!({
                "subject_id_systems": self.value_sets.subject_id_systems,
                "subject_roles": self.value_sets.subject_roles,
                "consent_policies": self.value_sets.consent_policies,
                "scopes": self.value_sets.scopes,
            });
            members.insert("value_sets".to_owned(), sets);
        }
        claims
    }

    /// Signs it, for the community's operator. Whether members would take it is theirs to say.
    pub fn sign(&self, identity: &SigningIdentity) -> Result<String, JoseError> {
        let alg = identity.alg();
        let header = json!({"alg": alg.name(), "typ": TYPE, "x5c": identity.x5c()});
        identity.sign_raw(
            alg,
            header.to_string().as_bytes(),
            self.to_claims().to_string().as_bytes(),
        )
    }
}
