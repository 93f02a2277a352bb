//! A private key with its certificates, which signs Ward's own JWTs (IG §7.1.3; SMD-02, SMD-09, CLI-10,
//! CLI-19). Refuses a key that is not its certificate's, and keys below the floor of PKI-13.

use std::fmt;

use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    KeyPair as _,
};
use aws_lc_rs::{digest, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use ward_core::Secret;

use crate::{Alg, Certificate, JoseError, KeyKind};

enum Key {
    Rsa(rsa::KeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// A private key with its certificates. Never printed.
pub struct SigningIdentity {
    leaf: Certificate,
    chain: Vec<Certificate>,
    key: Key,
}

impl SigningIdentity {
    /// From the DER of the leaf and its issuers below the root, leaf first (SMD-09), and the leaf's
    /// private key in PKCS#8: RSA from 2048 bits, P-256 or P-384. Refuses a key that is not the leaf's.
    pub fn from_pkcs8(chain: &[Vec<u8>], pkcs8: &Secret<Vec<u8>>) -> Result<Self, JoseError> {
        let chain: Vec<_> = chain
            .iter()
            .map(|der| Certificate::from_der(der).map_err(|_| JoseError::CertificateMalformed))
            .collect::<Result<_, _>>()?;
        let leaf = chain.first().cloned().ok_or(JoseError::CertificateMissing)?;
        if !leaf.has_strong_key() {
            return Err(JoseError::WeakKey);
        }
        let pkcs8 = pkcs8.expose();
        let ecdsa = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).map(Key::Ecdsa);
        let key = match leaf.subject_key() {
            KeyKind::Rsa { .. } => rsa::KeyPair::from_pkcs8(pkcs8).map(Key::Rsa),
            KeyKind::P256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            KeyKind::P384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            KeyKind::Other => return Err(JoseError::WeakKey),
        }
        .map_err(|_| JoseError::Identity)?;
        let public = match &key {
            Key::Rsa(pair) => pair.public_key().as_ref(),
            Key::Ecdsa(pair) => pair.public_key().as_ref(),
        };
        if public != leaf.key_bits() {
            return Err(JoseError::Identity);
        }
        Ok(Self { leaf, chain, key })
    }

    /// The certificate of the key.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// What goes into `x5c`, leaf first.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The URIs that the identity may speak as.
    pub fn san_uris(&self) -> &[String] {
        self.leaf.san_uris()
    }

    /// The usual algorithm of the key: RS256, ES256 or ES384.
    pub fn alg(&self) -> Alg {
        match self.leaf.subject_key() {
            KeyKind::P256 => Alg::Es256,
            KeyKind::P384 => Alg::Es384,
            KeyKind::Rsa { .. } | KeyKind::Other => Alg::Rs256,
        }
    }

    /// The value of `x5c`.
    pub fn x5c(&self) -> Value {
        self.chain.iter().map(|one| Value::String(STANDARD.encode(one.der()))).collect()
    }

    /// Signs claims under the header `{"alg", "x5c"}`. Refuses an algorithm that is not the key's.
    pub fn sign(&self, alg: Alg, claims: &Value) -> Result<String, JoseError> {
        let header = json!({"alg": alg.name(), "x5c": self.x5c()});
        self.sign_raw(alg, header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// Signs arbitrary octets as header and payload, whatever the header says of itself: for
    /// conformance tests of other servers, which must refuse what this can make. Ward's own JWTs come
    /// from [`Self::sign`].
    pub fn sign_raw(&self, alg: Alg, header: &[u8], payload: &[u8]) -> Result<String, JoseError> {
        if !alg.fits(self.leaf.subject_key()) {
            return Err(JoseError::KeyMismatch);
        }
        let input =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let hash = digest::digest(alg.hash(), input.as_bytes());
        let signature = match &self.key {
            Key::Rsa(pair) => {
                let padding = if alg == Alg::Rs384 {
                    &signature::RSA_PKCS1_SHA384
                } else {
                    &signature::RSA_PKCS1_SHA256
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign_digest(padding, &hash, &mut out).map_err(|_| JoseError::Identity)?;
                out
            }
            Key::Ecdsa(pair) => {
                pair.sign_digest(&hash).map_err(|_| JoseError::Identity)?.as_ref().to_vec()
            }
        };
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for SigningIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningIdentity").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}
