//! Pieces of DER that certificates and revocation lists share (RFC 5280 §4.1.1, §5.1.1).
//!
//! Typed reading is x509-cert's; here stand only the outer envelope, whose signed octets must be kept
//! as they were sent, and the closed list of signature algorithms. Refuses trailing octets.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode as _, Reader as _, SliceReader};
use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs as algorithms;

use crate::{Certificate, PathError};

/// The algorithms that may sign a certificate or list: SHA-256 and better over RSA of 2048 to 8192
/// bits, P-256 and P-384 (PKI-13). SHA-1 and MD5 are not among them (X37).
pub(crate) static SIGNATURE_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// `SEQUENCE { tbs, AlgorithmIdentifier, BIT STRING }`: what X.509 calls SIGNED.
pub(crate) struct Signed<'a> {
    /// The signed octets, with tag and length.
    pub(crate) tbs: &'a [u8],
    /// Contents of the algorithm identifier, without tag and length.
    pub(crate) algorithm: &'a [u8],
    /// The signature.
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Reads the envelope; nothing may follow it.
    pub(crate) fn from_der(bytes: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(bytes)?;
        let signed = reader.sequence(|inner| {
            let tbs = inner.tlv_bytes()?;
            let algorithm = AnyRef::from_der(inner.tlv_bytes()?)?.value();
            let bits = BitStringRef::decode(inner)?;
            let signature = bits.as_bytes().ok_or(der::Tag::BitString.value_error())?;
            der::Result::Ok(Self { tbs, algorithm, signature })
        })?;
        reader.finish()?;
        Ok(signed)
    }

    /// Whether the key of `issuer` made the signature. `Signature`: it did not. `WeakSignature`: no accepted
    /// algorithm fits (X37).
    pub(crate) fn verify(&self, issuer: &Certificate) -> Result<(), PathError> {
        self.verify_with(issuer.key_algorithm(), issuer.key_bits())
    }

    /// The same for a key by itself: the contents of its algorithm identifier, and its bits.
    pub(crate) fn verify_with(&self, key_algorithm: &[u8], key: &[u8]) -> Result<(), PathError> {
        let mut fault = PathError::WeakSignature;
        for algorithm in SIGNATURE_ALGORITHMS {
            if algorithm.signature_alg_id().as_ref() != self.algorithm
                || algorithm.public_key_alg_id().as_ref() != key_algorithm
            {
                continue;
            }
            match algorithm.verify_signature(key, self.tbs, self.signature) {
                Ok(()) => return Ok(()),
                Err(_) => fault = PathError::Signature,
            }
        }
        Err(fault)
    }
}
