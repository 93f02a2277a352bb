//! OCSP: what is asked, and what an answer is worth (RFC 6960, RFC 5019; PKI-05, X11, X22).
//!
//! An answer counts only if the issuer of the certificate signed it, or a responder whose certificate that issuer itself
//! signed for OCSP (id-kp-OCSPSigning), in force and marked id-pkix-ocsp-nocheck: a responder whose own revocation would
//! have to be asked elsewhere is refused. It must be about this certificate of this issuer, and dated. A nonce is sent
//! only if the caller gives one; then an answer with another is refused, one without is not (RFC 5019 §4). SHA-1 serves in
//! the request to name the issuer, as RFC 5019 asks; it signs nothing.
//!
//! Refused plainly: other kinds of answer than basic, unknown critical extensions.

mod respond;
mod responder;
mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use der::asn1::{
    Any, AnyRef, BitStringRef, ContextSpecific, GeneralizedTime, ObjectIdentifier, OctetString,
};
use der::{Decode as _, Encode as _, Reader as _, SliceReader, TagNumber};
use ward_core::{Thumbprint, Timestamp};
use x509_cert::ext::pkix::KeyUsage;
use x509_cert::spki::AlgorithmIdentifierOwned;

use self::wire::{
    CertId, OcspRequest, Request, ResponderId, Response, ResponseData, ResponseStatus, Status,
    TbsRequest,
};
use crate::Certificate;
use crate::asn1::Signed;

pub use self::respond::{Respond, respond};
pub use self::responder::{Question, Refusal, Responder, Revoked, Said, ecdsa_with_sha256};

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// Certificates in an answer that are looked at.
const MAX_CERTIFICATES: usize = 4;
/// Certificates that an answer may be about.
const MAX_ANSWERS: usize = 32;
/// Verdicts on issuers that one answer remembers.
const MAX_ISSUERS: usize = 4;
/// For how long an answer without `nextUpdate` holds: newer ones are always to be had (RFC 6960 §4.2.2.1).
const UNDATED: Duration = Duration::from_mins(15);

/// Why an answer is of no use. None of them says that a certificate is bad: only [`CertificateStatus::Revoked`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Not the DER of one OCSP answer.
    #[error("not an OCSP answer")]
    Malformed,
    /// The responder has no answer (RFC 6960 §4.2.1): 1 malformedRequest, 2 internalError, 3 tryLater, 5 sigRequired,
    /// 6 unauthorized.
    #[error("the OCSP responder has no answer (status {0})")]
    NoAnswer(u8),
    /// Another kind of answer than basic, or an unknown critical extension.
    #[error("a kind of OCSP answer that is not supported")]
    Unsupported,
    /// It speaks of other certificates only.
    #[error("the OCSP answer is about another certificate")]
    Other,
    /// Neither the issuer signed it nor a responder that the issuer has authorised (X22).
    #[error("the OCSP answer was not signed by the issuer or its responder")]
    Signer,
    /// The nonce is not the one that was sent (X22).
    #[error("the OCSP answer has another nonce")]
    Nonce,
}

/// What an answer says of one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateStatus {
    /// Not revoked.
    Good,
    /// Revoked, for whatever reason, hold included.
    Revoked,
    /// The responder does not know it: as good as no answer (X22).
    Unknown,
}

/// An answer about one certificate whose signature holds. Its dates are the caller's to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OcspAnswer {
    /// What it says.
    pub status: CertificateStatus,
    /// When this was known to be so.
    pub this_update: Timestamp,
    /// When newer information will be there; the answer is stale after it.
    pub next_update: Timestamp,
}

/// One OCSP answer, not yet believed: [`OcspResponse::about`] checks who signed it.
pub struct OcspResponse {
    data: ResponseData,
    tbs: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    certificates: Vec<Certificate>,
    nonce: Option<Vec<u8>>,
    /// Issuers for which the signer was sought already.
    issuers: Mutex<Vec<(Thumbprint, Option<Timestamp>)>>,
}

/// The DER of a request about one certificate, to be sent as `application/ocsp-request`.
pub fn request(
    certificate: &Certificate,
    issuer: &Certificate,
    nonce: Option<&[u8]>,
) -> Result<Vec<u8>, OcspError> {
    let request = Request { certificate: CertId::new(certificate.serial(), issuer)? };
    let extensions = nonce.map(|nonce| Ok(vec![nonce_extension(nonce)?])).transpose()?;
    let request = TbsRequest { requests: vec![request], extensions };
    OcspRequest { request }.to_der().map_err(|_| OcspError::Malformed)
}

fn nonce_extension(nonce: &[u8]) -> Result<x509_cert::ext::Extension, OcspError> {
    let malformed = |_| OcspError::Malformed;
    let inner = OctetString::new(nonce).and_then(|nonce| nonce.to_der()).map_err(malformed)?;
    let extn_value = OctetString::new(inner).map_err(malformed)?;
    Ok(x509_cert::ext::Extension { extn_id: NONCE, critical: false, extn_value })
}

impl OcspResponse {
    /// Parses the DER of exactly one answer.
    pub fn from_der(der: &[u8]) -> Result<Self, OcspError> {
        let malformed = |_| OcspError::Malformed;
        let response = Response::from_der(der).map_err(malformed)?;
        if response.status != ResponseStatus::Successful {
            return Err(OcspError::NoAnswer(response.status as u8));
        }
        let bytes = response.bytes.ok_or(OcspError::Malformed)?;
        if bytes.kind != BASIC {
            return Err(OcspError::Unsupported);
        }
        let (signed, certificates) = basic(bytes.response.as_bytes()).map_err(malformed)?;
        let data = ResponseData::from_der(signed.tbs).map_err(malformed)?;
        if data.version != 0 || data.responses.is_empty() || data.responses.len() > MAX_ANSWERS {
            return Err(OcspError::Unsupported);
        }
        let mut nonce = None;
        for extension in data.extensions.iter().flatten() {
            if extension.extn_id == NONCE {
                let value =
                    OctetString::from_der(extension.extn_value.as_bytes()).map_err(malformed)?;
                nonce = Some(value.into_bytes().to_vec());
            } else if extension.critical {
                return Err(OcspError::Unsupported);
            }
        }
        Ok(Self {
            tbs: signed.tbs.to_vec(),
            algorithm: signed.algorithm.to_vec(),
            signature: signed.signature.to_vec(),
            data,
            certificates,
            nonce,
            issuers: Mutex::default(),
        })
    }

    /// Refuses an answer with another nonce than the one that was sent.
    pub fn check_nonce(&self, sent: &[u8]) -> Result<(), OcspError> {
        match &self.nonce {
            Some(nonce) if nonce != sent => Err(OcspError::Nonce),
            _ => Ok(()),
        }
    }

    /// What it says of a certificate, if its issuer or a responder of that issuer signed it. A responder's certificate
    /// must be in force `now`.
    pub fn about(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        now: Timestamp,
    ) -> Result<OcspAnswer, OcspError> {
        let mut answers =
            self.data.responses.iter().filter(|one| one.certificate.names(certificate, issuer));
        let single = answers.next().ok_or(OcspError::Other)?;
        if answers.next().is_some() {
            return Err(OcspError::Malformed);
        }
        if single.extensions.iter().flatten().any(|extension| extension.critical) {
            return Err(OcspError::Unsupported);
        }
        if self.signer_until(issuer, now).is_none_or(|until| now > until) {
            return Err(OcspError::Signer);
        }
        let this_update = timestamp(single.this_update);
        Ok(OcspAnswer {
            status: match single.status {
                Status::Good(_) => CertificateStatus::Good,
                Status::Revoked(_) => CertificateStatus::Revoked,
                Status::Unknown(_) => CertificateStatus::Unknown,
            },
            this_update,
            next_update: single.next_update.map_or(this_update.plus(UNDATED), timestamp),
        })
    }

    /// Until when the signer's certificate is in force, if somebody whom the issuer allows signed.
    fn signer_until(&self, issuer: &Certificate, now: Timestamp) -> Option<Timestamp> {
        let key = issuer.thumbprint();
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = issuers.iter().find(|(known, _)| *known == key) {
            return *known;
        }
        let found = self.find_signer(issuer, now).map(Certificate::not_after);
        if issuers.len() < MAX_ISSUERS {
            issuers.push((key, found));
        }
        found
    }

    fn find_signer<'a>(
        &'a self,
        issuer: &'a Certificate,
        now: Timestamp,
    ) -> Option<&'a Certificate> {
        let signed =
            Signed { tbs: &self.tbs, algorithm: &self.algorithm, signature: &self.signature };
        let mut signers = [issuer].into_iter().chain(&self.certificates);
        signers.find(|signer| {
            self.data.responder.is(signer)
                && (*signer == issuer || is_responder(signer, issuer, now))
                && signer.has_strong_key()
                && signed.verify(signer).is_ok()
        })
    }
}

impl std::fmt::Debug for OcspResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OcspResponse")
            .field("answers", &self.data.responses.len())
            .finish_non_exhaustive()
    }
}

/// Whether the issuer itself authorised this certificate to answer for it (RFC 6960 §4.2.2.2).
fn is_responder(responder: &Certificate, issuer: &Certificate, now: Timestamp) -> bool {
    responder.issuer_der() == issuer.subject_der()
        && responder.has_extended_key_usage(OCSP_SIGNING)
        && responder.is_exempt_from_ocsp()
        && responder.may(KeyUsage::digital_signature)
        && !responder.malformed()
        && !responder.has_unknown_critical()
        && responder.is_valid_at(now)
        && responder.signed_by(issuer, &mut 0).is_ok()
}

impl CertId {
    fn new(serial: &[u8], issuer: &Certificate) -> Result<Self, OcspError> {
        let malformed = |_| OcspError::Malformed;
        let hash = |content: &[u8]| {
            let hashed = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, content);
            OctetString::new(hashed.as_ref()).map_err(malformed)
        };
        Ok(Self {
            hash: AlgorithmIdentifierOwned { oid: SHA1, parameters: Some(Any::null()) },
            issuer_name: hash(issuer.subject_der())?,
            issuer_key: hash(issuer.key_bits())?,
            serial: Any::new(der::Tag::Integer, serial).map_err(malformed)?,
        })
    }

    fn names(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        let algorithm = match self.hash.oid {
            SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            SHA256 => &digest::SHA256,
            _ => return false,
        };
        let is = |content: &[u8], hash: &OctetString| {
            digest::digest(algorithm, content).as_ref() == hash.as_bytes()
        };
        self.serial.value() == certificate.serial()
            && is(certificate.issuer_der(), &self.issuer_name)
            && is(issuer.key_bits(), &self.issuer_key)
    }
}

impl ResponderId {
    fn is(&self, signer: &Certificate) -> bool {
        match self {
            Self::Name(name) => name.to_der().is_ok_and(|name| name == signer.subject_der()),
            Self::Key(hash) => {
                let key = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, signer.key_bits());
                key.as_ref() == hash.as_bytes()
            }
        }
    }
}

/// `BasicOCSPResponse`: the signed octets as they came, and the certificates beside them; junk among those is ignored.
fn basic(bytes: &[u8]) -> der::Result<(Signed<'_>, Vec<Certificate>)> {
    let mut reader = SliceReader::new(bytes)?;
    let found = reader.sequence(|inner| {
        let tbs = inner.tlv_bytes()?;
        let algorithm = AnyRef::from_der(inner.tlv_bytes()?)?.value();
        let bits = BitStringRef::decode(inner)?;
        let signature = bits.as_bytes().ok_or(der::Tag::BitString.value_error())?;
        let list = ContextSpecific::<Vec<Any>>::decode_explicit(inner, TagNumber(0))?;
        let certificates = list.map(|list| list.value).unwrap_or_default();
        let certificates = certificates
            .iter()
            .take(MAX_CERTIFICATES)
            .filter_map(|one| Certificate::from_der(&one.to_der().ok()?).ok())
            .collect();
        der::Result::Ok((Signed { tbs, algorithm, signature }, certificates))
    })?;
    reader.finish()?;
    Ok(found)
}

fn timestamp(time: GeneralizedTime) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}
