//! Paths that were built before. What [`candidate_paths`] finds depends on certificates, community and date alone, and
//! costs three signatures: it is remembered for the same octets, and looked at anew as soon as any certificate of
//! it is out of its dates.
//!
//! Revocation is no part of it: lists, and certificates that were seen revoked, are consulted on every request (PKI-17).
//! Only paths that were found are kept, so that a stranger takes no place. The issuers in such paths are at hand for whoever
//! comes next, names the same place of them and does not send them: no fetch is needed, and no crowd of strangers keeps
//! a member out.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ward_core::{CommunityUri, Thumbprint, Timestamp};
use ward_trust::{Certificate, Chain, Community, PathError, candidate_paths};

use crate::aia::MAX_PLACES;

/// Leaves whose paths are remembered, of one request's size at most each.
const MAX_KNOWN: usize = 128;

/// Issuers that are remembered by the place that was named.
const MAX_ISSUERS: usize = 256;

/// Paths by what they were built from, and the issuers in all of them; the oldest goes first.
#[derive(Default)]
pub(crate) struct Built {
    paths: Mutex<VecDeque<Known>>,
    /// By the place (`caIssuers`) that what they issued names. Trusted for nothing: a path is built from them anew.
    issuers: Mutex<VecDeque<(String, Certificate)>>,
}

struct Known {
    leaf: Certificate,
    extra: Vec<Certificate>,
    community: Selecting,
    chains: Vec<Chain>,
}

/// What of a community decides about paths; a reload may change it.
struct Selecting {
    uri: CommunityUri,
    anchors: Vec<Certificate>,
    intermediates: Vec<Certificate>,
    issuing: Vec<Thumbprint>,
    policies: Vec<String>,
    uri_prefixes: Vec<String>,
}

impl Selecting {
    fn of(community: &Community) -> Self {
        Self {
            uri: community.uri.clone(),
            anchors: community.anchors.clone(),
            intermediates: community.intermediates.clone(),
            issuing: community.issuing.clone(),
            policies: community.policies.clone(),
            uri_prefixes: community.uri_prefixes.clone(),
        }
    }

    fn is(&self, community: &Community) -> bool {
        self.uri == community.uri
            && self.anchors == community.anchors
            && self.intermediates == community.intermediates
            && self.issuing == community.issuing
            && self.policies == community.policies
            && self.uri_prefixes == community.uri_prefixes
    }
}

impl Known {
    fn is_of(&self, leaf: &Certificate, extra: &[Certificate], community: &Community) -> bool {
        self.leaf == *leaf && self.extra == extra && self.community.is(community)
    }

    /// Every certificate of every path, anchors too, is within its dates.
    fn is_in_force(&self, now: Timestamp) -> bool {
        let certificates =
            self.chains.iter().flat_map(|chain| chain.certificates.iter().chain([&chain.anchor]));
        certificates.into_iter().all(|certificate| certificate.is_valid_at(now))
    }
}

impl Built {
    /// [`candidate_paths`], remembered.
    pub(crate) fn paths(
        &self,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
        now: Timestamp,
    ) -> Result<Vec<Chain>, PathError> {
        let lock = || self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lock()
            .iter()
            .find(|known| known.is_of(leaf, extra, community))
            .filter(|known| known.is_in_force(now))
            .map(|known| known.chains.clone());
        if let Some(chains) = found {
            return Ok(chains);
        }
        let built = candidate_paths(leaf, extra, community, now);
        lock().retain(|known| !known.is_of(leaf, extra, community));
        let chains = built?;
        self.keep(leaf, extra, community, &chains);
        Ok(chains)
    }

    /// Remembers the paths of a leaf that came with these certificates; others may have been fetched for them.
    pub(crate) fn keep(
        &self,
        leaf: &Certificate,
        extra: &[Certificate],
        community: &Community,
        chains: &[Chain],
    ) {
        for chain in chains {
            for (certificate, issuer) in
                chain.certificates.iter().zip(chain.certificates.iter().skip(1))
            {
                for place in certificate.ca_issuer_urls().iter().take(MAX_PLACES) {
                    self.remember(place, issuer);
                }
            }
        }
        let mut all = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| !known.is_of(leaf, extra, community));
        if all.len() >= MAX_KNOWN {
            all.pop_front();
        }
        all.push_back(Known {
            leaf: leaf.clone(),
            extra: extra.to_vec(),
            community: Selecting::of(community),
            chains: chains.to_vec(),
        });
    }

    fn remember(&self, place: &str, issuer: &Certificate) {
        let mut all = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if all.iter().any(|(known, one)| known == place && one == issuer) {
            return;
        }
        if all.len() >= MAX_ISSUERS {
            all.pop_front();
        }
        all.push_back((place.to_owned(), issuer.clone()));
    }

    /// Whether a path was found in which something named this place of its issuer.
    pub(crate) fn knows(&self, place: &str) -> bool {
        let all = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|(known, _)| known == place)
    }

    /// The issuer of a certificate, if a path was found before in which it stood at a place that this one names.
    pub(crate) fn issuer_of(&self, certificate: &Certificate) -> Option<Certificate> {
        let places = certificate.ca_issuer_urls();
        let all = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        let named =
            all.iter().filter(|(place, _)| places.iter().take(MAX_PLACES).any(|one| one == place));
        named.map(|(_, one)| one).find(|one| certificate.is_issued_by(one)).cloned()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
