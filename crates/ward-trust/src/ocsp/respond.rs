//! The other side: an OCSP answer made and signed (RFC 6960 §4.2.1), for a community's own responder and for tests.

use std::time::Duration;

use der::asn1::{Any, BitString, ContextSpecific, GeneralizedTime, Null, OctetString};
use der::{Decode as _, Encode as _, TagMode, TagNumber};
use ward_core::Timestamp;
use x509_cert::name::Name;

use super::wire::{
    CertId, ResponderId, Response, ResponseBytes, ResponseData, ResponseStatus, RevokedInfo,
    Single, Status,
};
use super::{BASIC, CertificateStatus, OcspAnswer, OcspError, nonce_extension};
use crate::Certificate;

/// One answer about one certificate, to be signed.
#[derive(Debug, Clone, Copy)]
pub struct Respond<'a> {
    /// Contents of its serial number, as [`Certificate::serial`] gives them.
    pub serial: &'a [u8],
    /// Who issued it.
    pub issuer: &'a Certificate,
    /// What is said of it, and for how long.
    pub answer: OcspAnswer,
    /// Whose key signs: the issuer itself or a responder that it authorised.
    pub responder: &'a Certificate,
    /// Certificates to send along: the responder's, if it is not the issuer.
    pub certificates: &'a [&'a Certificate],
    /// The nonce of the request.
    pub nonce: Option<&'a [u8]>,
}

/// The DER of the answer. `sign` is given the octets to be signed and returns the DER of the algorithm identifier and the
/// signature. A revoked certificate is said to be so since `thisUpdate`, without a reason.
pub fn respond(
    about: &Respond<'_>,
    sign: impl FnOnce(&[u8]) -> Result<(Vec<u8>, Vec<u8>), OcspError>,
) -> Result<Vec<u8>, OcspError> {
    let malformed = |_| OcspError::Malformed;
    let answer = &about.answer;
    let this_update = time(answer.this_update)?;
    let single = Single {
        certificate: CertId::new(about.serial, about.issuer)?,
        status: match answer.status {
            CertificateStatus::Good => Status::Good(Null),
            CertificateStatus::Revoked => {
                Status::Revoked(RevokedInfo { time: this_update, reason: None })
            }
            CertificateStatus::Unknown => Status::Unknown(Null),
        },
        this_update,
        next_update: Some(time(answer.next_update)?),
        extensions: None,
    };
    let name = Name::from_der(about.responder.subject_der()).map_err(malformed)?;
    let data = ResponseData {
        version: 0,
        responder: ResponderId::Name(name),
        produced: this_update,
        responses: vec![single],
        extensions: about.nonce.map(|nonce| Ok(vec![nonce_extension(nonce)?])).transpose()?,
    };
    assemble(&data, about.certificates, sign)
}

/// Signs an answer and puts the certificates beside it.
pub(super) fn assemble(
    data: &ResponseData,
    certificates: &[&Certificate],
    sign: impl FnOnce(&[u8]) -> Result<(Vec<u8>, Vec<u8>), OcspError>,
) -> Result<Vec<u8>, OcspError> {
    let malformed = |_| OcspError::Malformed;
    let tbs = data.to_der().map_err(malformed)?;
    let (algorithm, signature) = sign(&tbs)?;
    let signature =
        BitString::from_bytes(&signature).and_then(|bits| bits.to_der()).map_err(malformed)?;
    let certificates = certificates
        .iter()
        .map(|one| Any::from_der(one.der()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(malformed)?;
    let mut parts = [tbs, algorithm, signature].concat();
    if !certificates.is_empty() {
        let list = ContextSpecific {
            tag_number: TagNumber(0),
            tag_mode: TagMode::Explicit,
            value: certificates,
        };
        parts.extend(list.to_der().map_err(malformed)?);
    }
    let basic =
        Any::new(der::Tag::Sequence, parts).and_then(|basic| basic.to_der()).map_err(malformed)?;
    let response = OctetString::new(basic).map_err(malformed)?;
    let bytes = Some(ResponseBytes { kind: BASIC, response });
    Response { status: ResponseStatus::Successful, bytes }.to_der().map_err(malformed)
}

pub(super) fn time(at: Timestamp) -> Result<GeneralizedTime, OcspError> {
    let seconds = u64::try_from(at.as_seconds()).map_err(|_| OcspError::Malformed)?;
    GeneralizedTime::from_unix_duration(Duration::from_secs(seconds))
        .map_err(|_| OcspError::Malformed)
}
