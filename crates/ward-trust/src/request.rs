//! A request for a certificate (PKCS#10, RFC 2986): whose key, and which URIs are asked for.
//!
//! Refuses what is not the DER of exactly one request, and one that the key itself did not sign: whoever
//! asks must have the private key (RFC 2986 §3). What else it asks for (usages, names, being an
//! authority) is not read: an authority decides that, not who asks.

use der::asn1::AnyRef;
use der::{Decode as _, Encode as _};
use x509_cert::request::{CertReq, ExtensionReq};

use crate::asn1::Signed;
use crate::certificate::key_kind;
use crate::extensions::Extensions;
use crate::{KeyKind, PathError};

/// PKCS #9 `extensionRequest` (RFC 2985 §5.4.2).
const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";

/// Why bytes are not a request that can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not the DER of exactly one request.
    #[error("not a certificate request (PKCS#10)")]
    Malformed,
    /// Its own key did not sign it, or with an algorithm that is accepted nowhere.
    #[error("the request is not signed by the key that it names")]
    Signature,
}

/// A request whose signature fits its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRequest {
    key: KeyKind,
    key_bits: Vec<u8>,
    san_uris: Vec<String>,
}

impl SigningRequest {
    /// Reads one request and checks that its key signed it.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        let malformed = |_| RequestError::Malformed;
        let request = CertReq::from_der(der).map_err(malformed)?;
        let spki = &request.info.public_key;
        let whole = spki.algorithm.to_der().map_err(malformed)?;
        let algorithm = AnyRef::from_der(&whole).map_err(malformed)?.value().to_vec();
        let key_bits = spki.subject_public_key.as_bytes().ok_or(RequestError::Malformed)?.to_vec();
        Signed::from_der(der)
            .map_err(malformed)?
            .verify_with(&algorithm, &key_bits)
            .map_err(|_: PathError| RequestError::Signature)?;
        let mut extensions = Vec::new();
        for attribute in request.info.attributes.iter() {
            if attribute.oid.to_string() != EXTENSION_REQUEST {
                continue;
            }
            for value in attribute.values.iter() {
                let encoded = value.to_der().map_err(malformed)?;
                extensions.extend(ExtensionReq::from_der(&encoded).map_err(malformed)?.0);
            }
        }
        let found = Extensions::read(&extensions).map_err(|_| RequestError::Malformed)?;
        if found.san_malformed {
            return Err(RequestError::Malformed);
        }
        let (key, _) = key_kind(&algorithm, &key_bits);
        Ok(Self { key, key_bits, san_uris: found.san_uris })
    }

    /// What kind of key it names.
    pub const fn key(&self) -> KeyKind {
        self.key
    }

    /// The key: `RSAPublicKey`, or an uncompressed point.
    pub fn key_bits(&self) -> &[u8] {
        &self.key_bits
    }

    /// The URIs that it asks for, in order; visible ASCII.
    pub fn san_uris(&self) -> &[String] {
        &self.san_uris
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SanType};

    use super::*;

    fn request(key: &KeyPair, uri: &str) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn a_request_tells_its_key_and_uris_and_must_be_signed_by_that_key() {
        for (key, kind) in [
            (KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), KeyKind::Rsa { bits: 2048 }),
            (KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), KeyKind::P256),
        ] {
            let der = request(&key, "https://ward.example/default/fhir");
            let read = SigningRequest::from_der(&der).unwrap();
            assert_eq!(read.key(), kind);
            assert_eq!(read.san_uris(), ["https://ward.example/default/fhir"]);

            // One octet of the URI, of the key and of the signature altered: refused each time.
            let uri = der.windows(4).position(|four| four == b"ward").unwrap();
            let bits = read.key_bits();
            let bits = der.windows(bits.len()).position(|some| some == bits).unwrap() + 40;
            for at in [uri, bits, der.len() - 5] {
                let mut altered = der.clone();
                altered[at] ^= 1;
                let error = SigningRequest::from_der(&altered).unwrap_err();
                assert!(
                    matches!(error, RequestError::Signature | RequestError::Malformed),
                    "{at}: {error}"
                );
            }
            let mut longer = der.clone();
            longer.push(0);
            assert_eq!(SigningRequest::from_der(&longer), Err(RequestError::Malformed));
            assert_eq!(SigningRequest::from_der(&der[..100]), Err(RequestError::Malformed));
        }
    }

    #[test]
    fn a_request_without_uris_asks_for_none() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let der = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        assert_eq!(SigningRequest::from_der(&der).unwrap().san_uris(), Vec::<String>::new());
    }
}
