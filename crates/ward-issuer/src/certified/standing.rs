//! Certifications at the token endpoint: looked at anew for every token (CRT-16). One that is required and has lapsed stops
//! tokens; one that unlocked scopes takes them along. A grant hangs on those that it rests on, and ends no later.

use std::time::Duration;

use ward_core::{Thumbprint, Timestamp};
use ward_fhir::ScopeSet;
use ward_policy::Subject;
use ward_store::Registration;
use ward_trust::{Certificate, Certification, Jws};

use super::{Fault, Relied, subjects};
use crate::discovery::Served;
use crate::errors::{Answer, Refusal};
use crate::issuer::Issuer;

/// A certification that counts now.
struct Live {
    id: Thumbprint,
    signer: Thumbprint,
    jwt: String,
    rules: Vec<usize>,
    /// Of its certifier, down from it.
    certificates: Vec<Certificate>,
    expires: Timestamp,
}

/// The certifications of a client that asks for a token.
pub(crate) struct Standing {
    live: Vec<Live>,
    /// What the client may be granted by them.
    pub(crate) ceiling: ScopeSet,
    /// Epochs of what is found here, read before it was looked at.
    epochs: Vec<(Subject, u64)>,
}

/// What a grant rests on beside the client's own certificate.
pub(crate) struct Resting {
    /// With their epochs.
    pub(crate) hangs_on: Vec<(Subject, u64)>,
    /// When the first of it ends.
    pub(crate) expires: Option<Timestamp>,
    /// To be looked at again while the grant lives.
    pub(crate) relied: Vec<Relied>,
}

impl Issuer {
    /// Looks at the certifications of a client that presents this certificate.
    pub(crate) async fn standing(
        &self,
        served: &Served,
        registration: &Registration,
        leaf: Option<&Certificate>,
        grace: Duration,
        now: Timestamp,
    ) -> Result<Standing, Refusal> {
        let mut epochs = Vec::new();
        for one in &registration.certifications {
            epochs.extend(self.epochs(subjects(one.id, one.signer)));
        }
        let mut live = Vec::new();
        // Rules for which a certification may yet count.
        let mut unknown: Vec<(usize, &'static str)> = Vec::new();
        for kept in &registration.certifications {
            let Ok(jws) = Jws::parse(&kept.jwt, &self.limits) else { continue };
            let read = Certification::kept(&jws, now, &self.limits);
            let Ok(certification) = read else { continue };
            // Its last second is its last: a token must not outlive it.
            if certification.id() != kept.id
                || jws.leaf().thumbprint() != kept.signer
                || now.as_seconds() > certification.exp.as_seconds()
                || !leaf.is_some_and(|leaf| certification.allows_key_of(leaf))
            {
                continue;
            }
            match self.counts(served, &certification, &jws, grace).await {
                Ok(found) => {
                    let mut certificates = Vec::new();
                    let mut rules = Vec::new();
                    for (at, chain) in found {
                        rules.push(at);
                        certificates.extend(chain.certificates);
                        certificates.push(chain.anchor);
                    }
                    let expires = certification.exp;
                    let jwt = kept.jwt.clone();
                    let (id, signer) = (kept.id, kept.signer);
                    live.push(Live { id, signer, jwt, rules, certificates, expires });
                }
                Err(Fault::Refused(_)) => {}
                Err(Fault::Unknown { rule: why, .. }) => {
                    let rules = served.certifications.iter().enumerate();
                    let named = rules.filter(|(_, rule)| certification.uris.contains(&rule.uri));
                    unknown.extend(named.map(|(at, _)| (at, why)));
                }
            }
        }
        let certificates = live.iter().flat_map(|one| &one.certificates);
        for thumbprint in certificates.map(Certificate::thumbprint) {
            let subject = Subject::Certificate(thumbprint);
            if epochs.iter().all(|(known, _)| *known != subject) {
                epochs.extend(self.epochs([subject]));
            }
        }
        // Revoked between the look at the path and at its epochs.
        let ended = |one: &Certificate| {
            let subject = Subject::Certificate(one.thumbprint());
            epochs.iter().any(|(known, epoch)| *known == subject && *epoch > 0)
        };
        live.retain(|one: &Live| !one.certificates.iter().any(ended));
        let shown: Vec<usize> = live.iter().flat_map(|one| one.rules.clone()).collect();
        for (at, rule) in served.certifications.iter().enumerate() {
            if !rule.required || shown.contains(&at) {
                continue;
            }
            return Err(match unknown.iter().find(|(wanted, _)| *wanted == at) {
                Some((_, why)) => Refusal::new(Answer::Unavailable, *why),
                None => Refusal::new(Answer::CertificationLapsed, "CRT-16"),
            });
        }
        let ceiling = served.ceiling(&self.supported, Some(&shown));
        Ok(Standing { live, ceiling, epochs })
    }
}

impl Standing {
    /// What a grant of these scopes rests on: the certifications that are required, and those that unlocked some of it.
    pub(crate) fn rests(&self, served: &Served, base: &ScopeSet, granted: &ScopeSet) -> Resting {
        let mut resting = Resting { hangs_on: Vec::new(), expires: None, relied: Vec::new() };
        for one in &self.live {
            let mut rules = one.rules.iter().filter_map(|at| served.certifications.get(*at));
            let needed = rules
                .any(|rule| rule.required || !base.contains(&granted.intersect(&rule.unlocks)));
            if !needed {
                continue;
            }
            let mut subjects = subjects(one.id, one.signer).to_vec();
            let held = one.certificates.iter().map(|held| Subject::Certificate(held.thumbprint()));
            subjects.extend(held);
            for subject in subjects {
                let known = self.epochs.iter().find(|(known, _)| *known == subject);
                if let Some(known) = known.filter(|known| !resting.hangs_on.contains(known)) {
                    resting.hangs_on.push(known.clone());
                }
            }
            let ends = one.certificates.iter().map(Certificate::not_after);
            let ends = ends.chain([one.expires, resting.expires.unwrap_or(one.expires)]).min();
            resting.expires = ends;
            let (community, path) = (served.community.uri.clone(), one.certificates.clone());
            resting.relied.push(Relied::new(one.id, community, one.jwt.clone(), path));
        }
        resting
    }
}
