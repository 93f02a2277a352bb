//! The OCSP responder (RFC 6960, RFC 5019): what the register says of a certificate, signed by a responder that the
//! issuing authority authorised.
//!
//! Every answer is as fresh as the register: a revocation is told from the moment it is written. An answer holds for an
//! hour; caches may keep it for five minutes. Refused: requests over 4 KiB, more than eight certificates, and
//! certificates of other issuers. Plain answers are kept for a while, so that a flood costs no signatures.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ward_core::Timestamp;
use ward_core::crypto::{hex, sha256};
use ward_trust::ocsp::{Question, Refusal, Responder, Revoked, Said, ecdsa_with_sha256};
use ward_trust::{Certificate, OcspError};

use crate::AuthorityId;
use crate::keys::AuthorityKey;
use crate::register::{Register, Revocation};

/// For how long an answer holds.
const LIFE: Duration = Duration::from_hours(1);
/// For how long an answer is handed out again.
const KEPT: Duration = Duration::from_mins(5);
/// Answers that are kept.
const MAX_KEPT: usize = 4096;
/// Octets of a request whose answer is kept.
const MAX_KEPT_REQUEST: usize = 256;

/// One signed answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) der: Vec<u8>,
    /// Hash of it, for caches.
    pub(crate) tag: String,
    pub(crate) this_update: Timestamp,
    pub(crate) next_update: Timestamp,
    /// Whether the same answer serves everybody who asks the same.
    pub(crate) plain: bool,
}

/// The responder, as of one version of the register.
pub(crate) struct Desk {
    issuing: Certificate,
    certificate: Certificate,
    key: AuthorityKey,
    /// By the contents of the serial number.
    said: HashMap<Vec<u8>, Said>,
    kept: Mutex<HashMap<Vec<u8>, Answer>>,
}

impl Desk {
    pub(crate) fn new(
        issuing: Certificate,
        certificate: Certificate,
        key: AuthorityKey,
        (register, id): (&Register, AuthorityId),
    ) -> Self {
        let said = register
            .issued_by(id)
            .map(|(serial, revoked)| (serial.to_vec(), of(revoked)))
            .collect();
        Self { issuing, certificate, key, said, kept: Mutex::default() }
    }

    /// The certificate in use.
    pub(crate) const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The answer to one request.
    pub(crate) fn answer(&self, request: &[u8], now: Timestamp) -> Result<Answer, Refusal> {
        let fresh = |kept: &&Answer| now < kept.this_update.plus(KEPT) && now < kept.next_update;
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = lock().get(request).filter(fresh) {
            return Ok(kept.clone());
        }
        let question = Question::from_der(request).map_err(|_| Refusal::Malformed)?;
        if now > self.certificate.not_after() {
            return Err(Refusal::TryLater);
        }
        let next_update = now.plus(LIFE).min(self.certificate.not_after());
        let responder = Responder {
            issuer: &self.issuing,
            certificate: &self.certificate,
            this_update: now,
            next_update,
        };
        let say = |serial: &[u8]| self.said.get(serial).copied().unwrap_or(Said::Unknown);
        let sign = |bytes: &[u8]| {
            let signature = self.key.sign(bytes).map_err(|_| OcspError::Signer)?;
            Ok((ecdsa_with_sha256()?, signature))
        };
        let der = responder.answer(&question, say, sign).map_err(|error| match error {
            OcspError::Other => Refusal::Unauthorized,
            _ => Refusal::Internal,
        })?;
        let known = question.serials().all(|serial| self.said.contains_key(serial));
        let plain = question.is_plain() && known;
        let tag = hex(&sha256(&[&der]));
        let answer = Answer { der, tag, this_update: now, next_update, plain };
        if plain && request.len() <= MAX_KEPT_REQUEST {
            let mut kept = lock();
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
            kept.insert(request.to_vec(), answer.clone());
        }
        Ok(answer)
    }

    /// For how long caches may keep it.
    pub(crate) fn max_age(answer: &Answer, now: Timestamp) -> Duration {
        let end = answer.this_update.plus(KEPT).min(answer.next_update);
        if end > now { end.since(now) } else { Duration::ZERO }
    }
}

fn of(revoked: Option<Revocation>) -> Said {
    revoked.map_or(Said::Good, |revoked| {
        Said::Revoked(Revoked { at: revoked.at, reason: revoked.reason.number() })
    })
}
