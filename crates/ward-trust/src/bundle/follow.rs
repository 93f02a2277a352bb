//! Whether a member takes a bundle, given what it trusts now, and what it trusts then.

use std::time::Duration;

use ward_core::{Limits, Purpose, Thumbprint, Timestamp};

use super::{BundleError, MAX_DAYS, MAX_LEAP, SignedBundle};
use crate::{Certificate, Community, candidate_paths};

const MAX_LIFE: Duration = Duration::from_hours(24 * MAX_DAYS);

/// The newest bundle that a member took, whether or not it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its number.
    pub sequence: u64,
    /// SHA-256 of the whole document.
    pub digest: Thumbprint,
}

/// A community as far as it decides who may sign its bundles: its anchors and what it knows below them, without the
/// selectors for members, for the community is no member of itself.
pub fn signers(community: &Community) -> Community {
    Community {
        issuing: Vec::new(),
        policies: Vec::new(),
        uri_prefixes: Vec::new(),
        trusted_until: None,
        ..community.clone()
    }
}

impl SignedBundle {
    /// What this one is, once it is taken.
    pub const fn held(&self) -> Held {
        Held { sequence: self.bundle.sequence, digest: self.digest }
    }

    /// Whether this is the bundle at hand: nothing to do.
    pub fn is(&self, held: Held) -> bool {
        self.held() == held
    }

    /// Whether a member that trusts `community` now, and took `held` last, may take it, but for revocation of the signer:
    /// check that with the community of [`signers`], then [`Self::apply`] it.
    pub fn accept(
        &self,
        community: &Community,
        held: Option<Held>,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<(), BundleError> {
        let bundle = &self.bundle;
        if bundle.community != community.uri {
            return Err(BundleError::OtherCommunity);
        }
        // Nobody else's words are looked at any further.
        if !matches!(self.signer().san_uris(), [only] if only == community.uri.as_str()) {
            return Err(BundleError::Signer);
        }
        candidate_paths(self.signer(), self.extra(), &signers(community), now)
            .map_err(BundleError::Path)?;
        if let Some(held) = held {
            self.follows(held)?;
        }
        self.is_in_force(now, limits)?;
        for anchor in &bundle.anchors {
            if !self.is_vouched_for(anchor, &community.anchors, now) {
                return Err(BundleError::Unvouched(anchor.thumbprint()));
            }
        }
        if bundle.anchors.iter().any(|anchor| anchor.is_valid_at(now)) {
            Ok(())
        } else {
            Err(BundleError::AnchorsOver)
        }
    }

    fn follows(&self, held: Held) -> Result<(), BundleError> {
        let sequence = self.bundle.sequence;
        if sequence < held.sequence {
            Err(BundleError::RollBack)
        } else if sequence == held.sequence && self.digest != held.digest {
            Err(BundleError::SameNumber)
        } else if sequence - held.sequence > MAX_LEAP {
            Err(BundleError::Leap)
        } else {
            Ok(())
        }
    }

    fn is_in_force(&self, now: Timestamp, limits: &Limits) -> Result<(), BundleError> {
        let bundle = &self.bundle;
        if bundle.expires <= bundle.not_before {
            return Err(BundleError::Member("exp"));
        }
        if bundle.expires.since(bundle.not_before) > MAX_LIFE {
            return Err(BundleError::Life);
        }
        let latest = now.plus(limits.clock_skew);
        if bundle.not_before > latest || bundle.issued > latest {
            return Err(BundleError::NotYetValid);
        }
        if now > bundle.expires { Err(BundleError::Expired) } else { Ok(()) }
    }

    /// Whether the anchor is in force already, or an anchor that is valid now signed a certificate for its name and key.
    fn is_vouched_for(&self, anchor: &Certificate, known: &[Certificate], now: Timestamp) -> bool {
        known.contains(anchor)
            || self.bundle.intermediates.iter().any(|cross| {
                cross.same_entity(anchor)
                    && cross.is_valid_at(now)
                    && cross.anchor_fault().is_none()
                    && known.iter().any(|old| {
                        old.is_valid_at(now)
                            && old.anchor_fault().is_none()
                            && cross.issuer_der() == old.subject_der()
                            && cross.signed_by(old, &mut 0).is_ok()
                    })
            })
    }

    /// The member's community under this bundle. Anchors are the bundle's alone; intermediates are added to what the member has;
    /// of purposes and organisation schemes the member allows what it did and the bundle does too, so that a bundle can
    /// narrow but never widen what an operator set; a role or a policy must be admitted by both. It is good until the bundle ends.
    pub fn apply(&self, community: &Community) -> Community {
        let bundle = &self.bundle;
        let mut applied = community.clone();
        applied.anchors.clone_from(&bundle.anchors);
        for one in &bundle.intermediates {
            if !applied.intermediates.contains(one) {
                applied.intermediates.push(one.clone());
            }
        }
        let named = |purpose: &Purpose| bundle.purposes.iter().any(|code| code == purpose.code());
        applied.purposes.retain(named);
        applied.organization_schemes = narrowed(&community.organization_schemes, bundle);
        applied.context.of_bundle.clone_from(&bundle.value_sets);
        applied.trusted_until = Some(bundle.expires);
        applied
    }
}

/// What has a prefix of both: of two that overlap the longer.
fn narrowed(ours: &[String], bundle: &super::Bundle) -> Vec<String> {
    let mut both = Vec::new();
    for (one, two) in
        ours.iter().flat_map(|one| bundle.organization_schemes.iter().map(move |two| (one, two)))
    {
        let longer = if one.starts_with(two.as_str()) {
            one
        } else if two.starts_with(one.as_str()) {
            two
        } else {
            continue;
        };
        if !both.contains(longer) {
            both.push(longer.clone());
        }
    }
    both
}
