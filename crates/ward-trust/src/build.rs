//! Builds chains and validates them, one by one (PKI-08, PKI-09, PKI-10, X07, X44).
//!
//! webpki goes by names alone until it is at an anchor: nine certificates that all name each other cost it its
//! whole budget, before anything about them is known. So a certificate that a caller sends counts here only
//! once an anchor, or an authority that an anchor vouches for, is found to have signed it. No pair of
//! certificates is tried twice: the work is at most (certificates sent + known) × (the same + anchors)
//! signatures and [`MAX_TRIED`] short chains, whatever is sent.
//!
//! What holds for one chain stands in [`verify`]: every rule of RFC 5280 §6.1 is checked here or in the modules that
//! it calls, and webpki is asked as a second opinion wherever it understands what stands in the chain.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use ward_core::Timestamp;
use webpki::{EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_cert::ext::pkix::KeyUsage;

use crate::{Certificate, Chain, Community, PathError, names, policies};

/// Chains that are found good for one leaf at most.
const MAX_PATHS: usize = 8;
/// Chains that are given to webpki for one leaf.
pub(crate) const MAX_TRIED: usize = 16;
/// Steps of the search for them.
const MAX_STEPS: usize = 256;
/// Authorities between leaf and anchor; webpki's own bound.
const MAX_DEPTH: usize = 6;
/// Certificates sent along that are looked at. `x5c` has at most ten (R20).
pub(crate) const MAX_EXTRA: usize = 10;

/// What was done for one leaf, so that tests can hold the bounds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    /// Signatures verified before webpki.
    pub(crate) signatures: usize,
    /// Chains given to webpki.
    pub(crate) chains: usize,
    /// Certificates in them.
    pub(crate) certificates: usize,
}

/// Who signed a certificate of the pool, by index.
#[derive(Clone, Copy)]
enum Signer {
    Anchor(usize),
    Pool(usize),
}

/// A way from the leaf's issuer up to an anchor: indices into the pool, and the anchor's.
struct Way {
    pool: Vec<usize>,
    anchor: usize,
}

/// The certificates from which chains are made.
struct Material<'a> {
    /// One certificate of each entity that is an anchor.
    anchors: Vec<&'a Certificate>,
    /// Certificates that could lie between the leaf and an anchor, by their names.
    pool: Vec<&'a Certificate>,
    /// For each of the pool, who was found to have signed it.
    signers: Vec<Vec<Signer>>,
}

/// Every chain from the leaf to an anchor that holds but for revocation, shortest first.
pub(crate) fn chains(
    leaf: &Certificate,
    extra: &[Certificate],
    community: &Community,
    now: Timestamp,
    work: &mut Work,
) -> Result<Vec<Chain>, PathError> {
    let mut material = Material {
        anchors: anchors(community, now),
        pool: pool(leaf, extra, community),
        signers: Vec::new(),
    };
    let mut fault = material.vouch(work);
    let mut found = Vec::new();
    let mut first = None;
    for way in material.ways(leaf, work, &mut fault) {
        let issuers: Vec<_> =
            way.pool.iter().filter_map(|at| material.pool.get(*at).copied()).collect();
        let Some(anchor) = material.anchors.get(way.anchor) else { continue };
        work.chains += 1;
        work.certificates += issuers.len() + 1;
        match verify(leaf, &issuers, anchor, community, now, work)
            .and_then(|()| assemble(leaf, &issuers, anchor, community))
        {
            Ok(chain) => found.push(chain),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
        if found.len() == MAX_PATHS {
            break;
        }
    }
    if found.is_empty() { Err(first.unwrap_or(fault)) } else { Ok(found) }
}

/// The anchors, one certificate for each entity: any that is in force will do (PKI-16).
fn anchors(community: &Community, now: Timestamp) -> Vec<&Certificate> {
    let mut anchors: Vec<&Certificate> = Vec::new();
    let fit = |one: &Certificate| one.is_valid_at(now) && one.anchor_fault().is_none();
    for anchor in &community.anchors {
        match anchors.iter_mut().find(|known| known.same_entity(anchor)) {
            Some(known) if !fit(known) && fit(anchor) => *known = anchor,
            Some(_) => {}
            None => anchors.push(anchor),
        }
    }
    anchors
}

/// The certificates that a path could need, going up from the leaf by names.
fn pool<'a>(
    leaf: &'a Certificate,
    extra: &'a [Certificate],
    community: &'a Community,
) -> Vec<&'a Certificate> {
    let configured = &community.intermediates;
    // What was found out about a configured certificate is remembered with it: prefer it to its copy.
    let sent = extra
        .iter()
        .take(MAX_EXTRA)
        .map(|one| configured.iter().find(|known| *known == one).unwrap_or(one));
    let all: Vec<&Certificate> = sent
        .chain(configured)
        .filter(|one| *one != leaf)
        // An anchor sent along would only make each path longer by itself.
        .filter(|one| !community.anchors.iter().any(|anchor| anchor.same_entity(one)))
        .collect();
    let mut pool: Vec<&Certificate> = Vec::new();
    let mut names = vec![leaf.issuer_der()];
    let mut next = 0;
    while let Some(name) = names.get(next).copied() {
        next += 1;
        for one in all.iter().filter(|one| one.subject_der() == name) {
            if !pool.contains(one) {
                pool.push(one);
            }
            if !names.contains(&one.issuer_der()) {
                names.push(one.issuer_der());
            }
        }
    }
    pool
}

impl Material<'_> {
    /// Finds out who signed what, from the anchors downwards. Returns what to say if nothing comes of it.
    fn vouch(&mut self, work: &mut Work) -> PathError {
        let mut fault = PathError::Untrusted;
        self.signers = vec![Vec::new(); self.pool.len()];
        let mut waiting: Vec<Signer> = (0..self.anchors.len()).map(Signer::Anchor).collect();
        let mut next = 0;
        while let Some(signer) = waiting.get(next).copied() {
            next += 1;
            let (authority, itself) = match signer {
                Signer::Anchor(at) => (self.anchors.get(at), None),
                Signer::Pool(at) => (self.pool.get(at), Some(at)),
            };
            let Some(authority) = authority else { continue };
            for (at, (one, signers)) in self.pool.iter().zip(&mut self.signers).enumerate() {
                if Some(at) == itself || one.issuer_der() != authority.subject_der() {
                    continue;
                }
                match one.signed_by(authority, &mut work.signatures) {
                    Ok(()) => {
                        // What a member signs with its own certificate vouches for nothing (X28).
                        if signers.is_empty() && one.is_ca() {
                            waiting.push(Signer::Pool(at));
                        }
                        signers.push(signer);
                    }
                    Err(error) => fault = error,
                }
            }
        }
        fault
    }

    /// The ways from the leaf to an anchor over vouched certificates, shortest first.
    fn ways(&self, leaf: &Certificate, work: &mut Work, fault: &mut PathError) -> Vec<Way> {
        let vouched = self.pool.iter().zip(&self.signers).enumerate();
        let mut issuers: Vec<(Signer, &Certificate)> = self
            .anchors
            .iter()
            .enumerate()
            .map(|(at, anchor)| (Signer::Anchor(at), *anchor))
            .chain(
                vouched
                    .filter(|(_, (_, signers))| !signers.is_empty())
                    .map(|(at, (one, _))| (Signer::Pool(at), *one)),
            )
            .filter(|(_, issuer)| issuer.subject_der() == leaf.issuer_der())
            .collect();
        // One issuer of that name: webpki will find out whether it signed. Several, as after a change of
        // keys: only those that did are worth a chain.
        if issuers.len() > 1 {
            issuers.retain(|(_, issuer)| {
                leaf.signed_by(issuer, &mut work.signatures).map_err(|error| *fault = error).is_ok()
            });
        }
        let mut ways = Vec::new();
        let mut steps = MAX_STEPS;
        for (issuer, _) in issuers {
            self.climb(issuer, &mut Vec::new(), &mut ways, &mut steps);
        }
        ways.sort_by_key(|way| way.pool.len());
        ways.truncate(MAX_TRIED);
        ways
    }

    fn climb(&self, from: Signer, below: &mut Vec<usize>, ways: &mut Vec<Way>, steps: &mut usize) {
        let Some(left) = steps.checked_sub(1) else { return };
        *steps = left;
        let at = match from {
            Signer::Anchor(anchor) => return ways.push(Way { pool: below.clone(), anchor }),
            Signer::Pool(at) => at,
        };
        let Some(one) = self.pool.get(at) else { return };
        // No entity twice on one path (RFC 4158 §5.2).
        let known = |other: &usize| self.pool.get(*other).is_some_and(|two| two.same_entity(one));
        if below.len() == MAX_DEPTH || below.iter().any(known) {
            return;
        }
        below.push(at);
        for signer in self.signers.get(at).into_iter().flatten() {
            self.climb(*signer, below, ways, steps);
        }
        below.pop();
    }
}

/// Extended key usage is no criterion: the texts of UDAP set none (PKI-11). It must be readable.
struct AnyUse;

impl ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, mut iter: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        iter.try_for_each(|id| id.map(|_| ()))
    }
}

/// All of RFC 5280 §6.1 but revocation, for exactly this chain.
///
/// webpki is asked as well, wherever it processes what stands in the chain; its word against a chain is final. It
/// refuses critical policy extensions and constraints on other names than hosts and addresses, and counts self-issued
/// authorities: those chains stand on the checks here alone, signatures included.
fn verify(
    leaf: &Certificate,
    issuers: &[&Certificate],
    anchor: &Certificate,
    community: &Community,
    now: Timestamp,
    work: &mut Work,
) -> Result<(), PathError> {
    let path: Vec<&Certificate> = [leaf].into_iter().chain(issuers.iter().copied()).collect();
    for one in &path {
        if one.malformed() {
            return Err(PathError::Malformed);
        }
        if one.has_unknown_critical() {
            return Err(PathError::CriticalExtension);
        }
        if now < one.not_before() {
            return Err(PathError::NotYetValid);
        }
        if !one.is_valid_at(now) {
            return Err(PathError::Expired);
        }
    }
    if leaf.is_ca() {
        return Err(PathError::LeafIsAuthority);
    }
    authorities(issuers, anchor)?;
    if !anchor.is_valid_at(now) {
        return Err(PathError::AnchorExpired);
    }
    if let Some(fault) = anchor.anchor_fault() {
        return Err(fault);
    }
    let beyond = path.iter().chain([&anchor]).any(|one| one.is_beyond_webpki())
        || issuers.iter().any(|one| one.is_self_issued());
    if beyond {
        for (one, issuer) in path.iter().zip(path.iter().skip(1).chain([&anchor])) {
            if one.issuer_der() != issuer.subject_der() {
                return Err(PathError::Untrusted);
            }
            one.signed_by(issuer, &mut work.signatures)?;
        }
    } else {
        ask_webpki(leaf, issuers, anchor, now)?;
    }
    let path: Vec<&Certificate> = [anchor].into_iter().chain(path.into_iter().rev()).collect();
    names::check(&path)?;
    policies::check(&path, &community.policies)
}

/// Whether those above the leaf are authorities, and may have so many below them.
fn authorities(issuers: &[&Certificate], anchor: &Certificate) -> Result<(), PathError> {
    let mut below = 0;
    for issuer in issuers {
        if !issuer.is_ca() {
            return Err(PathError::NotAuthority);
        }
        if !issuer.may(KeyUsage::key_cert_sign) {
            return Err(PathError::KeyCertSign);
        }
        if !issuer.has_strong_key() {
            return Err(PathError::WeakKey);
        }
        if issuer.path_length().is_some_and(|most| below > usize::from(most)) {
            return Err(PathError::PathLength);
        }
        below += usize::from(!issuer.is_self_issued());
    }
    if anchor.path_length().is_some_and(|most| below > usize::from(most)) {
        return Err(PathError::PathLength);
    }
    Ok(())
}

/// webpki's checks of exactly this chain: signatures, dates, CA bits, path lengths, constraints on hosts and
/// addresses, unknown critical extensions.
fn ask_webpki(
    leaf: &Certificate,
    issuers: &[&Certificate],
    anchor: &Certificate,
    now: Timestamp,
) -> Result<(), PathError> {
    let leaf_der = CertificateDer::from(leaf.der());
    let anchor_der = CertificateDer::from(anchor.der());
    let issuer_der: Vec<_> = issuers.iter().map(|one| CertificateDer::from(one.der())).collect();
    let anchor = webpki::anchor_from_trusted_cert(&anchor_der).map_err(|_| PathError::Malformed)?;
    let end_entity = EndEntityCert::try_from(&leaf_der)?;
    let seconds = u64::try_from(now.as_seconds()).unwrap_or(0);
    let anchors = [anchor];
    let path = end_entity.verify_for_usage(
        crate::asn1::SIGNATURE_ALGORITHMS,
        &anchors,
        &issuer_der,
        UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
        AnyUse,
        None,
        None,
    )?;
    // A shortcut through a part of the chain would leave the rest of it unchecked; it has its own turn.
    let same = path
        .intermediate_certificates()
        .map(|one| one.der().to_vec())
        .eq(issuers.iter().map(|one| one.der().to_vec()));
    if same { Ok(()) } else { Err(PathError::Untrusted) }
}

/// The chain, if the community's own selectors admit it.
fn assemble(
    leaf: &Certificate,
    issuers: &[&Certificate],
    anchor: &Certificate,
    community: &Community,
) -> Result<Chain, PathError> {
    let issuing = issuers.first().copied().unwrap_or(anchor).thumbprint();
    if !community.issuing.is_empty() && !community.issuing.contains(&issuing) {
        return Err(PathError::ForeignIssuer);
    }
    let mut certificates = vec![leaf.clone()];
    certificates.extend(issuers.iter().map(|one| (*one).clone()));
    Ok(Chain { certificates, anchor: anchor.clone(), stale: false })
}
