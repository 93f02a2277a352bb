//! Revocation of a built path by the lists at hand (RFC 5280 §6.3; PKI-03, PKI-04 as amended, X10..X21).
//!
//! Every certificate below the anchor needs a list of its issuer's key that is in scope, in force and
//! does not name it. A list that fails one of these is as good as none: that is "unavailable", not
//! "refused". Only a certificate that some list names is refused, whatever the age of that list.

use std::sync::Arc;
use std::time::Duration;

use ward_core::Timestamp;

use crate::{Certificate, Chain, Community, Crl, PathError};

/// Clock skew accepted for `thisUpdate` (JWT-12).
const SKEW: Duration = Duration::from_mins(1);

/// Revocation of a whole path. `Ok(true)`: a stale list was used. The error says at which certificate.
pub(crate) fn revocation(
    chain: &Chain,
    community: &Community,
    lists: &[Arc<Crl>],
    now: Timestamp,
    grace: Duration,
) -> Result<bool, (usize, PathError)> {
    let mut stale = false;
    let mut missing = None;
    for (at, (certificate, issuer)) in chain.links().enumerate() {
        match status(certificate, issuer, lists, now, grace) {
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

/// Revocation of one certificate by the lists of its issuer. `Ok(true)`: by a stale list.
fn status(
    certificate: &Certificate,
    issuer: &Certificate,
    lists: &[Arc<Crl>],
    now: Timestamp,
    grace: Duration,
) -> Result<bool, PathError> {
    let mut error = if certificate.crl_urls().is_empty() {
        PathError::NoRevocationSource
    } else {
        PathError::RevocationUnknown
    };
    let (mut fresh, mut within_grace) = (false, false);
    let named = |list: &&Arc<Crl>| list.issuer_der() == issuer.subject_der();
    for list in lists.iter().filter(named).filter(|list| list.covers(certificate)) {
        let fault = if !list.signed_by(issuer) {
            PathError::RevocationSigner
        } else if list.is_revoked(certificate.serial()) {
            // Whatever the age of the list: once seen revoked, never good again.
            return Err(PathError::Revoked);
        } else if list.this_update() > now.plus(SKEW) {
            PathError::RevocationFuture
        } else if now <= list.next_update() {
            fresh = true;
            continue;
        } else {
            within_grace |= now <= list.next_update().plus(grace);
            PathError::RevocationStale
        };
        if fault.weight() > error.weight() {
            error = fault;
        }
    }
    if fresh {
        Ok(false)
    } else if within_grace {
        Ok(true)
    } else {
        Err(error)
    }
}
