//! Certifications at the registration endpoint (IG §3.3; CE §6; CRT-01..CRT-14, C01–C15).
//!
//! Each community says which it supports, whose word counts for each, which are required, and what each unlocks
//! ([`CertificationRule`]). One that names none of them is ignored (CRT-01) as long as it is a certification and its signature
//! holds. One that names a supported URI is held to everything, and refused with the whole request if it falls short
//! (CRT-11): a client that shows a void certification is told so, not quietly given less. Its certifier's path ends at the
//! certifiers' anchors and never at the clients' (CRT-07), and its status is asked for last (CE §8).

mod recheck;
mod standing;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ward_core::{ClientUri, Thumbprint, Timestamp};
use ward_fhir::ScopeSet;
use ward_policy::Subject;
use ward_store::Certified;
use ward_trust::bundle::signers;
use ward_trust::certification::Applicant;
use ward_trust::{Certificate, Certification, CertificationError, Chain, Community, Jws};

use crate::discovery::{ALGS, Served};
use crate::errors::{Answer, IssuerError, Refusal};
use crate::issuer::Issuer;
use crate::trust::{self, TrustError};

pub use recheck::Rechecked;
pub(crate) use recheck::{Ledger, Relied};

/// Whose word counts for a certification.
#[derive(Debug, Clone)]
pub enum Certifiers {
    /// The client's own, under the certificate that its community knows it by (CRT-13).
    Declared,
    /// A third party's.
    Third {
        /// Where its path ends: anchors of certifiers, not of clients (CRT-07).
        trust: Box<Community>,
        /// The URIs of those who may certify; empty: all under these anchors.
        names: Vec<String>,
    },
}

impl Certifiers {
    /// Certifiers under anchors of their own.
    pub fn under(trust: Community, names: Vec<String>) -> Self {
        Self::Third { trust: Box::new(trust), names }
    }

    /// Where the paths of third parties end.
    pub fn trust(&self) -> Option<&Community> {
        match self {
            Self::Declared => None,
            Self::Third { trust, .. } => Some(trust),
        }
    }

    /// Certifiers under the anchors of the community itself. Its members are under these too, so only these URIs and the
    /// community's own count: members cannot have them (C03).
    pub fn of_community(community: &Community, mut names: Vec<String>) -> Self {
        names.push(community.uri.as_str().to_owned());
        Self::Third { trust: Box::new(signers(community)), names }
    }
}

/// A certification that a community supports.
#[derive(Debug, Clone)]
pub struct CertificationRule {
    /// Its URI, one of `certification_uris`.
    pub uri: String,
    /// Whether nobody registers or gets a token without it (CRT-02).
    pub required: bool,
    /// Whose word counts.
    pub certifiers: Certifiers,
    /// What clients that show it may be granted beside what everybody may.
    pub unlocks: ScopeSet,
}

/// A certification that was accepted.
pub(crate) struct Accepted {
    pub(crate) certification: Certification,
    signer: Thumbprint,
    jwt: String,
    /// Positions, in the community's rules, of what it counts for.
    rules: Vec<usize>,
    /// What it rests on.
    pub(crate) path: Vec<Certificate>,
}

impl Accepted {
    pub(crate) fn kept(&self) -> Certified {
        let Certification { iss, name, uris, exp, .. } = &self.certification;
        Certified {
            id: self.certification.id(),
            issuer: iss.clone(),
            name: name.clone(),
            uris: uris.clone(),
            signer: self.signer,
            expires: *exp,
            jwt: self.jwt.clone(),
        }
    }
}

/// Why a certification does not count now.
pub(super) enum Fault {
    /// It is refused, or not any more good.
    Refused(CertificationError),
    /// Whether it is good cannot be known now: of lists (503), or of its status (CE §8: not acceptable).
    Unknown { rule: &'static str, status: bool },
}

impl From<CertificationError> for Fault {
    fn from(error: CertificationError) -> Self {
        Self::Refused(error)
    }
}

fn unapproved(rule: &'static str, text: &'static str) -> Fault {
    Fault::Refused(CertificationError::Unapproved(ward_trust::Fault::new(rule, text)))
}

/// What ends a certification that this certificate signed: its own end, and what a signal may end.
pub(super) fn subjects(id: Thumbprint, signer: Thumbprint) -> [Subject; 2] {
    [id, Certification::signed_id(id, signer)].map(Subject::Certification)
}

impl From<CertificationError> for Refusal {
    fn from(error: CertificationError) -> Self {
        let answer = match error {
            CertificationError::Invalid(_) => Answer::InvalidCertification,
            CertificationError::Unapproved(_) => Answer::UnapprovedCertification,
        };
        Self::new(answer, error.fault().rule)
    }
}

/// What everybody may be granted, and what these rules unlock.
pub(crate) fn ceiling<'a>(
    base: &ScopeSet,
    rules: impl Iterator<Item = &'a CertificationRule>,
) -> ScopeSet {
    rules.fold(base.clone(), |all, rule| all.union(&rule.unlocks))
}

impl Served {
    /// What a client may be granted that shows what these rules ask for; `None`: any of them.
    pub(crate) fn ceiling(&self, base: &ScopeSet, shown: Option<&[usize]>) -> ScopeSet {
        let rules = self.certifications.iter().enumerate();
        let shown = rules.filter(|(at, _)| shown.is_none_or(|shown| shown.contains(at)));
        ceiling(base, shown.map(|(_, rule)| rule))
    }
}

impl Issuer {
    /// The certifications of a registration request that are accepted: step by step as CE §6 has it.
    pub(crate) async fn certify(
        &self,
        served: &Served,
        signed: (&Applicant<'_>, &str),
        given: &[String],
        now: Timestamp,
    ) -> Result<Vec<Accepted>, Refusal> {
        let (applicant, compact) = signed;
        let mut accepted: Vec<Accepted> = Vec::new();
        for jwt in given {
            if jwt == compact {
                return Err(Refusal::new(Answer::InvalidCertification, "C15"));
            }
            let one = self.certification(served, applicant, jwt, now).await?;
            let Some(one) = one else { continue };
            let id = one.certification.id();
            if accepted.iter().all(|other| other.certification.id() != id) {
                accepted.push(one);
            }
        }
        for (at, rule) in served.certifications.iter().enumerate() {
            if rule.required && !accepted.iter().any(|one| one.rules.contains(&at)) {
                return Err(Refusal::new(Answer::CertificationRequired, "C01"));
            }
        }
        Ok(accepted)
    }

    /// One of them; `None` if it is none that the community supports.
    async fn certification(
        &self,
        served: &Served,
        applicant: &Applicant<'_>,
        jwt: &str,
        now: Timestamp,
    ) -> Result<Option<Accepted>, Refusal> {
        let jws = Jws::parse(jwt, &self.limits)
            .and_then(|jws| jws.verify(ALGS))
            .map_err(CertificationError::from)?;
        let uris = Certification::uris_of(&jws)?;
        if !served.certifications.iter().any(|rule| uris.contains(&rule.uri)) {
            return Ok(None);
        }
        let endpoint = &self.registration_endpoint;
        let certification = Certification::validate(&jws, applicant, endpoint, now, &self.limits)?;
        let counts = self.counts(served, &certification, &jws, Duration::ZERO).await;
        let found = match counts {
            Ok(found) => found,
            Err(Fault::Refused(error)) => return Err(error.into()),
            Err(Fault::Unknown { rule, status: true }) => {
                return Err(Refusal::new(Answer::UnapprovedCertification, rule));
            }
            Err(Fault::Unknown { rule, status: false }) => {
                return Err(Refusal::new(Answer::Unavailable, rule));
            }
        };
        let signer = jws.leaf().thumbprint();
        let (mut rules, mut path) = (Vec::new(), Vec::new());
        for (at, chain) in found {
            rules.push(at);
            path.extend(chain.certificates);
            path.push(chain.anchor);
        }
        Ok(Some(Accepted { certification, signer, jwt: jwt.to_owned(), rules, path }))
    }

    /// For which of the community's rules a certification counts now, each with its certifier's path: at least one.
    pub(super) async fn counts(
        &self,
        served: &Served,
        certification: &Certification,
        jws: &Jws,
        grace: Duration,
    ) -> Result<Vec<(usize, Chain)>, Fault> {
        if self.is_certification_ended(certification.id(), jws.leaf().thumbprint()) {
            return Err(unapproved("CRT-16", "the certification was revoked"));
        }
        let mut found = Vec::new();
        let mut fault = unapproved("C03", "nobody that counts here vouches for it");
        for (at, rule) in served.certifications.iter().enumerate() {
            if !certification.uris.contains(&rule.uri) {
                continue;
            }
            match self.certifier(served, rule, certification, jws, grace).await {
                Ok(chain) => found.push((at, chain)),
                Err(error) => fault = error,
            }
        }
        if found.is_empty() {
            return Err(fault);
        }
        if let Some(url) = certification.status_url() {
            match self.deps.statuses.is_valid(&url).await {
                Ok(true) => {}
                Ok(false) => {
                    self.certification_ended(certification.id(), "its certifier says so").await;
                    return Err(unapproved("C09", "its certifier does not stand by it"));
                }
                Err(error) => {
                    tracing::warn!(%error, "a certification's status cannot be had");
                    return Err(Fault::Unknown { rule: "C09", status: true });
                }
            }
        }
        Ok(found)
    }

    /// Whether a certification was ended here, by itself or as signed by this certificate.
    pub fn is_certification_ended(&self, id: Thumbprint, signer: Thumbprint) -> bool {
        let epochs = &self.deps.repositories.epochs;
        subjects(id, signer).iter().any(|one| epochs.current(&self.tenant, one) > 0)
    }

    /// The path of a certifier whose word counts for the rule (CE §6.4).
    async fn certifier(
        &self,
        served: &Served,
        rule: &CertificationRule,
        certification: &Certification,
        jws: &Jws,
        grace: Duration,
    ) -> Result<Chain, Fault> {
        let foreign = || unapproved("C03", "nobody that counts here vouches for it");
        let anchors = match &rule.certifiers {
            Certifiers::Declared if certification.is_declared() => &served.community,
            Certifiers::Third { trust, names } if !certification.is_declared() => {
                let iss = certification.iss.as_str();
                if !names.is_empty() && !names.iter().any(|name| name == iss) {
                    return Err(foreign());
                }
                &**trust
            }
            Certifiers::Declared | Certifiers::Third { .. } => return Err(foreign()),
        };
        let path = self.deps.paths.path(jws.leaf(), jws.extra(), anchors, grace).await;
        match path.map_err(TrustError::from) {
            Ok(chain) if self.revoked_here(&chain) => {
                Err(unapproved("X10", "the certifier's certificate is revoked"))
            }
            Ok(chain) => Ok(chain),
            Err(TrustError::Unavailable(rule)) => Err(Fault::Unknown { rule, status: false }),
            Err(TrustError::Refused(rule)) => {
                if rule == trust::REVOKED {
                    // For good, whoever on the path was named: a void word does not come back.
                    self.remember_revoked_certifier(jws, anchors).await;
                    // Only as signed by it: whoever has that key can sign what another signed, too.
                    let signer = jws.leaf().thumbprint();
                    let id = Certification::signed_id(certification.id(), signer);
                    self.certification_ended(id, "its certifier is revoked").await;
                }
                Err(unapproved(rule, "the certifier's certificate is not trusted"))
            }
        }
    }

    /// Notes which anchors of certifiers go with the communities that are served from now on: what rests on one ends.
    pub(crate) fn give_up_certifiers(&self, next: &[Arc<Served>]) {
        let anchors = |served: &[Arc<Served>]| -> BTreeSet<Thumbprint> {
            let rules = served.iter().flat_map(|one| &one.certifications);
            let trust = rules.filter_map(|rule| rule.certifiers.trust());
            trust.flat_map(|trust| &trust.anchors).map(Certificate::thumbprint).collect()
        };
        let (before, now) = (anchors(&self.served()), anchors(next));
        let mut given_up = self.given_up.write().unwrap_or_else(PoisonError::into_inner);
        given_up.extend(before);
        given_up.retain(|anchor| !now.contains(anchor));
    }

    /// What a client that registers with these may ask for.
    pub(crate) fn certified_ceiling(&self, served: &Served, accepted: &[Accepted]) -> ScopeSet {
        let shown: Vec<usize> = accepted.iter().flat_map(|one| one.rules.clone()).collect();
        served.ceiling(&self.supported, Some(&shown))
    }
}

/// The part of what is granted that every accepted certification that states a scope names too (CRT-08, C07 as
/// amended): nothing is a refusal.
pub(crate) fn certified_scopes(
    granted: ScopeSet,
    accepted: &[Accepted],
) -> Result<ScopeSet, Refusal> {
    let stated = accepted.iter().filter_map(|one| one.certification.scope.as_deref());
    let left = stated.fold(granted, |left, scope| left.intersect(&ScopeSet::parse(scope).0));
    if left.is_empty() {
        return Err(Refusal::new(Answer::InvalidCertification, "C07"));
    }
    Ok(left)
}

/// Refuses rules that promise what cannot be kept.
pub(crate) fn check_rules(
    community: &Community,
    rules: &[CertificationRule],
) -> Result<(), IssuerError> {
    for (at, rule) in rules.iter().enumerate() {
        let refuse = |why: &str| {
            let (uri, community) = (&rule.uri, &community.uri);
            Err(IssuerError::Config(format!("certification {uri} of community {community} {why}")))
        };
        if ClientUri::parse(&rule.uri).is_err() {
            return refuse("is no absolute URI");
        }
        if rules.iter().take(at).any(|earlier| earlier.uri == rule.uri) {
            return refuse("is configured twice");
        }
        let Certifiers::Third { trust, names } = &rule.certifiers else { continue };
        if let Err(fault) = trust.check() {
            return refuse(&format!("has certifiers that cannot be relied on: {fault}"));
        }
        // The community's own authorities, and those above them: under each stand its members. What a bundle lists beside the
        // anchors may be an authority for certifiers alone, and must not keep the bundle out.
        let by_bundle = community.trusted_until.is_some();
        let listed = || community.intermediates.iter().filter(move |_| !by_bundle);
        let own = || community.anchors.iter().chain(listed());
        let shared = |anchor: &Certificate| {
            own().any(|one| one.same_entity(anchor) || one.is_issued_by(anchor))
        };
        if names.is_empty() && trust.anchors.iter().any(shared) {
            return refuse("would believe every member of the community; name its certifiers");
        }
    }
    Ok(())
}
