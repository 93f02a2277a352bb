//! A responder's side of OCSP (RFC 6960 §4.1, §4.2; RFC 5019 §2): what a request asks, and one signed answer to it.
//!
//! Each certificate is named in the answer as the request named it, whichever hash it chose. Certificates of another
//! issuer than the responder's own get no answer at all: *unauthorized* (RFC 5019 §2.2.3). Refused: requests that ask
//! after no or too many certificates, and unknown critical extensions. Signatures on requests are not looked at.

use aws_lc_rs::digest;
use der::asn1::{Any, ObjectIdentifier, OctetString};
use der::{Decode as _, Encode as _, Sequence};
use ward_core::Timestamp;
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::respond::{assemble, time};
use super::wire::{
    CertId, ResponderId, Response, ResponseData, ResponseStatus, RevokedInfo, Single, Status,
};
use super::{NONCE, OcspError, SHA1, SHA256, nonce_extension};
use crate::Certificate;

/// Certificates that one request may ask after.
const MAX_ASKED: usize = 8;
/// Octets of a nonce (RFC 9654 §2.1: a responder takes up to 128).
const MAX_NONCE: usize = 128;
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

#[derive(Sequence)]
struct AskedRequest {
    asked: AskedTbs,
    #[asn1(context_specific = "0", optional = "true")]
    signature: Option<Any>,
}

#[derive(Sequence)]
struct AskedTbs {
    #[asn1(context_specific = "0", default = "Default::default")]
    version: u8,
    #[asn1(context_specific = "1", optional = "true")]
    requestor: Option<Any>,
    requests: Vec<AskedOne>,
    #[asn1(context_specific = "2", optional = "true")]
    extensions: Option<Extensions>,
}

#[derive(Sequence)]
struct AskedOne {
    certificate: CertId,
    #[asn1(context_specific = "0", optional = "true")]
    extensions: Option<Extensions>,
}

/// What a request asks.
pub struct Question {
    certificates: Vec<CertId>,
    nonce: Option<Vec<u8>>,
}

impl Question {
    /// Reads the DER of exactly one request.
    pub fn from_der(der: &[u8]) -> Result<Self, OcspError> {
        let malformed = |_| OcspError::Malformed;
        let AskedTbs { version, requests, extensions, .. } =
            AskedRequest::from_der(der).map_err(malformed)?.asked;
        let known = |one: &Extension| one.extn_id == NONCE || !one.critical;
        let sound = |all: &Option<Extensions>| all.iter().flatten().all(known);
        if version != 0 || !sound(&extensions) || !requests.iter().all(|one| sound(&one.extensions))
        {
            return Err(OcspError::Unsupported);
        }
        if requests.is_empty() || requests.len() > MAX_ASKED {
            return Err(OcspError::Malformed);
        }
        let nonce = extensions.iter().flatten().find(|one| one.extn_id == NONCE);
        let nonce = nonce
            .map(|one| OctetString::from_der(one.extn_value.as_bytes()))
            .transpose()
            .map_err(malformed)?
            .map(|nonce| nonce.as_bytes().to_vec());
        if nonce.as_ref().is_some_and(|nonce| nonce.is_empty() || nonce.len() > MAX_NONCE) {
            return Err(OcspError::Malformed);
        }
        Ok(Self { certificates: requests.into_iter().map(|one| one.certificate).collect(), nonce })
    }

    /// The contents of the serial numbers asked after, in order.
    pub fn serials(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(|one| one.serial.value())
    }

    /// Whether the same answer serves everybody who asks the same: one certificate, and no nonce.
    pub fn is_plain(&self) -> bool {
        self.certificates.len() == 1 && self.nonce.is_none()
    }

    /// Whether all of them are said to be of this issuer.
    pub fn is_about(&self, issuer: &Certificate) -> bool {
        self.certificates.iter().all(|one| one.is_of(issuer))
    }
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question")
            .field("certificates", &self.certificates.len())
            .finish_non_exhaustive()
    }
}

impl CertId {
    fn is_of(&self, issuer: &Certificate) -> bool {
        let algorithm = match self.hash.oid {
            SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            SHA256 => &digest::SHA256,
            _ => return false,
        };
        let is = |content: &[u8], hash: &OctetString| {
            digest::digest(algorithm, content).as_ref() == hash.as_bytes()
        };
        is(issuer.subject_der(), &self.issuer_name) && is(issuer.key_bits(), &self.issuer_key)
    }
}

/// A revocation, as an answer tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// Since when.
    pub at: Timestamp,
    /// `CRLReason` (RFC 5280 §5.3.1), if one is told.
    pub reason: Option<u8>,
}

/// What is said of one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It was issued and is not revoked.
    Good,
    /// It is revoked.
    Revoked(Revoked),
    /// Nobody here issued it.
    Unknown,
}

/// Who answers, and for how long an answer holds.
#[derive(Debug, Clone, Copy)]
pub struct Responder<'a> {
    /// Whose certificates are asked after.
    pub issuer: &'a Certificate,
    /// Whose key signs; its certificate is sent along.
    pub certificate: &'a Certificate,
    /// When what is said was known.
    pub this_update: Timestamp,
    /// When newer information will be there.
    pub next_update: Timestamp,
}

impl Responder<'_> {
    /// The DER of the answer. `say` is given the contents of a serial number; `sign` as in [`super::respond`].
    ///
    /// [`OcspError::Other`]: it asks after certificates of another issuer ([`Refusal::Unauthorized`]).
    pub fn answer(
        &self,
        question: &Question,
        say: impl Fn(&[u8]) -> Said,
        sign: impl FnOnce(&[u8]) -> Result<(Vec<u8>, Vec<u8>), OcspError>,
    ) -> Result<Vec<u8>, OcspError> {
        let malformed = |_| OcspError::Malformed;
        if !question.is_about(self.issuer) {
            return Err(OcspError::Other);
        }
        let (this_update, next_update) = (time(self.this_update)?, time(self.next_update)?);
        let single = |asked: &CertId| {
            Ok(Single {
                certificate: asked.clone(),
                status: match say(asked.serial.value()) {
                    Said::Good => Status::Good(der::asn1::Null),
                    Said::Unknown => Status::Unknown(der::asn1::Null),
                    Said::Revoked(Revoked { at, reason }) => Status::Revoked(RevokedInfo {
                        time: time(at)?,
                        reason: reason
                            .map(|code| Any::new(der::Tag::Enumerated, [code]))
                            .transpose()
                            .map_err(malformed)?,
                    }),
                },
                this_update,
                next_update: Some(next_update),
                extensions: None,
            })
        };
        let name = Name::from_der(self.certificate.subject_der()).map_err(malformed)?;
        let nonce = question.nonce.as_deref();
        let data = ResponseData {
            version: 0,
            responder: ResponderId::Name(name),
            produced: this_update,
            responses: question
                .certificates
                .iter()
                .map(single)
                .collect::<Result<_, OcspError>>()?,
            extensions: nonce.map(|nonce| Ok(vec![nonce_extension(nonce)?])).transpose()?,
        };
        assemble(&data, &[self.certificate], sign)
    }
}

/// Why there is no answer (RFC 6960 §4.2.1). It is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request does not parse, or asks for what is not supported.
    Malformed,
    /// The responder cannot answer at all.
    Internal,
    /// The responder cannot answer now.
    TryLater,
    /// The responder speaks for another issuer.
    Unauthorized,
}

impl Refusal {
    /// The DER of the answer that is none.
    pub fn to_der(self) -> Result<Vec<u8>, OcspError> {
        let status = match self {
            Self::Malformed => ResponseStatus::MalformedRequest,
            Self::Internal => ResponseStatus::InternalError,
            Self::TryLater => ResponseStatus::TryLater,
            Self::Unauthorized => ResponseStatus::Unauthorized,
        };
        Response { status, bytes: None }.to_der().map_err(|_| OcspError::Malformed)
    }
}

/// The DER of the algorithm identifier of an ECDSA signature with SHA-256 (RFC 5758 §3.2).
pub fn ecdsa_with_sha256() -> Result<Vec<u8>, OcspError> {
    AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None }
        .to_der()
        .map_err(|_| OcspError::Malformed)
}
