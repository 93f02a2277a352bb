//! Signed JSON: JWS compact serialization with `x5c` (RFC 7515, RFC 7518 §3; IG §7.1; JWT-01..JWT-14, R07..R24).
//!
//! The signature is verified with the key of `x5c[0]` and nothing else; `jwk`, `jku`, `x5u` and `kid` are
//! never looked at and nothing is fetched (R16). Refused: other serializations, any base64url with
//! padding or stray bits, JSON that could be read in two ways, `crit` and `b64`, algorithms outside a
//! closed list, and an algorithm that is not the key's. All of aws-lc-rs; no cryptography of our own.

use std::fmt;
use std::ops::Deref;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use ward_core::Limits;
use ward_core::json::JsonError;

pub use crate::identity::SigningIdentity;
use crate::{Certificate, KeyKind};

/// The signature algorithms of UDAP (IG §7.1.2), a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alg {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl Alg {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Es256, Self::Rs384, Self::Es384];

    /// The JOSE name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Rs384 => "RS384",
            Self::Es384 => "ES384",
        }
    }

    /// From the JOSE name, in exact case (R12).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.name() == name)
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED,
        }
    }

    pub(crate) fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::Rs256 | Self::Es256 => &digest::SHA256,
            Self::Rs384 | Self::Es384 => &digest::SHA384,
        }
    }

    /// Whether the algorithm belongs to this kind of key (R11).
    pub(crate) fn fits(self, key: KeyKind) -> bool {
        matches!(
            (self, key),
            (Self::Rs256 | Self::Rs384, KeyKind::Rsa { .. })
                | (Self::Es256, KeyKind::P256)
                | (Self::Es384, KeyKind::P384)
        )
    }
}

/// Why a JWS is refused, or cannot be made. Carries nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// Longer than the bound of a request body.
    #[error("the JWT is too long")]
    TooLong,
    /// Not three segments: JWE, JSON serialization or something else (JWT-01, R07).
    #[error("the JWT is not in compact serialization")]
    Segments,
    /// A segment is not canonical base64url without padding (R24).
    #[error("the JWT is not canonical base64url")]
    Encoding,
    /// Header or payload is not a strict JSON object (JWT-10).
    #[error("the JWT is not strict JSON")]
    Json,
    /// A member name occurs twice (R23).
    #[error("a member of the JWT occurs twice")]
    Duplicate,
    /// `alg` is missing or not a string (JWT-03).
    #[error("the JWT names no algorithm")]
    AlgorithmMissing,
    /// `none`, in any case, or no signature (R08).
    #[error("the JWT is not signed")]
    Unsigned,
    /// A symmetric algorithm (R09).
    #[error("the JWT is signed with a symmetric algorithm")]
    Symmetric,
    /// An algorithm that is not accepted here (R10).
    #[error("the algorithm of the JWT is not accepted")]
    Algorithm,
    /// An accepted algorithm in other letters (R12).
    #[error("the algorithm of the JWT is misspelt")]
    AlgorithmCase,
    /// `crit` or `b64` (JWT-11, R21).
    #[error("the JWT has a critical header")]
    Critical,
    /// `typ` names another protocol (JWT-13).
    #[error("the JWT is of another type")]
    Type,
    /// `x5c` is missing or not a non-empty array of strings (R16, R17).
    #[error("the JWT carries no certificate")]
    CertificateMissing,
    /// An entry of `x5c` is not standard base64 of exactly one certificate (R18).
    #[error("a certificate of the JWT is malformed")]
    CertificateMalformed,
    /// Too many certificates, or too large a one (R20).
    #[error("the certificates of the JWT exceed the bound")]
    CertificatesExceeded,
    /// The algorithm is not that of the leaf's key (R11).
    #[error("the algorithm of the JWT is not that of its key")]
    KeyMismatch,
    /// The leaf's key is below the floor: a matter of trust, not of the signature (PKI-13, X34–X36).
    #[error("the key of the JWT is too weak")]
    WeakKey,
    /// The signature is not that of `x5c[0]` (R13–R15, R19, R22).
    #[error("the signature of the JWT is not valid")]
    Signature,
    /// A signing identity whose key is malformed, or not that of its certificate.
    #[error("the signing key does not fit its certificate")]
    Identity,
}

impl JoseError {
    /// Id of the rule, for log and audit.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::TooLong => "REG-26",
            Self::Segments => "R07",
            Self::Encoding => "R24",
            Self::Json => "JWT-10",
            Self::Duplicate => "R23",
            Self::AlgorithmMissing => "JWT-03",
            Self::Unsigned => "R08",
            Self::Symmetric => "R09",
            Self::Algorithm => "R10",
            Self::AlgorithmCase => "R12",
            Self::Critical => "R21",
            Self::Type => "JWT-13",
            Self::CertificateMissing => "R17",
            Self::CertificateMalformed => "R18",
            Self::CertificatesExceeded => "R20",
            Self::KeyMismatch => "R11",
            Self::WeakKey => "X34",
            Self::Signature => "R13",
            Self::Identity => "SMD-11",
        }
    }
}

impl From<JsonError> for JoseError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Duplicate => Self::Duplicate,
            JsonError::Malformed | JsonError::TooDeep => Self::Json,
        }
    }
}

/// A JWS that is well-formed. Its signature has not been checked: see [`Jws::verify`].
#[derive(Clone)]
pub struct Jws {
    alg: Alg,
    leaf: Certificate,
    extra: Vec<Certificate>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signing_input: String,
    signature: Vec<u8>,
}

impl Jws {
    /// Parses the compact serialization; bounds from `auth_body_bytes`, `json_depth`,
    /// `x5c_certificates` and `certificate_bytes`.
    pub fn parse(compact: &str, limits: &Limits) -> Result<Self, JoseError> {
        Self::parse_typed(compact, check_type, limits)
    }

    /// [`Self::parse`] for a document whose `typ` must be this one, and is looked at first (RFC 8725 §3.11). `typ` is in
    /// lower case, without `application/`.
    pub(crate) fn parse_as(compact: &str, typ: &str, limits: &Limits) -> Result<Self, JoseError> {
        let is = |header: &Map<String, Value>| {
            let found = header.get("typ").and_then(Value::as_str).map(plain_type);
            if found.as_deref() == Some(typ) { Ok(()) } else { Err(JoseError::Type) }
        };
        Self::parse_typed(compact, is, limits)
    }

    fn parse_typed(
        compact: &str,
        check_type: impl FnOnce(&Map<String, Value>) -> Result<(), JoseError>,
        limits: &Limits,
    ) -> Result<Self, JoseError> {
        if compact.len() > limits.auth_body_bytes {
            return Err(JoseError::TooLong);
        }
        let mut segments = compact.split('.');
        let (Some(header_text), Some(claims_text), Some(signature_text), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(JoseError::Segments);
        };
        let header = object(header_text, limits)?;
        let alg = algorithm(&header)?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(JoseError::Critical);
        }
        check_type(&header)?;
        let mut certificates = certificates(&header, limits)?.into_iter();
        let leaf = certificates.next().ok_or(JoseError::CertificateMissing)?;
        let claims = object(claims_text, limits)?;
        let signature = URL_SAFE_NO_PAD.decode(signature_text).map_err(|_| JoseError::Encoding)?;
        if signature.is_empty() {
            return Err(JoseError::Unsigned);
        }
        Ok(Self {
            alg,
            leaf,
            extra: certificates.collect(),
            header,
            claims,
            signing_input: format!("{header_text}.{claims_text}"),
            signature,
        })
    }

    /// Checks that the algorithm is among those published and that the key of `x5c[0]` made the
    /// signature (JWT-05).
    pub fn verify(self, allowed: &[Alg]) -> Result<Verified, JoseError> {
        if !allowed.contains(&self.alg) {
            return Err(JoseError::Algorithm);
        }
        let key = self.leaf.subject_key();
        // A key below the floor is told first: it fits no algorithm, but what is wrong with it is trust.
        if !self.leaf.has_strong_key() {
            return Err(JoseError::WeakKey);
        }
        if !self.alg.fits(key) {
            return Err(JoseError::KeyMismatch);
        }
        UnparsedPublicKey::new(self.alg.verification(), self.leaf.key_bits())
            .verify(self.signing_input.as_bytes(), &self.signature)
            .map_err(|_| JoseError::Signature)?;
        Ok(Verified(self))
    }

    /// The algorithm that the header names.
    pub fn alg(&self) -> Alg {
        self.alg
    }

    /// `x5c[0]`.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The other certificates of `x5c`: material to build a path from, trusted in nothing (PKI-09).
    pub fn extra(&self) -> &[Certificate] {
        &self.extra
    }

    /// The header.
    pub fn header(&self) -> &Map<String, Value> {
        &self.header
    }

    /// The claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

impl fmt::Debug for Jws {
    /// Without the claims, which may name persons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws")
            .field("alg", &self.alg)
            .field("leaf", &self.leaf)
            .finish_non_exhaustive()
    }
}

/// A JWS that the key of `x5c[0]` signed. Whether that certificate is trusted is another question:
/// [`crate::path::validate`] answers it.
#[derive(Debug, Clone)]
pub struct Verified(Jws);

impl Deref for Verified {
    type Target = Jws;

    fn deref(&self) -> &Jws {
        &self.0
    }
}

fn object(segment: &str, limits: &Limits) -> Result<Map<String, Value>, JoseError> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).map_err(|_| JoseError::Encoding)?;
    match ward_core::json::parse(&bytes, limits.json_depth)? {
        Value::Object(members) => Ok(members),
        _ => Err(JoseError::Json),
    }
}

fn algorithm(header: &Map<String, Value>) -> Result<Alg, JoseError> {
    let name = header.get("alg").and_then(Value::as_str).ok_or(JoseError::AlgorithmMissing)?;
    Alg::from_name(name).ok_or_else(|| {
        let upper = name.to_ascii_uppercase();
        if upper == "NONE" {
            JoseError::Unsigned
        } else if upper.starts_with("HS") {
            JoseError::Symmetric
        } else if Alg::from_name(&upper).is_some() {
            JoseError::AlgorithmCase
        } else {
            JoseError::Algorithm
        }
    })
}

/// JWT-13: `typ` is ignored unless it names another protocol (RFC 8725 §3.11).
fn check_type(header: &Map<String, Value>) -> Result<(), JoseError> {
    match header.get("typ") {
        None => Ok(()),
        Some(Value::String(name)) => match plain_type(name).as_str() {
            "dpop+jwt" | "at+jwt" | "secevent+jwt" | "logout+jwt" => Err(JoseError::Type),
            _ => Ok(()),
        },
        Some(_) => Err(JoseError::Type),
    }
}

/// A media type in lower case, without `application/` (RFC 7515 §4.1.9).
fn plain_type(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("application/").map(str::to_owned).unwrap_or(name)
}

fn certificates(
    header: &Map<String, Value>,
    limits: &Limits,
) -> Result<Vec<Certificate>, JoseError> {
    let Some(Value::Array(entries)) = header.get("x5c") else {
        return Err(JoseError::CertificateMissing);
    };
    if entries.len() > limits.x5c_certificates {
        return Err(JoseError::CertificatesExceeded);
    }
    entries
        .iter()
        .map(|entry| {
            let text = entry.as_str().ok_or(JoseError::CertificateMissing)?;
            if text.len() > limits.certificate_bytes.div_ceil(3).saturating_mul(4) {
                return Err(JoseError::CertificatesExceeded);
            }
            let der = STANDARD.decode(text).map_err(|_| JoseError::CertificateMalformed)?;
            if der.len() > limits.certificate_bytes {
                return Err(JoseError::CertificatesExceeded);
            }
            Certificate::from_der(&der).map_err(|_| JoseError::CertificateMalformed)
        })
        .collect()
}
