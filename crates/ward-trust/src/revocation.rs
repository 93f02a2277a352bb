//! Revocation of a built path by the lists and OCSP answers at hand (RFC 5280 §6.3, RFC 6960; PKI-03, PKI-04 as amended,
//! PKI-05, X10..X22).
//!
//! Every certificate below the anchor needs a list of its issuer's key that is in scope, in force and does not name it,
//! or an OCSP answer that says the same. Either will do; one that fails a check is as good as none: that is
//! "unavailable", not "refused". Only a certificate that a list or an answer calls revoked is refused, whatever
//! else is at hand and whatever its age.

use std::sync::Arc;
use std::time::Duration;

use ward_core::Timestamp;

use crate::ocsp::{CertificateStatus, OcspError};
use crate::{Certificate, Chain, Community, Crl, OcspResponse, PathError};

/// Clock skew accepted for `thisUpdate` (JWT-12).
const SKEW: Duration = Duration::from_mins(1);

/// What is known of revocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) lists: &'a [Arc<Crl>],
    pub(crate) replies: &'a [Arc<OcspResponse>],
}

/// Revocation of a whole path. `Ok(true)`: a stale list was used. The error says at which certificate.
pub(crate) fn revocation(
    chain: &Chain,
    community: &Community,
    known: Known<'_>,
    now: Timestamp,
    grace: Duration,
) -> Result<bool, (usize, PathError)> {
    let mut stale = false;
    let mut missing = None;
    for (at, (certificate, issuer)) in chain.links().enumerate() {
        match status(certificate, issuer, known, now, grace) {
            Ok(old) => stale |= old,
            Err(PathError::Revoked) => return Err((at, PathError::Revoked)),
            Err(_) if !community.require_revocation => {}
            // Go on: a certificate known to be revoked higher up is the better answer.
            Err(error) => {
                missing.get_or_insert((at, error));
            }
        }
    }
    missing.map_or(Ok(stale), Err)
}

/// Revocation of one certificate. `Ok(true)`: by stale information.
fn status(
    certificate: &Certificate,
    issuer: &Certificate,
    known: Known<'_>,
    now: Timestamp,
    grace: Duration,
) -> Result<bool, PathError> {
    let nowhere = certificate.crl_urls().is_empty() && certificate.ocsp_urls().is_empty();
    let mut found = Findings {
        error: if nowhere { PathError::NoRevocationSource } else { PathError::RevocationUnknown },
        fresh: false,
        within_grace: false,
    };
    let named = |list: &&Arc<Crl>| list.issuer_der() == issuer.subject_der();
    for list in known.lists.iter().filter(named).filter(|list| list.covers(certificate)) {
        if !list.signed_by(issuer) {
            found.fault(PathError::RevocationSigner);
        } else if list.is_revoked(certificate.serial()) {
            // Whatever the age of the list: once seen revoked, never good again.
            return Err(PathError::Revoked);
        } else {
            found.good(list.this_update(), list.next_update(), now, grace);
        }
    }
    for reply in known.replies {
        match reply.about(certificate, issuer, now) {
            Ok(answer) => match answer.status {
                CertificateStatus::Revoked => return Err(PathError::Revoked),
                CertificateStatus::Good => {
                    found.good(answer.this_update, answer.next_update, now, grace);
                }
                CertificateStatus::Unknown => found.fault(PathError::RevocationUnknown),
            },
            Err(OcspError::Signer) => found.fault(PathError::RevocationSigner),
            Err(_) => {}
        }
    }
    if found.fresh {
        Ok(false)
    } else if found.within_grace {
        Ok(true)
    } else {
        Err(found.error)
    }
}

/// What was found out about one certificate.
struct Findings {
    fresh: bool,
    within_grace: bool,
    /// What to say if nothing speaks for it.
    error: PathError,
}

impl Findings {
    /// Somebody entitled says that it is not revoked, for this time.
    fn good(&mut self, this: Timestamp, next: Timestamp, now: Timestamp, grace: Duration) {
        if this > now.plus(SKEW) {
            self.fault(PathError::RevocationFuture);
        } else if now <= next {
            self.fresh = true;
        } else {
            self.within_grace |= now <= next.plus(grace);
            self.fault(PathError::RevocationStale);
        }
    }

    fn fault(&mut self, fault: PathError) {
        if fault.weight() > self.error.weight() {
            self.error = fault;
        }
    }
}
