//! One X.509 certificate, read once by x509-cert (RFC 5280 §4; PKI-11..PKI-14, X33..X42).
//!
//! Refuses what is not the DER of exactly one certificate, and an extension that occurs twice. Known
//! extensions that do not decode are remembered, not refused here: such a certificate may be junk
//! beside the path (PKI-09), and on the path [`crate::path`] refuses it with the right code.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Decode as _, Encode as _, Reader as _, SliceReader};
use rustls_pki_types::alg_id;
use ward_core::{Thumbprint, Timestamp, crypto};
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::{KeyUsage, NameConstraints};

use crate::PathError;
use crate::asn1::Signed;
use crate::extensions::Extensions;
use crate::policies::{self, Policies};

/// Verdicts on signers that one certificate remembers.
const MAX_SIGNERS: usize = 16;

/// What kind of public key a certificate has (PKI-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA.
    Rsa {
        /// Length of the modulus in bits.
        bits: usize,
    },
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// Anything else; accepted nowhere (X36).
    Other,
}

/// Why bytes are not a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not the DER of exactly one certificate.
    #[error("not a certificate")]
    Malformed,
    /// An extension occurs twice (RFC 5280 §4.2).
    #[error("a certificate extension occurs twice")]
    DuplicateExtension,
}

/// An X.509 certificate. Cheap to clone; equal when its DER is.
#[derive(Clone)]
pub struct Certificate(Arc<Parts>);

struct Parts {
    der: Vec<u8>,
    thumbprint: Thumbprint,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    serial: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    key: KeyKind,
    strong_exponent: bool,
    key_algorithm: Vec<u8>,
    key_bits: Vec<u8>,
    extensions: Extensions,
    /// Version 3, a positive serial number, an issuer, one signature algorithm, no unique identifiers.
    in_profile: bool,
    /// Keys under which the signature was tried already: a configured certificate is met again and again.
    signers: Mutex<Vec<(Thumbprint, Result<(), PathError>)>>,
}

impl Certificate {
    /// Parses the DER of exactly one certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let malformed = |_| CertificateError::Malformed;
        let parsed = x509_cert::Certificate::from_der(der).map_err(malformed)?;
        let tbs = parsed.tbs_certificate();
        let spki = tbs.subject_public_key_info();
        let key_algorithm = {
            let whole = spki.algorithm.to_der().map_err(malformed)?;
            AnyRef::from_der(&whole).map_err(malformed)?.value().to_vec()
        };
        let key_bits =
            spki.subject_public_key.as_bytes().ok_or(CertificateError::Malformed)?.to_vec();
        let (key, strong_exponent) = key_kind(&key_algorithm, &key_bits);
        let serial = {
            let whole = tbs.serial_number().to_der().map_err(malformed)?;
            AnyRef::from_der(&whole).map_err(malformed)?.value().to_vec()
        };
        Ok(Self(Arc::new(Parts {
            der: der.to_vec(),
            thumbprint: Thumbprint(crypto::sha256(&[der])),
            issuer: tbs.issuer().to_der().map_err(malformed)?,
            subject: tbs.subject().to_der().map_err(malformed)?,
            not_before: timestamp(tbs.validity().not_before),
            not_after: timestamp(tbs.validity().not_after),
            key,
            strong_exponent,
            key_algorithm,
            key_bits,
            extensions: Extensions::read(tbs.extensions().map_or(&[], Vec::as_slice))?,
            in_profile: is_in_profile(&parsed, &serial),
            serial,
            signers: Mutex::default(),
        })))
    }

    /// The DER that it was parsed from.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// SHA-256 of the DER.
    pub fn thumbprint(&self) -> Thumbprint {
        self.0.thumbprint
    }

    /// The `uniformResourceIdentifier` entries of the subject alternative name, in order, visible
    /// ASCII only. Taken literally: a `*` is no wildcard (X42).
    pub fn san_uris(&self) -> &[String] {
        &self.0.extensions.san_uris
    }

    /// Where its revocation list can be had: `http` and `https` URLs of complete, direct lists (at most 8).
    pub fn crl_urls(&self) -> &[String] {
        &self.0.extensions.crl_urls
    }

    /// Where its issuer's certificate can be had: `http` and `https` `caIssuers` URLs (at most 8; PKI-06).
    pub fn ca_issuer_urls(&self) -> &[String] {
        &self.0.extensions.ca_issuer_urls
    }

    /// Where its issuer, or a responder for it, answers OCSP: `http` and `https` URLs (at most 8; PKI-05).
    pub fn ocsp_urls(&self) -> &[String] {
        &self.0.extensions.ocsp_urls
    }

    /// First second of its validity.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// Last second of its validity.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// DER of the issuer's name.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer
    }

    /// DER of the subject's name.
    pub fn subject_der(&self) -> &[u8] {
        &self.0.subject
    }

    /// Serial number: contents of the DER INTEGER.
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// Kind and size of the public key.
    pub fn subject_key(&self) -> KeyKind {
        self.0.key
    }

    /// Certificate policies, dotted.
    pub fn policy_oids(&self) -> &[String] {
        &self.0.extensions.policy_oids
    }

    /// Whether an authority with this certificate may issue under a policy: it names the policy or
    /// anyPolicy, or names none at all (RFC 5280 §4.2.1.4).
    pub fn allows_policy(&self, oid: &str) -> bool {
        let (named, any) = (self.policy_oids(), policies::ANY.to_string());
        named.is_empty() || named.iter().any(|one| one == oid || *one == any)
    }

    /// Whether basicConstraints say `CA:TRUE`.
    pub fn is_ca(&self) -> bool {
        self.0.extensions.is_ca
    }

    /// Whether the key may be used at all: RSA of 2048 to 8192 bits with a public exponent of at
    /// least 65537, P-256 or P-384 (PKI-13, X34–X36).
    pub fn has_strong_key(&self) -> bool {
        match self.0.key {
            KeyKind::Rsa { bits } => (2048..=8192).contains(&bits) && self.0.strong_exponent,
            KeyKind::P256 | KeyKind::P384 => true,
            KeyKind::Other => false,
        }
    }

    /// Whether `now` lies within its validity, both ends included.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.0.not_before <= now && now.as_seconds() <= self.0.not_after.as_seconds()
    }

    /// Why paths may not end at this certificate, at whatever time. To webpki an anchor is a name and a key:
    /// what its certificate says of itself counts here (RFC 5937 §3).
    pub(crate) fn anchor_fault(&self) -> Option<PathError> {
        if self.malformed() {
            Some(PathError::Malformed)
        } else if !self.is_ca() {
            Some(PathError::NotAuthority)
        } else if !self.may(KeyUsage::key_cert_sign) {
            Some(PathError::KeyCertSign)
        } else if !self.has_strong_key() {
            Some(PathError::WeakKey)
        } else {
            None
        }
    }

    /// How many authorities may follow it on a path, self-issued ones not counted (RFC 5280 §4.2.1.9).
    pub(crate) fn path_length(&self) -> Option<u8> {
        self.0.extensions.path_length
    }

    /// Whether issuer and subject are one, as when an authority changes its key.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer_der() == self.subject_der()
    }

    pub(crate) fn san_malformed(&self) -> bool {
        self.0.extensions.san_malformed
    }

    /// An extension that does not decode, or a field outside the profile of RFC 5280 §4.1.
    pub(crate) fn malformed(&self) -> bool {
        self.0.extensions.malformed || !self.0.in_profile
    }

    /// Whether it has a critical extension that is not known (X32).
    pub(crate) fn has_unknown_critical(&self) -> bool {
        self.0.extensions.unknown_critical
    }

    /// Whether webpki would refuse it for something that is processed here instead.
    pub(crate) fn is_beyond_webpki(&self) -> bool {
        self.0.extensions.beyond_webpki
    }

    /// Whether it names an extended key usage; anyExtendedKeyUsage does not do for it.
    pub(crate) fn has_extended_key_usage(&self, usage: ObjectIdentifier) -> bool {
        self.0.extensions.extended_key_usage.as_ref().is_some_and(|named| named.contains(&usage))
    }

    /// Whether its revocation is not to be asked for: a responder's (RFC 6960 §4.2.2.2.1).
    pub(crate) fn is_exempt_from_ocsp(&self) -> bool {
        self.0.extensions.ocsp_no_check
    }

    /// What it says of policies.
    pub(crate) fn policies(&self) -> &Policies {
        &self.0.extensions.policies
    }

    /// The name constraints that it puts on those below it.
    pub(crate) fn name_constraints(&self) -> Option<&NameConstraints> {
        self.0.extensions.constraints.as_ref()
    }

    /// The value of its subject alternative name extension.
    pub(crate) fn alternative_names(&self) -> Option<&[u8]> {
        self.0.extensions.alternative_names.as_deref()
    }

    /// Key usage as far as it is limited; a certificate without the extension may do all (RFC 5280 §4.2.1.3).
    pub(crate) fn may(&self, usage: fn(&KeyUsage) -> bool) -> bool {
        self.0.extensions.key_usage.as_ref().is_none_or(usage)
    }

    /// Contents of the key's algorithm identifier.
    pub(crate) fn key_algorithm(&self) -> &[u8] {
        &self.0.key_algorithm
    }

    /// The key: an `RSAPublicKey` or an uncompressed point.
    pub fn key_bits(&self) -> &[u8] {
        &self.0.key_bits
    }

    /// SHA-256 over the key and its algorithm.
    pub(crate) fn key_thumbprint(&self) -> Thumbprint {
        Thumbprint(crypto::sha256(&[self.key_algorithm(), self.key_bits()]))
    }

    /// Whether this certificate names `issuer` as its issuer and bears the signature of that key. Says nothing of dates,
    /// usages or trust: a path does.
    pub fn is_issued_by(&self, issuer: &Self) -> bool {
        self.issuer_der() == issuer.subject_der() && self.signed_by(issuer, &mut 0).is_ok()
    }

    /// Whether the key of `issuer` signed this certificate. Says nothing of whether it may. Each signature
    /// that has to be verified for it is added to `verified`.
    pub(crate) fn signed_by(&self, issuer: &Self, verified: &mut usize) -> Result<(), PathError> {
        let key = issuer.key_thumbprint();
        let known = self
            .0
            .signers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .find_map(|(signer, verdict)| (*signer == key).then_some(*verdict));
        if let Some(verdict) = known {
            return verdict;
        }
        *verified += 1;
        let verdict = Signed::from_der(self.der())
            .map_err(|_| PathError::Malformed)
            .and_then(|signed| signed.verify(issuer));
        let mut signers = self.0.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if signers.len() < MAX_SIGNERS {
            signers.push((key, verdict));
        }
        verdict
    }

    /// Whether both name the same subject with the same key.
    pub fn same_entity(&self, other: &Self) -> bool {
        self.subject_der() == other.subject_der()
            && self.key_algorithm() == other.key_algorithm()
            && self.key_bits() == other.key_bits()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.0.thumbprint)
    }
}

fn timestamp(time: x509_cert::time::Time) -> Timestamp {
    Timestamp::from_seconds(i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX))
}

/// RFC 5280 §4.1.1.2, §4.1.2: version 3, a positive serial number of at most 20 octets (and a zero before them), an
/// issuer, the same algorithm inside and outside, no unique identifiers, and a validity that begins before it ends.
fn is_in_profile(certificate: &x509_cert::Certificate, serial: &[u8]) -> bool {
    let tbs = certificate.tbs_certificate();
    let validity = tbs.validity();
    let positive = match serial {
        [0] | [] => false,
        [0, rest @ ..] => rest.len() <= 20,
        [first, ..] => first & 0x80 == 0 && serial.len() <= 20,
    };
    tbs.version() == Version::V3
        && positive
        && !tbs.issuer().is_empty()
        && tbs.signature() == certificate.signature_algorithm()
        && tbs.issuer_unique_id().is_none()
        && tbs.subject_unique_id().is_none()
        && timestamp(validity.not_before) <= timestamp(validity.not_after)
}

/// Kind of key, and whether an RSA exponent is odd and at least 65537 (X35).
pub(crate) fn key_kind(algorithm: &[u8], bits: &[u8]) -> (KeyKind, bool) {
    if algorithm == alg_id::ECDSA_P256.as_ref() {
        (KeyKind::P256, true)
    } else if algorithm == alg_id::ECDSA_P384.as_ref() {
        (KeyKind::P384, true)
    } else if algorithm == alg_id::RSA_ENCRYPTION.as_ref() {
        rsa(bits).unwrap_or((KeyKind::Other, false))
    } else {
        (KeyKind::Other, false)
    }
}

/// Reads `RSAPublicKey` (RFC 8017 §A.1.1).
fn rsa(key: &[u8]) -> Option<(KeyKind, bool)> {
    let mut reader = SliceReader::new(key).ok()?;
    let (modulus, exponent) = reader
        .sequence(|inner| der::Result::Ok((UintRef::decode(inner)?, UintRef::decode(inner)?)))
        .ok()?;
    reader.finish().ok()?;
    let leading = modulus.as_bytes().first()?.leading_zeros() as usize;
    let bits = modulus.as_bytes().len() * 8 - leading;
    let exponent = exponent.as_bytes();
    let odd = exponent.last().is_some_and(|low| low & 1 == 1);
    // Leading zeros are gone: three octets are at least 65536, and odd ones at least 65537.
    let large = exponent.len() >= 3;
    Some((KeyKind::Rsa { bits }, odd && large))
}
