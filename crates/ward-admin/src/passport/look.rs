//! From what is kept to paths: which certificates a client showed, and what is known of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use ward_core::Thumbprint;
use ward_net::{Evidence, Source};
use ward_policy::{Grant, Subject};
use ward_store::repo::Registration;
use ward_trust::jose::Jws;
use ward_trust::{Certificate, Community, PathError};

use super::shapes::{CertificateView, Check, PathView};
use crate::admin::Admin;
use crate::commands::AdminError;

/// Paths of one client that are looked at.
const PATHS: usize = 8;

/// Certificates that a client was let in by: its own, and what it sent to build a path from.
pub(crate) struct Shown {
    /// Whether it registered with these.
    pub(crate) registered: bool,
    pub(crate) leaf: Certificate,
    pub(crate) extra: Vec<Certificate>,
}

/// The path of certificates that were shown.
pub(crate) struct Trail {
    pub(crate) registered: bool,
    /// The client's own first, the anchor last; only its own if there is no path.
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) broken: Option<PathError>,
}

impl Trail {
    pub(crate) fn has(&self, thumbprint: Thumbprint) -> bool {
        self.certificates.iter().any(|one| one.thumbprint() == thumbprint)
    }
}

impl Admin {
    /// What the client registered with, then what it renewed to and has live grants under.
    pub(crate) async fn shown(
        &self,
        registration: &Registration,
        grants: &[Arc<Grant>],
    ) -> Result<Vec<Shown>, AdminError> {
        let mut shown = Vec::new();
        if let Ok(statement) = Jws::parse(&registration.statement, &self.deps.limits) {
            let (leaf, extra) = (statement.leaf().clone(), statement.extra().to_vec());
            shown.push(Shown { registered: true, leaf, extra });
        }
        let renewed: BTreeSet<Thumbprint> = grants
            .iter()
            .map(|grant| grant.certificate)
            .filter(|thumbprint| *thumbprint != registration.thumbprint)
            .collect();
        for thumbprint in renewed.into_iter().take(PATHS) {
            let path = self.deps.store.presented.path(&self.tenant, thumbprint).await?;
            let mut path = path.iter().filter_map(|der| Certificate::from_der(der).ok());
            if let Some(leaf) = path.next().filter(|leaf| leaf.thumbprint() == thumbprint) {
                shown.push(Shown { registered: false, leaf, extra: path.collect() });
            }
        }
        Ok(shown)
    }

    /// The paths of what was shown, in the client's community as it is served now.
    pub(crate) async fn trails(
        &self,
        shown: Vec<Shown>,
        community: Option<&Community>,
    ) -> Vec<Trail> {
        let mut trails = Vec::new();
        for Shown { registered, leaf, extra } in shown {
            let found = match community {
                Some(community) => self.deps.lists.paths(&leaf, &extra, community).await,
                None => Err(PathError::Untrusted),
            };
            let best = found.map(|chains| chains.into_iter().next());
            trails.push(match best {
                Ok(Some(chain)) => {
                    let mut certificates = chain.certificates;
                    certificates.push(chain.anchor);
                    Trail { registered, certificates, broken: None }
                }
                Ok(None) => broken(registered, leaf, PathError::Untrusted),
                Err(error) => broken(registered, leaf, error),
            });
        }
        trails
    }

    /// A path as it is shown.
    pub(crate) fn path_view(&self, trail: &Trail) -> PathView {
        let all = &trail.certificates;
        let last = all.len().saturating_sub(1);
        let view = |(at, one): (usize, &Certificate)| {
            let role = match (at, &trail.broken) {
                (0, _) => "client",
                (at, None) if at == last => "anchor",
                _ => "issuer",
            };
            self.view(role, one, all.get(at + 1))
        };
        let ends = all.iter().map(Certificate::not_after).min();
        PathView {
            registered: trail.registered,
            certificates: all.iter().enumerate().map(view).collect(),
            broken: trail.broken.map(|error| error.to_string()),
            until: ends.unwrap_or_else(|| self.deps.clock.now()),
        }
    }

    /// A certificate as it is shown, with what is at hand about its revocation if its issuer is known.
    pub(crate) fn view(
        &self,
        role: &'static str,
        one: &Certificate,
        issuer: Option<&Certificate>,
    ) -> CertificateView {
        let checks: Vec<Check> = issuer
            .map(|issuer| self.deps.lists.evidence(one, issuer))
            .unwrap_or_default()
            .into_iter()
            .map(check)
            .collect();
        let listed = self.deps.lists.was_seen_revoked(one.thumbprint())
            || checks.iter().any(|check| check.revoked);
        CertificateView {
            role,
            subject: one.subject_text(),
            issuer: one.issuer_text(),
            uris: one.san_uris().to_vec(),
            thumbprint: one.thumbprint(),
            serial: one.serial_text(),
            not_before: one.not_before(),
            not_after: one.not_after(),
            revoked: if self.is_ended(one.thumbprint()) {
                Some("here")
            } else {
                listed.then_some("listed")
            },
            checks,
        }
    }

    /// Whether the certificate was revoked here, by an operator or because a list named it.
    pub(crate) fn is_ended(&self, thumbprint: Thumbprint) -> bool {
        let subject = Subject::Certificate(thumbprint);
        self.deps.store.epochs.current(&self.tenant, &subject) > 0
    }
}

fn broken(registered: bool, leaf: Certificate, error: PathError) -> Trail {
    Trail { registered, certificates: vec![leaf], broken: Some(error) }
}

fn check(evidence: Evidence) -> Check {
    Check {
        by: match evidence.source {
            Source::List => "list",
            Source::Ocsp => "ocsp",
        },
        url: evidence.url,
        number: evidence.number,
        this_update: evidence.validity.map(|(this, _)| this),
        next_update: evidence.validity.map(|(_, next)| next),
        fetched: evidence.fetched,
        revoked: evidence.revoked,
        failure: evidence.failure,
    }
}
